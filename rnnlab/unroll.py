"""A whole sequence at once: fused kernel, hoisted input projection, or the plain loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rnnlab.cells.base import Cell, describe
from rnnlab.errors import RnnlabError
from rnnlab.layers import Chain, Dense
from rnnlab.nested import State, map_leaves
from rnnlab.recur import AT_INIT, Recur, atomic, recurs

_ANY_LEADING_DIMS = (
    Dense,
    nn.Linear,
    nn.Identity,
    nn.Tanh,
    nn.ReLU,
    nn.Sigmoid,
    nn.GELU,
    nn.SiLU,
    nn.LayerNorm,
    nn.Embedding,
)
"""Layers without state that treat every leading dimension alike: time may be one of them."""

CHUNK_BYTES = 1 << 18
"""How much of the hoisted input projection is made at a time: small enough for the cache."""


def unroll(model: Any, xs: Any) -> Any:
    """The model applied to each element of a sequence: `[m(x) for x in xs]`, faster.

    Args:
        model: a Recur, a Chain, or any callable.
        xs: a list of steps, or one tensor `(T, …)` with time first: `(T, I)` or `(T, B, I)`.

    Returns:
        A list for a list, one tensor `(T, …)` for a tensor. An empty sequence gives an empty
        result. The states are advanced exactly as by the loop; outputs, states and gradients
        agree with it to rounding (float64 1e-10, float32 1e-5).

    Raises:
        RnnlabError: an input that the model refuses; every state is then what it was.

    RNN (tanh, relu), LSTM and GRU go through torch's fused kernels. Any other cell of the library
    has the input part of its update computed for many steps at once; anything else is looped over.

    Example:
        >>> import torch, rnnlab as rl
        >>> m = rl.Chain(rl.LSTM(10, 15), rl.Dense(15, 5))
        >>> unroll(m, torch.ones(7, 3, 10)).shape
        torch.Size([7, 3, 5])
        >>> len(unroll(m, [torch.ones(3, 10)] * 4))
        4
    """
    with atomic():
        if isinstance(xs, Tensor):
            if xs.dim() == 0:
                raise RnnlabError("unroll: xs must have a time axis, got a tensor of shape ().")
            return _tensor(model, xs)
        if not isinstance(xs, Sequence) or isinstance(xs, (str, bytes)):
            raise RnnlabError(
                f"unroll: xs must be a list of steps or a tensor (T, …), got {describe(xs)}."
            )
        if _stackable(xs) and _has_fast_way(model):
            return list(_tensor(model, torch.stack(list(xs))).unbind(0))
        return [model(x) for x in xs]


def _stackable(xs: Sequence[Any]) -> bool:
    first = xs[0] if len(xs) else None
    return isinstance(first, Tensor) and all(
        isinstance(x, Tensor)
        and x.shape == first.shape
        and x.dtype == first.dtype
        and x.device == first.device
        for x in xs
    )


def _has_fast_way(model: Any) -> bool:
    if isinstance(model, Chain):
        return _layerwise(model) and any(_has_fast_way(layer) for layer in model)
    return isinstance(model, Recur) and isinstance(model.cell, Cell) and not _hooked(model)


def _hooked(module: nn.Module) -> bool:
    """Whether someone listens to single calls, so that every step has to be one."""
    return any(
        part._forward_hooks or part._forward_pre_hooks or part._backward_hooks
        for part in module.modules()
    )


def _layerwise(chain: Chain) -> bool:
    """Whether one layer may see the whole sequence before the next sees any of it."""
    seen: set[int] = set()
    for layer in chain:
        inside = {id(recur) for _, recur in recurs(layer)}
        if inside & seen:
            return False
        seen |= inside
    return not (chain._forward_hooks or chain._forward_pre_hooks)


def _tensor(model: Any, xs: Tensor) -> Any:
    if isinstance(model, Chain) and _layerwise(model):
        for layer in model:
            xs = _tensor(layer, xs)
        return xs
    if isinstance(model, _ANY_LEADING_DIMS) and not _hooked(model):
        return model(xs)
    if _has_fast_way(model):
        return _cell_sequence(model, xs)
    if not len(xs):
        return xs
    return torch.stack([model(x) for x in xs])


def _cell_sequence(recur: Recur, xs: Tensor) -> Tensor:
    cell = recur.cell
    assert isinstance(cell, Cell)
    cell.check_input(xs, leading=1)
    lead = xs.shape[1:-1]
    running = recur.__dict__["_state"]
    state = recur.state
    if running is not AT_INIT and recur.__dict__["_lead"] not in (None, (lead,)):
        recur._refuse_batch(recur.__dict__["_lead"], (lead,))
    if not len(xs):
        return xs.new_empty(0, *lead, cell.hidden_size)
    cell.check(state, xs[0])
    if cell.has_kernel:
        if xs.dim() == 3:
            state, ys = cell.kernel(state, xs)
        else:
            one = map_leaves(lambda part: part.unsqueeze(0), state)
            state, ys = cell.kernel(one, xs.unsqueeze(1))
            state, ys = map_leaves(lambda part: part.squeeze(0), state), ys.squeeze(1)
    else:
        state, ys = _hoisted(cell, state, xs)
    recur._advance(state, (lead,))
    return ys


def _hoisted(cell: Cell, state: State, xs: Tensor) -> tuple[State, Tensor]:
    """The loop with the input projection taken out, in chunks that stay in the cache."""
    first = cell.project(xs[:1])
    steps = max(1, CHUNK_BYTES // (first.numel() * first.element_size()))
    ys: list[Tensor] = []
    for start in range(0, len(xs), steps):
        for u in cell.project(xs[start : start + steps]).unbind(0):
            state, y = cell.update(state, u)
            ys.append(y)
    return state, torch.stack(ys)
