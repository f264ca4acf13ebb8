"""The exact split of a cell value into what each past step wrote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rnnlab.analysis.gating import kept
from rnnlab.analysis.result import Result, frame, number
from rnnlab.errors import RnnlabError
from rnnlab.trace import Trace


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Waterfall(Result):
    """What each past step contributes to a cell value; made by `waterfall`.

    Attributes:
        contributions: `(t,)`, what step s wrote times what was kept of it since; in units of the
            state. With `initial` and the sum of `edited` they add up to `value`.
        written: `(t,)`, what step s wrote: i_s g_s for an LSTM.
        kept: `(t,)`, the share of it that is left at t: Π_{r>s} f_r.
        initial: what is left of the value before the first step.
        edited: `(t,)`, what is left of changes made by hand after step s; 0 without.
        value: the recorded value at t.
        error: value − (initial + Σ contributions + Σ edited): rounding.
        name, unit, t: which state, unit and step (from 1).
        labels: a text per step, or None.

    Example:
        >>> v = np.array([[0.5], [0.5]])
        >>> trace = Trace({"c": np.array([[0.25], [0.375]]), "i": v, "f": v, "g": v, "o": v},
        ...               initial={"c": np.zeros(1)})
        >>> found = waterfall(trace, "c", 0, 2)
        >>> found.contributions.tolist(), found.value, found.error
        ([0.125, 0.25], 0.375, 0.0)
    """

    axes: ClassVar[dict[str, tuple[str, ...]]] = {
        "contributions": ("step",),
        "written": ("step",),
        "kept": ("step",),
        "edited": ("step",),
    }
    measures: ClassVar[dict[str, str]] = {
        "contributions": "state units",
        "written": "state units",
        "kept": "",
        "edited": "state units",
    }

    contributions: np.ndarray
    written: np.ndarray
    kept: np.ndarray
    initial: float
    edited: np.ndarray
    value: float
    error: float
    name: str
    unit: int
    t: int
    labels: tuple[str, ...] | None

    def to_pandas(self) -> Any:
        """A data frame with a row per step; step 0 is the value before the first."""
        columns: dict[str, Any] = {
            "contribution": np.concatenate([[self.initial], self.contributions]),
            "written": np.concatenate([[np.nan], self.written]),
            "kept": np.concatenate([[np.nan], self.kept]),
            "edited": np.concatenate([[0.0], self.edited]),
        }
        if self.labels is not None:
            columns["label"] = ["", *self.labels]
        return frame(columns, index=np.arange(self.t + 1), name="step")

    def _says(self) -> str:
        said = f"{self.name}[{self.unit}] = {number(self.value)} after step {self.t}"
        top = np.argsort(-np.abs(self.contributions), kind="stable")[:3]
        each = ", ".join(f"{number(float(self.contributions[s]))} from step {s + 1}" for s in top)
        return f"{said}: {each}; initial {number(self.initial)}; error {number(self.error, 2)}"


def waterfall(trace: Trace, name: str, unit: int, t: int, *, batch: int = 0) -> Waterfall:
    r"""The exact split of a carried value into what each past step wrote.

        c_t = Σ_s (Π_{r>s} f_r) i_s g_s + (Π_r f_r) c_0          LSTM
        h_t = Σ_s (Π_{r>s} z_r) (1 − z_s) n_s + (Π_r z_r) h_0    GRU; likewise for its kin

    It says when a value was written, not why: the gates depend on the past too.

    Args:
        trace: a recording with gates, as `derive(model, trace)` gives it.
        name: the state: `"0.c"` of an LSTM, `"0.h"` of a GRU.
        unit: its unit.
        t: the step, from 1, after which the value stands.
        batch: the row of a batched trace.

    Returns:
        A `Waterfall`, exact to the rounding of the recording. If the trace was edited by hand, what
        the edits added is shown on its own; a value that is not finite is named in `failed`.

    Raises:
        RnnlabError: no gates for this state in the trace; a unit, step or row that is not there;
            gates that do not make the recorded values (of another run or model).

    Example:
        >>> import torch, rnnlab as rl
        >>> from rnnlab.derive import derive
        >>> s = rl.Session(rl.LSTM(2, 3))
        >>> ys = s.run(torch.ones(5, 2))
        >>> trace = derive(s.model, s.trace())
        >>> abs(waterfall(trace, "c", unit=1, t=5).error) < 1e-6
        True
    """
    owner = "waterfall"
    layers = kept(owner, trace)
    layer = next((layer for layer in layers if layer.carried == name), None)
    if layer is None or name not in trace or name not in trace.initial:
        known = ", ".join(layer.carried for layer in layers)
        raise RnnlabError(
            f"{owner}: no gates that write into {name!r}. States that can be split: {known}."
        )
    recorded = np.asarray(trace[name], dtype=np.float64)
    before = np.asarray(trace.before(name), dtype=np.float64)
    keep, write = layer.kind.keep(layer.gates), layer.kind.write(layer.gates)
    if recorded.ndim > 2:
        if not 0 <= batch < recorded.shape[1]:
            raise RnnlabError(
                f"{owner}: batch must be a row from 0 to {recorded.shape[1] - 1}, got {batch!r}."
            )
        recorded, before, keep, write = (a[:, batch] for a in (recorded, before, keep, write))
    units, steps = recorded.shape[1], len(recorded)
    for said, value, low, high in (("unit", unit, 0, units - 1), ("t", t, 1, steps)):
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not whole or not low <= value <= high:
            raise RnnlabError(
                f"{owner}: {said} must be a whole number from {low} to {high}, got {value!r}."
            )
    c, old = recorded[:t, unit], before[:t, unit]
    f, w = keep[:t, unit], write[:t, unit]
    left = np.append(np.cumprod(f[::-1])[::-1][1:], 1.0)
    rest = c - (f * old + w)
    tolerance = 64 * np.finfo(trace[name].dtype).eps * (1 + np.abs(f * old) + np.abs(w))
    jumped = np.abs(rest) > tolerance
    if jumped.any() and not trace.edits:
        s = int(np.argmax(jumped))
        raise RnnlabError(
            f"{owner}: the gates do not make {name}[{unit}] at step {s + 1}: recorded {c[s]:.6g}, "
            f"from the gates {f[s] * old[s] + w[s]:.6g}. Derive the gates of this very run."
        )
    contributions = left * w
    edited = np.where(jumped, left * rest, 0.0)
    initial = float(left[0] * f[0] * old[0])
    failed = []
    if not np.isfinite(np.concatenate([c, f, w])).all():
        failed.append("A recorded value or gate is not finite; so are the contributions it enters.")
    return Waterfall(
        contributions=contributions,
        written=w,
        kept=left,
        initial=initial,
        edited=edited,
        value=float(c[-1]),
        error=float(c[-1] - (initial + contributions.sum() + edited.sum())),
        name=name,
        unit=int(unit),
        t=int(t),
        labels=None if trace.labels is None else trace.labels[:t],
        failed=tuple(failed),
    )
