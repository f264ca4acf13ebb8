"""What torch's kernels ask of the weights: two biases; on NVIDIA GPUs, one piece of memory."""

from __future__ import annotations

from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.backends import cudnn
from torch.nn import Parameter

from rnnlab.cells.base import Cell

_zeros: WeakKeyDictionary[Cell, Tensor | None] = WeakKeyDictionary()
"""For each cell whose weights lie in one buffer, the second bias in it: a zero, never trained."""


def fused_step(x: Tensor) -> bool:
    """Whether the fused operator for one step can take x: it has no rules for transforms."""
    if torch._C._are_functorch_transforms_active():
        return False
    return not x.is_cuda or not (
        torch.compiler.is_compiling()
        or torch.is_autocast_enabled("cuda")
        or torch._C._len_torch_dispatch_stack()
        or forward_ad._current_level >= 0
    )


def second_bias(bias: Tensor | None) -> Tensor | None:
    """b_hh for the fused step: on the GPU it takes both biases or none, so a zero; else None."""
    if bias is None or not bias.is_cuda:
        return None
    return _zero(bias.shape[0], bias.dtype, bias.device)


@cache  # never let go: a CUDA graph may have its address
def _zero(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.zeros(size, dtype=dtype, device=device)


def sequence_arguments(
    cell: Any, mode: str
) -> tuple[list[Tensor], bool, int, float, bool, bool, bool]:
    """What torch's fused sequence kernels take after the input and the state.

    Our single bias is torch's b_ih; its b_hh is a zero that no gradient reaches. The kernel is
    told that it trains whenever a gradient is wanted: cuDNN's backward needs that. cuDNN copies
    weights that lie apart at every call, and warns. On the GPU the first call moves them side by
    side, with a zero for the second bias; they stay parameters of the cell, with the same values.
    """
    own = cell._parameters  # a third of the time of the attributes
    try:
        weights, bias = [own["weight_ih"], own["weight_hh"]], own["bias"]
    except KeyError:  # computed from others: a parametrisation
        weights, bias = [cell.weight_ih, cell.weight_hh], cell.bias
    if bias is not None:
        weights += [bias, torch.zeros_like(bias)]
    if weights[0].is_cuda:
        _flatten(cell, weights, mode)
    layers, dropout, bidirectional, batch_first = 1, 0.0, False, False
    train = torch.is_grad_enabled()
    return weights, bias is not None, layers, dropout, train, bidirectional, batch_first


def _flatten(cell: Any, weights: list[Tensor], mode: str) -> None:
    """Bring the weights into one buffer, unless they are; the second bias in it joins the list."""
    own = weights[:3]
    if not all(type(weight) is Parameter and weight.dtype == own[0].dtype for weight in own):
        return  # computed from others: they move at every call anyway
    if cell in _zeros:
        zero = _zeros[cell]
        flat = own if zero is None else [*own, zero]
        if len({weight.untyped_storage().data_ptr() for weight in flat}) == 1:
            weights[:] = flat
            return
    flatten: Any = getattr(torch, "_cudnn_rnn_flatten_weight", None)
    if flatten is None or not cudnn.is_acceptable(own[0]):
        return
    with torch.inference_mode(False), torch.no_grad(), torch.cuda.device_of(own[0]):
        # on aliases: for a graph that is still to be gone through backwards nothing has changed
        parts = [weight.data for weight in weights]
        layers, projection, batch_first, bidirectional = 1, 0, False, False
        flatten(
            parts,
            len(parts),
            cell.input_size,
            cudnn.rnn.get_cudnn_mode(mode),
            cell.hidden_size,
            projection,
            layers,
            batch_first,
            bidirectional,
        )
        for weight, part in zip(own, parts, strict=False):
            weight.data = part
    _zeros[cell] = parts[3] if len(parts) == 4 else None
    weights[:] = [*own, *parts[3:]]
