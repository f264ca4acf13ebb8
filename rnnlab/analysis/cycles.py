"""Periodic orbits of a model at a constant input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from rnnlab.analysis.arguments import check_whole
from rnnlab.analysis.classify import completeness, kinds, spectra, summary
from rnnlab.analysis.dynamics import Dynamics, fed, to_numpy
from rnnlab.analysis.field import Field
from rnnlab.analysis.gap import Gaps
from rnnlab.analysis.hunt import hunt
from rnnlab.analysis.progress import Progress
from rnnlab.analysis.result import Result, Units, frame, unit_name
from rnnlab.analysis.search import measured


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Cycles(Result):
    """The orbits of one period at a constant input; made by `cycles`.

    Attributes:
        points: `(orbits, period, n)`, the states in the order in which they are visited.
        multipliers: `(orbits, n)` complex, the eigenvalues of ∂F^p/∂s along the orbit, the largest
            modulus first; per period. All moduli below 1: the orbit attracts.
        index: `(orbits,)`, the number of multipliers beyond 1.
        marginal: `(orbits,)`, whether a modulus cannot be told from 1; crossing: how, as in
            `FixedPoints`.
        residual: `(orbits,)`, the norm of what was brought to zero: s − F^p(s), gate-scaled.
        error_radius: `(orbits,)`, the true orbit passes within this distance of its first point.
        dimension: `(orbits,)`, 0 for an isolated orbit, else the dimension of the continuum that
            its points lie on.
        period: in steps.
        complete: whether Σ sign det(I − ∂F^p/∂s) = +1 over all solutions of F^p(s) = s, those of
            shorter period included; necessary, not sufficient. None where it does not apply.
        index_sum: that sum, or None.
        shorter: how many solutions had a shorter period (fixed points among them).
        starts, merged, rejected: as in `FixedPoints`.
        x: the input (empty if there are several).
        units: the name and position of each entry of a state.

    Example:
        >>> import torch, rnnlab as rl
        >>> cell = rl.RNNCell(1, 1)
        >>> with torch.no_grad(): _ = cell.weight_hh.fill_(-2.0)
        >>> found = cycles(cell, period=2)
        >>> found.points.round(6).ravel().tolist(), found.multipliers.real.round(7).tolist()
        ([-0.957504, 0.957504], [[0.0276797]])
    """

    axes: ClassVar[dict[str, tuple[str, ...]]] = {
        "points": ("orbit", "phase", "unit"),
        "multipliers": ("orbit", "mode"),
        "index": ("orbit",),
        "marginal": ("orbit",),
        "residual": ("orbit",),
        "error_radius": ("orbit",),
        "dimension": ("orbit",),
        "x": ("feature",),
    }
    measures: ClassVar[dict[str, str]] = {
        "points": "state units",
        "multipliers": "per period",
        "index": "",
        "marginal": "",
        "residual": "state units",
        "error_radius": "state units",
        "dimension": "",
        "x": "input units",
    }

    points: np.ndarray
    multipliers: np.ndarray
    index: np.ndarray
    marginal: np.ndarray
    crossing: tuple[str, ...]
    residual: np.ndarray
    error_radius: np.ndarray
    dimension: np.ndarray
    period: int
    complete: bool | None
    index_sum: int | None
    shorter: int
    starts: int
    merged: int
    rejected: dict[str, int]
    x: np.ndarray
    units: Units

    @property
    def stable(self) -> np.ndarray:
        """`(orbits,)`: no multiplier beyond 1 and none marginal."""
        return (self.index == 0) & ~self.marginal

    @property
    def kinds(self) -> tuple[str, ...]:
        """A word for each orbit."""
        return kinds(self.index, self.marginal, self.dimension)

    def to_pandas(self) -> Any:
        """A data frame with a row per orbit and phase."""
        orbits, period, _ = self.points.shape
        rows = {
            "orbit": np.repeat(np.arange(orbits), period),
            "phase": np.tile(np.arange(period), orbits),
            "kind": np.repeat(np.array(self.kinds, dtype=object), period),
            "index": np.repeat(self.index, period),
        }
        flat = self.points.reshape(orbits * period, len(self.units))
        rows |= {unit_name(unit): flat[:, k] for k, unit in enumerate(self.units)}
        return frame(rows).set_index(["orbit", "phase"])

    def _says(self) -> str:
        said = summary(self.kinds, f"{self.period}-cycle", len(self.units))
        return f"{said}; {completeness(self.complete, self.index_sum)}"


def cycles(
    model: Any,
    *,
    x: Any = None,
    period: int,
    starts: Any = None,
    radius: float | None = None,
    rounds: int = 12,
    seed: int = 0,
    progress: Progress = None,
) -> Cycles:
    r"""The orbits that a constant input closes after `period` steps: F^p(s) = s, and no sooner.

        r(s) = D(s)⁻¹ Σ_k (s_k − F(s_k)),   s_{k+1} = F(s_k),   s_0 = s

    D is 1 − z for the units of a GRU, 1 − f for the c of an LSTM, else 1: a closed gate makes no
    false orbits. The search is that of `fixed_points`; solutions on one orbit are one result.

    Args:
        model: a cell, Recur, Chain, adapted model or `as_cell(model)`.
        x: the constant input, in the shape of one step; zeros if left out.
        period: p, in steps; with 1 the fixed points are found as orbits of one point.
        starts: states to start from as well, `(M, S)` or a Trace; or how many starts a round has.
        radius: half the width of the box to search, for states without a known bound, as in
            `fixed_points`.
        rounds: the most rounds of starts.
        seed: of the starts.
        progress: None, True, False or a function of the share done: see `rnnlab.analysis.progress`.

    Returns:
        A `Cycles`; `failed` says what was left open.

    Raises:
        RnnlabError: a model without state, or a random one; a period below 1; x or starts of
            another shape.

    A trained network may hold its memories as 2-cycles and have no stable fixed point at all.

    Source: as `fixed_points`, applied to the p-th iterate.

    Example:
        >>> import torch, rnnlab as rl
        >>> cell = rl.RNNCell(1, 1)
        >>> with torch.no_grad(): _ = cell.weight_hh.fill_(-2.0)
        >>> cycles(cell, period=2)
        Cycles(1 2-cycle of 1 unit: 1 stable; complete (index sum +1))
    """
    owner = "cycles"
    d = Dynamics(model, owner)
    check_whole(owner, period=period, rounds=rounds)
    inputs = d.inputs(x)
    with d.untouched(inputs), d.telling(rounds, progress) as ticks:
        gaps, single = Gaps(d, inputs, period), Gaps(d, inputs)
        found = hunt(
            d,
            gaps,
            inputs,
            starts=starts,
            radius=radius,
            rounds=rounds,
            seed=seed,
            ticks=ticks,
        )
        for place, members in found.members:
            found.points[place] = members[int(_openness(_orbits(single, members, period)).argmax())]
        visited = _orbits(single, found.points, period)
        reach = _reach(gaps.residual, visited, found.radius)
        chosen, first, shorter = _distinct(to_numpy(visited), to_numpy(reach), period)
        points = torch.stack(
            [visited[k].roll(-phase, dims=0) for k, phase in zip(chosen, first, strict=True)]
            or [visited.new_zeros(period, d.n)]
        )[: len(chosen)]
        start = points[:, 0]
        radius_ = found.radius[chosen]
        eigen = spectra(gaps, start, radius_, found.degenerate[chosen])
        order = eigen.order(start)
        eigen = eigen.at(order)
        residual = gaps.residual(start).norm(dim=1)
    return Cycles(
        points=to_numpy(points)[order],
        multipliers=eigen.values,
        index=eigen.index,
        marginal=eigen.marginal,
        crossing=eigen.crossing,
        residual=to_numpy(residual)[order],
        error_radius=to_numpy(radius_)[order],
        dimension=to_numpy(found.dimension)[chosen][order],
        period=int(period),
        complete=found.complete,
        index_sum=found.index_sum,
        shorter=shorter,
        starts=found.search.starts,
        merged=found.search.merged,
        rejected=dict(found.search.rejected),
        x=fed(inputs),
        units=d.units,
        failed=tuple(found.failed),
    )


def _orbits(single: Gaps, s: Tensor, period: int) -> Tensor:
    """The states `(K, p, n)` that are visited from K states on."""
    rows = [s]
    for _ in range(period - 1):
        rows.append(rows[-1] - single.gap(rows[-1]))
    return torch.stack(rows, dim=1)


def _reach(residual: Field, visited: Tensor, radius: Tensor) -> Tensor:
    """The error radius `(K, p)` of every visited state: iterating adds to that of the first."""
    count, period, n = visited.shape
    if not count:
        return visited.new_zeros(0, period)
    at = measured(residual, visited.reshape(-1, n))
    found = torch.where(at.regular, at.radius, radius.repeat_interleave(period))
    return torch.maximum(found.reshape(count, period), radius.unsqueeze(1))


def _openness(visited: Tensor) -> Tensor:
    """How far each orbit stays from closing sooner."""
    period = visited.shape[1]
    sooner = [p for p in range(1, period) if period % p == 0]
    if not sooner:
        return torch.zeros(len(visited))
    return torch.stack([(visited[:, p] - visited[:, 0]).norm(dim=1) for p in sooner]).amin(dim=0)


def _distinct(
    visited: np.ndarray, reach: np.ndarray, period: int
) -> tuple[list[int], list[int], int]:
    """One solution of each orbit `(K, p, n)`, the phase at which to begin it, and how many
    solutions close sooner."""
    divisors = [p for p in range(1, period) if period % p == 0]
    chosen: list[int] = []
    first: list[int] = []
    shorter = 0
    for k, orbit in enumerate(visited):
        if any(np.linalg.norm(orbit[p] - orbit[0]) <= reach[k, p] + reach[k, 0] for p in divisors):
            shorter += 1
            continue
        known = (
            (np.linalg.norm(visited[j] - orbit[0], axis=1) <= reach[j] + reach[k, 0]).any()
            for j in chosen
        )
        if any(known):
            continue
        chosen.append(k)
        phases = (orbit.round(7) + 0.0).tolist()
        first.append(min(range(period), key=phases.__getitem__))
    return chosen, first, shorter
