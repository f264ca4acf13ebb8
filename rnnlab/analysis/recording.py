"""One row of a recording: its inputs and states, in the shapes of a single run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnlab.analysis.arguments import is_whole
from rnnlab.errors import RnnlabError
from rnnlab.trace import Trace

if TYPE_CHECKING:
    from rnnlab.analysis.dynamics import Dynamics


@dataclass
class Recording:
    """What a model was fed in one row of a run, and the states that it left."""

    inputs: tuple[np.ndarray, ...]
    """`(T, …)` each: x, or x.0, x.1, … of a model with several."""
    initial: dict[str, np.ndarray]
    """The states before the first step."""
    states: dict[str, np.ndarray]
    """`(T, …)` each: the state after every step."""


def recorded(d: Dynamics, trace: Trace, row: Any = None) -> Recording:
    """One row of a recording; of a batch of one row, that.

    Raises:
        RnnlabError: an input or state that the trace lacks; a batch of several without `row`, or a
            row that is not there.
    """
    inputs = ["x"] if "x" in trace else []
    while f"x.{len(inputs)}" in trace:
        inputs.append(f"x.{len(inputs)}")
    names = d.cell.names
    if not inputs or any(name not in trace or name not in trace.initial for name in names):
        raise RnnlabError(
            f"{d.owner}: the trace must have 'x' and the states {', '.join(names)}, with their "
            f"initial values; it has: {', '.join(trace)}."
        )
    like = trace[names[0]]
    batched = like.ndim - 1 - len(d.cell.shapes[names[0]])
    if not batched:
        row = None
    elif row is None and like.shape[1] == 1:
        row = 0
    elif row is None or not is_whole(row) or not 0 <= row < like.shape[1]:
        raise RnnlabError(
            f"{d.owner}: the run is a batch of {like.shape[1]}; row= says which (0 to "
            f"{like.shape[1] - 1}), got {row!r}."
        )

    def one(values: np.ndarray, axis: int) -> np.ndarray:
        return values if row is None else np.take(values, row, axis=axis)

    def given(values: np.ndarray) -> np.ndarray:
        if row is None or d.direct:
            return one(values, 1)
        return values[:, row : row + 1]  # a module of someone else that takes a batch is given one

    return Recording(
        inputs=tuple(given(trace[name]) for name in inputs),
        initial={name: one(np.asarray(trace.initial[name]), 0) for name in names},
        states={name: one(trace[name], 1) for name in names},
    )
