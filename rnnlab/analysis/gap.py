"""s − F(s) without cancellation, also where a gate is all but closed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnnlab.analysis.closed import TINY, formula_of
from rnnlab.analysis.dynamics import F64, Dynamics, Field, Inputs
from rnnlab.analysis.watch import single_steps
from rnnlab.functional import as_cell
from rnnlab.nested import fill, named_leaves
from rnnlab.recur import recurs


class _Gap(nn.Module):
    """A model whose step leaves in place of the new state a `Part` of what is known of it: `gap`,
    `cancelled` or `scale`; of a layer whose formula is not known s − F(s), and 1 as its scale."""

    def __init__(self, model: nn.Module, part: str) -> None:
        super().__init__()
        self.model = model
        self.part = part

    def forward(self, *xs: Any) -> None:
        layers = [recur for _, recur in recurs(self.model)]
        before = [recur.__dict__["_state"] for recur in layers]
        steps = single_steps(self.model, xs)
        for recur, old in zip(layers, before, strict=True):
            new = recur.__dict__["_state"]
            formula = formula_of(recur.cell) if id(recur) in steps else None
            if formula is not None:
                leaves = [getattr(p, self.part) for p in formula(recur.cell, *steps[id(recur)])]
            else:
                leaves = [
                    torch.ones_like(a - b) if self.part == "scale" else a - b
                    for (_, a), (_, b) in zip(named_leaves(old), named_leaves(new), strict=True)
                ]
            recur.__dict__["_state"] = fill(new, iter(leaves))


class Gaps:
    """The residuals of a model at a constant input, and of its p-th iterate.

        gap(s) = s − F^p(s) = Σ_k g(s_k),   s_{k+1} = s_k − g(s_k)
        residual(s) = gap(s) / D(s)

    D is 1 − z for the units of a GRU (and of its kin), 1 − f for the c of an LSTM, else 1. For
    p = 1 the quotient is formed in closed form: h − n for a GRU, c − i∘g/(1 − f) and h − o∘tanh(c)
    for an LSTM. The zeros are those of s − F^p(s); a closed gate makes no others.
    """

    def __init__(self, dynamics: Dynamics, inputs: Inputs, period: int = 1) -> None:
        gated = any(formula_of(recur.cell) for _, recur in recurs(dynamics.model))
        cells = {
            name: as_cell(_Gap(dynamics.model, name), dtype=F64)
            for name in (("gap", "cancelled", "scale") if gated else ())
        }

        def part(name: str, s: Tensor) -> Tensor:
            if gated:
                return dynamics.call(cells[name], s, inputs)
            return (
                torch.ones_like(s)
                if name == "scale"
                else s - dynamics.call(dynamics.cell, s, inputs)
            )

        def gap(s: Tensor) -> Tensor:
            total = torch.zeros_like(s)
            for _ in range(period):
                g = part("gap", s)
                total, s = total + g, s - g
            return total

        def residual(s: Tensor) -> Tensor:
            if period == 1:
                return part("cancelled", s)
            return gap(s) / part("scale", s).clamp(min=TINY)

        self.gap = Field(gap, dynamics.direct, dynamics.beat)
        self.residual = Field(residual, dynamics.direct, dynamics.beat)
