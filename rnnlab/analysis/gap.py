"""s − F(s) without cancellation, also where a gate is all but closed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnnlab.analysis.closed import TINY, closes, formula_of
from rnnlab.analysis.dynamics import F64, Dynamics, Inputs
from rnnlab.analysis.field import Field
from rnnlab.analysis.watch import single_steps
from rnnlab.errors import RnnlabError
from rnnlab.functional import ModelCell, as_cell
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

    Where the model's step is not what the formulas say (a hook, a patched method), s − F(s) itself
    is taken.

    Attributes:
        blind: the layers whose gates may close unseen: only s − F(s) is known of them.
    """

    def __init__(self, dynamics: Dynamics, inputs: Inputs, period: int = 1) -> None:
        layers = list(recurs(dynamics.model))
        gated = any(formula_of(recur.cell) for _, recur in layers)
        cells = {
            name: as_cell(_Gap(dynamics.model, name), dtype=F64)
            for name in (("gap", "cancelled", "scale") if gated else ())
        }
        gated = gated and _agrees(dynamics, cells["gap"], inputs)
        self.blind = tuple(
            path or type(recur.cell).__name__
            for path, recur in layers
            if closes(recur.cell) and not (gated and formula_of(recur.cell))
        )

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


def _agrees(d: Dynamics, gap: ModelCell, inputs: Inputs) -> bool:
    """Whether the formulas give s − F(s) as the model's step does, to rounding."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4, d.n, generator=generator, dtype=F64).to(d.device)
    s = d.vector(None) + noise * noise.new_tensor([[0.1], [1.0], [1.0], [10.0]])
    try:
        told = Field(lambda s: d.call(gap, s, inputs), d.direct)(s)
    except RnnlabError:
        raise
    except Exception:  # a model that cannot take some states: there is nothing to compare
        return True
    step = s - d.field(inputs)(s)
    size = 1 + s.abs().amax(dim=1, keepdim=True) + step.abs().amax(dim=1, keepdim=True)
    return not bool(((told - step).abs() > 1e-9 * size).any())
