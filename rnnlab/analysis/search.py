"""The zeros of a residual: descent from many starts, damped Newton, merging by error."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from rnnlab.analysis.field import Field

EPS = float(torch.finfo(torch.float64).eps)
ACCEPT = 32.0
"""A residual of at most so many roundings is zero."""
FLAT = 400
"""How many states with a singular Jacobian are kept to find a continuum from."""
SPREAD = 1e-2
"""States with a singular Jacobian that lie closer together than this are one degenerate point."""


@dataclass
class Search:
    """What to look for and where.

    `lower` and `upper` bound the invariant set (infinite where there is none); `near` and `far`
    bound the finite box that starts are drawn from; where there is no invariant set, zeros farther
    than `margin` such boxes from its middle are not wanted.
    """

    residual: Field
    lower: Tensor
    upper: Tensor
    near: Tensor
    far: Tensor
    margin: float
    seed: int

    def __post_init__(self) -> None:
        self.n = len(self.lower)
        # an LSTM's c may reach 10⁶ where its h reaches 1: then also searched in units of the bounds
        wide = torch.isfinite(self.upper) & (self.upper > 10)
        self.unit = unit = torch.where(wide, self.upper, torch.ones_like(self.upper))
        r = self.residual
        self.scaled = Field(lambda u: r.fn(u * unit) / unit, r.direct, r.beat)
        self.generator = torch.Generator().manual_seed(self.seed)
        engine = torch.quasirandom.SobolEngine
        self.sobol = engine(self.n, scramble=True, seed=self.seed) if self.n <= 20_000 else None
        self.points = torch.zeros(0, self.n, dtype=torch.float64, device=self.lower.device)
        self.radius = torch.zeros(0, dtype=torch.float64, device=self.lower.device)
        self.flat = self.points
        self.broken: Tensor | None = None
        self.starts = self.merged = 0
        reasons: list[str] = ["not finite", "did not converge", "outside the invariant set"]
        reasons.append("outside the searched box")
        self.rejected = dict.fromkeys(reasons, 0)

    # starts

    def uniform(self, *shape: int) -> Tensor:
        value = torch.rand(*shape, generator=self.generator, dtype=torch.float64)
        return value.to(self.lower.device)

    def normal(self, *shape: int) -> Tensor:
        value = torch.randn(*shape, generator=self.generator, dtype=torch.float64)
        return value.to(self.lower.device)

    def box(self, count: int) -> Tensor:
        """Starts that fill the box evenly."""
        if self.sobol is None:
            rows = self.uniform(count, self.n)
        else:
            rows = self.sobol.draw(count, dtype=torch.float64).to(self.lower.device)
        return self.near + rows * (self.far - self.near)

    def around(self, rows: Tensor, count: int) -> Tensor:
        """Starts at a small and at a large distance from given states."""
        if not len(rows):
            return rows
        chosen = rows[self._pick(len(rows), count)]
        size = 10.0 ** (-3 + 3 * self.uniform(count, 1))
        return chosen + size * self.normal(count, self.n) * (self.far - self.near) / 4

    def _pick(self, high: int, count: int) -> Tensor:
        """Positions drawn with repetition."""
        return (self.uniform(count) * high).long().clamp(max=high - 1)

    def relatives(self, count: int) -> Tensor:
        """Mirror images, midpoints and recombinations of what was found, and its surroundings."""
        known = torch.cat([self.points, self.flat[:20]])
        if not len(known):
            return known
        a, b = known[self._pick(len(known), count)], known[self._pick(len(known), count)]
        flips = torch.where(self.uniform(count, self.n) < 0.5, -1.0, 1.0)
        mixed = torch.where(self.uniform(count, self.n) < 0.5, a, b)
        kinds = [-a, a * flips, (a + b) / 2, mixed, a + (b - a) * 2 * self.uniform(count, 1)]
        share = count // (len(kinds) + 1)
        return torch.cat([*(kind[:share] for kind in kinds), self.around(known, share)])

    # one round

    def add(self, starts: Tensor) -> int:
        """Search from these starts; returns how many points are new."""
        self.starts += len(starts)
        bounded = torch.isfinite(self.lower) & torch.isfinite(self.upper)
        inside = starts.clamp(self.lower, self.upper)
        starts = torch.where(bounded, inside, starts)
        # a third as they are, a third after Newton steps, a third at s − r(s): c = i∘g/(1 − f)
        plain, jumped, settled = (starts[k::3] for k in range(3))
        jumped = leap(self.residual, jumped, self.near, self.far)
        settled = settled - self.residual(settled)
        if bool((self.unit == 1).all()):
            near = descend(self.residual, torch.cat([plain, jumped, settled]))
        else:
            in_units = descend(self.scaled, settled / self.unit) * self.unit
            near = torch.cat([descend(self.residual, torch.cat([plain, jumped])), in_units])
        found = polish(self.residual, near)
        self.rejected["not finite"] += int(found.lost)
        good = found.norm <= ACCEPT * found.rounding
        self.rejected["did not converge"] += int((~good).sum())
        self._note_broken(found.at(~good))
        found = found.at(good)
        slack = 1e-9 + torch.where(found.regular, found.radius, 0.0).unsqueeze(1)
        outside = ((found.s < self.lower - slack) | (found.s > self.upper + slack)).any(dim=1)
        self.rejected["outside the invariant set"] += int(outside.sum())
        found = found.at(~outside)
        middle, half = (self.near + self.far) / 2, (self.far - self.near) / 2
        half = torch.where(bounded, float("inf"), self.margin * half)
        away = ((found.s - middle).abs() > half + 1e-9).any(dim=1)
        self.rejected["outside the searched box"] += int(away.sum())
        found = found.at(~away)
        self._keep_flat(found.at(~found.regular))
        return self._merge(found.at(found.regular))

    def _note_broken(self, found: Batch) -> None:
        """Note a state that F leaves where it is but where its slope is not finite."""
        if self.broken is None and bool((odd := ~torch.isfinite(found.norm)).any()):
            s = found.s[odd]
            fixed = self.residual(s).norm(dim=1) <= ACCEPT * EPS * (1 + s.norm(dim=1))
            self.broken = s[fixed][0] if bool(fixed.any()) else None

    def _keep_flat(self, found: Batch) -> None:
        """Keep states with a singular Jacobian, none too close to another."""
        for k in torch.argsort(found.norm).tolist():
            s = found.s[k]
            apart = SPREAD / 10 * (1 + float(s.abs().max()))
            if len(self.flat) < FLAT and not bool(((self.flat - s).norm(dim=1) <= apart).any()):
                self.flat = torch.cat([self.flat, s.unsqueeze(0)])
            else:
                self.merged += 1

    def _merge(self, found: Batch) -> int:
        """Keep what is farther from everything kept than both error radii together."""
        before = len(self.points)
        order = torch.argsort(found.norm)
        points, radii = list(self.points), list(self.radius)
        table = np.zeros((len(points) + len(order), self.n))
        reach = np.zeros(len(table))
        count = len(points)
        table[:count], reach[:count] = self.points.cpu().numpy(), self.radius.cpu().numpy()
        rows, sizes = found.s.cpu().numpy(), found.radius.cpu().numpy()
        for k in order.tolist():
            distance = np.sqrt(((table[:count] - rows[k]) ** 2).sum(axis=1))
            if (distance <= reach[:count] + sizes[k]).any():
                self.merged += 1
                continue
            table[count], reach[count] = rows[k], sizes[k]
            points.append(found.s[k])
            radii.append(found.radius[k])
            count += 1
        if count > before:
            self.points, self.radius = torch.stack(points), torch.stack(radii)
        return count - before


@dataclass
class Batch:
    """States, with what is known about the residual there."""

    s: Tensor
    norm: Tensor
    rounding: Tensor
    radius: Tensor
    regular: Tensor
    lost: int = field(default=0)

    def at(self, chosen: Tensor) -> Batch:
        return Batch(
            self.s[chosen],
            self.norm[chosen],
            self.rounding[chosen],
            self.radius[chosen],
            self.regular[chosen],
        )


def leap(residual: Field, s: Tensor, near: Tensor, far: Tensor, steps: int = 8) -> Tensor:
    """Newton steps that need not descend, of at most a quarter of the box each: they reach saddles
    that descent walks around."""
    limit = (far - near).norm() / 4
    for _ in range(steps):
        if not len(s):
            break
        r, J = residual.both(s)
        step, _ = torch.linalg.solve_ex(J, r)
        size = step.norm(dim=1, keepdim=True)
        new = s - step * (limit / size.clamp(min=limit))
        s = torch.where(torch.isfinite(new).all(dim=1, keepdim=True), new, s)
    return s


def descend(residual: Field, s: Tensor, steps: int = 60) -> Tensor:
    """Levenberg–Marquardt on ½‖residual‖²: descent far away, Newton's method close by."""
    done = s.clone()
    where = torch.arange(len(s), device=s.device)
    r, J = residual.both(s)
    damping = s.new_full((len(s),), 1e-2)
    eye = torch.eye(s.shape[1], dtype=s.dtype, device=s.device)
    stalled = torch.zeros(len(s), device=s.device)
    for _ in range(steps):
        keep = torch.isfinite(r).all(dim=1) & (r.norm(dim=1) > 1e-9) & (stalled < 8)
        done[where] = s
        s, r, J, damping, where, stalled = (v[keep] for v in (s, r, J, damping, where, stalled))
        if not len(s):
            break
        normal = J.mT @ J
        scale = normal.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-300)
        factor, bad = torch.linalg.cholesky_ex(normal + (damping * scale).view(-1, 1, 1) * eye)
        step = torch.cholesky_solve((J.mT @ r.unsqueeze(-1)), factor).squeeze(-1)
        new = s - step
        after, slopes = residual.both(new)
        before, now = r.norm(dim=1), after.norm(dim=1)
        better = (bad == 0) & torch.isfinite(after).all(dim=1) & (now < before)
        stalled = torch.where(better & (now < 0.999 * before), 0.0, stalled + 1)
        s = torch.where(better.unsqueeze(1), new, s)
        r = torch.where(better.unsqueeze(1), after, r)
        J = torch.where(better.view(-1, 1, 1), slopes, J)
        damping = torch.where(better, damping / 8, damping * 4).clamp(1e-15, 1e8)
    done[where] = s
    return done


