"""Where the explorer's next input comes from: a vector set by hand, or a queue of recorded rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from rnnlab.errors import RnnlabError


class Example(Protocol):
    """One recorded sequence to feed: its name, rows `(T, I)`, and what is known about it."""

    @property
    def label(self) -> str: ...
    @property
    def xs(self) -> np.ndarray: ...
    @property
    def target(self) -> str: ...
    @property
    def picture(self) -> np.ndarray | None: ...


@dataclass(frozen=True)
class Recording:
    """An array given by the user, as an example."""

    label: str
    xs: np.ndarray
    target: str = ""
    picture: np.ndarray | None = None


@dataclass
class VectorFeed:
    """A vector held by sliders: fed again and again until it is moved."""

    names: list[str]
    low: float
    high: float
    values: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        middle = 0.0 if self.low <= 0 <= self.high else self.low
        self.values = self.values or [middle] * len(self.names)

    @property
    def units(self) -> int:
        return len(self.names)

    def next(self) -> np.ndarray:
        return np.asarray(self.values, dtype=float)

    def set(self, values: Sequence[float]) -> None:
        if len(values) != len(self.names):
            raise RnnlabError(f"{len(values)} values for {len(self.names)} inputs.")
        self.values = [float(value) for value in values]

    def describe(self) -> dict[str, Any]:
        step = (self.high - self.low) / 200
        shown = {"names": self.names, "low": self.low, "high": self.high, "step": step}
        return {"kind": "vector", "values": self.values, **shown}


@dataclass
class QueueFeed:
    """Recorded sequences, one of them chosen; its rows are fed in order.

    The position in the queue belongs to the place on the session's timeline: whoever goes back a
    step has that row to feed again.
    """

    examples: Sequence[Example]
    labels: list[str]
    chosen: int = 0
    fresh: bool = True
    position: int = 0

    def __post_init__(self) -> None:
        self._at: dict[tuple[str, int], int] = {}
        self._rows = np.asarray(self.examples[self.chosen].xs)

    @property
    def units(self) -> int:
        return self._rows.shape[1]

    def choose(self, example: int) -> None:
        if not 0 <= example < len(self.examples):
            raise RnnlabError(f"There are examples 0 to {len(self.examples) - 1}, no {example}.")
        self.chosen = example
        self._rows = np.asarray(self.examples[example].xs)
        self._at = {}
        self.position = 0

    def next(self) -> np.ndarray:
        if self.position >= len(self._rows):
            raise RnnlabError(
                f"All {len(self._rows)} rows of {self.labels[self.chosen]} are fed. "
                "Press Reset, or choose another example."
            )
        return self._rows[self.position]

    def remember(self, place: tuple[str, int], position: int) -> None:
        """Say that at this place of the timeline the queue stands at `position`."""
        self._at[place] = position
        self.position = position

    def at(self, place: tuple[str, int]) -> int | None:
        """Where the queue stood at a place of the timeline, if that is known."""
        return self._at.get(place)

    def place(self, place: tuple[str, int]) -> None:
        """The session moved: put the queue where it stood there, if that is known."""
        self.position = self._at.get(place, self.position)

    def describe(self) -> dict[str, Any]:
        example = self.examples[self.chosen]
        picture = example.picture
        return {
            "kind": "queue",
            "names": [],
            "examples": self.labels,
            "chosen": self.chosen,
            "fresh": self.fresh,
            "count": len(self._rows),
            "unit": "row",
            "target": example.target,
            "picture": None if picture is None else _unit_range(picture),
        }


Feed = VectorFeed | QueueFeed


def _unit_range(picture: np.ndarray) -> list[list[float]]:
    picture = np.asarray(picture, dtype=float)
    span = picture.max() - picture.min()
    scaled = (picture - picture.min()) / (span or 1)
    return np.round(scaled, 3).tolist()


def recordings(xs: Any) -> list[Recording]:
    """An array `(T, I)`, `(N, T, I)` or a list of `(T, I)` as examples.

    Raises:
        RnnlabError: it is none of these.
    """
    if hasattr(xs, "detach"):
        xs = xs.detach().cpu().numpy()
    if hasattr(xs, "to_numpy"):
        xs = xs.to_numpy()
    try:
        arrays = list(xs) if isinstance(xs, (list, tuple)) else np.asarray(xs, dtype=float)
        if isinstance(arrays, np.ndarray) and arrays.ndim in (1, 2):
            arrays = [arrays]
        sequences = [np.asarray(array, dtype=float) for array in arrays]
    except (TypeError, ValueError) as error:
        raise RnnlabError(f"explore: cannot read xs as rows of numbers ({error}).") from error
    if isinstance(xs, (list, tuple)) and sequences and all(s.ndim <= 1 for s in sequences):
        sequences = [np.stack(sequences)]
    sequences = [s[:, None] if s.ndim == 1 else s for s in sequences]
    shapes = [s.shape for s in sequences]
    if not sequences or any(len(shape) != 2 or not shape[0] for shape in shapes):
        raise RnnlabError(
            "explore: xs must be rows (T, I), several of them (N, T, I), or a list of (T, I); "
            f"got {shapes or 'nothing'}."
        )
    several = len(sequences) > 1
    return [
        Recording(f"sequence {i + 1}" if several else "the recording", rows)
        for i, rows in enumerate(sequences)
    ]
