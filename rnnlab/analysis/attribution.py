"""How much each past input counts for one output: gradients and integrated gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.func import grad

from rnnlab.analysis.arguments import check_whole, is_whole, numbers
from rnnlab.analysis.dynamics import F64, Dynamics, to_numpy
from rnnlab.analysis.field import Field
from rnnlab.analysis.progress import Progress, Ticks
from rnnlab.analysis.result import Result, counted, frame, number
from rnnlab.cells.base import describe
from rnnlab.errors import RnnlabError
from rnnlab.nested import named_leaves

Method = Literal["gradient", "integrated", "input_x_gradient"]
METHODS = ("gradient", "integrated", "input_x_gradient")
RULES = ("gauss", "midpoint")
AT_A_TIME = 16
"""Points of a path that are evaluated together."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Attribution(Result):
    """What each input at each step contributes to an output; made by `attribution`.

    Attributes:
        values: `(T, I)`. Gradient: ∂y/∂x, output per input. The others: in units of the output.
        method: "gradient", "integrated" or "input_x_gradient".
        output: y, the explained output.
        baseline_output: y for the baseline; NaN unless integrated.
        completeness_error: |Σ values − (y − y_baseline)|; NaN unless integrated.
        at: the step (from 1) whose output it is.
        target: which output.
        points: how many points of the path were used; 0 unless integrated.

    Example:
        >>> import torch, rnnlab as rl
        >>> total = rl.Recur(lambda h, x: (h + x.sum(), h + x.sum()), 0.0)
        >>> attribution(total, [[2.0, 1.0], [3.0, 0.5]]).values.tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """

    axes: ClassVar[dict[str, tuple[str, ...]]] = {
        "values": ("step", "feature"),
    }
    measures: ClassVar[dict[str, str]] = {
        "values": "output units, or output units per input unit for the gradient",
    }

    values: np.ndarray
    method: str
    output: float
    baseline_output: float
    completeness_error: float
    at: int
    target: str
    points: int

    @property
    def magnitude(self) -> np.ndarray:
        """`(T,)`: the norm over the features."""
        return np.linalg.norm(self.values, axis=1)

    @property
    def log10_magnitude(self) -> np.ndarray:
        """`(T,)`: log₁₀ of it, on which a vanishing contribution can be seen; −inf for 0."""
        with np.errstate(divide="ignore"):
            return np.log10(self.magnitude)

    def to_pandas(self) -> Any:
        """A data frame with a row per step and a column per feature."""
        steps = np.arange(1, len(self.values) + 1)
        columns = {f"x[{k}]": self.values[:, k] for k in range(self.values.shape[1])}
        return frame(columns, index=steps, name="step")

    def _says(self) -> str:
        t, features = self.values.shape
        said = f"{self.method} of {self.target} = {number(self.output)} at step {self.at}"
        said += f", {counted(t, 'step')} × {counted(features, 'feature')}"
        if self.method == "integrated":
            said += f"; completeness error {number(self.completeness_error, 2)}"
        return said


