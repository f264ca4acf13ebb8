"""torch's fused recurrent operators by their equations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import dropout, linear
from torch.overrides import TorchFunctionMode


class Unfused(TorchFunctionMode):
    """Evaluates torch's fused recurrent operators by their equations: these have all the rules."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _SEQUENCES and not isinstance(args[2], Tensor):  # else: a packed sequence
            return _sequence(_SEQUENCES[func], *args, **kwargs)
        if func in _CELLS:
            return _CELLS[func](*args, **kwargs)
        return func(*args, **kwargs)


def _lstm_cell(
    x: Tensor,
    hx: Any,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
    w_hr: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    h, c = hx
    i, f, g, o = (linear(x, w_ih, b_ih) + linear(h, w_hh, b_hh)).chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return (h if w_hr is None else linear(h, w_hr)), c


def _gru_cell(
    x: Tensor,
    h: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:
    u_r, u_z, u_n = linear(x, w_ih, b_ih).chunk(3, dim=-1)
    v_r, v_z, v_n = linear(h, w_hh, b_hh).chunk(3, dim=-1)
    z = torch.sigmoid(u_z + v_z)
    n = torch.tanh(u_n + torch.sigmoid(u_r + v_r) * v_n)
    return (1 - z) * n + z * h


def _rnn_cell(activation: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    def step(
        x: Tensor,
        h: Tensor,
        w_ih: Tensor,
        w_hh: Tensor,
        b_ih: Tensor | None = None,
        b_hh: Tensor | None = None,
    ) -> Tensor:
        return activation(linear(x, w_ih, b_ih) + linear(h, w_hh, b_hh))

    return step


_CELLS: dict[Any, Callable[..., Any]] = {
    torch.lstm_cell: _lstm_cell,
    torch.gru_cell: _gru_cell,
    torch.rnn_tanh_cell: _rnn_cell(torch.tanh),
    torch.rnn_relu_cell: _rnn_cell(torch.relu),
}
_SEQUENCES: dict[Any, Callable[..., Any]] = {
    torch.lstm: _lstm_cell,
    torch.gru: _gru_cell,
    torch.rnn_tanh: _CELLS[torch.rnn_tanh_cell],
    torch.rnn_relu: _CELLS[torch.rnn_relu_cell],
}


def _sequence(
    step: Callable[..., Any],
    xs: Tensor,
    hx: Any,
    weights: Any,
    has_biases: bool,
    layers: int,
    p: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, ...]:
    """What torch.lstm, gru, rnn_tanh and rnn_relu compute: `(ys, h)` or `(ys, h, c)`."""
    lstm = step is _lstm_cell
    directions = 2 if bidirectional else 1
    each = len(weights) // (layers * directions)
    steps = list((xs.transpose(0, 1) if batch_first else xs).unbind(0))
    ends: list[Any] = []
    for layer in range(layers):
        outputs: list[list[Tensor]] = []
        for direction in range(directions):
            place = layer * directions + direction
            own = list(weights[each * place : each * (place + 1)])
            if lstm and each % 2:  # a projection, behind the others
                biases = own[2:-1] if has_biases else [None, None]
                own = [*own[:2], *biases, own[-1]]
            state = (hx[0][place], hx[1][place]) if lstm else hx[place]
            ys: list[Tensor] = []
            for x in steps[::-1] if direction else steps:
                state = step(x, state, *own)
                ys.append(state[0] if lstm else state)
            ends.append(state)
            outputs.append(ys[::-1] if direction else ys)
        steps = [
            torch.cat(pair, dim=-1) if directions > 1 else pair[0]
            for pair in zip(*outputs, strict=True)
        ]
        if p and train and layer < layers - 1:
            steps = list(dropout(torch.stack(steps), p, True).unbind(0))
    whole = torch.stack(steps, dim=1 if batch_first else 0)
    if lstm:
        return whole, torch.stack([h for h, _ in ends]), torch.stack([c for _, c in ends])
    return whole, torch.stack(ends)
