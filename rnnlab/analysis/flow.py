"""The vector field of a model in a plane, and how much of it leaves the plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rnnlab.analysis.arguments import check_whole
from rnnlab.analysis.dynamics import Dynamics, fed, to_numpy
from rnnlab.analysis.plane import Plane, as_plane, grid_states
from rnnlab.analysis.progress import Progress
from rnnlab.analysis.result import Result, frame, number


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Flow(Result):
    """What one step does to the states of a plane; made by `flow`. G × G places.

    Attributes:
        a, b: `(G,)`, the places along the two axes of the plane; in state units.
        velocity: `(G, G, 2)`, what a step adds along the two axes, at `[row b, column a]`; in state
            units per step.
        speed: `(G, G)`, ‖F(s) − s‖, all directions together.
        out_of_plane: `(G, G)`, the share of the speed that leaves the plane, 0 to 1: where it is
            near 1, a small velocity in the plane is no sign of a fixed point. 0 where nothing
            moves.
        plane: the plane.
        x: the input (empty if there are several).

    Example:
        >>> import torch, rnnlab as rl
        >>> cell = rl.RNNCell(1, 3, "identity")
        >>> W = torch.diag(torch.tensor([0.5, 1.0, 0.0]))
        >>> with torch.no_grad(): _ = cell.weight_hh.copy_(W)
        >>> found = flow(cell, (("h", 0), ("h", 1)), state=np.array([0, 0, 3.0]), grid=3)
        >>> found.velocity[0, :, 0].tolist(), float(found.out_of_plane[1, 1])
        ([1.0, 0.0, -1.0], 1.0)
    """

    axes: ClassVar[dict[str, tuple[str, ...]]] = {
        "a": ("column",),
        "b": ("row",),
        "velocity": ("row", "column", "axis"),
        "speed": ("row", "column"),
        "out_of_plane": ("row", "column"),
        "x": ("feature",),
    }
    measures: ClassVar[dict[str, str]] = {
        "a": "state units",
        "b": "state units",
        "velocity": "state units per step",
        "speed": "state units per step",
        "out_of_plane": "",
        "x": "input units",
    }

    a: np.ndarray
    b: np.ndarray
    velocity: np.ndarray
    speed: np.ndarray
    out_of_plane: np.ndarray
    plane: Plane
    x: np.ndarray

    def to_pandas(self) -> Any:
        """A data frame with a row per place."""
        a, b = np.meshgrid(self.a, self.b)
        columns = {
            "a": a.ravel(),
            "b": b.ravel(),
            "velocity_a": self.velocity[..., 0].ravel(),
            "velocity_b": self.velocity[..., 1].ravel(),
            "speed": self.speed.ravel(),
            "out_of_plane": self.out_of_plane.ravel(),
        }
        return frame(columns, name="place")

    def _says(self) -> str:
        said = f"{len(self.b)} × {len(self.a)} places on {self.plane.labels[0]}, "
        said += f"{self.plane.labels[1]}"
        known = np.isfinite(self.speed)
        if not known.any():
            return said
        said += f": speed up to {number(self.speed[known].max())} per step"
        return said + f", median share out of the plane {np.median(self.out_of_plane[known]):.0%}"


def flow(
    model: Any,
    plane: Any,
    *,
    x: Any = None,
    state: Any = None,
    extent: Any = None,
    grid: int = 20,
    progress: Progress = None,
) -> Flow:
    r"""The vector field of a constant input in a plane of states.

        v(z) = P (F(s₀ + Pᵀz, x) − (s₀ + Pᵀz)),   share = ‖out of the plane‖ / ‖F(s) − s‖

    Args:
        model: a cell, Recur, Chain, adapted model or `as_cell(model)`.
        plane: two units, as `(("0.h", 0), ("0.h", 3))`; a PCA, whose first two axes are taken; or a
            Plane.
        x: the constant input, in the shape of one step; zeros if left out.
        state: where everything that the plane does not name is held: a dictionary by name or a
            vector; the initial state if left out.
        extent: `((a_min, a_max), (b_min, b_max))`; left out, the bounds of the two units, or the
            range of the PCA's scores and a margin.
        grid: G, places along each axis.
        progress: None, True, False or a function of the share done: see `rnnlab.analysis.progress`.

    Returns:
        A `Flow`. Places where the model gives NaN are NaN and counted in `failed`.

    Raises:
        RnnlabError: a model without state, or a random one; a plane, extent or x that does not fit.

    A zero of the arrows is a fixed point only if nothing leaves the plane there.

    Example:
        >>> import torch, rnnlab as rl
        >>> flow(rl.RNNCell(1, 2), (("h", 0), ("h", 1)), grid=5).velocity.shape
        (5, 5, 2)
    """
    d = Dynamics(model, "flow")
    check_whole("flow", grid=grid)
    inputs = d.inputs(x)
    with d.untouched(inputs), d.telling(1, progress) as ticks:
        where = as_plane(d, plane, inputs, state, extent)
        states = grid_states(d, where, int(grid))
        moved = to_numpy(d.field(inputs)(states) - states)
        ticks.update()
    moved[~np.isfinite(moved).all(axis=1)] = np.nan
    within = moved @ where.axes.T
    speed = np.linalg.norm(moved, axis=1)
    out = np.linalg.norm(moved - within @ where.axes, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(speed == 0, 0.0, out / speed)
    failed = []
    lost = int((~np.isfinite(speed)).sum())
    if lost:
        failed.append(f"The model's step is not finite at {lost} of {len(speed)} places.")
    a, b = where.grid(int(grid))
    shape = (int(grid), int(grid))
    return Flow(
        a=a,
        b=b,
        velocity=within.reshape(*shape, 2),
        speed=speed.reshape(shape),
        out_of_plane=share.reshape(shape),
        plane=where,
        x=fed(inputs),
        failed=tuple(failed),
    )
