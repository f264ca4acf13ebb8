"""The Jacobian of the whole carried state, and what its spectrum says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch.func import jacrev

from rnnlab.analysis.dynamics import Dynamics, fed, to_numpy
from rnnlab.analysis.result import Result, Units, counted, frame, number


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Jacobian(Result):
    """J = ∂F/∂s at one state and input, with its spectrum; made by `jacobian`.

    Attributes:
        matrix: `(n, n)`, `matrix[i, j]` = ∂s'_i/∂s_j; per step.
        eigenvalues: `(n,)` complex, the largest modulus first; per step.
        right: `(n, n)` complex, column k is the right eigenvector v of mode k: J v = λ v, ‖v‖ = 1.
        left: `(n, n)` complex, row k is the left eigenvector w of mode k: w J = λ w, w v = 1.
        time_constants: `(n,)`, −1/ln|λ| in steps: e-folding of decay; negative for growth, ∞ for
            |λ| = 1, 0 for λ = 0.
        frequencies: `(n,)`, arg(λ)/2π in cycles per step, −½ to ½.
        input: `(n, I)` = ∂F/∂x, or None for an input that is no vector of real numbers.
        writes: `(n, I)` complex = left @ input: what each input feature writes into each mode.
        state: `(n,)`, where it was taken.
        x: the input there (empty if there are several).
        units: the name and position of each entry of a state.

    Example:
        >>> import torch, rnnlab as rl
        >>> cell = rl.RNNCell(1, 2, "identity")
        >>> with torch.no_grad(): _ = cell.weight_hh.copy_(torch.tensor([[0.5, 0.0], [0.0, -1.0]]))
        >>> J = jacobian(cell)
        >>> J.eigenvalues.real.tolist(), J.frequencies.tolist()
        ([-1.0, 0.5], [0.5, 0.0])
        >>> J.time_constants.round(4).tolist()
        [inf, 1.4427]
    """

    axes: ClassVar[dict[str, tuple[str, ...]]] = {
        "matrix": ("unit", "previous unit"),
        "eigenvalues": ("mode",),
        "right": ("unit", "mode"),
        "left": ("mode", "unit"),
        "time_constants": ("mode",),
        "frequencies": ("mode",),
        "input": ("unit", "feature"),
        "writes": ("mode", "feature"),
        "state": ("unit",),
        "x": ("feature",),
    }
    measures: ClassVar[dict[str, str]] = {
        "matrix": "per step",
        "eigenvalues": "per step",
        "right": "",
        "left": "",
        "time_constants": "steps",
        "frequencies": "cycles per step",
        "input": "state units per input unit",
        "writes": "state units per input unit",
        "state": "state units",
        "x": "input units",
    }

    matrix: np.ndarray
    eigenvalues: np.ndarray
    right: np.ndarray
    left: np.ndarray
    time_constants: np.ndarray
    frequencies: np.ndarray
    input: np.ndarray | None
    writes: np.ndarray | None
    state: np.ndarray
    x: np.ndarray
    units: Units

    def to_pandas(self) -> Any:
        """A data frame with a row per mode: real, imaginary, modulus, time constant, frequency."""
        columns = {
            "real": np.real(self.eigenvalues),
            "imaginary": np.imag(self.eigenvalues),
            "modulus": np.abs(self.eigenvalues),
            "time_constant": self.time_constants,
            "frequency": self.frequencies,
        }
        return frame(columns, name="mode")

    def _says(self) -> str:
        n = len(self.state)
        most = np.abs(self.eigenvalues[0])
        said = f"{n} × {n}: largest |λ| {number(most)}"
        lasting = self.time_constants[self.time_constants >= 0]
        if len(lasting):
            said += f", longest time constant {number(lasting.max())} steps"
        growing = int((self.time_constants < 0).sum())
        return said + (f", {counted(growing, 'mode')} growing" if growing else "")


def jacobian(model: Any, state: Any = None, x: Any = None) -> Jacobian:
    r"""The derivative of one step in the whole carried state (h and c, every layer), in float64.

        J = ∂F/∂s (s, x),    J v = λ v,    τ = −1/ln|λ|,    f = arg(λ)/2π

    Args:
        model: a cell, Recur, Chain, adapted model or `as_cell(model)`; S numbers of state in all.
        state: where: a dictionary as `states(model)` gives it, or a vector `(S,)`; the initial
            state if left out.
        x: the input, in the shape of one step; zeros if left out.

    Returns:
        A `Jacobian`. If J is not finite, `failed` says so and only `matrix` means something; if it
        has no full set of eigenvectors, `left` is a pseudo-inverse and `failed` says so.

    Raises:
        RnnlabError: a model without state, or a random one; a state or x of another shape.

    Example:
        >>> import torch, rnnlab as rl
        >>> m = rl.Chain(rl.LSTM(2, 3), rl.GRU(3, 2), rl.Dense(2, 1))
        >>> J = jacobian(m, x=torch.ones(2))
        >>> J.matrix.shape, J.input.shape, J.units[3], J.units[-1]
        ((8, 8), (8, 2), ('0.c', 0), ('1.h', 1))
    """
    d = Dynamics(model, "jacobian")
    inputs = d.inputs(x)
    s = d.vector(state)
    with d.untouched(inputs):
        J = to_numpy(d.field(inputs).jacobian(s.unsqueeze(0))[0])
        B = None
        if len(inputs) == 1 and inputs[0].is_floating_point():
            B = jacrev(lambda x: d.step(s, (x,))[0])(inputs[0])
            B = to_numpy(B.reshape(d.n, -1))
    failed = []
    nan = np.full((d.n, d.n), np.nan, dtype=complex)
    values, right, left = nan[0], nan, nan
    if np.isfinite(J).all():
        if not all(bool(torch.isfinite(part).all()) for part in (s, *inputs)):
            failed.append("The state or x is not finite: J is that of a limit, if of anything.")
        values, right = np.linalg.eig(J)
        order = np.argsort(-np.abs(values), kind="stable")
        values, right = values[order].astype(complex), right[:, order].astype(complex)
        if np.linalg.cond(right) > 1e12:
            left = np.linalg.pinv(right)
            failed.append(
                "J has no full set of eigenvectors (it is defective, or nearly so): the left "
                "eigenvectors and `writes` are not reliable, the eigenvalues to about 1e-8."
            )
        else:
            left = np.linalg.inv(right)
    else:
        where = ", ".join(sorted({d.units[i][0] for i in np.argwhere(~np.isfinite(J))[:, 0]}))
        failed.append(f"The Jacobian is not finite (rows of {where}); there is no spectrum.")
    return Jacobian(
        matrix=J,
        eigenvalues=values,
        right=right,
        left=left,
        time_constants=time_constants(values),
        frequencies=np.angle(values) / (2 * np.pi),
        input=B,
        writes=None if B is None else left @ B,
        state=to_numpy(s),
        x=fed(inputs),
        units=d.units,
        failed=tuple(failed),
    )


def time_constants(values: np.ndarray) -> np.ndarray:
    """−1/ln|λ| in steps.

    Example:
        >>> time_constants(np.array([np.exp(-0.1), 1.0, 0.0])).round(3).tolist()
        [10.0, inf, 0.0]
    """
    with np.errstate(divide="ignore"):
        rate = np.log(np.abs(values))
        return np.where(rate == 0, np.inf, -1 / np.where(rate == 0, 1.0, rate)) + 0.0
