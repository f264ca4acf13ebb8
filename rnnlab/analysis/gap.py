"""s − F(s) without cancellation, also where a gate is all but closed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rnnlab.analysis.bounds import BLENDS, LSTMS
from rnnlab.analysis.dynamics import F64, Dynamics, Field, Inputs
from rnnlab.cells.base import Cell
from rnnlab.cells.torch_cells import TorchGRUCell
from rnnlab.cells.ugrnn import UGRNNCell
from rnnlab.functional import as_cell, private_copy
from rnnlab.nested import State
from rnnlab.recur import Recur, recurs

_TINY = 1e-300


def _logits(cell: Any, h: Tensor, u: Tensor) -> Tensor:
    """W x + U h + b of all blocks of an LSTM."""
    return u + linear(h, cell.recurrent_weight())


def _openness(cell: Any, h: Tensor, u: Tensor, values: dict[str, Tensor]) -> Tensor:
    """The share of the candidate in the new state of a blend, exact when it is tiny: 1 − z."""
    if "f" in values:  # MGU, Light-RU: h' = (1 − f)∘h + f∘n
        return values["f"]
    size = cell.hidden_size
    rows = slice(0, size) if isinstance(cell, UGRNNCell) else slice(size, 2 * size)
    a = u[..., rows] + linear(h, cell.weight_hh[rows])
    if isinstance(cell, TorchGRUCell) and cell.bias_hh is not None:
        a = a + cell.bias_hh[rows]
    return torch.sigmoid(-a)


class _Gap(nn.Module):
    """A cell that gives, in place of its new state, one of three things.

    - `gap`: state − F(state), each product of small factors formed as such;
    - `cancelled`: the same divided by what a closed gate makes small;
    - `scale`: that divisor.
    """

    def __init__(self, cell: Cell, mode: str) -> None:
        super().__init__()
        self.cell = cell
        self.mode = mode
        self.state_names = cell.state_names

    def initial_state(self) -> State:
        return self.cell.initial_state()

    def forward(self, state: State, x: Tensor) -> tuple[State, Tensor]:
        cell: Any = self.cell
        u = cell.project(x)
        if type(cell) in LSTMS:
            return self._lstm(state, _logits(cell, state[0], u))
        values = cell.equation(state, u)
        candidate = values["c" if isinstance(cell, UGRNNCell) else "n"]
        share = _openness(cell, state, u, values)
        gap = share * (state - candidate)
        found = {"gap": gap, "cancelled": state - candidate, "scale": share}
        return found[self.mode], state - gap

    def _lstm(self, state: tuple[Tensor, Tensor], a: Tensor) -> tuple[State, Tensor]:
        h, c = state
        i, f, g, o = a.chunk(4, dim=-1)
        share, write = torch.sigmoid(-f), torch.sigmoid(i) * torch.tanh(g)
        gap = share * c - write
        o = torch.sigmoid(o)
        after = o * torch.tanh(c - gap)
        if self.mode == "gap":
            return (h - after, gap), after
        if self.mode == "scale":
            return (torch.ones_like(h), share), after
        return (h - o * torch.tanh(c), c - write / share.clamp(min=_TINY)), after


class Gaps:
    """The residuals of a model at a constant input, and of its p-th iterate.

        gap(s) = s − F^p(s) = Σ_k g(s_k),   s_{k+1} = s_k − g(s_k)
        residual(s) = gap(s) / D(s)

    D is 1 − z for the units of a GRU (and of its kin), 1 − f for the c of an LSTM, else 1. For
    p = 1 the quotient is formed in closed form: h − n for a GRU, c − i∘g/(1 − f) and h − o∘tanh(c)
    for an LSTM. The zeros are those of s − F^p(s); a closed gate makes no others.
    """

    def __init__(self, dynamics: Dynamics, inputs: Inputs, period: int = 1) -> None:
        known: Tensor = torch.zeros(dynamics.n, dtype=torch.bool, device=dynamics.device)
        cells = {}
        paths = [
            path
            for path, recur in recurs(dynamics.model)
            if type(recur) is Recur and type(recur.cell) in (*BLENDS, *LSTMS)
        ]
        for path in paths:
            recur = dict(recurs(dynamics.model))[path]
            for name in recur.cell.state_names:  # type: ignore[union-attr]
                known[dynamics.cell.slices[f"{path}.{name}" if path else name]] = True
        for mode in ("gap", "cancelled", "scale") if paths else ():
            copy = private_copy(dynamics.model, lambda v: v.to(F64) if v.is_floating_point() else v)
            inside = dict(recurs(copy))
            for path in paths:
                inside[path].cell = _Gap(inside[path].cell, mode)  # type: ignore[arg-type]
            cells[mode] = as_cell(copy, dtype=F64)

        def part(mode: str, s: Tensor) -> Tensor:
            value = dynamics.call(cells[mode] if paths else dynamics.cell, s, inputs)
            rest = torch.ones_like(s) if mode == "scale" else s - value
            return torch.where(known, value, rest) if paths else rest

        def gap(s: Tensor) -> Tensor:
            total = torch.zeros_like(s)
            for _ in range(period):
                g = part("gap", s)
                total, s = total + g, s - g
            return total

        def residual(s: Tensor) -> Tensor:
            if period == 1:
                return part("cancelled", s)
            return gap(s) / part("scale", s).clamp(min=_TINY)

        self.gap = Field(gap, dynamics.direct, dynamics.beat)
        self.residual = Field(residual, dynamics.direct, dynamics.beat)
