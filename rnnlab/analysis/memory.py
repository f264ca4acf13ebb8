"""How strongly the state and the output still depend on an input that many steps ago."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.func import jacrev, vmap

from rnnlab.analysis.arguments import check_seed
from rnnlab.analysis.attribution import check_real
from rnnlab.analysis.dynamics import F64, Dynamics, to_numpy
from rnnlab.analysis.field import CHUNK
from rnnlab.analysis.progress import Progress
from rnnlab.analysis.result import Result, counted, frame, number
from rnnlab.errors import RnnlabError
from rnnlab.nested import named_leaves

STARTS = 64
"""From how many steps the dependence is followed, to be averaged over them."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Memory(Result):
    """How dependence on an input fades; made by `memory`. Norms are Frobenius norms.

    Attributes:
        log_state: `(T,)`, ln‖∂s_T/∂x_s‖ for s = 1 … T; −inf where there is no dependence.
        log_output: `(T,)`, ln‖∂y_T/∂x_s‖.
        log_lag: `(T,)`, ln m(k) for k = 0 … T − 1, m(k) = mean_t ‖∂s_{t+k}/∂x_t‖.
        e_folding: steps in which m falls by the factor e, from the slope of its later half; ∞ if it
            does not fall, 0 if it is zero there, NaN with fewer than 4 steps.
        horizon: the fewest steps after which m stays below 1 % of m(0), 0 if no input enters the
            state; T if `horizon_reached` is false: then the memory is *at least* T steps long.
        horizon_reached: see there.
        averaged: from how many steps m was averaged.

    Example:
        >>> import torch, rnnlab as rl
        >>> leak = rl.Recur(lambda h, x: (0.5 * h + x, h), torch.zeros(1))
        >>> found = memory(leak, np.ones((20, 1)))
        >>> found.horizon, round(found.e_folding, 6), found.state[-3:].tolist()
        (7, 1.442695, [0.25, 0.5, 1.0])
    """

    axes: ClassVar[dict[str, tuple[str, ...]]] = {
        "log_state": ("step",),
        "log_output": ("step",),
        "log_lag": ("lag",),
    }
    measures: ClassVar[dict[str, str]] = {
        "log_state": "nats",
        "log_output": "nats",
        "log_lag": "nats",
    }

    log_state: np.ndarray
    log_output: np.ndarray
    log_lag: np.ndarray
    e_folding: float
    horizon: int
    horizon_reached: bool
    averaged: int

    @property
    def state(self) -> np.ndarray:
        """`(T,)`: ‖∂s_T/∂x_s‖, state units per input unit."""
        return np.exp(self.log_state)

    @property
    def output(self) -> np.ndarray:
        """`(T,)`: ‖∂y_T/∂x_s‖, output units per input unit."""
        return np.exp(self.log_output)

    @property
    def lag(self) -> np.ndarray:
        """`(T,)`: m(k)."""
        return np.exp(self.log_lag)

    def to_pandas(self) -> Any:
        """A data frame with a row per step, `steps_ago` counted from the last; m by the same."""
        steps = np.arange(1, len(self.log_state) + 1)
        columns = {
            "steps_ago": len(steps) - steps,
            "log_state": self.log_state,
            "log_output": self.log_output,
            "log_mean": self.log_lag[::-1],
        }
        return frame(columns, index=steps, name="step")

    def _says(self) -> str:
        least = "" if self.horizon_reached else "at least "
        horizon = counted(self.horizon, "step")
        said = f"{counted(len(self.log_state), 'step')}: 1 % horizon {least}{horizon}"
        return said + f", e-folding time {number(self.e_folding)} steps"


