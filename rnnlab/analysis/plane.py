"""A plane in the space of states, given by two units or by principal axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rnnlab.analysis.arguments import numbers
from rnnlab.analysis.bounds import invariant_box
from rnnlab.analysis.dynamics import Dynamics, Inputs, to_numpy
from rnnlab.analysis.pca import PCA
from rnnlab.analysis.result import Frozen, unit_name
from rnnlab.errors import RnnlabError


@dataclass(frozen=True, eq=False)
class Plane(Frozen):
    """origin + a·axes[0] + b·axes[1], with orthonormal axes. Its arrays are read-only.

    Attributes:
        origin: `(n,)`, a state.
        axes: `(2, n)`.
        labels: what the two axes are called.
        extent: `((a_min, a_max), (b_min, b_max))`, what to show.

    Raises:
        RnnlabError: an origin that is no vector of numbers, axes that are not orthonormal, an
            extent that is empty or not finite.

    Example:
        >>> plane = Plane(np.zeros(3), np.eye(3)[:2], ("a", "b"), ((-1, 1), (-1, 1)))
        >>> plane.states(np.array([[0.5, 2.0]])).tolist(), plane.place(np.ones(3)).tolist()
        ([[0.5, 2.0, 0.0]], [1.0, 1.0])
    """

    origin: np.ndarray
    axes: np.ndarray
    labels: tuple[str, str]
    extent: tuple[tuple[float, float], tuple[float, float]]

    def __post_init__(self) -> None:
        for name, value in (("origin", self.origin), ("axes", self.axes)):
            array = to_numpy(numbers("Plane", name, value).to(torch.float64))
            object.__setattr__(self, name, array)
        if self.origin.ndim != 1 or self.axes.shape != (2, len(self.origin)):
            raise RnnlabError(
                "Plane: origin must be a state (n,) and axes (2, n); got "
                f"{self.origin.shape} and {self.axes.shape}."
            )
        if not np.allclose(self.axes @ self.axes.T, np.eye(2), atol=1e-8):
            raise RnnlabError("Plane: the two axes must be orthonormal.")
        object.__setattr__(self, "extent", _extent("Plane", self.extent))
        super().__post_init__()

    def states(self, places: np.ndarray) -> np.ndarray:
        """The states `(…, n)` at places `(…, 2)`."""
        return self.origin + places @ self.axes

    def place(self, states: np.ndarray) -> np.ndarray:
        """The places `(…, 2)` of the states `(…, n)`, projected."""
        return (states - self.origin) @ self.axes.T

    def grid(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """count values along each axis."""
        (a0, a1), (b0, b1) = self.extent
        return np.linspace(a0, a1, count), np.linspace(b0, b1, count)


def as_plane(d: Dynamics, plane: Any, inputs: Inputs, state: Any, extent: Any) -> Plane:
    """A plane from a Plane, a PCA (its first two axes), or two units `(("h", 0), ("h", 1))`.

    Everything that the plane does not name is held at `state`.
    """
    origin = to_numpy(d.vector(state))
    if isinstance(plane, Plane):
        if len(plane.origin) != d.n:
            raise RnnlabError(
                f"{d.owner}: the plane is of {len(plane.origin)} numbers, the state has {d.n}."
            )
        return plane if extent is None else _with(plane, _extent(d.owner, extent))
    if isinstance(plane, PCA):
        return _from_pca(d, plane, origin, extent)
    if isinstance(plane, Sequence) and len(plane) == 2:
        return _from_units(d, plane, inputs, origin, extent)
    raise RnnlabError(
        f'{d.owner}: plane must be two units, as (("{d.units[0][0]}", 0), '
        f'("{d.units[0][0]}", 1)), a PCA or a Plane; got {plane!r}.'
    )


def _from_pca(d: Dynamics, plane: PCA, origin: np.ndarray, extent: Any) -> Plane:
    if len(plane.components) < 2:
        raise RnnlabError(f"{d.owner}: the PCA has one component; a plane needs two.")
    place = {unit: k for k, unit in enumerate(d.units)}
    unknown = [unit for unit in plane.units if unit not in place]
    if unknown:
        raise RnnlabError(
            f"{d.owner}: the PCA is of {', '.join(plane.names)}, and {unit_name(unknown[0])} is no "
            f"state of the model. States: {', '.join(d.cell.names)}."
        )
    columns = [place[unit] for unit in plane.units]
    axes = np.zeros((2, d.n))
    axes[:, columns] = plane.components[:2]
    origin = origin.copy()
    origin[columns] = plane.mean
    if extent is None:
        scores = plane.scores.reshape(-1, len(plane.components))[:, :2]
        low, high = scores.min(axis=0), scores.max(axis=0)
        size = max(float((high - low).max()), 1e-3)
        extent = [(lo - 0.15 * size, hi + 0.15 * size) for lo, hi in zip(low, high, strict=True)]
    shares = plane.variance_ratio
    labels = (f"PC1 ({shares[0]:.0%})", f"PC2 ({shares[1]:.0%})")
    return Plane(origin, axes, labels, _extent(d.owner, extent))


def _from_units(
    d: Dynamics, plane: Sequence[Any], inputs: Inputs, origin: np.ndarray, extent: Any
) -> Plane:
    columns = []
    for unit in plane:
        named = (d.cell.names[0], unit) if isinstance(unit, (int, np.integer)) else tuple(unit)
        if named not in d.units:
            raise RnnlabError(
                f"{d.owner}: no unit {unit!r} in the state. Units are pairs, from "
                f"{d.units[0]!r} to {d.units[-1]!r}."
            )
        columns.append(d.units.index(named))
    if columns[0] == columns[1]:
        raise RnnlabError(f"{d.owner}: the two units of a plane must differ, got {plane!r}.")
    axes = np.zeros((2, d.n))
    axes[[0, 1], columns] = 1.0
    if extent is None:
        lower, upper = (to_numpy(b)[columns] for b in invariant_box(d.model, inputs))
        wide = 10 * np.maximum(1, np.abs(origin[columns]))
        lower, upper = (
            np.where(upper - lower > wide, -2.0, lower),
            np.where(upper - lower > wide, 2.0, upper),
        )
        extent = list(zip(lower, upper, strict=True))
    origin = origin.copy()
    origin[columns] = 0.0
    first, second = (unit_name(d.units[k]) for k in columns)
    return Plane(origin, axes, (first, second), _extent(d.owner, extent))


def _extent(owner: str, extent: Any) -> tuple[tuple[float, float], tuple[float, float]]:
    try:
        (a0, a1), (b0, b1) = ((float(lo), float(hi)) for lo, hi in extent)
        if -np.inf < a0 < a1 < np.inf and -np.inf < b0 < b1 < np.inf:
            return (a0, a1), (b0, b1)
    except (TypeError, ValueError):
        pass
    raise RnnlabError(
        f"{owner}: extent must be ((low, high), (low, high)), finite and with low < high, "
        f"got {extent!r}."
    )


def _with(plane: Plane, extent: tuple[tuple[float, float], tuple[float, float]]) -> Plane:
    return Plane(plane.origin, plane.axes, plane.labels, extent)


def grid_states(d: Dynamics, plane: Plane, count: int) -> torch.Tensor:
    """The states `(count², n)` on a grid of the plane; b in the slow index."""
    a, b = plane.grid(count)
    places = np.stack(np.meshgrid(a, b), axis=-1).reshape(-1, 2)
    return torch.as_tensor(plane.states(places)).to(d.device)
