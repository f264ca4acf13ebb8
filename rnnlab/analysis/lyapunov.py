"""Lyapunov exponents of a model along an input sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.func import jacrev, vmap

from rnnlab.analysis.arguments import check_seed, check_whole, is_whole
from rnnlab.analysis.dynamics import Dynamics, Inputs, pushed, to_numpy
from rnnlab.analysis.field import CHUNK
from rnnlab.analysis.progress import Progress
from rnnlab.analysis.result import Result, counted, frame, number
from rnnlab.errors import RnnlabError

_EPS = float(torch.finfo(torch.float64).eps)
_TINY = float(torch.finfo(torch.float64).tiny)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Lyapunov(Result):
    """Lyapunov exponents; made by `lyapunov`.

    Attributes:
        exponents: `(k,)`, largest first, in nats per step; −inf for a direction that one step
            shrinks to zero, or so far that float64 cannot tell it from zero.
        standard_error: `(k,)`, from the means of ten blocks of steps, in nats per step; 0 where the
            exponent is −inf, NaN with fewer than 20 steps.
        running: `(steps, k)`, the mean up to each step: how far it has settled.
        log_det: `(steps,)`, ln|det J_t|; the sum of all exponents is its mean. Empty unless
            k = n.
        steps: how many steps the means are over.
        transient: how many before them were used to turn the directions.
        dimension: the Kaplan–Yorke dimension; NaN if k exponents are too few to tell.
        n: how many numbers the state has.

    Example:
        >>> import torch, rnnlab as rl
        >>> cell = rl.RNNCell(1, 2, "identity")
        >>> with torch.no_grad(): _ = cell.weight_hh.copy_(torch.tensor([[0.5, 3.0], [0.0, 0.25]]))
        >>> found = lyapunov(cell, np.zeros((200, 1)))
        >>> bool(np.allclose(found.exponents, np.log([0.5, 0.25]), atol=1e-12))
        True
    """

    axes: ClassVar[dict[str, tuple[str, ...]]] = {
        "exponents": ("exponent",),
        "standard_error": ("exponent",),
        "running": ("step", "exponent"),
        "log_det": ("step",),
    }
    measures: ClassVar[dict[str, str]] = {
        "exponents": "nats per step",
        "standard_error": "nats per step",
        "running": "nats per step",
        "log_det": "nats per step",
    }

    exponents: np.ndarray
    standard_error: np.ndarray
    running: np.ndarray
    log_det: np.ndarray
    steps: int
    transient: int
    dimension: float
    n: int

    def to_pandas(self) -> Any:
        """A data frame with a row per exponent."""
        columns = {"exponent": self.exponents, "standard_error": self.standard_error}
        return frame(columns, name="number")

    def _says(self) -> str:
        shown = ", ".join(number(v) for v in self.exponents[:3])
        more = ", …" if len(self.exponents) > 3 else ""
        said = f"{len(self.exponents)} of {self.n}: {shown}{more} nats per step"
        said += f" over {counted(self.steps, 'step')}"
        if dead := int(np.isneginf(self.exponents).sum()):
            first = self.transient + 1 + int(np.isneginf(self.running).any(axis=1).argmax())
            said += f"; {dead} −∞ (shrunk to rounding within one step, first at step {first})"
        return said + (
            "" if np.isnan(self.dimension) else f"; Kaplan–Yorke dimension {number(self.dimension)}"
        )


def lyapunov(
    model: Any,
    xs: Any,
    k: int | None = None,
    *,
    state: Any = None,
    row: int | None = None,
    transient: int | None = None,
    seed: int = 0,
    progress: Progress = None,
) -> Lyapunov:
    r"""The mean rates at which small differences in the whole carried state grow or shrink.

        Z_t = J_t Q_{t−1},   Q_t R_t = Z_t,   λ_i = mean_t ln|R_t,ii|,   J_t = ∂F/∂s(s_{t−1}, x_t)

    J_t times Q, in the order of time. A direction that a step maps to zero gets the exponent −∞ and
    is taken out of Q; to zero means to rounding: |R_ii| at most 4 n ε times the rows of Z it comes
    from. These are sorted by size before each factorization, so a direction that saturated units
    shrink by far more than ε keeps its exponent.
    D = j + Σ_{i≤j} λ_i / |λ_{j+1}|, with j the last for which the sum is not negative.

    Args:
        model: a cell, Recur, Chain, adapted model or `as_cell(model)`; S numbers of state in all.
        xs: the inputs `(T, …)`, or a Trace, whose initial state is then used too.
        k: how many exponents, the largest; all S if left out.
        state: the state before the first step; the initial one if left out.
        row: which row of a Trace of a batch of several.
        transient: how many of the T steps only turn Q towards its limit; a quarter, at most 200, if
            left out.
        seed: of the first Q, a random orthonormal one.
        progress: None, True, False or a function of the share done: see `rnnlab.analysis.progress`.

    Returns:
        A `Lyapunov`. If a state or Jacobian is not finite at some step, `failed` names the step and
        the exponents are those of the steps before it.

    Raises:
        RnnlabError: a model without state, or a random one; k or transient out of range; xs that
            is not a sequence of inputs.

    Source: Benettin, Galgani, Giorgilli & Strelcyn 1980; Engelken, Wolf & Abbott 2020; Vogt et al.
    2022. Known packages multiply by J_tᵀ, which gives the exponents of the reversed product.

    Example:
        >>> import torch, rnnlab as rl
        >>> logistic = rl.Recur(lambda h, x: (4 * h * (1 - h), h), torch.tensor(0.3))
        >>> found = lyapunov(logistic, np.zeros(2000))
        >>> bool(abs(found.exponents[0] - np.log(2)) < 0.01)
        True
    """
    owner = "lyapunov"
    d = Dynamics(model, owner)
    inputs, begin = d.sequence(xs, row)
    steps = len(inputs[0])
    if k is None:
        k = d.n
    check_whole(owner, k=k)
    if k > d.n:
        raise RnnlabError(f"{owner}: k = {k} exponents of a state of {d.n} numbers; k ≤ {d.n}.")
    if transient is None:
        transient = min(steps // 4, 200)
    if not is_whole(transient) or not 0 <= transient < steps:
        raise RnnlabError(
            f"{owner}: transient must be a whole number from 0 to {steps - 1} (xs has {steps} "
            f"steps), got {transient!r}."
        )
    failed: list[str] = []
    generator = torch.Generator().manual_seed(check_seed(owner, seed))
    with (
        d.untouched(tuple(part[0] for part in inputs)),
        d.telling(2 * steps, progress) as ticks,
    ):
        states = d.trajectory(d.vector(begin if state is None else state), inputs)
        if len(states) <= steps:
            failed.append(
                f"The model's state is not finite after step {len(states)} of {steps}; the "
                "exponents are those of the steps before."
            )
        tracker = _Tracker(d.n, int(k), transient, generator, d.device)
        for Z in _products(d, states, inputs, tracker):
            if not bool(torch.isfinite(Z).all()):
                failed.append(
                    f"The Jacobian is not finite at step {tracker.t + 1}; the exponents are "
                    "those of the steps before."
                )
                break
            tracker.advance(Z)
            ticks.update()
    rates = np.array(tracker.rates).reshape(-1, int(k))
    if not len(rates):
        failed.append("No step is left after the transient: there are no exponents.")
    return _result(rates, d.n, int(transient), failed)


def _result(rates: np.ndarray, n: int, transient: int, failed: list[str]) -> Lyapunov:
    steps, k = rates.shape
    means = rates.mean(axis=0) if steps else np.full(k, np.nan)
    order = np.argsort(-np.nan_to_num(means, nan=-np.inf, neginf=-np.inf), kind="stable")
    means, rates = means[order], rates[:, order]
    error = np.full(k, np.nan)
    if steps >= 20:
        alive = np.isfinite(means)
        blocks = [block.mean(axis=0) for block in np.array_split(rates[:, alive], 10)]
        error = np.zeros(k)
        error[alive] = np.std(blocks, axis=0, ddof=1) / 10**0.5
    return Lyapunov(
        exponents=means,
        standard_error=error,
        running=np.cumsum(rates, axis=0) / np.arange(1, steps + 1)[:, None],
        log_det=rates.sum(axis=1) if k == n else np.zeros(0),
        steps=steps,
        transient=transient,
        dimension=kaplan_yorke(means, n),
        n=n,
        failed=tuple(failed),
    )


class _Tracker:
    """The directions Q `(n, k)`, and the rates of growth along them."""

    def __init__(
        self, n: int, k: int, transient: int, generator: torch.Generator, device: torch.device
    ) -> None:
        self.n, self.k, self.transient, self.t = n, k, transient, 0
        self.generator, self.device = generator, device
        self.alive = list(range(k))
        self.Q = self._fresh(torch.zeros(n, 0, dtype=torch.float64, device=device), k)
        self.rates: list[np.ndarray] = []

    def _fresh(self, Q: Tensor, count: int) -> Tensor:
        """Q with so many random directions more."""
        noise = torch.randn(self.n, count, generator=self.generator, dtype=torch.float64)
        return torch.linalg.qr(torch.cat([Q, noise.to(self.device)], dim=1))[0]

    def advance(self, Z: Tensor) -> None:
        """Take Z = J Q apart again."""
        growth = np.full(self.k, -np.inf)
        Q, size, dead = _factored(Z)
        while bool(dead.any()):  # the first only: behind it, Q is arbitrary
            first = int(dead.int().argmax())
            del self.alive[first]
            Z = torch.cat([Z[:, :first], Z[:, first + 1 :]], dim=1)
            Q, size, dead = _factored(Z)
        growth[self.alive] = to_numpy(size.log())
        self.Q = Q
        self.t += 1
        if self.t > self.transient:
            self.rates.append(growth)
        elif self.t == self.transient and len(self.alive) < self.k:
            # what died on the way in may live on from here; if not, it dies again at once
            self.Q = self._fresh(Q, self.k - len(self.alive))
            self.alive = list(range(self.k))


def _factored(Z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Z = Q R as Q, |R_ii|, and which of these are zero to rounding.

    With its rows in falling order, Householder's factorization errs in each row by ε times that row
    (Cox & Higham 1998), so R_ii by ε times the rows from i on, not ε times the whole column.
    """
    if not Z.shape[1]:
        return Z, Z[0], Z[0] > 0
    norms, order = Z.norm(dim=1).sort(descending=True, stable=True)
    Q, R = torch.linalg.qr(Z[order])
    shares = (norms / norms[0].clamp(min=_TINY)).square()
    below = norms[0] * shares.flip(0).cumsum(0).flip(0).sqrt()[: Z.shape[1]]
    size = R.diagonal().abs()
    return torch.empty_like(Q).index_copy_(0, order, Q), size, size <= 4 * len(Z) * _EPS * below