def polish(residual: Field, s: Tensor, steps: int = 40) -> Batch:
    """Damped Newton to rounding; the best state of each row, with its error radius.

    A row whose Jacobian is singular to rounding takes the shortest step instead.
    """
    best = s.clone()
    norm = residual(s).norm(dim=1)
    where = torch.arange(len(s), device=s.device)[norm < 1e-3 * (1 + s.norm(dim=1))]
    idle = torch.zeros(len(s), device=s.device)
    for _ in range(steps):
        if not len(where):
            break
        now = best[where]
        r, J = residual.both(now)
        step = shortest(J, r)
        weight = row_weight(J, now)
        least = (weight * r).norm(dim=1)
        gain = torch.zeros(len(where), dtype=torch.bool, device=s.device)
        for damp in (1.0, 0.25):
            new = now - damp * step
            size = (weight * residual(new)).norm(dim=1)
            better = (size < least) & ~gain
            best[where[better]], least = new[better], torch.where(better, size, least)
            gain |= better
            if bool(gain.all()):
                break
        idle[where] = torch.where(gain, 0.0, idle[where] + 1)
        where = where[(idle[where] < 2) & (least > 0)]
    finite = torch.isfinite(best).all(dim=1) & torch.isfinite(norm)
    best, lost = best[finite], int((~finite).sum())
    return measured(residual, best, lost)


