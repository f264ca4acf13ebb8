"""How a difference between two branches grows, against what the Jacobian predicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from rnnlab.analysis.dynamics import F64, Dynamics, pushed, to_numpy
from rnnlab.analysis.progress import Progress
from rnnlab.analysis.recording import Recording, recorded
from rnnlab.analysis.result import Result, frame, number
from rnnlab.errors import RnnlabError
from rnnlab.fingerprint import fingerprint, first_difference
from rnnlab.session.session import Session

AGREE = 0.1
"""The prediction holds while it is off by less than this share of the difference."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Divergence(Result):
    """The difference between two branches, step by step; made by `divergence`.

    Row 0 is the place where they part, row k the place k steps later.

    Attributes:
        steps: `(K,)`, the step of the branches (0 is before the first).
        distance: `(K,)`, ‖s_b − s_a‖ over the whole carried state; in state units.
        predicted: `(K,)`, ‖δ‖ with δ carried on by the Jacobian along `a`.
        error: `(K,)`, ‖(s_b − s_a) − δ‖.
        growth: mean of ln(distance) per step, last over first place where they differ, in nats per
            step; NaN if they differ nowhere or at the last step only, −inf if they
            meet again.
        linear_until: the last step up to which the prediction is off by less than 10 %.
        edited: whether a state was changed by hand on the way, which no prediction knows of.
        a, b: the names of the branches.

    Example:
        >>> import torch, rnnlab as rl
        >>> s = rl.Session(rl.Recur(lambda h, x: (0.5 * h + x, h), torch.zeros(2)))
        >>> ys = s.run(torch.ones(3, 2))
        >>> s.rewind(1)
        >>> s.poke("h", 0, 3.0)
        >>> s.refeed()
        >>> found = divergence(s, "main", s.branch_name)
        >>> found.distance.tolist(), found.predicted.tolist(), found.linear_until
        ([2.0, 1.0, 0.5], [2.0, 1.0, 0.5], 3)
    """

    axes: ClassVar[dict[str, tuple[str, ...]]] = {
        "steps": ("place",),
        "distance": ("place",),
        "predicted": ("place",),
        "error": ("place",),
    }
    measures: ClassVar[dict[str, str]] = {
        "steps": "steps",
        "distance": "state units",
        "predicted": "state units",
        "error": "state units",
    }

    steps: np.ndarray
    distance: np.ndarray
    predicted: np.ndarray
    error: np.ndarray
    growth: float
    linear_until: int
    edited: bool
    a: str
    b: str

    def to_pandas(self) -> Any:
        """A data frame with a row per step."""
        columns = {"distance": self.distance, "predicted": self.predicted, "error": self.error}
        return frame(columns, index=self.steps, name="step")

    def _says(self) -> str:
        last = self.steps[-1]
        said = f"{self.a!r} and {self.b!r} from step {self.steps[0]} to {last}: "
        said += f"{number(self.distance[0])} → {number(self.distance[-1])}, "
        known = not np.isnan(self.growth)
        said += f"{number(self.growth)} nats per step" if known else "growth not known"
        return said + f"; linear until {self.linear_until}"