def attribution(
    model: Any,
    xs: Any,
    target: int | Callable[[Any], Any] = 0,
    method: Method = "gradient",
    *,
    at: int | None = None,
    baseline: Any = None,
    points: int = 50,
    rule: Literal["gauss", "midpoint"] = "gauss",
    state: Any = None,
    row: int | None = None,
    progress: Progress = None,
) -> Attribution:
    r"""What the inputs x_1 … x_T contribute to an output y of step `at`.

        gradient            g_s = ∂y/∂x_s
        input_x_gradient    x_s ∘ g_s
        integrated          (x − x')_s ∘ ∫₀¹ g_s(x' + α (x − x')) dα,   Σ = y(x) − y(x')

    Args:
        model: a cell, Recur, Chain, adapted model or `as_cell(model)`.
        xs: the inputs `(T, I)`, or a Trace, whose initial state is then used too.
        target: which output: its place in y, flattened, or a function of y that gives one number.
        method: see above.
        at: the step, from 1; the last if left out. Steps after it contribute 0.
        baseline: x', `(T, I)` or what broadcasts to it; zeros if left out.
        points: of the path from x' to x.
        rule: the points are those of Gauss and Legendre, or the midpoints of equal intervals, for
            which the completeness error falls as points⁻².
        state: the state before the first step; the initial one if left out.
        row: which row of a Trace of a batch of several.
        progress: None, True, False or a function of the share done: see `rnnlab.analysis.progress`.

    Returns:
        An `Attribution`. If a value is not finite, `failed` names the first step concerned.

    Raises:
        RnnlabError: a model without state, or a random one; inputs that are no real numbers; an
            unknown method or rule; a target that is not there; a step outside 1 … T.

    No value is rescaled: `log10_magnitude` shows how fast influence vanishes.

    Source: Simonyan, Vedaldi & Zisserman 2013 (gradient); Shrikumar et al. 2016 (input × gradient);
    Sundararajan, Taly & Yan 2017 (integrated gradients; the path is straight in all inputs).

    Example:
        >>> import torch, rnnlab as rl
        >>> m = rl.Chain(rl.LSTM(2, 3), rl.Dense(3, 1))
        >>> found = attribution(m, np.ones((5, 2)), target=0, method="integrated")
        >>> found.values.shape, found.completeness_error < 1e-9
        ((5, 2), True)
    """
    owner = "attribution"
    if method not in METHODS:
        raise RnnlabError(f"{owner}: unknown method {method!r}. Known: {', '.join(METHODS)}.")
    if rule not in RULES:
        raise RnnlabError(f"{owner}: unknown rule {rule!r}. Known: {', '.join(RULES)}.")
    check_whole(owner, points=points)
    d = Dynamics(model, owner)
    (x, *more), begin = d.sequence(xs, row)
    check_real(owner, x, more)
    steps = len(x)
    at = steps if at is None else at
    if not is_whole(at) or not 1 <= at <= steps:
        raise RnnlabError(f"{owner}: at must be a step from 1 to {steps}, got {at!r}.")
    flat = x.reshape(steps, -1)
    s0 = d.vector(begin if state is None else state)

    def output(rows: Tensor) -> Tensor:
        s, y = s0, None
        for t in range(int(at)):
            s, y = d.step(s, (rows[t].reshape(x.shape[1:]),))
        return _chosen(owner, y, target)

    with (
        d.untouched((x[0],)),
        d.telling(points if method == "integrated" else 1, progress) as ticks,
    ):
        y = output(flat)
        low, error, used = float("nan"), float("nan"), 0
        if method == "integrated":
            used = int(points)
            start = _baseline(owner, baseline, x)
            places, weights = _path(rule, used)
            rows = start + places.to(flat.device).view(-1, 1, 1) * (flat - start)
            slopes = _gradients(output, rows, ticks)
            values = (flat - start) * torch.einsum("p,pti->ti", weights.to(flat.device), slopes)
            low = float(output(start))
            error = abs(float(values.sum()) - (float(y) - low))
        else:
            values = _gradients(output, flat.unsqueeze(0), ticks)[0]
            if method == "input_x_gradient":
                values = values * flat
    failed = []
    found = to_numpy(values)
    bad = np.argwhere(~np.isfinite(found).all(axis=1)).ravel()
    if len(bad) or not np.isfinite(float(y)):
        where = f"; {counted(len(bad), 'step')} from step {bad[0] + 1} on" if len(bad) else ""
        failed.append(f"The output or its gradient is not finite{where}.")
    return Attribution(
        values=found,
        method=method,
        output=float(y),
        baseline_output=low,
        completeness_error=error,
        at=int(at),
        target=f"y[{target}]" if not callable(target) else getattr(target, "__name__", "target"),
        points=used,
        failed=tuple(failed),
    )


def check_real(owner: str, x: Tensor, more: Any) -> None:
    """Raise unless the model's one input is an array of real numbers."""
    if more:
        raise RnnlabError(f"{owner}: a model with several inputs is not supported.")
    if not x.is_floating_point():
        raise RnnlabError(
            f"{owner}: the inputs are whole numbers (tokens), of which there is no derivative. "
            "Give the part of the model behind the embedding, and embedded inputs."
        )


def _gradients(output: Callable[[Tensor], Tensor], rows: Tensor, ticks: Ticks) -> Tensor:
    """The gradient of the output at each of the sequences `(P, T, I)`."""
    each = Field(grad(output), beat=ticks.beat)
    found = []
    for part in rows.split(AT_A_TIME):
        found.append(each(part))
        ticks.update(len(part))
    return torch.cat(found)


def _chosen(owner: str, y: Any, target: Any) -> Tensor:
    """The one number of an output."""
    if callable(target):
        value = _applied(owner, target, y)
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise RnnlabError(
                f"{owner}: the target function must give one number, got {describe(value)}."
            )
        return value.reshape(())
    leaves = [leaf for _, leaf in named_leaves(y, "y") if isinstance(leaf, Tensor)]
    flat = torch.cat([leaf.reshape(-1).to(F64) for leaf in leaves]) if leaves else torch.zeros(0)
    if not is_whole(target) or not -len(flat) <= target < len(flat):
        raise RnnlabError(
            f"{owner}: target must be a function of y or a place from 0 to {len(flat) - 1} in it, "
            f"got {target!r}."
        )
    return flat[int(target)]


def _applied(owner: str, target: Callable[[Any], Any], y: Any) -> Any:
    try:
        return target(y)
    except RuntimeError:  # of the model's, or torch.func's, which tries another way then
        raise
    except Exception as error:
        raise RnnlabError(
            f"{owner}: the target function failed on y, {describe(y)}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _baseline(owner: str, baseline: Any, x: Tensor) -> Tensor:
    given = torch.zeros_like(x) if baseline is None else numbers(owner, "baseline", baseline)
    try:
        return given.to(x.device, F64).expand(x.shape).reshape(len(x), -1)
    except RuntimeError:
        raise RnnlabError(
            f"{owner}: baseline of shape {tuple(given.shape)} does not fit inputs of shape "
            f"{tuple(x.shape)}."
        ) from None


def _path(rule: str, points: int) -> tuple[Tensor, Tensor]:
    """Places between 0 and 1, and their weights."""
    if rule == "midpoint":
        places = (np.arange(points) + 0.5) / points
        weights = np.full(points, 1 / points)
    else:
        places, weights = np.polynomial.legendre.leggauss(points)
        places, weights = (places + 1) / 2, weights / 2
    return torch.as_tensor(places), torch.as_tensor(weights)
