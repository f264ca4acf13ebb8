"""The last step at which something held: predicates over a whole recording."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnlab.cells.base import describe
from rnnlab.errors import RnnlabError
from rnnlab.session.wording import check_number
from rnnlab.trace import Trace


@dataclass(frozen=True)
class Predicate:
    """Something that holds at some steps: `steps(session, trace)` gives a bool for each."""

    title: str
    steps: Callable[[Any, Trace], np.ndarray]

    def __repr__(self) -> str:
        return self.title


def last(session: Any, predicate: Predicate | Callable[[Trace, int], bool]) -> int | None:
    """The last step up to the session's place at which `predicate` holds; None if at none."""
    if not callable(predicate) and not isinstance(predicate, Predicate):
        raise RnnlabError(
            "Session: backtrack takes a function of (trace, t), or crossed(…), argmax_changed(…), "
            f"differ(…); got {describe(predicate)}."
        )
    trace = session.trace()[: session.t]
    if isinstance(predicate, Predicate):
        try:
            held = np.flatnonzero(predicate.steps(session, trace))
        except RnnlabError:
            raise
        except Exception as error:
            raise RnnlabError(
                f"Session: the predicate {predicate.title!r} given to backtrack failed with "
                f"{type(error).__name__}: {error}."
            ) from error
        return int(held[-1]) + 1 if len(held) else None
    for t in range(session.t, 0, -1):
        try:
            holds = bool(predicate(trace[:t], t))
        except RnnlabError:
            raise
        except Exception as error:
            raise RnnlabError(
                f"Session: the function given to backtrack failed at step {t} with "
                f"{type(error).__name__}: {error}."
            ) from error
        if holds:
            return t
    return None


def crossed(name: str, unit: int, threshold: float) -> Predicate:
    """A unit went from one side of a threshold to the other.

    Example:
        >>> import rnnlab as rl
        >>> s = rl.Session(rl.Recur(lambda h, x: (h + x, h), 0.0))
        >>> ys = s.run([1, 1, 1, -1])
        >>> s.backtrack(crossed("h", 0, 1.5)), s.backtrack(crossed("h", 0, 2.5))
        (2, 4)
    """
    _check("crossed", name=name, threshold=threshold)
    if isinstance(unit, bool) or not isinstance(unit, (int, np.integer)):
        raise RnnlabError(f"crossed: the unit must be a whole number, got {describe(unit)}.")

    def steps(_: Any, trace: Trace) -> np.ndarray:
        rows = _unit(_ordered("crossed", trace, name), unit, name)
        if not len(rows):
            return np.zeros(0, bool)
        if name in trace.initial:
            first = _unit(
                np.broadcast_to(trace.initial[name], trace[name].shape[1:])[None], unit, name
            )
            before = np.concatenate([first, rows[:-1]])
        else:
            before = np.concatenate([rows[:1], rows[:-1]])
        moved = (rows > threshold) != (before > threshold)
        return moved.reshape(len(rows), -1).any(axis=1)

    return Predicate(f"{name}[{unit}] crossed {threshold}", steps)


def argmax_changed(name: str = "y") -> Predicate:
    """The largest unit became another one.

    Example:
        >>> import torch, rnnlab as rl
        >>> s = rl.Session(rl.Recur(lambda h, x: (x, x), torch.zeros(2)))
        >>> ys = s.run(torch.tensor([[1.0, 2], [3, 2], [4, 2]]))
        >>> s.backtrack(argmax_changed())
        2
    """

    def steps(_: Any, trace: Trace) -> np.ndarray:
        rows = _ordered("argmax_changed", trace, name)
        if rows.ndim < 2:
            raise RnnlabError(f"argmax_changed: {name} is a number; it has no largest unit.")
        best = rows.argmax(axis=-1)
        changed = np.zeros(len(rows), bool)
        if len(rows) > 1:
            changed[1:] = (best[1:] != best[:-1]).reshape(len(rows) - 1, -1).any(axis=1)
        return changed

    return Predicate(f"the arg-max of {name} changed", steps)


def differ(branch: str, by: float, name: str | None = None) -> Predicate:
    """The step at which a state first differed from that of another branch by more than `by`.

    Args:
        branch: the other branch.
        by: the largest difference of any unit that does not count.
        name: the state; all states if left out.

    Example:
        >>> import rnnlab as rl
        >>> s = rl.Session(rl.Recur(lambda h, x: (h + x, h), 0.0))
        >>> ys = s.run([1, 1, 1])
        >>> s.rewind(1)
        >>> ys = s.run([1, 5])
        >>> s.backtrack(differ("main", 0.1))
        3
    """
    _check("differ", name=branch, threshold=by)

    def steps(session: Any, trace: Trace) -> np.ndarray:
        other = session.trace(branch)
        names = trace.states if name is None else (name,)
        length = min(len(trace), len(other))
        if not length:
            return np.zeros(len(trace), bool)
        apart = np.zeros(len(trace), bool)
        for key in names:
            ours, theirs = trace[key], other[key]
            if ours.shape[1:] != theirs.shape[1:]:
                raise RnnlabError(
                    f"differ: {key} is {ours.shape[1:]} a step here and {theirs.shape[1:]} in "
                    f"{branch!r}: runs of different batches cannot be compared."
                )
            wide = np.result_type(ours, theirs, np.float64)
            gap = np.abs(ours[:length].astype(wide) - theirs[:length].astype(wide))
            apart[:length] |= gap.reshape(length, -1).max(axis=1, initial=0.0) > by
        first = np.zeros(len(trace), bool)
        if apart.any():
            first[int(apart.argmax())] = True
        return first

    return Predicate(f"differed from {branch!r} by more than {by}", steps)


def _check(caller: str, *, name: Any, threshold: Any) -> None:
    if not isinstance(name, str):
        raise RnnlabError(f"{caller}: a name must come first, got {describe(name)}.")
    check_number(caller, "the threshold", threshold)


def _ordered(caller: str, trace: Trace, name: str) -> np.ndarray:
    """An array whose numbers are larger and smaller, which complex ones are not."""
    rows = trace[name]
    if np.iscomplexobj(rows):
        raise RnnlabError(
            f"{caller}: {name} is complex, and complex numbers have no order. Give backtrack a "
            f"function instead: lambda trace, t: abs(trace[{name!r}][t - 1, 0]) > 0.5"
        )
    return rows


def _unit(rows: np.ndarray, unit: int, name: str) -> np.ndarray:
    if rows.ndim == 1:
        rows = rows[:, None]
    if not -rows.shape[-1] <= unit < rows.shape[-1]:
        raise RnnlabError(
            f"crossed: {name} has units 0 to {rows.shape[-1] - 1}; there is no {unit}."
        )
    return rows[..., unit]
