"""Recorded sequences whose rows are fed in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from rnnlab.errors import RnnlabError
from rnnlab.widgets.feeds.base import Feed, Message


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
    """An array or a data frame given by the user, as an example.

    Attributes:
        label: its name.
        xs: the rows, `(T, I)`.
        names: the names of the columns, where it has any.
        labels: a label for each row, where it has any: the index of a data frame.
    """

    label: str
    xs: np.ndarray
    target: str = ""
    picture: np.ndarray | None = None
    names: tuple[str, ...] | None = None
    labels: tuple[str, ...] | None = None


class QueueFeed(Feed):
    """Recorded sequences, one of them chosen; its rows are fed in order.

    Args:
        examples: the recordings; the chosen one is the tape.
    """

    kind = "queue"

    def __init__(self, examples: Sequence[Example], title: str = "Recording") -> None:
        super().__init__()
        self.examples = examples
        self.title = title
        self.labels = [example.label for example in examples]
        self.fresh = True
        self.tape = 0
        self._read: tuple[int, np.ndarray] | None = None

    @property
    def rows(self) -> np.ndarray:
        """The rows of the chosen recording."""
        if self._read is None or self._read[0] != self.tape:
            self._read = (self.tape, np.asarray(self.examples[self.tape].xs))
        return self._read[1]

    @property
    def count(self) -> int:
        return len(self.rows)

    def next(self) -> tuple[np.ndarray, str | None]:
        if self.position >= self.count:
            raise RnnlabError(
                f"All {self.count} rows of {self.labels[self.tape]} are fed. "
                "Press Reset, or choose another example."
            )
        labels = getattr(self.examples[self.tape], "labels", None)
        return self.rows[self.position], labels[self.position] if labels else None

    def act(self, message: Message) -> bool:
        if "fresh" in message:
            self.fresh = bool(message["fresh"])
            return False
        example = int(message["example"])
        if not 0 <= example < len(self.examples):
            raise RnnlabError(f"There are examples 0 to {len(self.examples) - 1}, no {example}.")
        self.tape, self.position = example, 0
        if not self.fresh:
            self._mark(self._place)
        return self.fresh

    def describe(self) -> dict[str, Any]:
        example = self.examples[self.tape]
        picture = example.picture
        return {
            "examples": self.labels,
            "chosen": self.tape,
            "fresh": self.fresh,
            "unit": "row",
            "target": example.target,
            "picture": None if picture is None else _unit_range(picture),
        }


def _unit_range(picture: np.ndarray) -> list[list[float]]:
    picture = np.asarray(picture, dtype=float)
    span = picture.max() - picture.min()
    scaled = (picture - picture.min()) / (span or 1)
    return np.round(scaled, 3).tolist()


def recordings(xs: Any) -> list[Recording]:
    """An array `(T, I)`, `(N, T, I)`, a data frame, or a list of `(T, I)` as examples.

    Raises:
        RnnlabError: it is none of these.
    """
    names, labels = _columns_and_index(xs)
    if hasattr(xs, "detach"):
        xs = xs.detach().cpu().numpy()
    if hasattr(xs, "to_numpy"):
        xs = xs.to_numpy()
    try:
        arrays = list(xs) if isinstance(xs, (list, tuple)) else np.asarray(xs)
        if isinstance(arrays, np.ndarray) and arrays.ndim in (1, 2):
            arrays = [arrays]
        if any(np.iscomplexobj(array) for array in arrays):
            raise TypeError("they are complex")
        sequences = [np.asarray(array, dtype=float) for array in arrays]
        if isinstance(xs, (list, tuple)) and sequences and all(s.ndim <= 1 for s in sequences):
            sequences = [np.stack(sequences)]
    except (TypeError, ValueError) as error:
        raise RnnlabError(f"explore: cannot read xs as rows of numbers ({error}).") from error
    sequences = [s[:, None] if s.ndim == 1 else s for s in sequences]
    shapes = [s.shape for s in sequences]
    if not sequences or any(len(shape) != 2 or not shape[0] for shape in shapes):
        raise RnnlabError(
            "explore: xs must be rows (T, I), several of them (N, T, I), or a list of (T, I); "
            f"got {shapes or 'nothing'}."
        )
    several = len(sequences) > 1
    return [
        Recording(
            f"sequence {i + 1}" if several else "the recording", rows, names=names, labels=labels
        )
        for i, rows in enumerate(sequences)
    ]


def _columns_and_index(xs: Any) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """What a data frame calls its columns, and its rows if it does more than number them."""
    if not hasattr(xs, "columns"):
        return None, None
    index = list(xs.index)
    labels = None if index == list(range(len(index))) else tuple(map(str, index))
    return tuple(map(str, xs.columns)), labels
