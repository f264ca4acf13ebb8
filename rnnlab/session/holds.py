"""Holding units of a state or of a gate at a value, inside the step that computes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from rnnlab.cells.base import Cell
from rnnlab.cells.fast import NONE
from rnnlab.errors import RnnlabError
from rnnlab.nested import State, fill, is_branch, named_leaves
from rnnlab.recur import Recur

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
                result = self.made[at, None] = _kept(result, hold)
            elif at == number and position is not None:
                listed = list(result)
                listed[position] = self.made[at, position] = _kept(listed[position], hold)
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
                f"Session: {name} of {cell!r} cannot be held; no operation of its own gives it."
            )
        places[found], where[name] = hold, found
    with _Replace(places) as replace:
        values = cell.equation(state, u)
    if any(values[name] is not replace.made.get(where[name]) for name in holds):
        raise RnnlabError(
            f"Session: {', '.join(holds)} of {cell!r} cannot be held; its equation is not the "
            "same at each evaluation."
        )
    return values


class _Held:
    """Stands in for the cell of one Recur while a step is taken."""

    def __init__(self, cell: Any, holds: Mapping[str, Hold], names: tuple[str, ...] | None) -> None:
        self._cell = cell
        self._holds = holds
        self._names = names

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cell, name)

    def __repr__(self) -> str:
        return repr(self._cell)

    def __call__(self, state: State, *xs: Any) -> Any:
        cell = self._cell
        if has_equation(cell):
            cell.check(state, *xs)
            return cell._result(equation(cell, state, xs[0], self._holds))
        after, y = cell(state, *xs)
        leaves = list(named_leaves(after, top=self._names))
        held = [_kept(leaf, self._holds.get(name, ())) for name, leaf in leaves]
        for (_, leaf), value in zip(leaves, held, strict=True):
            y = value if y is leaf else y
        return (fill(after, iter(held)) if is_branch(after) else held[0]), y


@contextmanager
def holding(holds: Sequence[tuple[Recur, Mapping[str, Hold]]]) -> Iterator[None]:
    """Let the cells of these Recurs keep what is held, for the calls within.

    The model itself is not touched: each Recur is lent a stand-in for its cell, and given its own
    back.
    """
    before = [(recur, "cell" in recur.__dict__, recur.cell) for recur, _ in holds]
    try:
        for recur, wanted in holds:
            recur.__dict__["_fast"].state = NONE  # no way around the stand-in
            recur.__dict__["cell"] = _Held(recur.cell, wanted, recur._state_names)
        yield
    finally:
        for recur, own, cell in before:
            if own:
                recur.__dict__["cell"] = cell
            else:
                del recur.__dict__["cell"]


def has_equation(cell: Any) -> bool:
    """Whether a cell writes its update as named intermediates."""
    return isinstance(cell, Cell) and type(cell).project is not Cell.project


def _kept(value: Any, hold: Sequence[Any]) -> Any:
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
