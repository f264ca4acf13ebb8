"""Holding units of a state or of a gate at a value, inside the step that computes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
