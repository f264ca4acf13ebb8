"""Cells that are called as `cell(x, state)`: torchrecurrent's, ncps', torch's and your own."""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from rnnlab.cells.base import Cell, describe
from rnnlab.errors import RnnlabError
from rnnlab.functional import private_copy
from rnnlab.nested import State, children, fill, is_branch, map_leaves, named_leaves
from rnnlab.recur import Recur

_STATE_ARGUMENTS = ("state", "states", "hx", "hidden", "hidden_state", "h", "prev_state")
_TIME_ARGUMENTS = ("ts", "timespans", "elapsed_time")
_FEATURES = ("input_size", "sensory_size", "in_features")


def short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}…"


def arguments_of(module: nn.Module) -> list[inspect.Parameter]:
    """The positional arguments of `forward`, without self."""
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def is_cell(module: nn.Module) -> bool:
    """Whether `module` is called as `cell(x, state)`, one step at a time."""
    if isinstance(module, (Cell, Recur, ForeignCell, nn.RNNBase)):
        return False
    if isinstance(module, nn.RNNCellBase) or callable(getattr(module, "uses_double_state", None)):
        return True
    arguments = arguments_of(module)
    named = len(arguments) > 1 and arguments[1].name in _STATE_ARGUMENTS
    return named and type(module).__name__.endswith("Cell") and _units(module) is not None


def _units(module: nn.Module) -> int | None:
    for name in ("state_size", "hidden_size"):
        size = getattr(module, name, None)
        if isinstance(size, int) and not isinstance(size, bool):
            return size
    return None


class ForeignCell(nn.Module):
    """A cell of another library, `cell(x, state)`, in our order: `state, y = cell(state, x)`.

    Args:
        cell: returns the new state, whose first part is then the output, or `(y, state)`.
        init: its initial state for one row; left out, zeros as `adapt` describes.

    Shapes: x `(I,)` or `(B, I)`; the cell itself always has a batch (of one row, if need be).

    Raises:
        RnnlabError: no initial state can be found (at construction); a result of another structure
            than the state (at the call).

    Example:
        >>> from rnnlab.adapters import adapt
        >>> class DecayCell(nn.Module):
        ...     hidden_size = 2
        ...     def forward(self, x, state):
        ...         state = 0.5 * state + x
        ...         return 10 * state, state
        >>> m = adapt(DecayCell())
        >>> m(torch.ones(2)), m(torch.ones(2)), m.state
        (tensor([10., 10.]), tensor([15., 15.]), tensor([1.5000, 1.5000]))
    """

    def __init__(self, cell: nn.Module, init: State = None) -> None:
        super().__init__()
        self.cell = cell
        arguments = arguments_of(cell)
        self._times = 0
        for extra in arguments[2:]:
            if extra.default is not extra.empty:
                break
            if extra.name not in _TIME_ARGUMENTS:
                raise RnnlabError(
                    f"adapt: {short(cell)} requires the argument {extra.name!r} after the state, "
                    "which is neither the time nor optional. Wrap it: Recur(lambda h, x: …, init)."
                )
            self._times += 1
        template = _find_init(cell, self._times) if init is None else init
        self._skeleton = map_leaves(lambda _: 0, template)
        self._shapes = [
            tuple(leaf.shape) if isinstance(leaf, Tensor) else ()
            for _, leaf in named_leaves(template)
        ]
        parts = children(template) if is_branch(template) else [("h", template)]
        known = {1: ("h",), 2: ("h", "c")}.get(len(parts))
        self.state_names = None if any(is_branch(part) for _, part in parts) else known

    def initial_state(self) -> State:
        """Zeros, of the dtype and device of the cell's first weight."""
        weight = next((w for w in self.cell.parameters() if w.is_floating_point()), None)
        like = torch.zeros(()) if weight is None else weight
        return fill(self._skeleton, iter([like.new_zeros(shape) for shape in self._shapes]))

    def forward(self, state: State, x: Any, *more: Any) -> tuple[State, Any]:
        given: list[Any] = [*more, *[1.0] * (self._times - len(more))]
        single = isinstance(x, Tensor) and x.dim() == 1
        if single:
            x, *given = (_with_row(value) for value in (x, *given))
            state = map_leaves(_with_row, state)
        elif isinstance(x, Tensor) and x.dim():
            shapes, rows = iter(self._shapes), x.shape[0]
            state = map_leaves(lambda leaf: _spread(leaf, next(shapes), rows), state)
        state, y = taken_apart(self.cell, self.cell(x, state, *given), state)
        if single:
            state, y = map_leaves(_without_row, state), map_leaves(_without_row, y)
        return state, y

    def __repr__(self) -> str:
        return f"ForeignCell({short(self.cell)})"


