"""The whole sequence at once against single steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnnlab.adapters.foreign import ForeignCell
from rnnlab.cells.base import describe
from rnnlab.errors import RnnlabError
from rnnlab.layers import Chain
from rnnlab.nested import named_leaves
from rnnlab.recur import Recur, recurs, reset

_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def check_parity(model: nn.Module, adapted: Any, xs: Any, time_axis: int | None) -> float:
    """The largest difference between the whole sequence at once and step by step."""
    modes = [(module, module.training) for module in (*model.modules(), *adapted.modules())]
    try:
        model.eval()
        adapted.eval()
        with torch.no_grad():
            pairs, steps = _run_both(model, adapted, xs, time_axis)
    finally:
        for module, mode in modes:
            module.training = mode
        reset(adapted)
    worst = 0.0
    for name, whole, stepped in pairs:
        difference = (whole - stepped).abs().max().item() if whole.numel() else 0.0
        limit = _TOLERANCE.get(whole.dtype, 2e-2) * max(1.0, whole.abs().max().item())
        if not difference <= limit:
            raise RnnlabError(
                f"adapt: {name} differs by {difference:.2g} between the whole sequence and "
                f"{steps} single steps (rounding: {limit:.1g}). The model may look at more than "
                "the past (attention, pooling or convolution over time), or be random."
            )
        worst = max(worst, difference)
    print(f"adapt: whole sequence and {steps} single steps differ by at most {worst:.2g}")
    return worst


_Pairs = list[tuple[str, Tensor, Tensor]]


def _run_both(model: nn.Module, adapted: Any, xs: Any, axis: int | None) -> tuple[_Pairs, int]:
    try:
        return _compared(model, adapted, xs, axis)
    except RnnlabError:
        raise
    except Exception as error:
        raise RnnlabError(
            f"adapt: the check could not be run: {type(error).__name__}: {error}. check= is a "
            f"whole sequence in the shape that the model takes; got {describe(xs)}."
        ) from error


def _compared(model: nn.Module, adapted: Any, xs: Any, axis: int | None) -> tuple[_Pairs, int]:
    if isinstance(model, nn.RNNBase) and isinstance(adapted, Chain):
        axis = int(model.batch_first and xs.dim() == 3) if axis is None else axis
        ys, ends = model(xs)
        stepped = torch.stack([adapted(x) for x in xs.unbind(axis)], dim=axis)
        pairs: _Pairs = [("the output", ys, stepped)]
        parts = ends if isinstance(ends, tuple) else (ends,)
        for position, (_, recur) in enumerate(recurs(adapted)):
            state = recur.state if isinstance(recur.state, tuple) else (recur.state,)
            for name, whole, part in zip(recur._state_names or (), parts, state, strict=True):
                pairs.append((f"state {position}.{name}", whole[position], part))
        return pairs, xs.shape[axis]
    if isinstance(adapted, Recur):
        steps = xs.unbind(axis or 0)
        cell = ForeignCell(model, adapted.init)
        state, whole = adapted.init, []
        for x in steps:
            state, y = cell(state, x)
            whole.append(y)
        stepped = [adapted(x) for x in steps]
        pairs = [("the output", torch.stack(whole), torch.stack(stepped))]
        named = zip(named_leaves(state), named_leaves(adapted.state), strict=True)
        return pairs + [(f"state {name}", a, b) for (name, a), (_, b) in named], len(steps)
    if axis is None:
        firsts = [getattr(site.layer, "batch_first", False) for site in adapted._sites]
        axis = int(all(firsts) and xs.dim() > 1)
    whole = model(xs)
    steps = xs.shape[axis]
    parts = [adapted(xs.narrow(axis, t, 1)) for t in range(steps)]
    pairs = []
    for leaves in zip(named_leaves(whole, "the output"), *map(named_leaves, parts), strict=True):
        (name, all_at_once), *each = leaves
        if not isinstance(all_at_once, Tensor):
            continue
        last = each[-1][1]
        if all_at_once.shape == last.shape and steps > 1:
            pairs.append((name, all_at_once, last))
            continue
        joined = torch.cat([y for _, y in each], dim=axis) if last.dim() > axis else last
        if joined.shape != all_at_once.shape:
            raise RnnlabError(
                f"adapt: {name} is {tuple(all_at_once.shape)} for the whole sequence and "
                f"{tuple(last.shape)} for one step; these cannot be compared along dimension "
                f"{axis}. time_axis= says which dimension of the input is time."
            )
        pairs.append((name, all_at_once, joined))
    return pairs, steps
