"""One update of a cell with some of its named intermediates, or states, held at a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from rnnlab.cells.base import Cell
from rnnlab.errors import RnnlabError
from rnnlab.nested import State

Hold = list[tuple[tuple[int, ...] | None, Any]]
"""Units (all if None) and the value, or values, at which they are held; a later one wins."""


class _Watch(TorchFunctionMode):
    """Numbers the torch operations of an evaluation and keeps what they gave."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Any] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.given.append(result)
        return result

    def find(self, value: Tensor) -> tuple[int, int | None] | None:
        """Which operation gave `value`: its number, and the position in a tuple of results."""
        for number, result in enumerate(self.given):
            if result is value:
                return number, None
            if isinstance(result, (tuple, list)):
                for position, part in enumerate(result):
                    if part is value:
                        return number, position
        return None


class _Replace(TorchFunctionMode):
    """Repeats the evaluation that was watched, with some results held."""

    def __init__(self, holds: Mapping[tuple[int, int | None], Hold]) -> None:
        super().__init__()
        self._holds = holds
        self._number = 0
        self.made: dict[tuple[int, int | None], Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        number = self._number
        self._number += 1
        for (at, position), hold in self._holds.items():
            if at == number and position is None:
                result = self.made[at, None] = kept(result, hold)
            elif at == number and position is not None:
                listed = list(result)
                listed[position] = self.made[at, position] = kept(listed[position], hold)
                result = tuple(listed)
        return result


def equation(cell: Cell, state: State, x: Tensor, holds: Mapping[str, Hold]) -> dict[str, Tensor]:
    """Every named intermediate of one update, with some of them held; what follows sees it.

    The documented equation is evaluated twice: once to find the operations that give the held
    names, once with their results replaced.

    Example:
        >>> import rnnlab as rl
        >>> cell = rl.LSTMCell(2, 3)
        >>> held = equation(cell, cell.initial_state(), torch.ones(2), {"f": [((1,), 1.0)]})
        >>> held["f"][1].item(), held["f"][0].item() < 1
        (1.0, True)
    """
    u = cell.project(x)
    with _Watch() as watch:
        values = cell.equation(state, u)
    places: dict[tuple[int, int | None], Hold] = {}
    where: dict[str, tuple[int, int | None]] = {}
    for name, hold in holds.items():
        found = watch.find(values[name])
        if found is None:
            raise RnnlabError(
                f"{name} of {cell!r} cannot be held; no operation of its own gives it."
            )
        places[found], where[name] = hold, found
    with _Replace(places) as replace:
        values = cell.equation(state, u)
    if any(values[name] is not replace.made.get(where[name]) for name in holds):
        raise RnnlabError(
            f"{', '.join(holds)} of {cell!r} cannot be held; its equation is not the "
            "same at each evaluation."
        )
    return values


def has_equation(cell: Any) -> bool:
    """Whether a cell writes its update as named intermediates."""
    return isinstance(cell, Cell) and type(cell).project is not Cell.project


def kept(value: Any, hold: Sequence[Any]) -> Any:
    """A state or gate with all that is held of it put in place."""
    for units, to in hold:
        value = put(value, units, to)
    return value


def put(value: Any, units: tuple[int, ...] | None, to: Any) -> Any:
    """A copy of a state or gate with some units, or all, set to `to`."""
    if not isinstance(value, Tensor):
        return type(value)(to) if isinstance(to, (int, float)) else to
    new = value.detach().clone()
    to = torch.tensor(to, dtype=value.dtype, device=value.device)
    if units is None:
        new.copy_(to.expand_as(new))
    else:
        new[..., list(units)] = to
    return new
