"""Rounds of starts until nothing new is found and the index sum is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnlab.analysis.arguments import check_positive, check_seed, is_whole, numbers
from rnnlab.analysis.bounds import kept_box
from rnnlab.analysis.classify import index_sum
from rnnlab.analysis.continua import Continuum, continua
from rnnlab.analysis.dynamics import F64, Dynamics, Inputs
from rnnlab.analysis.gap import Gaps
from rnnlab.analysis.honest import cuts_autograd
from rnnlab.analysis.progress import Ticks
from rnnlab.analysis.search import Search
from rnnlab.cells.base import describe
from rnnlab.errors import RnnlabError
from rnnlab.trace import Trace

REACH = 2.0
"""Half the width of the box to search in, at least, for a state without a known bound."""


@dataclass
class Found:
    """What a search left."""

    points: Tensor
    radius: Tensor
    dimension: Tensor
    degenerate: Tensor
    members: list[tuple[int, Tensor]]
    """States on each continuum, by its place in `points`."""
    complete: bool | None
    index_sum: int | None
    search: Search
    failed: list[str]


def hunt(
    d: Dynamics,
    gaps: Gaps,
    inputs: Inputs,
    *,
    starts: Any,
    radius: float | None,
    rounds: int,
    seed: int,
    ticks: Ticks,
) -> Found:
    """Search for all zeros of `gaps.residual`."""
    count, given = _starts(d, starts)
    if radius is not None:
        check_positive(d.owner, radius=radius)
    seed = check_seed(d.owner, seed)
    lower, upper = kept_box(d, inputs)
    bounded = bool((torch.isfinite(lower) & torch.isfinite(upper)).all())
    visited, lost = _visited(d, inputs, lower, upper, seed)
    near, far = _box(lower, upper, visited, radius)
    margin = 10.0 if radius is None else 1.0
    search = Search(gaps.residual, lower, upper, near, far, margin, seed)
    failed = []
    if lost:
        failed.append("The model's state is not finite after the first step at this input.")
    elif cuts_autograd(d.field(inputs), _some(visited, first=d.vector(None))):
        failed.append(
            "The derivative that autograd gives is not that of the model's values: it is cut "
            "(.detach(), float(), .item(), .data) or replaced on the way. What rests on it, from "
            "the search to the eigenvalues, is not to be trusted; write the step in "
            "differentiable torch operations."
        )
    some = min(128, count)
    first = [given, visited[:: max(1, -(-len(visited) // some))]]
    quiet, total = 0, None
    for turn in range(rounds if not lost else 1):
        if turn == 0:
            fresh = torch.cat(
                [*first, search.around(torch.cat(first), count // 4), search.box(count)]
            )
        else:
            fresh = torch.cat([search.box(count // 2), search.relatives(count // 2)])
        quiet = 0 if search.add(fresh) else quiet + 1
        ticks.update(points=len(search.points))
        if quiet < 2:
            continue
        decidable = bounded and not len(search.flat)
        total = index_sum(gaps, search.points) if decidable else None
        if total in (None, 1):
            break
    if quiet < 2 and rounds > 1 and not lost:
        failed.append(
            f"New points were still being found after {search.starts:,} starts; more rounds may "
            "find more."
        )
    nowhere = search.rejected["not finite"] - int((~torch.isfinite(given).all(dim=1)).sum())
    if nowhere and not lost:
        failed.append(
            f"{nowhere:,} of {search.starts:,} starts ended where the model "
            "gives NaN or infinity: what lies there was not searched."
        )
    sets = continua(search)
    countable = bounded and not sets and not lost
    if countable:
        total = index_sum(gaps, search.points)
    complete = total == 1 if countable else None
    if complete is False:
        shown = f"{total:+d}".replace("-", "−")
        failed.append(
            f"The index sum is {shown} where +1 is certain: a point is missing, or the state "
            "leaves its bounds."
        )
    if search.broken is not None and not lost:
        shown = ", ".join(f"{v:.6g}" for v in search.broken[:4].tolist())
        failed.append(
            f"F(s) = s also where its derivative is not finite, as at s = ({shown}"
            f"{', …' if d.n > 4 else ''}): not among the points, for its stability cannot be told."
        )
    if sets and gaps.blind:
        failed.append(
            f"Of {', '.join(gaps.blind)} only s − F(s) is known, not what its gates make of it: a "
            "closed gate looks like a continuum there."
        )
    stuck = search.rejected["did not converge"]
    if 2 * stuck > search.starts and not complete:
        failed.append(
            f"{stuck:,} of {search.starts:,} starts did not converge: there may be points that "
            "were not found, or that cannot be, where F is not smooth or a gate is closed."
        )
    return _found(search, sets, complete, None if complete is None else total, failed)


def _found(
    search: Search,
    sets: list[Continuum],
    complete: bool | None,
    total: int | None,
    failed: list[str],
) -> Found:
    isolated = len(search.points)
    points = torch.cat([search.points, *(c.point.unsqueeze(0) for c in sets)])
    radius = torch.cat([search.radius, search.radius.new_tensor([c.radius for c in sets])])
    dimension = torch.tensor([0] * isolated + [c.dimension for c in sets], dtype=torch.long)
    degenerate = torch.tensor([False] * isolated + [True] * len(sets))
    members = [(isolated + k, c.members) for k, c in enumerate(sets) if c.dimension]
    return Found(points, radius, dimension, degenerate, members, complete, total, search, failed)


def _starts(d: Dynamics, starts: Any) -> tuple[int, Tensor]:
    """How many starts a round has, and those that were given."""
    count = next(many for most, many in _COUNTS if d.n <= most)
    none = torch.zeros(0, d.n, dtype=F64, device=d.device)
    if starts is None:
        return count, none
    if is_whole(starts):
        if starts < 1:
            raise RnnlabError(f"{d.owner}: starts must be at least 1, got {starts}.")
        return int(starts), none
    if isinstance(starts, Trace):
        trace = starts
        missing = [name for name in d.cell.names if name not in trace]
        if missing:
            raise RnnlabError(f"{d.owner}: the trace of starts has no state {missing[0]!r}.")
        states = {name: numbers(d.owner, name, trace[name]) for name in d.cell.names}
        given = d.cell.flat(states).reshape(-1, d.n)
    else:
        given = torch.atleast_2d(numbers(d.owner, "starts", starts))
    if given.dim() != 2 or given.shape[1] != d.n:
        raise RnnlabError(
            f"{d.owner}: starts must be states (M, {d.n}), a Trace, or how many to draw; "
            f"got {describe(given)}."
        )
    return count, given.to(d.device, F64)


_COUNTS = ((16, 768), (64, 256), (200, 96), (10**9, 32))
"""Starts a round, by the size of the state up to which they hold."""


def _visited(
    d: Dynamics, inputs: Inputs, lower: Tensor, upper: Tensor, seed: int
) -> tuple[Tensor, bool]:
    """States on trajectories from the initial state and from random ones."""
    generator = torch.Generator().manual_seed(seed + 1)
    noise = torch.randn(15, d.n, generator=generator, dtype=F64).to(d.device)
    first = d.vector(None).unsqueeze(0)
    s = torch.cat([first, (first + noise).clamp(lower, upper)])
    field, rows = d.field(inputs), []
    lost = False
    for step in range(60):
        s = field(s)
        s = s[torch.isfinite(s).all(dim=1) & (s.abs().amax(dim=1) < 1e6)]
        if not len(s):
            lost = step == 0
            break
        rows.append(s)
    return (torch.cat(rows) if rows else s), lost


def _some(visited: Tensor, first: Tensor) -> Tensor:
    """A few states to try something at: the initial one and some on trajectories, all moved."""
    rows = torch.cat([first.unsqueeze(0), visited[:: max(1, len(visited) // 3)][:3]])
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(rows.shape, generator=generator, dtype=F64).to(rows.device)
    return rows + 0.1 * noise


def _box(
    lower: Tensor, upper: Tensor, visited: Tensor, radius: float | None
) -> tuple[Tensor, Tensor]:
    """The finite box to draw starts from."""
    reach = torch.full_like(upper, REACH)
    if len(visited):
        reach = torch.maximum(reach, 2 * visited.abs().quantile(0.9, dim=0))
    if radius is not None:
        open_ = ~(torch.isfinite(lower) & torch.isfinite(upper))
        reach = torch.where(open_, torch.full_like(reach, float(radius)), reach)
    wide = (upper - lower) > 10 * reach
    return (
        torch.where(wide, torch.maximum(lower, -reach), lower),
        torch.where(wide, torch.minimum(upper, reach), upper),
    )
