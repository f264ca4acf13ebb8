"""What a state can be set to: which of its units are meant, and what it would hold then."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnlab.errors import RnnlabError
from rnnlab.session.commands import plain


def held_as(now: Any, given: Any) -> Any:
    """Plain numbers as a state like `now` would hold them; None where whole numbers cannot."""
    try:
        if isinstance(now, Tensor):
            held = plain(torch.tensor(given, dtype=now.dtype))
            whole_numbers = not (now.is_floating_point() or now.is_complex())
        else:
            held = type(now)(given)
            whole_numbers = isinstance(now, int)
    except (ValueError, RuntimeError, OverflowError):
        return None
    return None if whole_numbers and held != given else held


def is_complex(now: Any) -> bool:
    return now.is_complex() if isinstance(now, Tensor) else isinstance(now, complex)


def kind_of(now: Any) -> str:
    return str(now.dtype).removeprefix("torch.") if isinstance(now, Tensor) else type(now).__name__


def broadcasts(given: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether values of one shape fill another."""
    pairs = zip(given[::-1], wanted[::-1], strict=False)
    return len(given) <= len(wanted) and all(a in (1, b) for a, b in pairs)


def part_of(now: Any, units: tuple[int, ...] | None) -> Any:
    if units is None or not isinstance(now, Tensor):
        return now
    return now[..., list(units)]


def units_of(name: str, units: Any, now: Any) -> tuple[int, ...] | None:
    """Units as a tuple of whole numbers ≥ 0; None for all."""
    if units is None:
        return None
    size = now.shape[-1] if isinstance(now, Tensor) and now.dim() else 0
    wanted: Any = units.tolist() if isinstance(units, (np.ndarray, Tensor)) else units
    if isinstance(wanted, slice):
        try:
            wanted = range(size)[wanted]
        except (TypeError, ValueError) as error:
            raise RnnlabError(f"Session: {units!r} names no units of {name}: {error}.") from None
    wanted = list(wanted) if isinstance(wanted, (list, tuple, range, set)) else [wanted]
    for unit in wanted:
        if isinstance(unit, bool) or not isinstance(unit, (int, np.integer)):
            raise RnnlabError(f"Session: a unit is a whole number, got {unit!r}.")
        if not -size <= unit < size:
            there = f"units 0 to {size - 1}" if size else "no units: it is a number"
            raise RnnlabError(f"Session: {name} has {there}; there is no {unit}.")
    if not wanted:
        there = f"It has units 0 to {size - 1}." if size else "It is a number: give None."
        raise RnnlabError(f"Session: {units!r} is no unit of {name}. {there}")
    return tuple(int(unit) % size for unit in wanted)


def describe_shape(value: Any) -> str:
    """A state in words, for an error."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return "absent" if value is None else "a number"
