"""How long each unit keeps what was written into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rnnlab.analysis.gating import kept, rows, valid_steps
from rnnlab.analysis.result import Result, Units, counted, frame, number
from rnnlab.errors import RnnlabError
from rnnlab.trace import Trace


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Timescales(Result):
    """The time constant of every gated unit; made by `timescales`.

    Attributes:
        tau: `(rows,)`, −1/mean ln keep, in steps; ∞ if it keeps everything, 0 if it ever keeps
            nothing.
        keep: `(rows,)`, the geometric mean of the share kept per step.
        units: the state and unit of each row, `(("0.c", 0), …)`.
        steps: how many steps (times batch rows) were averaged.

    Example:
        >>> half = np.full((4, 1), 0.5)
        >>> gates = {"i": half, "f": half, "g": half, "o": half}
        >>> timescales(Trace(gates)).tau.round(4).tolist()
        [1.4427]
    """

    axes: ClassVar[dict[str, tuple[str, ...]]] = {
        "tau": ("unit",),
        "keep": ("unit",),
    }
    measures: ClassVar[dict[str, str]] = {
        "tau": "steps",
        "keep": "per step",
    }

    tau: np.ndarray
    keep: np.ndarray
    units: Units
    steps: int

    def to_pandas(self) -> Any:
        """A data frame with a row per unit."""
        columns = {
            "name": [name for name, _ in self.units],
            "unit": [unit for _, unit in self.units],
            "tau": self.tau,
            "keep": self.keep,
        }
        return frame(columns).set_index(["name", "unit"])

    def _says(self) -> str:
        low, middle, high = np.quantile(self.tau, [0, 0.5, 1], method="nearest")
        said = f"{counted(len(self.tau), 'unit')}: median {number(middle)} steps"
        return said + f", {number(low)} to {number(high)}"


def timescales(trace: Trace, *, mask: Any = None) -> Timescales:
    r"""The time constant of every unit whose gates say how much of the old state it keeps.

        τ = −1 / mean_t ln k_t

    k is f of an LSTM (for c), z of a GRU (for h), and so on for the library's gated cells.

    Args:
        trace: a recording with gates, as `derive(model, trace)` gives it.
        mask: boolean `(T,)` or `(T, B)`, true for steps that count: leaves padding out.

    Returns:
        A `Timescales`, in steps. States whose gates are not finite are named in `failed`.

    Raises:
        RnnlabError: no gates in the trace, gates that do not make the recorded states, or a mask of
            another shape.

    What comes back through the recurrent weights is not in it: `jacobian(…).time_constants` has it.

    Example:
        >>> z = np.exp(-np.full((3, 2), 0.1))
        >>> trace = Trace({"r": z, "z": z, "n": z})
        >>> timescales(trace)
        Timescales(2 units: median 10 steps, 10 to 10)
    """
    owner = "timescales"
    found = kept(owner, trace)
    valid = valid_steps(owner, trace, mask)
    rates: list[np.ndarray] = []
    units: list[tuple[str, int]] = []
    failed = []
    steps = 0
    for layer in found:
        share = rows(layer.kind.keep(layer.gates), valid)
        if not len(share):
            raise RnnlabError(f"{owner}: no step counts: the trace or the mask is empty.")
        if not np.isfinite(share).all():
            failed.append(f"The gates of {layer.carried} have values that are not finite.")
        with np.errstate(divide="ignore", invalid="ignore"):
            rates.append(np.log(share).mean(axis=0))
        units += [(layer.carried, unit) for unit in range(share.shape[1])]
        steps = len(share)
    rate = np.concatenate(rates)
    with np.errstate(divide="ignore"):
        tau = np.where(rate == 0, np.inf, -1 / np.where(rate == 0, 1.0, rate)) + 0.0
    return Timescales(
        tau=tau, keep=np.exp(rate), units=tuple(units), steps=steps, failed=tuple(failed)
    )
