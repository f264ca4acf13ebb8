"""Connected sets of zeros: lines, rings and planes, and single degenerate points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnlab.analysis.field import Field
from rnnlab.analysis.search import ACCEPT, SPREAD, Search, measured, polish, singular_values


@dataclass
class Continuum:
    """A connected set of zeros, or one degenerate zero (dimension 0)."""

    members: Tensor
    dimension: int
    point: Tensor
    radius: float


def continua(search: Search) -> list[Continuum]:
    """Sort the states with a singular Jacobian into connected sets; takes in isolated points that
    a set reaches (the end of a half-line)."""
    flat = search.flat
    if not len(flat):
        return []
    group = _components(flat, lambda a, b: _joined(search.residual, a, b))
    found = []
    for g in sorted(set(group)):
        members = flat[torch.tensor([k for k, other in enumerate(group) if other == g])]
        distance = (members - members.mean(dim=0)).norm(dim=1)
        point = members[int(distance.argmin())]
        spread = float((members - point).norm(dim=1).max())
        at = measured(search.residual, point.unsqueeze(0))
        error = float(torch.maximum(at.norm, at.rounding))
        if spread <= SPREAD * (1 + float(members.abs().max())):
            radius = max(spread, (ACCEPT * error) ** (1 / 3))
            found.append(Continuum(point.unsqueeze(0), 0, point, radius))
            continue
        _absorb(search, members)
        values = singular_values(search.residual.jacobian(members))
        null = (values <= 1e-6 * values[:, :1].clamp(min=1.0)).sum(dim=1)
        dimension = int(torch.minimum(null, _local_dimensions(members)).max())
        slopes = values[int(distance.argmin())]
        steep = slopes[slopes > 1e-6]
        radius = 2 * error / float(steep.min()) if len(steep) else 2 * error
        found.append(Continuum(members, max(dimension, 1), point, radius))
    return sorted(found, key=lambda c: (-c.dimension, -len(c.members)))


def _components(rows: Tensor, joined: Callable[[Tensor, Tensor], Tensor]) -> list[int]:
    """Which rows hang together: each is tried with its nearest neighbours."""
    parent = list(range(len(rows)))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    def tried(pairs: list[tuple[int, int]]) -> int:
        """Join the pairs that hang together; how many did."""
        pairs = [(a, b) for a, b in pairs if root(a) != root(b)]
        if not pairs:
            return 0
        left, right = (torch.tensor(side) for side in zip(*pairs, strict=True))
        yes = joined(rows[left], rows[right]).tolist()
        for (a, b), hang in zip(pairs, yes, strict=True):
            if hang:
                parent[root(a)] = root(b)
        return sum(yes)

    distance = torch.cdist(rows, rows)
    nearest = distance.argsort(dim=1)[:, 1 : 2 * rows.shape[1] + 3]
    for rank in range(nearest.shape[1]):
        tried([(a, int(nearest[a, rank])) for a in range(len(rows))])
    while True:  # each group with what is nearest to it outside
        group = torch.tensor([root(k) for k in range(len(rows))], device=rows.device)
        apart = torch.where(group.unsqueeze(0) == group.unsqueeze(1), float("inf"), distance)
        pairs = []
        for g in group.unique().tolist():
            inside = (group == g).nonzero().flatten()
            place = int(apart[inside].argmin())
            pair = int(inside[place // len(rows)]), place % len(rows)
            pairs += [pair] if bool(torch.isfinite(apart[pair])) else []
        if not tried(pairs):
            break
    return [root(k) for k in range(len(rows))]


def _joined(residual: Field, a: Tensor, b: Tensor) -> Tensor:
    """Whether zeros lie close to three places between each a and its b."""
    yes = torch.ones(len(a), dtype=torch.bool, device=a.device)
    distance = (a - b).norm(dim=1)
    near = distance <= SPREAD * (1 + a.abs().amax(dim=1)) / 10
    for share in (0.5, 0.2, 0.8):
        between = a + share * (b - a)
        found = polish(residual, between.clone(), steps=20)
        if found.lost:
            return near
        moved = (found.s - between).norm(dim=1)
        yes &= (found.norm <= ACCEPT * found.rounding) & (moved <= 0.15 * distance)
    return yes | near


def _absorb(search: Search, members: Tensor) -> None:
    """Drop isolated points that lie at the edge of the set."""
    if not len(search.points):
        return
    distance = torch.cdist(search.points, members)
    nearest = members[distance.argmin(dim=1)]
    inside = torch.ones(len(search.points), dtype=torch.bool, device=members.device)
    for share in (0.5, 0.05, 0.005):
        between = search.points + share * (nearest - search.points)
        at = measured(search.residual, between)
        inside &= (at.norm <= ACCEPT * at.rounding) & ~at.regular
    search.merged += int(inside.sum())
    search.points, search.radius = search.points[~inside], search.radius[~inside]


def _local_dimensions(members: Tensor) -> Tensor:
    """The number of directions that the neighbours of each member spread in."""
    count = min(len(members), 3 * members.shape[1] + 3)
    nearest = torch.cdist(members, members).argsort(dim=1)[:, :count]
    near = members[nearest]
    values = torch.linalg.svdvals(near - near.mean(dim=1, keepdim=True))
    return (values > 0.1 * values[:, :1]).sum(dim=1)
