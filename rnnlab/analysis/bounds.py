"""The invariant set of a model at a constant input: a box that no step leaves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rnnlab.analysis.dynamics import F64, Inputs
from rnnlab.cells import GRUCell, GRUv3Cell, LSTMCell, RNNCell, identity
from rnnlab.cells.lightru import LightRUCell
from rnnlab.cells.mgu import MGUCell
from rnnlab.cells.torch_cells import TorchGRUCell, TorchLSTMCell, TorchRNNCell
from rnnlab.cells.ugrnn import UGRNNCell
from rnnlab.layers import Apply, Chain, Dense, Stacked
from rnnlab.nested import named_leaves
from rnnlab.recur import Recur, recurs

Interval = tuple[Tensor, Tensor] | None
"""Lower and upper bounds of a vector; None where nothing is known."""

RNNS = (RNNCell, TorchRNNCell)
LSTMS = (LSTMCell, TorchLSTMCell)
BLENDS = (GRUCell, GRUv3Cell, TorchGRUCell, MGUCell, UGRNNCell, LightRUCell)
"""Cells whose new state lies between the old one and a tanh."""

_INF = float("inf")
_RANGES: dict[Any, tuple[float, float]] = {
    torch.tanh: (-1.0, 1.0),
    torch.sigmoid: (0.0, 1.0),
    torch.relu: (0.0, _INF),
    "tanh": (-1.0, 1.0),
    "relu": (0.0, _INF),
}
_GROWING = (torch.tanh, torch.sigmoid, torch.relu, nn.functional.relu, identity)


def invariant_box(model: Any, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Bounds `(n,)`, `(n,)` of a box that F(·, x) maps into itself; infinite where unknown.

        |h| ≤ 1             RNN with tanh, GRU, MGU, UGRNN, Light-RU
        0 ≤ h ≤ 1           RNN with sigmoid;  0 ≤ h for relu
        |h| ≤ 1,  |c| ≤ i_max / (1 − f_max)    LSTM, with the largest gates at |h| ≤ 1 and this x

    In the order of the states of `as_cell`. An LSTM behind layers whose range is not known has no
    bound of c.

    Example:
        >>> import torch, rnnlab as rl
        >>> invariant_box(rl.RNN(1, 2), (torch.zeros(1),))
        (tensor([-1., -1.], dtype=torch.float64), tensor([1., 1.], dtype=torch.float64))
    """
    found: dict[int, list[tuple[Tensor, Tensor]]] = {}
    x = inputs[0]
    exact = len(inputs) == 1 and x.is_floating_point() and x.dim() == 1
    with torch.no_grad():
        _walk(model, (x.to(F64), x.to(F64)) if exact else None, found)
        lower, upper = [], []
        for _, recur in recurs(model):
            parts = found.get(id(recur)) or _cell(recur, None)
            for low, high in parts:
                lower.append(low.flatten())
                upper.append(high.flatten())
        return torch.cat(lower).to(F64), torch.cat(upper).to(F64)


def _walk(model: Any, x: Interval, found: dict[int, Any]) -> Interval:
    """The range of the output; notes the bounds of every state on the way."""
    if type(model) in (Chain, Stacked):
        for layer in model:
            x = _walk(layer, x, found)
        return x
    if type(model) is Recur:
        parts = found[id(model)] = _cell(model, x)
        return parts[0] if type(model.cell) in (*RNNS, *LSTMS, *BLENDS) else None
    if type(model) is Dense and x is not None:
        return _activate(model.activation, _linear(x, model.weight, model.bias))
    if type(model) is Apply:
        return _activate(model.fn, x)
    return None


def _cell(recur: Recur, x: Interval) -> list[tuple[Tensor, Tensor]]:
    """Bounds of each part of the state of one cell."""
    cell: Any = recur.cell
    parts = [torch.as_tensor(leaf, dtype=F64) for _, leaf in named_leaves(recur.init)]
    if type(cell) in RNNS:
        return [_box(parts[0], *_RANGES.get(cell.activation, (-_INF, _INF)))]
    if type(cell) in BLENDS:
        return [_box(parts[0], -1.0, 1.0)]
    if type(cell) in LSTMS:
        h = _box(parts[0], -1.0, 1.0)
        high = torch.full_like(parts[1], _INF)
        if x is not None:
            biases = [getattr(cell, name, None) for name in ("bias", "bias_ih", "bias_hh")]
            bias = sum(
                (b.to(F64) for b in biases if b is not None), start=torch.zeros((), dtype=F64)
            )
            _, u = _linear(x, cell.weight_ih, None)
            a = u + bias + cell.weight_hh.to(F64).abs().sum(dim=1)
            i, f, _, _ = a.chunk(4, dim=-1)
            high = torch.sigmoid(i) / torch.sigmoid(-f)
        return [h, (-high, high)]
    return [_box(part, -_INF, _INF) for part in parts]


def _box(like: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    return torch.full_like(like, low), torch.full_like(like, high)


def _linear(x: tuple[Tensor, Tensor], weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    weight = weight.to(F64)
    plus, minus = weight.clamp(min=0), weight.clamp(max=0)
    low, high = x
    bias = None if bias is None else bias.to(F64)
    return linear(low, plus, bias) + linear(high, minus), linear(high, plus, bias) + linear(
        low, minus
    )


def _activate(fn: Any, x: Interval) -> Interval:
    """The range of a function that is known to grow."""
    return (fn(x[0]), fn(x[1])) if x is not None and fn in _GROWING else None
