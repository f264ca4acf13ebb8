"""The flow of a model, its fixed points and their basins at one input, in a plane that stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnlab.analysis import Basins, FixedPoints, Plane, basins, fixed_points, flow
from rnnlab.analysis.bounds import kept_box
from rnnlab.analysis.classify import index_sum, kinds, spectra
from rnnlab.analysis.dynamics import Dynamics, to_numpy
from rnnlab.analysis.gap import Gaps
from rnnlab.analysis.search import Search
from rnnlab.widgets.work import Job, Message

GRID = 16
"""Arrows along each side."""
LITTLE = 16
"""States of up to so many numbers are searched everywhere without being asked to: it is quick."""
PLACES, FEWER = 64, 40
"""Places along each side whose end is sought: of little states, and of larger ones."""
MARGIN, WIDEST = 1.2, 4.0
"""The window reaches so much farther than the run does, and at the most, where points lie there."""
LISTED = 100
"""So many points are told to the page."""
SETTLE = 80
"""Steps that states of the plane are let run to come near attractors."""


class Portrait:
    """What is drawn in one plane: it keeps its axes, and the points found so far.

    `fitted` is what `insight.plane` gave. The window onto the plane only ever grows, so that
    nothing jumps while an input is changed.
    """

    def __init__(self, fitted: Message) -> None:
        self.name: str = fitted["name"]
        self._mean = np.asarray(fitted["mean"], float)
        self._axes = np.asarray(fitted["axes"], float)
        self._reach = np.asarray(fitted["reach"], float)
        self._window = MARGIN * self._reach
        self._known: np.ndarray | None = None
        """Points found before, wherever the model lies."""

    def draw(
        self,
        job: Job,
        model: Any,
        x: Tensor,
        state: np.ndarray,
        *,
        thorough: bool = False,
        shaded: bool = False,
    ) -> None:
        """Tell the page the flow, then the points that are quickly found, then all, then basins.

        All points are told of a little state, of others if `thorough`; basins if `shaded`.
        """
        d = Dynamics(model, "flow")
        everywhere = thorough or d.n <= LITTLE
        where = self._plane(d, state)
        job.part(*self._flow(model, where, x, state))
        found = self._near(job, d, where, x)
        self._tell(job, d, where, found)
        if everywhere:
            found = self._everywhere(job, model, x)
            self._tell(job, d, where, found)
        if self._grow(where.place(found["points"])):
            where = self._plane(d, state)
            job.part(*self._flow(model, where, x, state))
        for _ in range(2 if shaded else 0):  # what places run to may lie beyond the window
            grid = PLACES if d.n <= LITTLE else FEWER
            ends = basins(model, where, x=x, state=state, grid=grid, progress=job.tell)
            if self._learn(ends, found):
                found = (
                    self._everywhere(job, model, x) if everywhere else self._near(job, d, where, x)
                )
            orbits = self._orbits(d, where, x, ends)
            self._tell(job, d, where, found, ends)
            job.part(*self._basins(ends, orbits))
            places = [where.place(found["points"]), *orbits]
            if not self._grow(np.concatenate(places)):
                break
            where = self._plane(d, state)
            job.part(*self._flow(model, where, x, state))

    def _everywhere(self, job: Job, model: Any, x: Tensor) -> Message:
        """All points, as far as a search of the whole invariant set finds them."""
        known = self._known if self._known is not None and len(self._known) else None
        every = fixed_points(model, x=x, starts=known, progress=job.tell)
        self._known = np.array(every.points)
        return _described(every)

    def _learn(self, ends: Basins, found: Message) -> bool:
        """Whether places of the plane run to points that no search has found: starts, next time."""
        missed = ends.attractors[(ends.period == 1) & ~_same(ends, found).any(axis=1)]
        continuous = len(ends.attractors) > LISTED or found["dimension"].any()
        if continuous or not len(missed):
            return False
        known = [] if self._known is None else [self._known]
        self._known = np.concatenate([*known, missed])
        return True

    def _plane(self, d: Dynamics, state: np.ndarray) -> Plane:
        """The plane among all states: what it does not span is held at `state`."""
        origin = state.copy()
        axes = np.zeros((2, d.n))
        columns = d.cell.slices[self.name] if self.name else slice(0, d.n)
        origin[columns] = self._mean
        axes[:, columns] = self._axes
        a, b = self._window
        return Plane(origin, axes, ("PC 1", "PC 2"), ((-a, a), (-b, b)))

    def _flow(self, model: Any, where: Plane, x: Tensor, state: np.ndarray) -> tuple[Any, ...]:
        found = flow(model, where, x=x, state=state, grid=GRID)
        arrays = [found.velocity, found.speed, found.out_of_plane]
        table = np.concatenate([array.astype("<f4").ravel() for array in arrays])
        told = {
            "grid": GRID,
            "window": self._window.tolist(),
            "x": np.atleast_1d(np.asarray(x, float)).ravel().tolist(),
            "failed": found.failed,
        }
        return "flow", told, [table]

    def _orbits(self, d: Dynamics, where: Plane, x: Tensor, ends: Basins) -> list[np.ndarray]:
        """Where in the plane each attractor is: a place for each step of its period."""
        inputs, places = d.inputs(x), []
        with d.untouched(inputs):
            field = d.field(inputs)
            for period, end in zip(ends.period[:LISTED], ends.attractors[:LISTED], strict=True):
                orbit = [torch.tensor(end, device=d.device).unsqueeze(0)]
                for _ in range(int(period) - 1):
                    orbit.append(field(orbit[-1]))
                places.append(where.place(to_numpy(torch.cat(orbit))))
        return places

    def _basins(self, ends: Basins, orbits: list[np.ndarray]) -> tuple[Any, ...]:
        """Where each place of the window ends."""
        told = {
            "grid": len(ends.b),
            "window": self._window.tolist(),
            "attractors": [
                {"period": int(period), "share": float(share), "at": at.tolist()}
                for period, share, at in zip(ends.period, ends.share, orbits, strict=False)
            ],
            "count": len(ends.share),
            "failed": ends.failed,
        }
        return "basins", told, [ends.label.astype("<f4").ravel()]

    def _near(self, job: Job, d: Dynamics, where: Plane, x: Tensor) -> Message:
        """The points that known ones and the states of the plane lead to."""
        inputs = d.inputs(x)
        with d.untouched(inputs), d.telling(1, lambda _: job.check()):
            gaps = Gaps(d, inputs)
            lower, upper = kept_box(d, inputs)
            reach = torch.as_tensor(2 + 2 * np.abs(where.origin)).to(d.device)
            low, high = torch.maximum(lower, -reach), torch.minimum(upper, reach)
            search = Search(gaps.residual, lower, upper, low, high, 10.0, 0)
            a, b = where.grid(6)
            s = where.states(np.stack(np.meshgrid(a, b), axis=-1).reshape(-1, 2))
            begun = torch.as_tensor(s).to(d.device)
            settled, field = begun, d.field(inputs)
            for _ in range(SETTLE):
                settled = field(settled)
            settled = torch.unique(settled.round(decimals=6), dim=0)  # most end at the same few
            starts = [settled, begun[::5]]
            if self._known is not None:
                known = torch.as_tensor(self._known).to(d.device)
                starts += [known] * 3  # one for each way of `Search.add`
            starts = torch.cat(starts)
            bounded = bool((torch.isfinite(lower) & torch.isfinite(upper)).all())
            search.add(starts[torch.isfinite(starts).all(dim=1)])
            if not bounded or index_sum(gaps, search.points) != 1:
                search.add(search.relatives(36))
            points, radius = search.points, search.radius
            eigen = spectra(gaps, points, radius, torch.zeros(len(points), dtype=torch.bool))
            order = eigen.order(points)
            points, radius, eigen = points[order], radius[order], eigen.at(order)
            total = index_sum(gaps, points) if bounded and not len(search.flat) else None
            self._known = to_numpy(points)
            return {
                "points": self._known,
                "eigenvalues": eigen.values,
                "index": eigen.index,
                "marginal": eigen.marginal,
                "residual": to_numpy(gaps.residual(points).norm(dim=1)),
                "radius": to_numpy(radius),
                "dimension": np.zeros(len(points), int),
                "complete": None if total is None else total == 1,
                "index_sum": total,
                "starts": search.starts,
                "rejected": dict(search.rejected),
                "failed": (),
                "thorough": False,
            }

    def _tell(
        self, job: Job, d: Dynamics, where: Plane, found: Message, ends: Basins | None = None
    ) -> None:
        places = where.place(found["points"])
        away = np.linalg.norm(found["points"] - where.states(places), axis=1)
        attractor = np.full(len(places), -1)
        if ends is not None and len(ends.attractors):
            same = _same(ends, found)[:LISTED]
            attractor = np.where(same.any(axis=0), same.argmax(axis=0), -1)
        names = kinds(found["index"], found["marginal"], found["dimension"])
        listed = [
            {
                "at": place.tolist(),
                "kind": "saddle" if kind == "unstable" and index < d.n else kind,
                "index": int(index),
                "residual": float(residual),
                "radius": float(radius),
                "away": float(distance),
                "attractor": int(number),
                **_slowest(eigenvalues),
            }
            for place, distance, kind, index, residual, radius, number, eigenvalues in zip(
                places[:LISTED],
                away,
                names,
                found["index"],
                found["residual"],
                found["radius"],
                attractor,
                found["eigenvalues"],
                strict=False,
            )
        ]
        kept = ("complete", "index_sum", "starts", "rejected", "failed", "thorough")
        told = {key: found[key] for key in kept}
        job.part("points", {"listed": listed, "count": len(places), "units": d.n, **told})

    def _grow(self, places: np.ndarray) -> bool:
        """Widen the window to hold these places, within bounds; whether that changed it."""
        near = places[(np.abs(places) <= WIDEST * self._reach.max()).all(axis=1)]
        wanted = np.maximum(self._window, 1.1 * np.abs(near).max(axis=0, initial=0.0))
        changed = bool((wanted > 1.001 * self._window).any())
        self._window = wanted
        return changed


def _described(found: FixedPoints) -> Message:
    return {
        "points": found.points,
        "eigenvalues": found.eigenvalues,
        "index": found.index,
        "marginal": found.marginal,
        "residual": found.residual,
        "radius": found.error_radius,
        "dimension": found.dimension,
        "complete": found.complete,
        "index_sum": found.index_sum,
        "starts": found.starts,
        "rejected": found.rejected,
        "failed": found.failed,
        "thorough": True,
    }


def _same(ends: Basins, found: Message) -> np.ndarray:
    """Which attractor is which fixed point, `(attractors, points)`."""
    points = np.asarray(found["points"])
    apart = np.linalg.norm(ends.attractors[:, None] - points, axis=2)
    reach = np.asarray(found["radius"]) + 1e-5 * (1 + np.linalg.norm(points, axis=1))
    return (apart <= reach) & (ends.period == 1)[:, None]


def _slowest(eigenvalues: np.ndarray) -> dict[str, Any]:
    """The mode that is nearest to standing still: its time constant, and whether it grows."""
    size = np.abs(eigenvalues)
    size = size[np.isfinite(size) & (size > 0)]
    if not len(size):
        return {"tau": None, "grows": False}
    rate = np.log(size)
    slowest = rate[np.abs(rate).argmin()]
    tau = None if slowest == 0 else float(1 / abs(slowest))
    return {"tau": tau, "grows": bool(slowest > 0)}
