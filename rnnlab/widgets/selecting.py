"""What may be set from outside: the selection, the branches compared with, the row, the speed."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from rnnlab.errors import RnnlabError

EMPTY: dict[str, Any] = {"units": [], "step": None, "span": None}


def checked(selection: Any, sizes: Mapping[str, int], length: int) -> dict[str, Any]:
    """A selection as the page keeps it; what is left out is nothing.

    Args:
        selection: the units, the step and the span.
        sizes: how many units each lane has.
        length: the last step of the recording.

    Raises:
        RnnlabError: a unit that no lane has, a step that is not recorded, or what is no selection.

    A unit counts once, and a span goes from its first step to its last.
    """
    if not isinstance(selection, Mapping):
        raise RnnlabError(
            "Explorer: a selection is a dict, as {'units': [['0.h', 3]], 'step': 5, 'span': None}; "
            f"got {selection!r}."
        )
    if unknown := set(selection) - set(EMPTY):
        raise RnnlabError(
            f"Explorer: a selection has units, step and span, no {min(map(repr, unknown))}."
        )
    found = {**EMPTY, **selection}
    if not isinstance(found["units"], (list, tuple, type(None))):
        raise RnnlabError(
            f"Explorer: units must be a list of [name, number], not {found['units']!r}."
        )
    chosen = [_unit(unit, sizes) for unit in found["units"] or ()]
    units = [unit for at, unit in enumerate(chosen) if unit not in chosen[:at]]
    step = found["step"]
    if step is not None:
        step = _step(step, "step", length)
    span = found["span"]
    if span is not None:
        if not isinstance(span, (list, tuple)) or len(span) != 2:
            raise RnnlabError(
                f"Explorer: span must be [first step, last step] or None, not {span!r}."
            )
        span = sorted(_step(end, "an end of span", length) for end in span)
    return {"units": units, "step": step, "span": span}


def still_there(
    selection: Mapping[str, Any], sizes: Mapping[str, int], length: int
) -> dict[str, Any]:
    """What of a selection there is: a page may name what an undo has taken meanwhile."""
    units, step, span = (selection.get(name) for name in EMPTY)
    if span is not None:
        span = [min(end, length) for end in span] if min(span) <= length else None
    return {
        "units": [[name, unit] for name, unit in units or () if unit < sizes.get(name, 0)],
        "step": step if step is None or step <= length else None,
        "span": span,
    }


def checked_speed(speed: Any) -> float:
    """Steps a second: any number above 0.

    Raises:
        RnnlabError: it is none.
    """
    number = isinstance(speed, Real) and not isinstance(speed, bool)
    if not number or not 0 < float(speed) < math.inf:
        raise RnnlabError(
            f"Explorer: speed must be a number of steps per second above 0, not {speed!r}."
        )
    return float(speed)


def checked_row(row: Any, rows: int) -> int:
    """A row of the batch.

    Raises:
        RnnlabError: it has no such row.
    """
    found = _whole(row)
    if found is None or not 0 <= found < rows:
        there = f"the batch has rows 0 to {rows - 1}" if rows > 1 else "without a batch it is 0"
        raise RnnlabError(f"Explorer: there is no row {row!r}; {there}.")
    return found


def checked_branches(names: Any, branches: Sequence[str], what: str) -> list[str]:
    """Names of branches, each once; a text is one name.

    Raises:
        RnnlabError: there is no such branch, or these are no names.
    """
    given = isinstance(names, (str, list, tuple))
    found: list[Any] = [names] if isinstance(names, str) else list(names) if given else []
    if not given or not all(isinstance(name, str) for name in found):
        raise RnnlabError(f"{what} must be a list of names of branches, not {names!r}.")
    for name in found:
        if name not in branches:
            raise RnnlabError(
                f"{what}: there is no branch {name!r}; there are {', '.join(map(repr, branches))}."
            )
    return list(dict.fromkeys(found))


def _unit(given: Any, sizes: Mapping[str, int]) -> list[Any]:
    name, unit = given if isinstance(given, (list, tuple)) and len(given) == 2 else (None, None)
    number = _whole(unit)
    if number is None or not isinstance(name, str):
        raise RnnlabError(
            f"Explorer: a selected unit is [name, number], as ['0.h', 3], not {given!r}."
        )
    if name not in sizes:
        raise RnnlabError(
            f"Explorer: cannot select a unit of {name!r}: there are {', '.join(sizes) or 'none'}."
        )
    if not 0 <= number < sizes[name]:
        raise RnnlabError(f"Explorer: {name} has units 0 to {sizes[name] - 1}, no {unit!r}.")
    return [name, number]


def _step(value: Any, what: str, length: int) -> int:
    step = _whole(value)
    if step is None or not 0 <= step <= length:
        raise RnnlabError(
            f"Explorer: {what} must be a step number from 0 to {length}, the last recorded one of "
            f"this branch; got {value!r}."
        )
    return step


def _whole(value: Any) -> int | None:
    """A whole number that somebody gave, as Python's own; None if it is none."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None