def measured(residual: Field, s: Tensor, lost: int = 0) -> Batch:
    """The residual, its rounding, and the error radius at each state.

    Each entry is measured in units of max(1, |s|) and each row divided by 1 + the norm of its
    gradient, so that its rounding is about ε. By Newton and Kantorovich a zero then lies within
    2‖J⁻¹‖·‖r‖ if ‖J⁻¹‖²·‖r‖·K ≤ ½; K, the Lipschitz constant of J, is taken as 1 and ‖r‖ as at
    least its rounding. States for which this fails at rounding are not `regular`.
    """
    r, J = residual.both(s)
    unit = s.abs().clamp(min=1.0)
    weight = row_weight(J, s)
    norm = (weight * r).norm(dim=1)
    least = singular_values(weight.unsqueeze(2) * J * unit.unsqueeze(1))[:, -1]
    rounding = torch.full_like(norm, 4 * EPS * s.shape[1] ** 0.5)
    sure = torch.maximum(norm, rounding)
    radius = 2 * sure / least.clamp(min=1e-300) * unit.amax(dim=1)
    regular = least**2 >= 2 * ACCEPT * rounding
    return Batch(s, norm, rounding, radius, regular, lost)


def row_weight(J: Tensor, s: Tensor) -> Tensor:
    """What makes the rounding of every entry of the residual about ε."""
    return 1 / (1 + (J * s.abs().clamp(min=1.0).unsqueeze(1)).norm(dim=2))


def singular_values(J: Tensor) -> Tensor:
    """Of every matrix, largest first; NaN where it is not finite."""
    if not len(J):
        return J.new_zeros(0, J.shape[-1])
    finite = torch.isfinite(J).all(dim=2).all(dim=1)
    values = torch.linalg.svdvals(torch.where(finite.view(-1, 1, 1), J, 0.0))
    return torch.where(finite.unsqueeze(1), values, float("nan"))


def shortest(J: Tensor, r: Tensor) -> Tensor:
    """Solve J step = r; where J is singular to rounding, the shortest step that does best."""
    step, info = torch.linalg.solve_ex(J, r)
    size = r.norm(dim=1)
    poor = (info != 0) | ~torch.isfinite(step).all(dim=1)
    poor |= step.norm(dim=1) > 1e6 * size
    poor &= torch.isfinite(J).all(dim=2).all(dim=1) & torch.isfinite(r).all(dim=1)
    if bool(poor.any()):
        u, v, w = torch.linalg.svd(J[poor])
        kept = torch.where(v > 1e-7 * v[:, :1].clamp(min=1e-300), 1 / v.clamp(min=1e-300), 0.0)
        short = w.mT @ (kept.unsqueeze(-1) * (u.mT @ r[poor].unsqueeze(-1)))
        step[poor] = short.squeeze(-1)
    return step
