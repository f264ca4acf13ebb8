"""The invariant set of a model at a constant input: a box that no step leaves."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rnnlab.adapters.bare import hooked
from rnnlab.analysis.dynamics import F64, Dynamics, Inputs
from rnnlab.analysis.watch import Call, holders, stepped
from rnnlab.cells import GRUCell, GRUv3Cell, JANETCell, LSTMCell, RNNCell, identity
from rnnlab.cells.lem import LEMCell
from rnnlab.cells.lightru import LightRUCell
from rnnlab.cells.mgu import MGUCell
from rnnlab.cells.minimal import MinGRUCell, MinLSTMCell
from rnnlab.cells.torch_cells import (
    TorchGRUCell,
    TorchLSTMCell,
    TorchProjectedLSTMCell,
    TorchRNNCell,
)
from rnnlab.cells.ugrnn import UGRNNCell
from rnnlab.functional import as_cell
from rnnlab.layers import Apply, Dense
from rnnlab.nested import named_leaves
from rnnlab.recur import Recur, recurs

Interval = tuple[Tensor, Tensor] | None
"""Lower and upper bounds of a vector; None where nothing is known."""

RNNS = (RNNCell, TorchRNNCell)
LSTMS = (LSTMCell, TorchLSTMCell, TorchProjectedLSTMCell)
MINIMAL = (MinGRUCell, MinLSTMCell)
"""Cells whose new state lies between the old one and a function of the input."""
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
_MODULES: dict[type, Any] = {nn.Tanh: torch.tanh, nn.Sigmoid: torch.sigmoid, nn.ReLU: torch.relu}
_RULED = (*_MODULES, nn.Identity, nn.Dropout, nn.Linear, Dense, Apply)


def invariant_box(model: Any, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Bounds `(n,)`, `(n,)` of a box that F(·, x) maps into itself; infinite where unknown.

        |h| ≤ 1             RNN with tanh, GRU, MGU, UGRNN, Light-RU; LEM with dt ≤ 1
        0 ≤ h ≤ 1           RNN with sigmoid;  0 ≤ h for relu
        |h| ≤ max(1, e^β)   JANET
        |c| ≤ i_max / (1 − f_max), |h| ≤ 1    LSTM, with the largest gates at |h| ≤ 1 and its
                            input; with a projection P, |h| ≤ Σ|P|
        |h| ≤ max(1, |n|)   minGRU, minLSTM, with the candidates n at its input

    In the order of the states of `as_cell`. The input of a layer is what it is given in a step,
    in whatever container it stands: the same for every state, or, through layers that only grow or
    are linear, the outputs of layers with bounds. Where it is neither, c has no bound, nor has a
    minimal cell's h.

    Example:
        >>> import torch, rnnlab as rl
        >>> invariant_box(rl.RNN(1, 2), (torch.zeros(1),))
        (tensor([-1., -1.], dtype=torch.float64), tensor([1., 1.], dtype=torch.float64))
    """
    with torch.no_grad():
        layers = [recur for _, recur in recurs(model)]
        asked = any(type(recur.cell) in (*LSTMS, *MINIMAL) for recur in layers)
        given = _given(model, inputs) if asked else {}
        lower, upper = [], []
        for place, recur in enumerate(layers):
            for low, high in _cell(recur, given.get(place)):
                lower.append(low.flatten())
                upper.append(high.flatten())
        return torch.cat(lower).to(F64), torch.cat(upper).to(F64)


