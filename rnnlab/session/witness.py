"""Whether a model does what a recording says: some of its steps are taken again.

The weights tell one trained model from another, but not one function from another, nor a tanh from
a relu. What a model does can be told from what it did. So a function may be renamed, rewritten or
moved, and is refused if its constants or the variables around it are others, which its code would
not show.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnlab.session.columns import as_numpy
from rnnlab.session.timeline import Branch

TRIED = 8
"""So many steps are taken again, spread over all that were recorded."""


def contradiction(session: Any) -> str | None:
    """In words, a recorded step that the session's model takes otherwise; None if none was found.

    Steps made by other weights are passed over, and steps that come out otherwise each time. The
    result may differ as another machine rounds: an array by 4 √ε of its largest number (TF32 on a
    GPU) and 64 ε of the largest of the step. Running states, buffers and random numbers of torch
    are put back.
    """
    stepper, place = session._stepper, (session._branch, session._t)
    put_back = stepper.aside.keep()
    weights = stepper.weights_now()
    try:
        for branch, t in _spread(session._branches.values()):
            if branch.weights_at(t) == weights:
                said = _told(session, branch, t)
                if said is not None:
                    return f"step {t + 1} of branch {branch.name!r} {said}"
        return None
    finally:
        put_back()
        session._enter(*place)


def _spread(branches: Any) -> list[tuple[Branch, int]]:
    """Some of the steps, each as the branch that holds it and the step before."""
    own = [branch for branch in branches if branch.count]
    ends = np.cumsum([branch.count for branch in own])
    found = []
    for at in np.unique(np.linspace(0, ends[-1] - 1, TRIED).astype(int)) if own else ():
        branch = own[int(np.searchsorted(ends, at, side="right"))]
        found.append((branch, len(branch) - int(ends[own.index(branch)] - at)))
    return found


def _told(session: Any, branch: Branch, t: int) -> str | None:
    try:
        rows = _taken(session, branch, t)
        other = _unlike(branch, t, rows)
        if other is None:
            return None
        again = _taken(session, branch, t)
    except Exception as error:
        return f"fails with {type(error).__name__}: {error}"
    same = all(np.array_equal(as_numpy(a), as_numpy(b)) for a, b in zip(rows, again, strict=True))
    return f"gives another {other}" if same else None


def _taken(session: Any, branch: Branch, t: int) -> list[Any]:
    """The rows of a step, taken as it was then."""
    stepper = session._stepper
    session._enter(branch, t)
    with torch.no_grad():
        stepper.make_ready(session._states)
    holds = session._holds(branch, t) if branch.holds else ()
    _, _, rows = stepper.step(branch.inputs(t), branch, holds)
    return rows


def _unlike(branch: Branch, t: int, rows: list[Any]) -> str | None:
    """The first array of a recorded step that is another in `rows`, and by how much."""
    layout = branch.layout
    assert layout is not None
    before = [column.row(t - branch.fork) for column in branch.columns]
    widest = max(map(_largest, map(_numbers, before)))
    for name, slot in layout.slots.items():
        was = _numbers(layout.take(name, before[slot.column]))
        now = _numbers(layout.take(name, rows[slot.column]))
        epsilon = _rounding(rows[slot.column])
        near = 4 * np.sqrt(epsilon) * _largest(was) + 64 * epsilon * widest
        if not np.allclose(now, was, rtol=0.0, atol=near, equal_nan=True):
            with np.errstate(invalid="ignore"):  # of infinities
                return f"{name}, off by {_largest(now - was):.3g}"
    return None


def _largest(numbers: np.ndarray) -> float:
    """The largest magnitude, of those that are finite."""
    sizes = np.abs(numbers)
    return float(np.max(sizes, initial=0.0, where=np.isfinite(sizes)))


def _numbers(value: Any) -> np.ndarray:
    array = as_numpy(value)
    return array.astype(np.result_type(array, np.float64))


def _rounding(value: Any) -> float:
    """ε of a kind of numbers; 0 for whole numbers."""
    if not isinstance(value, Tensor):
        return np.finfo(float).eps if isinstance(value, (float, complex)) else 0.0
    return torch.finfo(value.dtype).eps if value.is_floating_point() or value.is_complex() else 0.0
