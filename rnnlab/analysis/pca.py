"""Principal axes of a recorded state, with what they were fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rnnlab.analysis.result import Result, Units, counted, frame
from rnnlab.errors import RnnlabError
from rnnlab.trace import Trace


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class PCA(Result):
    """Principal axes, and the path of the trace they were fitted to; made by `pca`.

    Attributes:
        mean: `(n,)`, subtracted first.
        components: `(k, n)`, orthonormal axes, the largest variance first. The loading of largest
            modulus is positive on each.
        variance_ratio: `(k,)`, share of the variance on each axis; they sum to 1 if all are kept.
        scores: `(T, k)`, or `(T, B, k)`, the states of the trace on the axes; in state units.
        initial: `(k,)`, or `(B, k)`, the state before the first step, or None without one.
        fitted: what the axes were fitted to, in words.
        names: the arrays that make a state, in order.
        units: the name and position of each of the n entries.

    Example:
        >>> h = np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 6.0]])
        >>> found = pca(Trace({"h": h}), "h")
        >>> found.components[0].tolist(), found.scores[:, 0].tolist()
        ([0.0, 1.0], [-2.0, -1.0, 3.0])
        >>> found.place(np.array([5.0, 3.0])).tolist()
        [0.0, 5.0]
    """

    axes: ClassVar[dict[str, tuple[str, ...]]] = {
        "mean": ("unit",),
        "components": ("component", "unit"),
        "variance_ratio": ("component",),
        "scores": ("step", "component"),
        "initial": ("component",),
    }
    measures: ClassVar[dict[str, str]] = {
        "mean": "state units",
        "components": "",
        "variance_ratio": "",
        "scores": "state units",
        "initial": "state units",
    }

    mean: np.ndarray
    components: np.ndarray
    variance_ratio: np.ndarray
    scores: np.ndarray
    initial: np.ndarray | None
    fitted: str
    names: tuple[str, ...]
    units: Units

    def place(self, states: Any) -> np.ndarray:
        """States on the stored axes; nothing is fitted anew.

        Args:
            states: `(…, n)`, a Trace, or a dictionary with the arrays `names`.
        """
        if isinstance(states, (Trace, Mapping)):
            states = _joined("pca", states, self.names)
        given = np.asarray(states, dtype=np.float64)
        if not given.ndim or given.shape[-1] != len(self.mean):
            raise RnnlabError(
                f"pca: states to place have {len(self.mean)} units ({', '.join(self.names)}); "
                f"got shape {given.shape}."
            )
        return (given - self.mean) @ self.components.T

    def to_pandas(self) -> Any:
        """A data frame of the scores: a row per step (and batch row), a column per component."""
        k = len(self.components)
        flat = self.scores.reshape(-1, k)
        columns = {f"PC{i + 1}": flat[:, i] for i in range(k)}
        repeat = len(flat) // max(1, len(self.scores))
        steps = np.repeat(np.arange(1, len(self.scores) + 1), repeat)
        return frame(columns, index=steps, name="step")

    def _says(self) -> str:
        shares = ", ".join(f"{share:.1%}" for share in self.variance_ratio[:3])
        said = counted(len(self.components), "component") + f" of {', '.join(self.names)}"
        return f"{said}: {shares} of the variance; fitted to {self.fitted}"


def pca(
    trace: Trace,
    name: str | Sequence[str] | None = None,
    *,
    components: int | None = None,
    steps: slice | None = None,
) -> PCA:
    r"""The principal axes of the states of a run.

        X − mean = U S Vᵀ,   axes = rows of Vᵀ,   variance ratio = S² / Σ S²

    Args:
        trace: the recording; of a batch, all rows count.
        name: the array, or several, which are put side by side; all states if left out.
        components: how many axes to keep; all if left out.
        steps: the steps to fit to, as a slice of rows; all if left out. The state before the first
            step is never among them, only placed.

    Returns:
        A `PCA`. `place` puts later states, other branches and pokes on the stored axes: adding a
        branch moves no axis. Without variance beyond
        rounding, `failed` says so and the axes mean nothing.

    Raises:
        RnnlabError: a name that is not there, fewer than 2 steps, values that are not finite.

    Example:
        >>> h = np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 6.0]])
        >>> pca(Trace({"h": h}), "h", components=1)
        PCA(1 component of h: 100.0% of the variance; fitted to 3 steps of h)
    """
    owner = "pca"
    if not isinstance(trace, Trace):
        raise RnnlabError(f"{owner}: expected a Trace, got {type(trace).__name__}.")
    names = (name,) if isinstance(name, str) else name or trace.states or ()
    if not isinstance(names, Sequence):
        raise RnnlabError(f"{owner}: name must be an array's name, or several; got {name!r}.")
    names = tuple(names)
    if not names:
        raise RnnlabError(f"{owner}: the trace has no states; name an array: {', '.join(trace)}.")
    states = _joined(owner, trace, names)
    if steps is not None and not isinstance(steps, slice):
        raise RnnlabError(f"{owner}: steps must be a slice, as slice(0, 10); got {steps!r}.")
    used = states[steps or slice(None)]
    flat = used.reshape(-1, states.shape[-1])
    if len(flat) < 2:
        raise RnnlabError(f"{owner}: at least 2 states are needed to fit, got {len(flat)}.")
    if not np.isfinite(flat).all():
        t = int(np.argwhere(~np.isfinite(flat).all(axis=1))[0, 0])
        raise RnnlabError(
            f"{owner}: the state is not finite in row {t} of what is fitted. "
            "steps=slice(start, stop) leaves steps out."
        )
    most = min(flat.shape)
    if components is None:
        components = most
    whole = isinstance(components, (int, np.integer)) and not isinstance(components, bool)
    if not whole or not 1 <= components <= most:
        raise RnnlabError(
            f"{owner}: components must be a whole number from 1 to {most}, got {components!r}."
        )
    mean = flat.mean(axis=0)
    _, values, axes = np.linalg.svd(flat - mean, full_matrices=False)
    rows = np.arange(len(axes))
    # rounding must not choose the sign where two loadings tie
    largest = np.argmax(np.abs(axes).round(12), axis=1)
    axes = axes * np.where(axes[rows, largest] < 0, -1.0, 1.0)[:, None] + 0.0
    total = float((values**2).sum())
    # a state at rest still moves by the rounding of its recording
    kinds = [trace[part].dtype for part in names]
    eps = max(np.finfo(kind if kind.kind == "f" else np.float64).eps for kind in kinds)
    rounding = flat.size * (4 * float(eps) * np.abs(flat).max()) ** 2
    varies = total > rounding
    failed = () if varies else ("All states are the same: there is no variance, and no axes.",)
    shares = values**2 / total if varies else np.zeros_like(values)
    kept = axes[:components]
    initial = None
    if all(part in trace.initial for part in names):
        initial = (_joined(owner, trace.initial, names) - mean) @ kept.T
    start, stop, stride = (steps or slice(None)).indices(len(trace))
    some = (
        ""
        if steps is None
        else f" ({start + 1} to {stop}" + (f" by {stride})" * (stride > 1) or ")")
    )
    batch = f" × {counted(states.shape[1], 'row')}" if states.ndim > 2 else ""
    return PCA(
        mean=mean,
        components=kept,
        variance_ratio=shares[:components],
        scores=(states - mean) @ kept.T,
        initial=initial,
        fitted=f"{counted(len(used), 'step')}{some}{batch} of {', '.join(names)}",
        names=names,
        units=tuple((part, unit) for part in names for unit in range(np.shape(trace[part])[-1])),
        failed=failed,
    )


def _joined(owner: str, states: Any, names: Sequence[str]) -> np.ndarray:
    """The arrays side by side, `(…, n)`, in float64."""
    parts = []
    for name in names:
        if name not in states:
            raise RnnlabError(
                f"{owner}: no array {name!r}. There are: {', '.join(states) or 'none'}."
            )
        part = np.asarray(states[name], dtype=np.float64)
        if not part.ndim or (isinstance(states, Trace) and part.ndim < 2):
            raise RnnlabError(f"{owner}: {name!r} has no units: its shape is {part.shape}.")
        parts.append(part)
    lead = np.broadcast_shapes(*(part.shape[:-1] for part in parts))
    return np.concatenate(
        [np.broadcast_to(part, (*lead, part.shape[-1])) for part in parts], axis=-1
    )