def divergence(
    session: Any, a: str, b: str, *, row: int | None = None, progress: Progress = None
) -> Divergence:
    r"""How the difference between two branches of a session grows, and what is predicted.

        δ_{t+1} = J_t δ_t + B_t (x^b − x^a),   J, B = ∂F/∂s, ∂F/∂x at (s^a_t, x^a_{t+1})

    δ begins as the difference where the branches part: zero, or what an edit made there.

    Args:
        session: the Session; nothing in it moves.
        a: the branch whose Jacobian predicts.
        b: the other one.
        row: the row of a batch of several.
        progress: None, True, False or a function of the share done: see `rnnlab.analysis.progress`.

    Returns:
        A `Divergence`, up to the end of the shorter branch. If a value is not finite, `failed`
        names the step and the rows end there.

    Raises:
        RnnlabError: a branch that is not there; two branches that are the same; weights that are no
            longer those of the run; a batch of several without `row`.

    Held (clamped) units, and edits after the branches parted, are in the difference but not in the
    prediction: `edited` says so.

    Example:
        >>> import torch, rnnlab as rl
        >>> s = rl.Session(rl.Recur(lambda h, x: (2 * h + x, h), torch.zeros(1)))
        >>> ys = s.run(torch.ones(3, 1))
        >>> s.rewind(2)
        >>> y = s.step(torch.tensor([1.5]))
        >>> divergence(s, "main", s.branch_name)
        Divergence('main' and 'main@2' from step 2 to 3: 0 → 0.5, growth not known; linear until 3)
    """
    owner = "divergence"
    if a == b:
        raise RnnlabError(f"{owner}: the branches must differ, got {a!r} twice.")
    if not isinstance(session, Session):
        raise RnnlabError(
            f"{owner}: needs the Session whose branches are compared, got {type(session).__name__}."
        )
    traces = session.trace(a), session.trace(b)
    model = session.model
    d = Dynamics(model, owner)
    for name, trace in zip((a, b), traces, strict=True):
        other = None
        if trace.weights is not None:
            other = first_difference(trace.weights, fingerprint(model))
        if other is not None:
            raise RnnlabError(
                f"{owner}: {other} is not what it was when branch {name!r} was recorded; the "
                "Jacobian would be another model's. Load the weights of the run."
            )
    runs = [recorded(d, trace, row) for trace in traces]
    ours, theirs = (_path(d, run) for run in runs)
    fed = [d.sequence(run.inputs)[0] for run in runs]
    start = session.shared(a, b)
    # `shared` does not see an edit after the last common step; the states there do
    end = min(len(ours), len(theirs)) - 1
    if start > end:
        raise RnnlabError(f"{owner}: {a!r} and {b!r} have no step after they part.")
    failed: list[str] = []
    delta = theirs[start] - ours[start]
    predicted = [delta]
    first = tuple(part[0] for part in fed[0]) if len(fed[0][0]) else d.inputs(None)
    with d.untouched(first), d.telling(end - start, progress) as ticks:
        for t in range(start, end):
            ticks.update()
            now, then = (tuple(part[t] for part in parts) for parts in fed)
            moving = [i for i, x in enumerate(now) if x.is_floating_point()]
            if any(not torch.equal(now[i], then[i]) for i in range(len(now)) if i not in moving):
                raise RnnlabError(
                    f"{owner}: the branches are fed different whole numbers (tokens) at step "
                    f"{t + 1}; a difference of tokens has no derivative."
                )
            delta = _carried(d, ours[t], now, then, delta, moving)
            if not bool(torch.isfinite(delta).all() & torch.isfinite(theirs[t + 1]).all()):
                failed.append(f"The difference is not finite after step {t + 1}; rows end there.")
                end = t
                break
            predicted.append(delta)
    real = theirs[start : end + 1] - ours[start : end + 1]
    made = torch.stack(predicted)
    distance, error = real.norm(dim=1), (real - made).norm(dim=1)
    small = (
        1e-5 if any(trace[n].dtype == np.float32 for trace in traces for n in d.cell.names) else 0
    )
    rounding = small * (1 + ours[start : end + 1].norm(dim=1))
    fits = to_numpy(error <= AGREE * distance + 1e-12 + rounding)
    until = start + (len(fits) if fits.all() else int(np.argmin(fits))) - 1
    edits = [edit for trace in traces for edit in trace.edits]
    edited = any(edit["t"] > start or edit.get("kind") == "clamp" for edit in edits)
    return Divergence(
        steps=np.arange(start, end + 1),
        distance=to_numpy(distance),
        predicted=to_numpy(made.norm(dim=1)),
        error=to_numpy(error),
        growth=_growth(to_numpy(distance)),
        linear_until=until,
        edited=edited,
        a=a,
        b=b,
        failed=tuple(failed),
    )


def _carried(
    d: Dynamics, s: Tensor, now: Any, then: Any, delta: Tensor, moving: list[int]
) -> Tensor:
    """J δ + B (x^b − x^a)."""
    change = tuple(then[i] - now[i] for i in moving)

    def step(s: Tensor, *xs: Tensor) -> Tensor:
        given = list(now)
        for i, x in zip(moving, xs, strict=True):
            given[i] = x
        return d.step(s, tuple(given))[0]

    return pushed(step, (s, *(now[i] for i in moving)))(delta, *change)


def _path(d: Dynamics, run: Recording) -> Tensor:
    """All states `(T + 1, n)` of a run, the one before the first step included."""
    parts = []
    for name in d.cell.names:
        values = np.concatenate([run.initial[name][None], run.states[name]])
        parts.append(values.reshape(len(values), -1))
    return torch.as_tensor(np.concatenate(parts, axis=1)).to(d.device, F64)


def _growth(distance: np.ndarray) -> float:
    apart = np.flatnonzero(distance > 0)
    if not len(apart) or apart[0] == len(distance) - 1:
        return float("nan")
    first = apart[0]
    with np.errstate(divide="ignore"):
        return float(np.log(distance[-1] / distance[first]) / (len(distance) - 1 - first))
