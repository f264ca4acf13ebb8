"""Holding units of a state or of a gate at a value, inside the step that computes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rnnlab.cells.fast import NONE
from rnnlab.cells.held import Hold, equation, has_equation, kept
from rnnlab.nested import State, fill, is_branch, named_leaves
from rnnlab.recur import Recur


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
        held = [kept(leaf, self._holds.get(name, ())) for name, leaf in leaves]
        for (_, leaf), value in zip(leaves, held, strict=True):
            y = value if y is leaf else y
        return (fill(after, iter(held)) if is_branch(after) else held[0]), y


def holding(holds: Sequence[tuple[Recur, Mapping[str, Hold]]], model: Any, xs: Any) -> Any:
    """The output of a model for its inputs, the cells of these Recurs keeping what is held.

    The model itself is not touched: each Recur is lent a stand-in for its cell, and given its own
    back, again if an interrupt falls in that.
    """
    own = [(recur.__dict__, recur.__dict__.get("cell", NONE)) for recur, _ in holds]

    def give_back() -> None:
        for slots, cell in own:
            if cell is NONE:  # it is a module, which lies elsewhere
                slots.pop("cell", None)
            else:
                slots["cell"] = cell

    try:
        for recur, wanted in holds:
            recur.__dict__["_fast"].state = NONE  # no way around the stand-in
            recur.__dict__["cell"] = _Held(recur.cell, wanted, recur._state_names)
        y = model(*xs)
    finally:
        try:
            give_back()
        finally:
            give_back()
    return y
