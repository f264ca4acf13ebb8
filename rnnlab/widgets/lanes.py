"""What the state view shows: lanes of units, and their values as one table of rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from rnnlab.errors import RnnlabError
from rnnlab.session import Session

Decode = Callable[[np.ndarray], np.ndarray]
"""Rows of raw outputs `(n, O)` → rows of what is shown for them `(n, P)`."""


@dataclass(frozen=True)
class Lane:
    """A band of the view: the units of the input, of one state, or of the output.

    `row` is the row of a batch that is shown.
    """

    name: str
    title: str
    role: str
    units: int
    offset: int
    kind: str = "signed"
    limit: float | None = None
    labels: tuple[str, ...] | None = None
    caption: str = ""
    decode: Decode | None = None
    row: int = 0

    def describe(self) -> dict[str, Any]:
        """What the page needs to know."""
        return {
            "name": self.name,
            "title": self.title,
            "role": self.role,
            "units": self.units,
            "from": self.offset,
            "kind": self.kind,
            "limit": self.limit,
            "labels": self.labels,
            "caption": self.caption,
        }


def softmax(rows: np.ndarray) -> np.ndarray:
    """Scores to probabilities, row by row."""
    e = np.exp(rows - rows.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@dataclass(frozen=True)
class Labelling:
    """Names and scales that the numbers themselves do not tell."""

    inputs: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None
    input_range: tuple[float, float] | None = None
    decode: Decode | None = None
    probabilities: bool = False
    input_units: int = 0
    output_units: int = 0
    numbers: bool = False
    """Whether inputs are the numbers of tokens: there is nothing to see in them."""


def lanes(session: Session, labelling: Labelling, row: int = 0) -> list[Lane]:
    """The lanes of the current branch, top to bottom: inputs, states, outputs.

    Of a batch they show one row. They stay the same from before the first step on, as far as the
    sizes can be told.
    """
    found: list[Lane] = []
    offset = 0
    states = session.states()
    for name, units in _sizes(session, labelling, states).items():
        if name == "x" and labelling.numbers:
            continue
        lane = _lane(name, units, offset, name in states, labelling)
        found.append(replace(lane, row=row))
        offset += units
    return found


def batch(session: Session) -> int:
    """How many rows the batch of the current branch has; 1 without a batch."""
    shapes = list(session.recorded().values())
    shapes += [np.shape(value) for value in session.states().values()]
    return max(math.prod(shape[:-1]) for shape in shapes)


def _sizes(session: Session, labelling: Labelling, states: dict[str, Any]) -> dict[str, int]:
    """Units per array: as recorded, here or on the newest branch that has a step; else expected."""
    for branch in (session.branch_name, *reversed(session.branches)):
        recorded = session.recorded(branch)
        if recorded:
            return {name: shape[-1] if shape else 1 for name, shape in recorded.items()}
    sizes = {"x": labelling.input_units} | {name: _flat(v) for name, v in states.items()}
    return {name: n for name, n in {**sizes, "y": labelling.output_units}.items() if n}


def _lane(name: str, units: int, offset: int, state: bool, labelling: Labelling) -> Lane:
    if state:
        return Lane(name, name, "state", units, offset)
    if name == "x" or name.startswith("x."):
        low, high = labelling.input_range or (None, None)
        kind = "share" if low is not None and low >= 0 else "signed"
        limit = None if low is None or high is None else max(abs(low), abs(high))
        labels = labelling.inputs if labelling.inputs and len(labelling.inputs) == units else None
        return Lane(name, "input " + name, "input", units, offset, kind, limit, labels)
    labels = labelling.outputs if labelling.outputs and len(labelling.outputs) == units else None
    if labelling.probabilities:
        return Lane(
            name, f"p({name})", "output", units, offset, "share", 1.0, labels,
            "Probabilities", labelling.decode,
        )  # fmt: skip
    return Lane(
        name, "output " + name, "output", units, offset, "signed", None, labels, "Outputs",
        labelling.decode,
    )  # fmt: skip


def _flat(value: Any) -> int:
    return int(value.shape[-1]) if isinstance(value, Tensor) and value.dim() else 1


def values(
    session: Session, lanes: Sequence[Lane], start: int, stop: int, branch: str | None = None
) -> np.ndarray:
    """Rows start … stop − 1 as one float32 table; row 0 is the initial state, row r step r's."""
    table = np.full((stop - start, sum(lane.units for lane in lanes)), np.nan, np.float32)
    states, recorded = session.initial(branch), session.recorded(branch)
    for lane in lanes:
        columns = slice(lane.offset, lane.offset + lane.units)
        if start == 0 and stop > 0 and lane.name in states:
            table[0, columns] = flat_rows(np.asarray(states[lane.name])[None], lane.row)[0]
        first = max(start, 1)
        if stop > first and lane.name in recorded:
            rows = flat_rows(session.read(lane.name, first - 1, stop - 1, branch), lane.row)
            table[first - start :, columns] = decoded(lane.decode, rows)
    return table


def decoded(decode: Decode | None, rows: np.ndarray) -> np.ndarray:
    """What is shown for rows of outputs.

    Raises:
        RnnlabError: the user's function fails, or gives rows of another shape.
    """
    if decode is None:
        return rows
    try:
        with np.errstate(all="ignore"):
            shown = np.asarray(decode(rows), np.float32)
    except Exception as error:  # it is the user's
        raise RnnlabError(
            f"explore: decode failed with {type(error).__name__}: {error}, given outputs of shape "
            f"{rows.shape}."
        ) from error
    if shown.shape != rows.shape:
        raise RnnlabError(
            f"explore: decode turned outputs of shape {rows.shape} into {shown.shape}; it must "
            "give rows of the same shape."
        )
    return shown


def flat_rows(array: np.ndarray, row: int = 0) -> np.ndarray:
    """`(n, …, U)` as `(n, U)`: numbers get a unit axis, of a batch one row is taken.

    What has no such row, as an initial state that all rows share, gives its last.
    """
    if array.ndim == 1:
        return array[:, None]
    if array.ndim == 2:
        return array
    rows = array.reshape(len(array), math.prod(array.shape[1:-1]), array.shape[-1])
    return rows[:, min(row, rows.shape[1] - 1)]
