"""How often gates are shut or open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rnnlab.analysis.gating import gated, join, rows, valid_steps
from rnnlab.analysis.result import Result, counted, frame
from rnnlab.errors import RnnlabError
from rnnlab.trace import Trace

SHUT, OPEN = 0.1, 0.9


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Saturation(Result):
    """Shares of steps with a gate below 0.1 or above 0.9; made by `saturation`.

    Rows are gates and their units, `gates[i]`, `units[i]`.

    Attributes:
        gates: name of the gate of each row, `("0.i", "0.i", …)`.
        units: `(rows,)`, its unit.
        low: `(rows,)`, share of steps with the gate below 0.1, 0 to 1.
        high: `(rows,)`, share above 0.9.
        mean: `(rows,)`, the mean of the gate.
        steps: how many steps (times batch rows) were counted.

    Example:
        >>> gate = np.array([[0.05, 0.5], [0.95, 0.5]])
        >>> trace = Trace({"h": gate, "r": gate, "z": gate, "n": gate}, initial={"h": np.zeros(2)})
        >>> saturation(trace).to_pandas()["low"].tolist()
        [0.5, 0.0, 0.5, 0.0]
    """

    axes: ClassVar[dict[str, tuple[str, ...]]] = {
        "units": ("row",),
        "low": ("row",),
        "high": ("row",),
        "mean": ("row",),
    }
    measures: ClassVar[dict[str, str]] = {
        "units": "",
        "low": "",
        "high": "",
        "mean": "",
    }

    gates: tuple[str, ...]
    units: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    steps: int

    def to_pandas(self) -> Any:
        """A data frame with a row per gate and unit."""
        columns = {
            "gate": self.gates,
            "unit": self.units,
            "low": self.low,
            "high": self.high,
            "mean": self.mean,
        }
        return frame(columns).set_index(["gate", "unit"])

    def _says(self) -> str:
        names = list(dict.fromkeys(self.gates))
        gates = np.array(self.gates)
        each = []
        for name in names[:6]:
            chosen = gates == name
            known = chosen & ~np.isnan(self.low)
            if not known.any():
                each.append(f"{name} not finite")
                continue
            low, high = self.low[known].mean(), self.high[known].mean()
            each.append(f"{name} {low:.0%} shut, {high:.0%} open")
        more = "; …" if len(names) > 6 else ""
        return f"{counted(self.steps, 'step')}: {'; '.join(each)}{more}"


def saturation(trace: Trace, *, mask: Any = None) -> Saturation:
    """For every gate and unit, the share of steps in which it is shut (< 0.1) or open (> 0.9).

    Args:
        trace: a recording with gates, as `derive(model, trace)` gives it.
        mask: boolean `(T,)` or `(T, B)`, true for steps that count: leaves padding out.

    Returns:
        A `Saturation`. Gates with values that are not finite are named in `failed`; these values
        are left out; a unit without a finite one has NaN.

    Raises:
        RnnlabError: no gates in the trace, or a mask of another shape.

    Only gates between 0 and 1 are counted: i, f, o of an LSTM, r, z of a GRU, not the candidates.

    Source: Karpathy, Johnson & Fei-Fei 2015 (left- and right-saturated gates).

    Example:
        >>> import torch, rnnlab as rl
        >>> from rnnlab.derive import derive
        >>> s = rl.Session(rl.LSTM(2, 3))
        >>> ys = s.run(torch.zeros(5, 2))
        >>> trace = derive(s.model, s.trace())
        >>> saturation(trace)
        Saturation(5 steps: i 0% shut, 0% open; f 0% shut, 0% open; o 0% shut, 0% open)
    """
    owner = "saturation"
    found = gated(owner, trace)
    valid = valid_steps(owner, trace, mask)
    gates: list[str] = []
    parts: list[np.ndarray] = []
    failed = []
    steps = 0
    for layer in found:
        for name in layer.kind.sigmoid:
            values = rows(layer.gates[name], valid)
            if not len(values):
                raise RnnlabError(f"{owner}: no step counts: the trace or the mask is empty.")
            finite = np.isfinite(values)
            if not finite.all():
                failed.append(f"{join(layer.path, name)} has values that are not finite.")
            number = finite.sum(axis=0)
            sums = (
                (finite & (values < SHUT)).sum(axis=0),
                (finite & (values > OPEN)).sum(axis=0),
                np.where(finite, values, 0).sum(axis=0),
            )
            low, high, mean = (np.where(number, s / np.maximum(number, 1), np.nan) for s in sums)
            parts.append(np.stack([np.arange(values.shape[1]), low, high, mean]))
            gates += [join(layer.path, name)] * values.shape[1]
            steps = len(values)
    units, low, high, mean = np.concatenate(parts, axis=1)
    return Saturation(
        gates=tuple(gates),
        units=units.astype(int),
        low=low,
        high=high,
        mean=mean,
        steps=steps,
        failed=tuple(failed),
    )