def _with_row(value: Any) -> Any:
    return value.unsqueeze(0) if isinstance(value, Tensor) and value.dim() else value


def _without_row(value: Any) -> Any:
    return value.squeeze(0) if isinstance(value, Tensor) and value.dim() else value


def _spread(leaf: Any, shape: tuple[int, ...], rows: int) -> Any:
    """A state that is meant for every row, with a row for each."""
    if isinstance(leaf, Tensor) and leaf.dim() == len(shape):
        return leaf.expand(rows, *leaf.shape)
    return leaf


def _alike(a: State, b: State) -> bool:
    """Whether two states have the same structure."""
    if not is_branch(a) or not is_branch(b):
        return not is_branch(a) and not is_branch(b)
    ours, theirs = children(a), children(b)
    return len(ours) == len(theirs) and all(
        _alike(x, y) for (_, x), (_, y) in zip(ours, theirs, strict=True)
    )


def taken_apart(cell: nn.Module, result: Any, state: State) -> tuple[State, Any]:
    """The new state and the output, from a result that is `state` or `(y, state)`."""
    if _alike(result, state):
        first = result
        while is_branch(first):
            first = children(first)[0][1]
        return result, first
    if isinstance(result, (tuple, list)) and len(result) == 2 and _alike(result[1], state):
        return result[1], result[0]
    raise RnnlabError(
        f"adapt: {short(cell)} was given {describe(state)} as its state and returned "
        f"{describe(result)}; expected a new state like it, or (y, state). "
        "adapt(cell, init=…) says what its state is."
    )


def _find_init(cell: nn.Module, times: int) -> State:
    """The initial state for one row, by the rules that `adapt` describes."""
    weight = next((w for w in cell.parameters() if w.is_floating_point()), None)
    like = torch.zeros(()) if weight is None else weight.detach()
    units = _units(cell)
    two = getattr(cell, "uses_double_state", None)
    if callable(two) and units is not None:
        zero = like.new_zeros(units)
        return (zero, zero) if two() else zero
    arguments = arguments_of(cell)
    features = next(
        (size for size in (getattr(cell, n, None) for n in _FEATURES) if isinstance(size, int)),
        None,
    )
    if len(arguments) > 1 and arguments[1].default is None and features is not None:
        return _probed(cell, like.new_zeros(1, features), times)
    if units is None:
        raise RnnlabError(
            f"adapt: {short(cell)} does not say how large its state is (no hidden_size or "
            "state_size). Give the initial state: adapt(cell, init=torch.zeros(H)), or a tuple."
        )
    zero = like.new_zeros(units)
    return zero if features is None else _tried(cell, like.new_zeros(1, features), zero, times)


def _no_draw(x: Tensor) -> AbstractContextManager[None]:
    """What is drawn inside, as by a dropout, is not missing afterwards; also where x lies."""
    return torch.random.fork_rng(devices=[x.device] if x.is_cuda else [])


def _tried(cell: nn.Module, x: Tensor, zero: Tensor, times: int) -> State:
    """One state `zero` if the cell takes that, else a pair of them, as an LSTM has."""
    refused: Exception | None = None
    for state in (zero, (zero, zero)):
        try:
            with _no_draw(x), torch.no_grad():
                result = private_copy(cell)(x, map_leaves(_with_row, state), *[1.0] * times)
        except Exception as error:
            refused = refused or error
            continue
        taken_apart(cell, result, state)
        return state
    raise RnnlabError(
        f"adapt: {short(cell)} does not take a state of shape (B, {len(zero)}), nor two "
        f"({type(refused).__name__}: {refused}). Give its initial state for one row: "
        "adapt(cell, init=torch.zeros(H)), or a tuple."
    ) from refused


def _probed(cell: nn.Module, x: Tensor, times: int) -> State:
    """Zeros like the state that the cell makes of x when it is given none."""
    alone, time = private_copy(cell), [1.0] * times
    with _no_draw(x), torch.no_grad():
        result = alone(x, None, *time)
        whole = map_leaves(torch.zeros_like, result)
        candidates = [whole]
        if isinstance(whole, (tuple, list)) and len(whole) == 2:
            candidates.insert(0, whole[1])
        for zeros in candidates:
            try:
                again = alone(x, zeros, *time)
            except Exception:  # not the structure of its state: the other one may be
                continue
            if _alike(again, result) and all(
                torch.equal(a, b)
                for (_, a), (_, b) in zip(named_leaves(again), named_leaves(result), strict=True)
            ):
                return map_leaves(lambda leaf: leaf.squeeze(0), zeros)
    raise RnnlabError(
        f"adapt: {short(cell)} does not start from zeros of the state that it returns. "
        "Give its initial state for one row: adapt(cell, init=…)."
    )