def memory(
    model: Any,
    xs: Any,
    *,
    state: Any = None,
    row: int | None = None,
    seed: int = 0,
    progress: Progress = None,
) -> Memory:
    r"""How strongly the state and the output at the end still depend on each past input.

        ∂s_T/∂x_s = J_T ⋯ J_{s+1} B_s,   J_t = ∂F/∂s, B_t = ∂F/∂x at (s_{t−1}, x_t)
        m(k) = mean_t ‖∂s_{t+k}/∂x_t‖

    Products are kept with their logarithmic size: a dependence of e^−1000 is told from none.

    Args:
        model: a cell, Recur, Chain, adapted model or `as_cell(model)`.
        xs: the inputs `(T, I)`, or a Trace, whose initial state is then used too.
        state: the state before the first step; the initial one if left out.
        row: which row of a Trace of a batch of several.
        seed: nothing here is random; accepted like everywhere.
        progress: None, True, False or a function of the share done: see `rnnlab.analysis.progress`.

    Returns:
        A `Memory`. If a state or derivative is not finite at some step, `failed` names it, and
        everything is about the steps before.

    Raises:
        RnnlabError: a model without state, or a random one; inputs that are no real numbers.

    m is averaged over all steps, or over 64 evenly spaced ones of a longer sequence.

    Example:
        >>> import torch, rnnlab as rl
        >>> memory(rl.Recur(lambda h, x: (h + x, h), torch.zeros(1)), np.ones((20, 1)))
        Memory(20 steps: 1 % horizon at least 20 steps, e-folding time ∞ steps)
    """
    owner = "memory"
    check_seed(owner, seed)
    d = Dynamics(model, owner)
    (x, *more), begin = d.sequence(xs, row)
    check_real(owner, x, more)
    failed: list[str] = []
    with d.untouched((x[0],)), d.telling(3 * len(x), progress) as ticks:
        states = d.trajectory(d.vector(begin if state is None else state), (x,))
        steps = len(states) - 1
        if steps < len(x):
            failed.append(
                f"The model's state is not finite after step {steps + 1} of {len(x)}; only the "
                f"{counted(steps, 'step')} before are analysed."
            )
        log_state, log_output = _backwards(d, states, x, ticks)
        starts = np.unique(np.linspace(0, max(steps - 1, 0), STARTS).astype(int))
        log_lag = _forwards(d, states, x, starts if steps else starts[:0], ticks)
    if np.isnan(np.concatenate([log_state, log_output, log_lag])).any():
        failed.append("A derivative is not finite: entries that are NaN are not known.")
    e_folding = _e_folding(log_lag)
    horizon, reached = _horizon(log_lag)
    return Memory(
        log_state=log_state,
        log_output=log_output,
        log_lag=log_lag,
        e_folding=e_folding,
        horizon=horizon,
        horizon_reached=reached,
        averaged=len(starts) if steps else 0,
        failed=tuple(failed),
    )


def _flat(y: Any) -> Tensor:
    leaves = [leaf for _, leaf in named_leaves(y, "y") if isinstance(leaf, Tensor)]
    return torch.cat([leaf.reshape(-1).to(F64) for leaf in leaves]) if leaves else torch.zeros(0)


