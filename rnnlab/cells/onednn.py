"""torch's LSTM for the CPU, without what `torch.lstm` does round it for layers and directions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnlab.cells.base import as_rows

_layer: Any = torch.mkldnn_rnn_layer if torch.backends.mkldnn.is_available() else None
_LSTM = 2
"""How oneDNN numbers it."""

_compiling = torch.compiler.is_dynamo_compiling
_enabled = torch._C._get_mkldnn_enabled


def takes(xs: Tensor, weights: list[Tensor]) -> bool:
    """Whether `torch.lstm` would have oneDNN do this sequence, in float32 and with biases."""
    return (
        len(weights) == 4
        and xs.dtype == torch.float32
        and xs.is_cpu
        and not _compiling()
        and _layer is not None
        and _enabled()
        and not torch.is_autocast_enabled("cpu")
        and xs.numel() > 0
    )


def lstm(
    state: tuple[Tensor, Tensor], xs: Tensor, weights: list[Tensor]
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The whole sequence xs `(T, B, I)`, where oneDNN `takes` it: last state and ys `(T, B, H)`.

    state: (h, c), each `(H,)` or `(B, H)`. weights: W `(4H, I)`, U `(4H, H)`, two biases `(4H,)`.

    Example:
        >>> layer = torch.nn.LSTM(2, 3)
        >>> zero, xs = torch.zeros(3), torch.ones(5, 1, 2)
        >>> weights = list(layer.parameters())
        >>> not takes(xs, weights) or torch.equal(lstm((zero, zero), xs, weights)[1], layer(xs)[0])
        True
    """
    rows, size = xs.shape[1], weights[1].shape[1]
    # it reads states and inputs as they lie in memory, whatever their strides
    h, c = as_rows(state[0], rows), as_rows(state[1], rows)
    layers, bidirectional, reverse, batch_first, sizes = 1, False, False, False, []
    train = torch.is_grad_enabled()
    ys, h, c, _ = _layer(
        xs.contiguous(),
        *weights,
        h,
        c,
        reverse,
        sizes,
        _LSTM,
        size,
        layers,
        True,
        bidirectional,
        batch_first,
        train,
    )
    return (h, c), ys


def torch_lstm(xs: Tensor, state: Any, weights: list[Tensor], *options: Any) -> Any:
    """torch.lstm; under autocast on the CPU with everything already in the type that it wants.

    Autocast itself has oneDNN do the sequence, whether or not it can on this processor; asked in
    that type, torch looks first.

    Example:
        >>> layer, x = torch.nn.LSTM(2, 3), torch.ones(5, 1, 2)
        >>> zero, options = torch.zeros(1, 1, 3), (True, 1, 0.0, True, False, False)
        >>> with torch.autocast("cpu", torch.bfloat16):
        ...     torch_lstm(x, (zero, zero), list(layer.parameters()), *options)[0].dtype
        torch.bfloat16
    """
    if not xs.is_cpu or xs.dtype == torch.float64 or not torch.is_autocast_enabled("cpu"):
        return torch.lstm(xs, state, weights, *options)
    kind = torch.get_autocast_dtype("cpu")
    with torch.autocast("cpu", enabled=False):
        h, c = (part.to(kind) for part in state)
        return torch.lstm(xs.to(kind), (h, c), [weight.to(kind) for weight in weights], *options)
