"""Whether the derivative that autograd gives of a model is that of its values."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnlab.analysis.dynamics import Field

_STEP = 1e-5
_APART = 1e-2


def cuts_autograd(field: Field, rows: Tensor) -> bool:
    """Whether J u differs from (F(s + εu) − F(s − εu)) / 2ε at one of the states `(B, n)`.

    u is a random direction at each state. Where two quotients, of ε and ε/10, are not the same (a
    kink, a slope steeper than 1/ε), or something is not finite, nothing is said.

    Example:
        >>> s = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(4, 2)
        >>> cuts_autograd(Field(torch.tanh), s)
        False
        >>> cuts_autograd(Field(lambda h: torch.tanh(h.detach()) + 0 * h), s)
        True
    """
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(rows.shape, generator=generator, dtype=rows.dtype).to(rows.device)
    u = u / u.norm(dim=1, keepdim=True)
    wide, narrow = (
        (field(rows + e * u) - field(rows - e * u)) / (2 * e) for e in (_STEP, _STEP / 10)
    )
    slope = (field.jacobian(rows) @ u.unsqueeze(-1)).squeeze(-1)
    size = torch.maximum(wide.abs(), slope.abs())
    # the quotients carry the rounding of F divided by ε
    slack = _APART * size + 1e-8 * (1 + rows.norm(dim=1, keepdim=True)) + 1e-8 * field(rows).abs()
    sure = (wide - narrow).abs() < 0.1 * slack
    return bool((sure & ((wide - slope).abs() > slack)).any())