def _products(d: Dynamics, states: Tensor, inputs: Inputs, tracker: _Tracker) -> Any:
    """J_t Q for each step in turn."""
    before = states[:-1]
    if 4 * tracker.k < d.n:
        for t in range(len(before)):
            now = tuple(part[t] for part in inputs)

            if tracker.Q.shape[1]:
                push = pushed(lambda s, now=now: d.step(s, now)[0], (before[t],))
                yield vmap(push, in_dims=1, out_dims=1)(tracker.Q)
            else:
                yield tracker.Q
        return
    for J in jacobians(d, before, inputs):
        yield J @ tracker.Q


def jacobians(d: Dynamics, before: Tensor, inputs: Inputs) -> Any:
    """∂F/∂s at every step in turn, computed many at a time; `before[t]` is the state."""
    size = max(1, CHUNK // max(1, d.n**2))
    for start in range(0, len(before), size):
        rows = before[start : start + size]
        chunk = tuple(part[start : start + len(rows)] for part in inputs)
        yield from step_jacobian(d, rows, chunk)


def step_jacobian(d: Dynamics, rows: Tensor, inputs: Inputs) -> Tensor:
    """∂F/∂s `(B, n, n)` at B states, each with its own input."""

    def one(s: Tensor, *xs: Tensor) -> Tensor:
        return d.step(s, xs)[0]

    try:
        return vmap(jacrev(one))(rows, *inputs)
    except RnnlabError:
        raise
    except RuntimeError:  # Python that looks at the data
        each = [jacrev(one)(s, *(part[i] for part in inputs)) for i, s in enumerate(rows)]
        return torch.stack(each)


def kaplan_yorke(exponents: np.ndarray, n: int) -> float:
    """The Kaplan–Yorke dimension from exponents in falling order; NaN if they are too few.

    Example:
        >>> kaplan_yorke(np.array([0.4, -1.6]), 2), kaplan_yorke(np.array([-0.1]), 3)
        (1.25, 0.0)
        >>> kaplan_yorke(np.array([0.5, 0.1]), 3)
        nan
    """
    if np.isnan(exponents).any():
        return float("nan")
    total = 0.0
    for count, rate in enumerate(exponents):
        if total + rate < 0:
            return float(count + total / -rate)
        total += rate
    return float(n) if len(exponents) == n else float("nan")
