"""Where the states of a plane end up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from rnnlab.analysis.arguments import check_whole
from rnnlab.analysis.dynamics import Dynamics, Inputs, fed, to_numpy
from rnnlab.analysis.field import Field
from rnnlab.analysis.gap import Gaps
from rnnlab.analysis.plane import Plane, as_plane, grid_states
from rnnlab.analysis.progress import Progress, Ticks
from rnnlab.analysis.result import Result, counted, frame
from rnnlab.analysis.search import polish

UNSETTLED, LOST = -1, -2
CLOSE = 1e-8
"""A state whose residual (relative to its size) is below this has settled."""
BEYOND = 1e100
"""A state larger than this counts as not finite."""
MANY = 64
"""More end states than this are a sign of a continuum."""
SPREAD = 256
"""So many that differ before they are brought to rounding are one."""
Beat = Callable[[], object]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Basins(Result):
    """Where each state of a plane ends up; made by `basins`. G × G places.

    Attributes:
        a, b: `(G,)`, the places along the two axes of the plane; in state units.
        label: `(G, G)`, number of the attractor, at `[row b, column a]`; −1 where the state had not
            settled after the last step, −2 where it was not finite.
        settled: `(G, G)`, after how many steps (a multiple of 16) it was seen to have settled; −1
            where it had not.
        attractors: `(K, n)`, a state on each attractor, to rounding.
        period: `(K,)`, 1 for a fixed point, else the period of the cycle, in steps.
        share: `(K,)`, share of the places that end there.
        plane: the plane.
        x: the input (empty if there are several).

    Example:
        >>> import torch, rnnlab as rl
        >>> cell = rl.RNNCell(1, 2)
        >>> with torch.no_grad(): _ = cell.weight_hh.copy_(2 * torch.eye(2))
        >>> found = basins(cell, (("h", 0), ("h", 1)), grid=6)
        >>> found.share.tolist(), len(np.unique(found.label))
        ([0.25, 0.25, 0.25, 0.25], 4)
    """

    axes: ClassVar[dict[str, tuple[str, ...]]] = {
        "a": ("column",),
        "b": ("row",),
        "label": ("row", "column"),
        "settled": ("row", "column"),
        "attractors": ("attractor", "unit"),
        "period": ("attractor",),
        "share": ("attractor",),
        "x": ("feature",),
    }
    measures: ClassVar[dict[str, str]] = {
        "a": "state units",
        "b": "state units",
        "label": "",
        "settled": "steps",
        "attractors": "state units",
        "period": "steps",
        "share": "",
        "x": "input units",
    }

    a: np.ndarray
    b: np.ndarray
    label: np.ndarray
    settled: np.ndarray
    attractors: np.ndarray
    period: np.ndarray
    share: np.ndarray
    plane: Plane
    x: np.ndarray

    def to_pandas(self) -> Any:
        """A data frame with a row per place."""
        a, b = np.meshgrid(self.a, self.b)
        columns = {
            "a": a.ravel(),
            "b": b.ravel(),
            "label": self.label.ravel(),
            "settled": self.settled.ravel(),
        }
        return frame(columns, name="place")

    def _says(self) -> str:
        each = ", ".join(
            f"{share:.0%} {'fixed point' if p == 1 else f'{p}-cycle'}"
            for share, p in zip(self.share[:6], self.period[:6], strict=True)
        )
        more = ", …" if len(self.share) > 6 else ""
        said = f"{len(self.b)} × {len(self.a)} places, {counted(len(self.share), 'attractor')}"
        return said + (f": {each}{more}" if each else "")


def basins(
    model: Any,
    plane: Any,
    *,
    x: Any = None,
    state: Any = None,
    extent: Any = None,
    grid: int = 40,
    steps: int = 1000,
    max_period: int = 8,
    progress: Progress = None,
) -> Basins:
    r"""The attractor that each state of a plane runs to at a constant input.

    Every place is stepped until F^p(s) = s to 1e-8 (relative to ‖s‖) for some period p, by the
    residual of `cycles`, which a closed gate does not make small; the end states are then brought
    to rounding by Newton's method and compared.

    Args:
        model: a cell, Recur, Chain, adapted model or `as_cell(model)`.
        plane: two units, a PCA or a Plane, as for `flow`.
        x: the constant input, in the shape of one step; zeros if left out.
        state: where everything that the plane does not name is held at the start.
        extent: `((a_min, a_max), (b_min, b_max))`, as for `flow`.
        grid: G, places along each axis.
        steps: the most steps.
        max_period: the longest cycle that is recognised.
        progress: None, True, False or a function of the share done: see `rnnlab.analysis.progress`.

    Returns:
        A `Basins`, its attractors by falling share. `failed` counts places that had not settled
        (slow, quasi-periodic or chaotic: not told apart) or were not finite, and says when the end
        states are so many that they must lie on a continuum.

    Raises:
        RnnlabError: a model without state, or a random one; a plane, extent or x that does not fit.

    A place exactly on the border between two basins ends on the saddle there, which then counts as
    an attractor with a tiny share.

    Example:
        >>> import torch, rnnlab as rl
        >>> cell = rl.RNNCell(1, 2)
        >>> with torch.no_grad(): _ = cell.weight_hh.copy_(-2 * torch.eye(2))
        >>> basins(cell, (("h", 0), ("h", 1)), grid=6)
        Basins(6 × 6 places, 2 attractors: 50% 2-cycle, 50% 2-cycle)
    """
    owner = "basins"
    d = Dynamics(model, owner)
    check_whole(owner, grid=grid, steps=steps, max_period=max_period)
    inputs = d.inputs(x)
    with d.untouched(inputs):
        where = as_plane(d, plane, inputs, state, extent)
        s = grid_states(d, where, int(grid))
        with d.telling(steps, progress) as ticks:
            period, settled, s = _run(d, inputs, s, int(steps), int(max_period), ticks)
            label, ends, periods, neutral = _attractors(d, inputs, s, period)
    failed = []
    counts = np.bincount(label[label >= 0], minlength=len(ends))
    order = np.argsort(-counts, kind="stable")
    place = np.argsort(order)
    label = np.where(label >= 0, place[np.maximum(label, 0)] if len(place) else label, label)
    if (open_ := int((label == UNSETTLED).sum())) > 0:
        failed.append(f"{open_} of {len(label)} places had not settled after {steps} steps.")
    if (lost := int((label == LOST).sum())) > 0:
        failed.append(f"The state is not finite for {lost} of {len(label)} places.")
    if len(ends) > MANY or neutral > 1:
        directions = f", {neutral} of them with a neutral direction" if neutral else ""
        failed.append(
            f"There are {len(ends)} end states{directions}: they probably lie on a continuum; see "
            "fixed_points."
        )
    a, b = where.grid(int(grid))
    shape = (int(grid), int(grid))
    return Basins(
        a=a,
        b=b,
        label=label.reshape(shape),
        settled=settled.reshape(shape),
        attractors=ends[order] if len(ends) else np.zeros((0, d.n)),
        period=periods[order].astype(int) if len(ends) else np.zeros(0, dtype=int),
        share=counts[order] / len(label),
        plane=where,
        x=fed(inputs),
        failed=tuple(failed),
    )


def _run(
    d: Dynamics, inputs: Inputs, s: Tensor, steps: int, max_period: int, ticks: Ticks
) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """The period of each end state (−1: none found, −2: not finite), when it was seen, and it."""
    field = d.field(inputs)
    residuals = [Gaps(d, inputs, p + 1).residual for p in range(max_period)]
    ends = s.clone()
    period = np.full(len(s), UNSETTLED)
    settled = np.full(len(s), -1)
    where = np.arange(len(s))
    done = 0
    while done < steps and len(where):
        block = min(16, steps - done)
        for _ in range(block):
            s = field(s)
        done += block
        ticks.update(block)
        finite = to_numpy((s.abs() < BEYOND).all(dim=1))
        found = np.where(finite, _period(field, residuals, s, max_period), LOST)
        ends[where] = s
        period[where], settled[where[found > 0]] = found, done
        where, s = where[found == UNSETTLED], s[torch.as_tensor(found == UNSETTLED)]
    return period, settled, ends


def _period(field: Any, residuals: list[Field], s: Tensor, most: int) -> np.ndarray:
    """The smallest p with F^p(s) = s, or −1.

    A small step is not enough: behind a closed gate every step is small. The residual tells.
    """
    found = np.full(len(s), UNSETTLED)
    now = s
    size = CLOSE * (1 + s.norm(dim=1))
    for p in range(1, most + 1):
        now = field(now)
        back = to_numpy((now - s).norm(dim=1) <= size) & (found == UNSETTLED)
        if back.any():
            rows = torch.as_tensor(back)
            small = residuals[p - 1](s[rows]).norm(dim=1) <= size[rows]
            back[back] = to_numpy(small)
        found = np.where(back, p, found)
    return found


def _attractors(
    d: Dynamics, inputs: Inputs, s: Tensor, period: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """The number of the attractor of each end state, a state on each, and its period.

    Also of how many of these states one direction is neutral, as it is along a continuum.
    """
    label = np.where(period == LOST, LOST, UNSETTLED)
    ends: list[np.ndarray] = []
    periods: list[int] = []
    neutral = 0
    field = d.field(inputs)
    for p in sorted(set(period[period > 0].tolist())):
        chosen = np.flatnonzero(period == p)
        rough = s[torch.as_tensor(chosen)]
        which, alike = _alike(to_numpy(rough), d.beat)
        refined, flat = _refined(Gaps(d, inputs, p), rough[torch.as_tensor(which)])
        orbit = [refined]
        for _ in range(p - 1):
            orbit.append(field(orbit[-1]))
        visited = to_numpy(torch.stack(orbit, dim=1))
        number = _numbered(visited, d.beat)
        label[chosen] = len(ends) + number[alike]
        for first in np.unique(number, return_index=True)[1]:
            ends.append(np.array(min(visited[first].tolist())))
            periods.append(p)
            neutral += bool(flat[first])
    return label, np.array(ends), np.array(periods), neutral


def _numbered(visited: np.ndarray, beat: Beat) -> np.ndarray:
    """The number of the orbit of each end state: one that passes near it, the first seen."""
    starts = visited[:, 0]
    number = np.full(len(visited), -1)
    count = 0
    for k in range(len(visited)):
        if number[k] >= 0:
            continue
        beat()
        left = np.flatnonzero(number < 0)
        reach = 1e-5 * (1 + np.linalg.norm(starts[left], axis=1))
        apart = np.linalg.norm(starts[left, None] - visited[k], axis=2).min(axis=1)
        number[left[apart <= reach]] = count
        number[k] = count
        count += 1
    return number


def _alike(ends: np.ndarray, beat: Beat) -> tuple[np.ndarray, np.ndarray]:
    """End states that stand for all others near them, and by which of these each is stood for.

    Most places end at the same few states, and Newton's method is dear: n evaluations a state.
    """
    stand_in = np.full(len(ends), -1)
    chosen: list[int] = []
    while len(left := np.flatnonzero(stand_in < 0)):
        beat()
        one = left[0]
        reach = 1e-6 * (1 + np.linalg.norm(ends[one]))
        near = np.linalg.norm(ends[left] - ends[one], axis=1) <= reach
        stand_in[left[near]] = len(chosen)
        chosen.append(int(one))
    return np.array(chosen, dtype=int), stand_in


def _refined(gaps: Gaps, rough: Tensor) -> tuple[Tensor, np.ndarray]:
    """End states brought to rounding, where Newton's method stays close by; which are neutral.

    So many that they must lie on a continuum are left as they are.
    """
    if not len(rough) or len(rough) > SPREAD:
        return rough, np.full(len(rough), True)
    better = polish(gaps.residual, rough.clone(), steps=8)
    if better.lost:
        return rough, np.full(len(rough), False)
    near = (better.s - rough).norm(dim=1) <= 1e-3 * (1 + rough.norm(dim=1))
    return torch.where(near.unsqueeze(1), better.s, rough), to_numpy(~better.regular)
