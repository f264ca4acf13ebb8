"""Whether the derivative that autograd gives of a model is that of its values, and on all sides."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnlab.analysis.field import Field

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


def kinks(field: Field, points: Tensor) -> Tensor:
    """Whether F has another slope on one side than on the other, at each of the points `(K, n)`.

    Seen in four random directions, if the difference of the two slopes does not shrink with the
    step: that of a curve does.

    Example:
        >>> zero = torch.zeros(1, 2, dtype=torch.float64)
        >>> kinks(Field(torch.relu), zero), kinks(Field(torch.relu), zero + 1)
        (tensor([True]), tensor([False]))
    """
    generator = torch.Generator().manual_seed(0)
    found = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    if not len(points):
        return found
    at = field(points)
    scale = _STEP * (1 + points.norm(dim=1, keepdim=True))
    for _ in range(4):
        u = torch.randn(points.shape, generator=generator, dtype=points.dtype).to(points.device)
        u = u / u.norm(dim=1, keepdim=True)
        bends, size = [], torch.zeros_like(scale)
        for e in (scale, scale / 10):
            right, left = (field(points + e * u) - at) / e, (at - field(points - e * u)) / e
            bends.append((right - left).norm(dim=1, keepdim=True))
            size = torch.maximum(right.norm(dim=1, keepdim=True), left.norm(dim=1, keepdim=True))
        found |= ((bends[1] > 0.5 * bends[0]) & (bends[1] > _APART * size + 1e-6)).squeeze(1)
    return found
