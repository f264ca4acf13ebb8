"""What may be selected: units that the view has, a step, a span."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rnnlab.errors import RnnlabError

EMPTY: dict[str, Any] = {"units": [], "step": None, "span": None}


def checked(selection: Mapping[str, Any], lanes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A selection as the page keeps it; what is left out is nothing.

    Raises:
        RnnlabError: a unit that no lane has, or something that is no selection.

    A unit counts once, and a span goes from its first step to its last.
    """
    if unknown := set(selection) - set(EMPTY):
        raise RnnlabError(
            f"Explorer: a selection has units, step and span, no {sorted(unknown)[0]!r}."
        )
    found = {**EMPTY, **selection}
    sizes = {lane["name"]: lane["units"] for lane in lanes}
    if not isinstance(found["units"], (list, tuple, type(None))):
        raise RnnlabError(
            f"Explorer: units must be a list of [name, number], not {found['units']!r}."
        )
    chosen = [_unit(unit, sizes) for unit in found["units"] or ()]
    units = [unit for at, unit in enumerate(chosen) if unit not in chosen[:at]]
    step = found["step"]
    if step is not None:
        step = _step(step, "step")
    span = found["span"]
    if span is not None:
        if not isinstance(span, (list, tuple)) or len(span) != 2:
            raise RnnlabError(
                f"Explorer: span must be [first step, last step] or None, not {span!r}."
            )
        span = sorted(_step(end, "an end of span") for end in span)
    return {"units": units, "step": step, "span": span}


def _unit(given: Any, sizes: Mapping[str, int]) -> list[Any]:
    try:
        name, unit = given
        number = int(unit)
    except (TypeError, ValueError):
        raise RnnlabError(
            f"Explorer: a selected unit is [name, number], as ['0.h', 3], not {given!r}."
        ) from None
    if name not in sizes:
        raise RnnlabError(
            f"Explorer: cannot select a unit of {name!r}: there are {', '.join(sizes) or 'none'}."
        )
    if number != unit or not 0 <= number < sizes[name]:
        raise RnnlabError(f"Explorer: {name} has units 0 to {sizes[name] - 1}, no {unit!r}.")
    return [name, number]


def _step(value: Any, what: str) -> int:
    try:
        step = int(value)
    except (TypeError, ValueError):
        step = -1
    if step < 0 or step != value or isinstance(value, bool):
        raise RnnlabError(f"Explorer: {what} must be a step number from 0 on, not {value!r}.")
    return step
