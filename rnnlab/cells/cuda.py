"""What torch's kernels ask of the weights: two biases; on NVIDIA GPUs, one piece of memory."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.backends import cudnn
from torch.nn import Parameter

from rnnlab.cells.base import Cell, autocasts
from rnnlab.nested import map_leaves

_places: WeakKeyDictionary[Cell, list[Tensor]] = WeakKeyDictionary()
"""For each cell whose weights lie in one buffer, its parts, last a zero for the second bias."""

_BFLOAT16_CUDNN = 91300
"""The first cuDNN by which torch runs sequences in bfloat16, from compute capability 8.0 on."""


def fused_step(x: Tensor) -> bool:
    """Whether the fused operator for one step can take x: it has no rules for transforms."""
    if torch._C._are_functorch_transforms_active():
        return False
    return x.is_cpu or not (
        torch.compiler.is_compiling()
        or autocasts(x.device.type)
        or torch._C._len_torch_dispatch_stack()
        or forward_ad._current_level >= 0
    )


def second_bias(bias: Tensor | None) -> Tensor | None:
    """b_hh for the fused step: on a GPU it takes both biases or none, so a zero; else None."""
    return None if bias is None or bias.is_cpu else zero_bias(bias)


def zero_bias(weight: Tensor) -> Tensor:
    """A zero for each row of a weight; it is the same tensor every time."""
    return _zero(weight.shape[0], weight.dtype, weight.device)


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
        weights += [bias, zero_bias(bias) if bias.is_cuda else torch.zeros_like(bias)]
    if weights[0].is_cuda:
        _flatten(cell, weights, mode)
    layers, dropout, bidirectional, batch_first = 1, 0.0, False, False
    train = torch.is_grad_enabled()
    return weights, bias is not None, layers, dropout, train, bidirectional, batch_first


def run(fused: Any, xs: Tensor, state: Any, arguments: Any, *, owned: bool = True) -> Any:
    """One of torch's sequence kernels, `fused(xs, state, *arguments)`.

    Where weights are computed from others, are one and the same, or are not `owned` and so stay in
    the buffer of their owner, cuDNN copies them at every call. It warns, but nobody can do anything
    about that.

    Autocast has cuDNN run in float16, whatever type was asked for; so here everything is given in
    that type, and autocast is off.
    """
    weights, *options = arguments
    if xs.is_cuda and xs.dtype != torch.float64 and autocasts("cuda"):
        kind = torch.get_autocast_dtype("cuda")
        with torch.autocast("cuda", enabled=False):
            state = map_leaves(lambda part: part.to(kind), state)
            cast = [weight.to(kind) for weight in weights]
            return run(fused, xs.to(kind), state, (cast, *options), owned=False)
    own = weights[:3]
    movable = owned and all(type(weight) is Parameter for weight in own)
    if not xs.is_cuda or (movable and _apart(own)):
        return fused(xs, state, *arguments)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "RNN module weights are not part of single")
        return fused(xs, state, *arguments)


def _flatten(cell: Any, weights: list[Tensor], mode: str) -> None:
    """Bring the weights into one buffer, unless they are; the second bias in it joins the list."""
    own = weights[:3]
    if not all(type(weight) is Parameter and weight.dtype == own[0].dtype for weight in own):
        return  # computed from others: they move at every call anyway
    addresses = [weight.data_ptr() for weight in own]
    places = _places.get(cell, [])
    if addresses == [part.data_ptr() for part in places[: len(own)]]:
        weights[:] = [*own, *places[len(own) :]]
        return
    if not _apart(own) or not _in_cudnn(own[0]):
        return
    with torch.inference_mode(False), torch.no_grad(), torch.cuda.device_of(own[0]):
        # on aliases: for a graph that is still to be gone through backwards nothing has changed
        places = [weight.data for weight in own]
        if len(own) == 3:
            places.append(torch.zeros_like(own[2]))
        layers, projection, batch_first, bidirectional = 1, 0, False, False
        torch._cudnn_rnn_flatten_weight(  # type: ignore[attr-defined]
            places,
            len(places),
            cell.input_size,
            cudnn.rnn.get_cudnn_mode(mode),
            cell.hidden_size,
            projection,
            layers,
            batch_first,
            bidirectional,
        )
        for weight, part in zip(own, places, strict=False):
            weight.data = part
    _places[cell] = places
    weights[:] = [*own, *places[len(own) :]]


def _apart(weights: list[Tensor]) -> bool:
    """Whether each has memory of its own: if not, they are one weight, and cannot be moved."""
    return len({weight.data_ptr() for weight in weights}) == len(weights)


def _in_cudnn(weight: Tensor) -> bool:
    """Whether torch does a whole sequence with such weights in cuDNN.

    torch's own `is_acceptable` does not know that bfloat16 is.
    """
    if not torch._use_cudnn_rnn_flatten_weight():  # type: ignore[attr-defined]
        return False
    if weight.dtype == torch.bfloat16:
        return (
            cudnn.is_available()
            and cudnn.enabled
            and (cudnn.version() or 0) >= _BFLOAT16_CUDNN
            and torch.cuda.get_device_capability(weight.device) >= (8, 0)
        )
    return cudnn.is_acceptable(weight)
