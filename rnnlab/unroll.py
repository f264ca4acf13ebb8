"""A whole sequence at once: fused kernel, hoisted input projection, or the plain loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as _torch_module
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from rnnlab.cells.base import Cell, as_parts, as_state, describe
from rnnlab.errors import RnnlabError
from rnnlab.layers import Bidirectional, Chain, Dense
from rnnlab.nested import State, fill, named_leaves
from rnnlab.reach import within_reach
from rnnlab.recur import AT_INIT, Recur, atomic, recurs, reset
from rnnlab.scan import Plan, plan_for, put_back, scan, scan_planned, take

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

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def unroll(
    model: Any,
    xs: Any,
    *,
    lengths: Any = None,
    reset_at: Any = None,
    reverse: bool = False,
) -> Any:
    """The model applied to each element of a sequence: `[m(x) for x in xs]`, faster.

    Args:
        model: a Recur, Chain, Stacked, Bidirectional, or any callable.
        xs: a list of steps; one tensor `(T, …)` with time first, `(T, I)` or `(T, B, I)`; or a
            `PackedSequence`.
        lengths: for a padded batch `(T, B, …)`, how many steps each of the B rows has (a list or
            tensor, 1 ≤ length ≤ T). Outputs beyond the end of a row are zero, and its final state
            is the one after its last step. What stands in the padding plays no part.
        reset_at: boolean, `(T,)` or `(T, B)`: before step t is processed the state, or that row of
            it, returns to its initial value.
        reverse: process the sequence from its end (each row from its own); the outputs stand in
            the order of the inputs.

    Returns:
        A list for a list, one tensor `(T, …)` for a tensor, a PackedSequence for one. An empty
        sequence gives an empty result. The states are advanced exactly as by the loop; outputs,
        states and gradients agree with it to rounding (float64 1e-10, float32 1e-5).

    Raises:
        RnnlabError: an input that the model refuses; lengths or resets that do not fit the input;
            a row without steps; a state without rows where rows differ. Every state is then what
            it was.

    RNN (tanh, relu), LSTM and GRU go through torch's fused kernels; RNN and GRU in inference on the
    CPU through steps in the memory of their input projection. Any other cell of the library has
    the input part of its update computed for many steps at once; anything else is looped over.
    Where steps are small (up to 512 units in the batch), the gradient of a cell is formed for the
    whole sequence instead of step by step. Layers that draw random numbers draw them in another
    order than the loop does. On an NVIDIA GPU the fused kernels are cuDNN's: a gradient of a
    gradient, many gradients at once, or outputs that are written into before the way back are not
    for these, and torch says so; `with torch.backends.cudnn.flags(enabled=False):` around the call
    has torch's own, which take all of it.

    Example:
        >>> import torch, rnnlab as rl
        >>> m = rl.Chain(rl.LSTM(10, 15), rl.Dense(15, 5))
        >>> unroll(m, torch.ones(7, 3, 10)).shape
        torch.Size([7, 3, 5])
        >>> len(unroll(m, [torch.ones(3, 10)] * 4))
        4
        >>> rl.reset(m)
        >>> unroll(m, torch.ones(7, 2, 10), lengths=[7, 4])[4:, 1].abs().max().item()
        0.0
    """
    plain = lengths is None and reset_at is None and not reverse
    if plain and isinstance(xs, Tensor) and xs.dim():
        cell = _own_cell(model)
        if cell is not None:
            return _cell_sequence(model, cell, xs, None)  # one state, set at the very end
    with atomic():
        if isinstance(xs, PackedSequence):
            return _packed(model, xs, lengths, reset_at, reverse)
        if isinstance(xs, Tensor):
            if xs.dim() == 0:
                raise RnnlabError("unroll: xs must have a time axis, got a tensor of shape ().")
        elif not isinstance(xs, Sequence) or isinstance(xs, (str, bytes)):
            raise RnnlabError(
                f"unroll: xs must be a list of steps or a tensor (T, …), got {describe(xs)}."
            )
        as_list = not isinstance(xs, Tensor)
        if as_list and _stackable(xs) and (lengths is not None or _has_fast_way(model)):
            xs = torch.stack(list(xs))
        ys = _planned(model, xs, plan_for(xs, lengths, reset_at), reverse)
        if as_list:
            return list(ys)
        return ys if isinstance(ys, Tensor) else _stack(ys, xs)


def _packed(model: Any, xs: PackedSequence, lengths: Any, reset_at: Any, reverse: bool) -> Any:
    if lengths is not None:
        raise RnnlabError("unroll: a PackedSequence has its lengths already; leave lengths out.")
    padded, counts = pad_packed_sequence(xs)
    ys = _planned(model, padded, plan_for(padded, counts, reset_at), reverse)
    ys = _stack(ys, padded)
    rows = padded.shape[1]
    order = xs.sorted_indices
    if order is None:
        order = torch.arange(rows, device=ys.device)
    places = torch.arange(len(ys), device=ys.device).unsqueeze(1) * rows + order
    exists = torch.arange(rows) < xs.batch_sizes.unsqueeze(1)
    data = take(ys, places[exists.to(ys.device)])
    return PackedSequence(data, xs.batch_sizes, xs.sorted_indices, xs.unsorted_indices)


def _planned(model: Any, xs: Any, plan: Plan, reverse: bool) -> Any:
    """The outputs in the order of the inputs, as a list or a tensor."""
    if reverse:
        return _cleared(_backwards(model, xs, plan), plan)
    if plan.lengths is not None:
        xs = plan.filled(xs)
    return _cleared(_run(model, xs, plan), plan)


def _backwards(model: Any, xs: Any, plan: Plan) -> Any:
    if plan.lengths is not None:  # a layer before this one may have been stepped through
        xs = _by_row(_stack(xs, None), plan)
    ys = _run(model, plan.reversed(xs) if isinstance(xs, Tensor) else xs[::-1], plan.backwards())
    if plan.lengths is not None:
        ys = _by_row(_stack(ys, xs), plan)
    return plan.reversed(ys) if isinstance(ys, Tensor) else ys[::-1]


def _cleared(ys: Any, plan: Plan) -> Any:
    return ys if plan.lengths is None else plan.cleared(_by_row(_stack(ys, None), plan))


def _by_row(ys: Tensor, plan: Plan) -> Tensor:
    if ys.dim() < 2 or ys.shape[1] != plan.rows:
        raise RnnlabError(
            f"unroll: with lengths the output must have a row for each of the {plan.rows} of the "
            f"batch; every step gives {tuple(ys.shape[1:])}"
        )
    return ys


def _stackable(xs: Sequence[Any]) -> bool:
    first = xs[0] if len(xs) else None
    return isinstance(first, Tensor) and all(
        isinstance(x, Tensor)
        and x.shape == first.shape
        and x.dtype == first.dtype
        and x.device == first.device
        for x in xs
    )


def _stack(ys: Any, empty: Any) -> Tensor:
    """One tensor from the outputs of all steps; `empty` where there was no step."""
    if isinstance(ys, Tensor):
        return ys
    if not len(ys):
        return empty
    if not _stackable(ys):
        raise RnnlabError(
            "unroll: for a tensor the model has to give tensors of one shape, not "
            f"{describe(ys[0])} first and {describe(ys[-1])} last. "
            "list(xs) in place of xs gives a list of the outputs."
        )
    return torch.stack(ys)


def _is(model: Any, *kinds: type) -> bool:
    """Whether `model` is one of these and does not do something else when it is called."""
    forward = getattr(type(model), "forward", None)
    for kind in kinds:
        if forward is kind.forward and isinstance(model, kind):
            return "forward" not in model.__dict__
    return False


def _own_cell(model: Any) -> Cell | None:
    """The cell of a Recur around one of ours, to whose steps nobody listens."""
    if _is(model, Recur) and not _hooked(model):
        cell = model.__dict__["_modules"].get("cell")
        if _is(cell, Cell):
            return cell
    return None


def _has_fast_way(model: Any) -> bool:
    if _is(model, Chain):
        return _layerwise(model) and any(_has_fast_way(layer) for layer in model)
    return _is(model, Bidirectional) or _own_cell(model) is not None


def _listened() -> bool:
    """Whether someone listens to the calls of every module there is."""
    return bool(
        _torch_module._global_forward_hooks
        or _torch_module._global_forward_pre_hooks
        or _torch_module._global_backward_hooks
        or _torch_module._global_backward_pre_hooks
    )


def _hooked(module: nn.Module) -> bool:
    """Whether someone listens to single calls, so that every step has to be one."""
    return _listened() or _has_hooks(module)


def _has_hooks(module: nn.Module) -> bool:
    slots = module.__dict__
    for kind in _HOOKS:
        if slots[kind]:
            return True
    inside = slots["_modules"].values()
    return bool(inside) and any(part is not None and _has_hooks(part) for part in inside)


def _layerwise(chain: Chain) -> bool:
    """Whether one layer may see the whole sequence before the next sees any of it."""
    seen: set[int] = set()
    for layer in chain:
        inside = within_reach(layer)
        if inside & seen:
            return False
        seen |= inside
    return not (_listened() or any(getattr(chain, kind) for kind in _HOOKS))


def _run(model: Any, xs: Any, plan: Plan) -> Any:
    """The outputs of all steps, a tensor or a list; beyond the end of a row, anything finite."""
    if _is(model, Chain) and _layerwise(model) and (isinstance(xs, Tensor) or _has_fast_way(model)):
        last = len(model) - 1
        for position, layer in enumerate(model):
            xs = _run(layer, xs, plan)
            if position < last:
                xs = _between(model, position, xs)
        return xs
    if _is(model, Bidirectional):
        halves = (
            _run(model.forward_layer, xs, plan),
            _backwards(model.backward_layer, xs, plan),
        )
        if not plan.steps and not all(isinstance(half, Tensor) for half in halves):
            return []
        return torch.cat([_stack(half, xs) for half in halves], dim=-1)
    if not isinstance(xs, Tensor) and _stackable(xs):
        xs = torch.stack(list(xs))
    if isinstance(xs, Tensor):
        if _is(model, *_ANY_LEADING_DIMS) and not _hooked(model):
            return model(xs)
        cell = _own_cell(model)
        if cell is not None:
            return _cell_sequence(model, cell, xs, plan)
    return _stepwise(model, xs, plan)


def _between(chain: Chain, position: int, ys: Any) -> Any:
    if isinstance(ys, Tensor):
        return chain.between(position, ys)
    return [chain.between(position, y) for y in ys]


def _cell_sequence(recur: Recur, cell: Cell, xs: Tensor, plan: Plan | None) -> Tensor:
    cell.check_input(xs, leading=1)
    shape = xs.shape
    lead = shape[1:-1]
    if plan is not None and not lead and plan.by_row:
        raise RnnlabError(
            f"{cell!r}: lengths and resets by row need a batch, xs (T, B, I); "
            f"xs.shape = {tuple(xs.shape)}"
        )
    slots = recur.__dict__
    if plan is not None and plan.resets is not None and plan.steps and plan.masks[0] is True:
        recur.reset()  # first, so that another batch size may begin
    if slots["_state"] is AT_INIT:
        state = cell.initial_state() if slots["_owns_init"] else recur.init
    else:
        if slots["_lead"] not in (None, (lead,)):
            recur._refuse_batch(slots["_lead"], (lead,))
        state = recur.state
    if not shape[0]:
        return xs.new_empty(0, *lead, cell.hidden_size)
    cell.check_state(state, xs, leading=1)
    if not lead:
        xs = xs.unsqueeze(1)
    parts = as_parts(state)
    if plan is None or plan.plain:
        parts, ys = scan(cell, parts, xs)
    else:
        if not lead:
            plan = Plan(plan.steps, 1, None, plan.resets)
        parts, ys = scan_planned(cell, parts, as_parts(recur.init), xs, plan)
    if not lead:
        parts, ys = tuple(part.squeeze(0) for part in parts), ys.squeeze(1)
    recur._advance(as_state(parts), (lead,))
    return ys


def _stepwise(model: Any, xs: Any, plan: Plan) -> list[Any]:
    """The loop, for any model; its Recurs are put back and held where the plan says so."""
    if plan.plain:
        return [model(x) for x in xs]
    inside = [recur for _, recur in recurs(model)]
    ys = []
    for t, x in enumerate(xs):
        mask = plan.masks[t]
        if mask is True:
            reset(model)
        elif mask is not False:
            for recur in inside:
                if recur.__dict__["_state"] is not AT_INIT:
                    _merge(recur, mask, recur.init, recur.state, "be put back one by one")
        before = [recur.state for recur in inside]
        ys.append(model(x))
        if plan.active is not None and plan.sizes[t] < plan.rows:
            for recur, old in zip(inside, before, strict=True):
                _merge(recur, ~plan.active[t], old, recur.state, "end one by one")
    return ys


def _merge(recur: Recur, mask: Tensor, ours: State, state: State, what: str) -> None:
    """Give `recur` the state `state` with the rows in `mask` taken from `ours`."""
    names = recur._state_names
    leaves = list(named_leaves(state, top=names))
    others = [leaf for _, leaf in named_leaves(ours, top=names)]
    inits = [leaf for _, leaf in named_leaves(recur.init, top=names)]
    if not len(leaves) == len(others) == len(inits):
        raise RnnlabError(
            f"{recur!r}: the state changed from {describe(ours)} to {describe(state)}; rows can "
            f"only {what} where it keeps its structure. Unroll the rows on their own."
        )
    merged = []
    for (name, leaf), other, init in zip(leaves, others, inits, strict=True):
        if leaf is not other:
            if not isinstance(leaf, Tensor) or not leaf.dim() or _unclear(leaf, init, len(mask)):
                raise RnnlabError(
                    f"{recur!r}: state {name} is {describe(leaf)}; rows can only {what} where it "
                    f"has one for each of the {len(mask)} of the batch, (B, H). "
                    "Unroll the rows on their own."
                )
            if leaf.shape[0] != len(mask):  # still the same for all rows
                leaf = leaf.expand(len(mask), *leaf.shape)
            leaf = put_back(mask, other, leaf)
        merged.append(leaf)
    recur._advance(fill(state, iter(merged)), recur.__dict__["_lead"])


def _unclear(leaf: Tensor, init: Any, rows: int) -> bool:
    """Whether `(n,)` may be one number for each of n rows as well as one row for all."""
    return leaf.shape == (rows,) and isinstance(init, Tensor) and init.shape == leaf.shape