def _derivatives(d: Dynamics, rows: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """J `(B, n, n)` and B `(B, n, I)` at B steps."""

    def step(s: Tensor, x: Tensor) -> Tensor:
        return d.step(s, (x,))[0]

    both = jacrev(step, argnums=(0, 1))
    try:
        J, B = vmap(both)(rows, x)
    except RnnlabError:
        raise
    except RuntimeError:  # Python that looks at the data
        pairs = [both(s, now) for s, now in zip(rows, x, strict=True)]
        J, B = (torch.stack(side) for side in zip(*pairs, strict=True))
    return J, B.reshape(len(rows), d.n, -1)


def _chunks(d: Dynamics, steps: int) -> list[range]:
    size = max(1, CHUNK // max(1, d.n**2))
    return [range(start, min(start + size, steps)) for start in range(0, steps, size)]


def _pairs(
    d: Dynamics, states: Tensor, x: Tensor, *, back: bool = False
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(t, J_t, B_t) for t = 0 … T − 1, or from the last to the first."""
    chunks = _chunks(d, len(states) - 1)
    for chunk in reversed(chunks) if back else chunks:
        J, B = _derivatives(d, states[chunk.start : chunk.stop], x[chunk.start : chunk.stop])
        for t in reversed(chunk) if back else chunk:
            yield t, J[t - chunk.start], B[t - chunk.start]


def _backwards(d: Dynamics, states: Tensor, x: Tensor, ticks: Any) -> tuple[np.ndarray, np.ndarray]:
    """ln‖∂s_T/∂x_s‖ and ln‖∂y_T/∂x_s‖ for all s, from the last step to the first."""
    steps = len(states) - 1
    if not steps:
        return np.zeros(0), np.zeros(0)
    last, now = states[-2], x[steps - 1]
    to_state, to_input = jacrev(lambda s, x: _flat(d.step(s, (x,))[1]), argnums=(0, 1))(last, now)
    logs = np.full((2, steps), -np.inf)
    V = torch.eye(d.n, dtype=F64, device=d.device)
    W = to_state
    sizes = [0.0, 0.0]
    for t, J, B in _pairs(d, states, x, back=True):
        logs[0, t] = sizes[0] + _log(V @ B)
        logs[1, t] = _log(to_input) if t == steps - 1 else sizes[1] + _log(W @ B)
        V, sizes[0] = _scaled(V @ J, sizes[0])
        if t < steps - 1:
            W, sizes[1] = _scaled(W @ J, sizes[1])
        ticks.update()
    return logs[0], logs[1]


def _forwards(d: Dynamics, states: Tensor, x: Tensor, starts: np.ndarray, ticks: Any) -> np.ndarray:
    """ln m(k), following the dependence from each of the starts on."""
    steps = len(states) - 1
    sums = np.full(steps, -np.inf)
    counts = np.zeros(steps)
    P = torch.zeros(0, d.n, 1, dtype=F64, device=d.device)
    sizes, since = np.zeros(0), np.zeros(0, dtype=int)
    wanted = set(starts.tolist())
    for t, J, B in _pairs(d, states, x):
        if len(P):
            P = J @ P
            norms = P.flatten(1).norm(dim=1)
            safe = torch.where(norms > 0, norms, 1.0)
            P = P / safe.view(-1, 1, 1)
            with np.errstate(divide="ignore"):
                sizes = sizes + np.log(to_numpy(norms))
        if t in wanted:
            size = B.norm()
            P = torch.cat([P.expand(-1, -1, B.shape[1]), (B / size.clamp(min=1e-300)).unsqueeze(0)])
            with np.errstate(divide="ignore"):
                sizes = np.append(sizes, np.log(float(size)))
            since = np.append(since, t)
        with np.errstate(invalid="ignore"):  # of a derivative that is not finite
            np.logaddexp.at(sums, t - since, sizes)
        np.add.at(counts, t - since, 1)
        ticks.update()
    return sums - np.log(np.maximum(counts, 1))


def _scaled(M: Tensor, log: float) -> tuple[Tensor, float]:
    size = float(M.norm())
    if size == 0 or not np.isfinite(size):
        return M, log
    return M / size, log + float(np.log(size))


def _log(M: Tensor) -> float:
    with np.errstate(divide="ignore"):
        return float(np.log(float(M.norm())))


def _e_folding(log_lag: np.ndarray) -> float:
    tail = log_lag[len(log_lag) // 2 :]
    if len(log_lag) < 4 or np.isnan(tail).any():
        return float("nan")
    if np.isneginf(tail).any():
        return 0.0
    slope = np.polyfit(np.arange(len(tail)), tail, 1)[0]
    return float("inf") if slope >= -1e-12 else float(-1 / slope)


def _horizon(log_lag: np.ndarray) -> tuple[int, bool]:
    """The first lag from which on m stays below 1 % of m(0)."""
    if not len(log_lag):
        return 0, False
    if np.isneginf(log_lag).all():  # the input never enters the state
        return 0, True
    above = np.argwhere(~(log_lag < log_lag[0] + np.log(0.01))).ravel()
    first = int(above[-1]) + 1 if len(above) else 0
    return first, first < len(log_lag)
