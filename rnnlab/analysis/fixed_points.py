"""Fixed points of a model at a constant input: all of them, with proof where there is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from rnnlab.analysis.arguments import check_whole
from rnnlab.analysis.classify import completeness, kinds, spectra, summary
from rnnlab.analysis.dynamics import Dynamics, fed, to_numpy
from rnnlab.analysis.gap import Gaps
from rnnlab.analysis.honest import kinks
from rnnlab.analysis.hunt import hunt
from rnnlab.analysis.progress import Progress
from rnnlab.analysis.result import Result, Units, counted, frame, unit_name


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class FixedPoints(Result):
    """The fixed points of a model at a constant input; made by `fixed_points`.

    K points of n units, the attractors first. A connected set of fixed points (a line or plane
    attractor) is one of the K: its middle stands for it.

    Attributes:
        points: `(K, n)`, the states.
        eigenvalues: `(K, n)` complex, of J = ∂F/∂s, the largest modulus first; per step.
        index: `(K,)`, the number of |λ| > 1: 0 is stable.
        marginal: `(K,)`, whether a |λ| cannot be told from 1.
        crossing: for each point, what kind of marginal it is: "λ = +1 (saddle-node)",
            "λ = −1 (flip)", "complex (Neimark–Sacker)", several with " and ", or "".
        residual: `(K,)`, the norm of what was brought to zero: s − F(s), gate-cancelled for GRU
            and LSTM (see `fixed_points`).
        speed: `(K,)`, ‖F(s) − s‖ per step.
        error_radius: `(K,)`, the true point lies within this distance.
        dimension: `(K,)`, 0 for an isolated point, else the dimension of the continuum.
        continuum_dimension: the largest of them; 0 without a continuum.
        samples: `(M, n)`, states on the continua; sample_of `(M,)` says on which point's.
        complete: whether Σ sign det(I − J) = +1, which must hold if no point is missing (but may
            hold by chance when several are). None where the theorem does not apply: an unbounded
            state, or a degenerate point.
        index_sum: that sum, or None.
        starts: how many starts were used; merged: how many of them led to a point found before.
        rejected: how many starts did not give a point, by reason.
        x: the input (`()` if there are several).
        units: the name and position of each entry of a state.

    Example:
        >>> import torch, rnnlab as rl
        >>> cell = rl.RNNCell(1, 1)
        >>> with torch.no_grad(): _ = cell.weight_hh.fill_(2.0)
        >>> found = fixed_points(cell)
        >>> found.points[:2].round(6).ravel().tolist(), found.index.tolist()
        ([-0.957504, 0.957504], [0, 0, 1])
        >>> found.to_pandas()["kind"].tolist()
        ['stable', 'stable', 'unstable']
    """

    axes: ClassVar[dict[str, tuple[str, ...]]] = {
        "points": ("point", "unit"),
        "eigenvalues": ("point", "mode"),
        "index": ("point",),
        "marginal": ("point",),
        "residual": ("point",),
        "speed": ("point",),
        "error_radius": ("point",),
        "dimension": ("point",),
        "samples": ("sample", "unit"),
        "sample_of": ("sample",),
        "x": ("feature",),
    }
    measures: ClassVar[dict[str, str]] = {
        "points": "state units",
        "eigenvalues": "per step",
        "index": "",
        "marginal": "",
        "residual": "state units",
        "speed": "state units per step",
        "error_radius": "state units",
        "dimension": "",
        "samples": "state units",
        "sample_of": "",
        "x": "input units",
    }

    points: np.ndarray
    eigenvalues: np.ndarray
    index: np.ndarray
    marginal: np.ndarray
    crossing: tuple[str, ...]
    residual: np.ndarray
    speed: np.ndarray
    error_radius: np.ndarray
    dimension: np.ndarray
    continuum_dimension: int
    samples: np.ndarray
    sample_of: np.ndarray
    complete: bool | None
    index_sum: int | None
    starts: int
    merged: int
    rejected: dict[str, int]
    x: np.ndarray
    units: Units

    @property
    def stable(self) -> np.ndarray:
        """`(K,)`: no |λ| > 1 and none marginal."""
        return (self.index == 0) & ~self.marginal

    @property
    def kinds(self) -> tuple[str, ...]:
        """A word for each point: stable, marginal, unstable, continuum (1-dimensional), …"""
        return kinds(self.index, self.marginal, self.dimension)

    def to_pandas(self) -> Any:
        """A data frame with a row per point: kind, index, errors, λ_max, then every unit."""
        columns: dict[str, Any] = {
            "kind": self.kinds,
            "index": self.index,
            "largest_modulus": np.abs(self.eigenvalues[:, 0]) if len(self.points) else [],
            "residual": self.residual,
            "error_radius": self.error_radius,
        }
        columns |= {unit_name(unit): self.points[:, k] for k, unit in enumerate(self.units)}
        return frame(columns, name="point")

    def _says(self) -> str:
        said = summary(self.kinds, "fixed point", len(self.units))
        return f"{said}; {completeness(self.complete, self.index_sum)}"


def fixed_points(
    model: Any,
    *,
    x: Any = None,
    starts: Any = None,
    radius: float | None = None,
    rounds: int = 12,
    seed: int = 0,
    progress: Progress = None,
) -> FixedPoints:
    r"""The states that a constant input leaves where they are: F(s, x) = s.

        q(s) = ½‖r(s)‖²,      r(s) = s − F(s, x)
        GRU:   r = h − n(h)
        LSTM:  r = (c − i∘g/(1 − f),  h − o∘tanh(c))

    q is minimised from many starts (Levenberg–Marquardt; a third of them after undamped Newton
    steps, a third after s ← s − r(s)), then brought to rounding by damped Newton. The residuals of
    all gated cells of the library and of torch.nn have the same zeros as s − F(s), and no others
    where a gate is closed, in whatever module the layer stands; one that a module calls several
    times in a step has s − F(s).
    Starts: states on trajectories, noise around them, a Sobol box, and mirror images, midpoints and
    recombinations of what was found; rounds go on until two bring nothing new and the index sum is
    right. Points outside the invariant set (|h| ≤ 1 for tanh RNN and GRU; |c| ≤ i_max/(1 − f_max)
    for LSTM) are counted, not returned. Two results are one point if they are closer than their
    error radii.

    Args:
        model: a cell, Recur, Chain, adapted model or `as_cell(model)`; S numbers of state in all.
        x: the constant input, in the shape of one step; zeros if left out.
        starts: states to start from as well, `(M, S)` or a Trace; or how many starts a round has.
        radius: half the width of the box to search, for states without a known bound; left out,
            twice what trajectories reach, at least 2, and points up to ten times as far are taken
            along. What is found farther away is counted in `rejected`.
        rounds: the most rounds of starts.
        seed: of the starts; the model's and the global random state are not used.
        progress: None, True, False or a function of the share done: see `rnnlab.analysis.progress`.

    Returns:
        A `FixedPoints`. If the model gives NaN or the search leaves something open, `failed` says
        what, and `rejected` counts the starts that gave no point.

    Raises:
        RnnlabError: a model without state, or a random one; x or starts of another shape.

    `complete` is the Poincaré–Hopf (Brouwer degree) check: necessary, not sufficient. Stability is
    decided on I − J, formed without cancellation; |λ| within the error of 1 is marginal.

    Source: Sussillo & Barak 2013; Golub & Sussillo 2018. Where we differ: the residuals, the
    invariant set, the error radius in place of a fixed distance, the index check, continua.

    Example:
        >>> import torch, rnnlab as rl
        >>> cell = rl.RNNCell(1, 3)
        >>> with torch.no_grad(): _ = cell.weight_hh.copy_(2 * torch.eye(3))
        >>> fixed_points(cell)
        FixedPoints(27 fixed points of 3 units: 8 stable, 19 unstable; complete (index sum +1))
    """
    owner = "fixed_points"
    d = Dynamics(model, owner)
    check_whole(owner, rounds=rounds)
    inputs = d.inputs(x)
    with d.untouched(inputs), d.telling(rounds, progress) as ticks:
        gaps = Gaps(d, inputs)
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
        eigen = spectra(gaps, found.points, found.radius, found.degenerate)
        order = eigen.order(found.points)
        points, eigen = found.points[order], eigen.at(order)
        residual = gaps.residual(points).norm(dim=1)
        speed = gaps.gap(points).norm(dim=1)
        bent = to_numpy(kinks(d.field(inputs), points))
    place = np.argsort(order)
    members = [rows for _, rows in found.members]
    dimension = to_numpy(found.dimension)[order]
    if (bent := np.flatnonzero(bent & (dimension == 0))).size:
        found.failed.append(
            f"F has a kink at {counted(len(bent), 'point')} (number {bent[0]}"
            f"{', …' * (len(bent) > 1)}): its slope is another on the other side, and eigenvalues, "
            "index and stability there are those of one side."
        )
    return FixedPoints(
        points=to_numpy(points),
        eigenvalues=eigen.values,
        index=eigen.index,
        marginal=eigen.marginal,
        crossing=eigen.crossing,
        residual=to_numpy(residual),
        speed=to_numpy(speed),
        error_radius=to_numpy(found.radius)[order],
        dimension=dimension,
        continuum_dimension=int(dimension.max(initial=0)),
        samples=to_numpy(torch.cat(members)) if members else np.zeros((0, d.n)),
        sample_of=np.repeat([place[k] for k, _ in found.members], [len(m) for m in members]).astype(
            int
        ),
        complete=found.complete,
        index_sum=found.index_sum,
        starts=found.search.starts,
        merged=found.search.merged,
        rejected=dict(found.search.rejected),
        x=fed(inputs),
        units=d.units,
        failed=tuple(found.failed),
    )