def kept_box(d: Dynamics, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """The invariant box, or one without bounds where a step is seen to leave it.

    Bounds go by the kind of a cell. Where something changes what it does (a hook, a patched
    method), they do not hold, and a step from its corners or from within tells so.
    """
    lower, upper = (b.to(d.device) for b in invariant_box(d.model, inputs))
    finite = torch.isfinite(lower) & torch.isfinite(upper)
    low, high = torch.where(finite, lower, -1.0), torch.where(finite, upper, 1.0)
    generator = torch.Generator().manual_seed(0)
    share = torch.rand(64, d.n, generator=generator, dtype=F64)
    share[:32] = share[:32].round()
    new = d.field(inputs)(low + share.to(d.device) * (high - low))
    slack = 1e-9 * (1 + torch.maximum(low.abs(), high.abs()))
    left = finite & ((new < lower - slack) | (new > upper + slack))
    if bool(left.any()):
        return torch.full_like(lower, -_INF), torch.full_like(upper, _INF)
    return lower, upper


class _Watched(nn.Module):
    """A model whose steps are kept with what its layers were given."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.calls: list[Call] = []

    def forward(self, *xs: Any) -> _Watched:
        self.calls = stepped(self.model, xs, _RULED)
        return self


def _given(model: nn.Module, inputs: Inputs) -> dict[int, Interval]:
    """The range of the input of each layer with a state, by its place among them."""
    cell = as_cell(_Watched(model), dtype=F64)
    generator = torch.Generator().manual_seed(0)
    start = cell.flat(cell.initial_state())
    steps: list[list[Call]] = []
    for size in (0.0, 1.0, 10.0, 1000.0):
        noise = torch.randn(start.shape, generator=generator, dtype=F64).to(start.device)
        try:
            watched = cell.flat_step(size * noise, *inputs)[1]
        except Exception:  # a model that cannot take some states has no known range
            return {}
        steps.append(watched.calls)
    if len({tuple(id(call.layer) for call in step) for step in steps}) > 1:
        return {}
    taken = holders(watched.model)
    place = {id(recur): k for k, (_, recur) in enumerate(recurs(watched.model))}
    outputs: dict[int, Interval] = {}
    found: dict[int, Interval] = {}
    for same in zip(*steps, strict=True):
        call = same[0]
        x = _constant([c.x for c in same]) or outputs.get(id(call.x))
        layers = [call.layer] if type(call.layer) is Recur else taken.get(id(call.layer))
        for recur in layers or ():
            again = place[id(recur)] in found  # called twice in a step: either input counts
            found[place[id(recur)]] = None if again else x
            known = type(recur.cell) in (*RNNS, *LSTMS, *BLENDS, *MINIMAL)
            x = _cell(recur, x)[0] if known else None
        if layers is None:
            x = _through(call.layer, x)
        y = call.y[0] if isinstance(call.y, tuple) else call.y
        outputs[id(y)] = x
    return found


def _constant(xs: list[Any]) -> Interval:
    """The range of the rows of an input that is the same for every state."""
    first = xs[0]
    if not isinstance(first, Tensor) or not first.is_floating_point() or not first.dim():
        return None
    if not all(isinstance(x, Tensor) and torch.equal(x, first) for x in xs):
        return None
    rows = first.to(F64).reshape(-1, first.shape[-1])
    return (rows.amin(dim=0), rows.amax(dim=0)) if len(rows) else None


def _through(layer: Any, x: Interval) -> Interval:
    """The range of the output of a layer without a state."""
    if x is None or isinstance(layer, (nn.Identity, nn.Dropout)):
        return x
    if isinstance(layer, (Dense, nn.Linear)):
        fn = layer.activation if isinstance(layer, Dense) else identity
        return _activate(fn, _linear(x, layer.weight, layer.bias))
    return _activate(layer.fn if isinstance(layer, Apply) else _MODULES[type(layer)], x)


def _cell(recur: Recur, x: Interval) -> list[tuple[Tensor, Tensor]]:
    """Bounds of each part of the state of one cell."""
    cell: Any = recur.cell
    parts = [torch.as_tensor(leaf, dtype=F64) for _, leaf in named_leaves(recur.init)]
    if hooked(cell):
        return [_box(part, -_INF, _INF) for part in parts]
    if type(cell) in RNNS:
        return [_box(parts[0], *_RANGES.get(cell.activation, (-_INF, _INF)))]
    if type(cell) in BLENDS or (type(cell) is LEMCell and cell.dt <= 1):
        return [_box(part, -1.0, 1.0) for part in parts]
    if type(cell) is JANETCell:  # i/(1 − f) = (1 + eˢ)/(1 + eˢ⁻ᵝ)
        most = max(1.0, math.exp(min(cell.beta, 700.0)))
        return [_box(parts[0], -most, most)]
    if type(cell) in LSTMS:
        high = torch.full_like(parts[1], _INF)
        most = torch.ones_like(parts[0])
        if type(cell) is TorchProjectedLSTMCell:
            most = cell.weight_hr.to(F64).abs().sum(dim=1).expand_as(most)
        if x is not None:
            u = _linear(x, cell.weight_ih, None)[1]
            for name in ("bias", "bias_ih", "bias_hh"):
                bias = getattr(cell, name, None)
                u = u if bias is None else u + bias.to(F64)
            row = most if most.dim() == 1 else most[0]
            i, f, _, _ = (u + cell.weight_hh.to(F64).abs() @ row).chunk(4, dim=-1)
            high = torch.sigmoid(i) / torch.sigmoid(-f)
        return [(-most, most), (-high, high)]
    if type(cell) in MINIMAL:
        most = torch.full_like(parts[0], _INF)
        if x is not None:
            candidate: Any = cell.candidate
            ends = _linear(x, cell.weight_ih, cell.bias)
            low, top = (candidate(end.chunk(len(cell.blocks), dim=-1)[-1]) for end in ends)
            most = torch.maximum(low.abs(), top.abs()).clamp(min=1.0).expand_as(most)
        return [(-most, most)]
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
