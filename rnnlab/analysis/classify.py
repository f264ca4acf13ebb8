"""What kind of point it is: eigenvalues of J with their errors, index, crossings, the index sum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rnnlab.analysis.dynamics import to_numpy
from rnnlab.analysis.gap import Gaps
from rnnlab.analysis.result import counted
from rnnlab.analysis.search import EPS


@dataclass
class Spectra:
    """The eigenvalues `(K, n)` of J at K points, largest modulus first, and what follows."""

    values: np.ndarray
    index: np.ndarray
    marginal: np.ndarray
    crossing: tuple[str, ...]
    sign: np.ndarray
    """Sign of det(I − J); 0 where it cannot be told."""

    def order(self, points: Tensor) -> list[int]:
        """Attractors first, then by the coordinates: the same for every seed."""
        rows = (to_numpy(points).round(7) + 0.0).tolist()
        keys = [(int(i), bool(m), row) for i, m, row in zip(self.index, self.marginal, rows)]  # noqa: B905
        return sorted(range(len(keys)), key=keys.__getitem__)

    def at(self, order: Sequence[int]) -> Spectra:
        rows = np.asarray(order, dtype=int)
        return Spectra(
            self.values[rows],
            self.index[rows],
            self.marginal[rows],
            tuple(self.crossing[k] for k in order),
            self.sign[rows],
        )


def spectra(gaps: Gaps, points: Tensor, radii: Tensor, degenerate: Tensor) -> Spectra:
    """The spectrum of J at each point, from M = I − J formed without cancellation.

        λ = 1 − μ,   μ an eigenvalue of M;   |λ| > 1  ⇔  |μ|² > 2 Re μ

    so that a λ within rounding of 1 is still on the right side where a closed gate makes it so.
    The error of μ is its condition number times the rounding of M and its change over the radius.
    """
    count, n = points.shape
    M = gaps.gap.jacobian(points)
    change = to_numpy(_change(gaps, points, M, radii))
    sign = torch.linalg.slogdet(gaps.residual.jacobian(points))[0] if count else points.new_zeros(0)
    M = to_numpy(M)
    values = np.full((count, n), np.nan, dtype=complex)
    index, marginal = np.zeros(count, dtype=int), np.zeros(count, dtype=bool)
    crossing = []
    for k in range(count):
        if not np.isfinite(M[k]).all():
            crossing.append("")
            continue
        mu, vectors = np.linalg.eig(M[k])
        error = _condition(vectors) * (EPS * n * np.linalg.norm(M[k]) + change[k])
        growth = np.abs(mu) ** 2 - 2 * np.real(mu)
        near = np.abs(growth) / 2 <= error
        order = np.argsort(-growth, kind="stable")
        values[k] = 1 - mu[order]
        index[k] = int(((growth > 0) & ~near).sum())
        marginal[k] = bool(near.any())
        crossing.append(_crossing(mu[near], error[near]))
    told = ~(to_numpy(degenerate).astype(bool) | ~np.isfinite(M).all(axis=(1, 2)))
    return Spectra(
        values, index, marginal, tuple(crossing), np.where(told, to_numpy(sign), 0.0).astype(int)
    )


def _change(gaps: Gaps, points: Tensor, M: Tensor, radii: Tensor) -> Tensor:
    """How far M may change over each radius, from three random directions.

    In one of them the mean square of the change is an n-th of what all n together can do.
    """
    most = torch.zeros_like(radii)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        u = torch.randn(points.shape[1], generator=generator, dtype=points.dtype).to(points.device)
        moved = points + radii.clamp(max=1.0).unsqueeze(1) * (u / u.norm())
        change = (gaps.gap.jacobian(moved) - M).flatten(1).norm(dim=1).nan_to_num()
        most = torch.maximum(most, change)
    return most * points.shape[1] ** 0.5


def _condition(vectors: np.ndarray) -> np.ndarray:
    """The condition number of each eigenvalue, given the eigenvectors as columns; at most 1e8."""
    try:
        left = np.linalg.inv(vectors)
    except np.linalg.LinAlgError:
        return np.full(len(vectors), 1e8)
    return np.minimum(np.linalg.norm(left, axis=1) * np.linalg.norm(vectors, axis=0), 1e8)


def _crossing(mu: np.ndarray, error: np.ndarray) -> str:
    found = []
    if (plus := np.abs(mu) <= error).any():
        found.append("λ = +1 (saddle-node)")
    if (minus := np.abs(mu - 2) <= error).any():
        found.append("λ = −1 (flip)")
    if (~plus & ~minus).any():
        found.append("complex (Neimark–Sacker)")
    return " and ".join(found)


def index_sum(gaps: Gaps, points: Tensor) -> int:
    """Σ sign det(I − J) over isolated points."""
    if not len(points):
        return 0
    return int(torch.linalg.slogdet(gaps.residual.jacobian(points))[0].sum())


def kinds(index: np.ndarray, marginal: np.ndarray, dimension: np.ndarray) -> tuple[str, ...]:
    """A word for each point.

    Example:
        >>> kinds(np.array([0, 2, 0]), np.array([False, False, True]), np.array([0, 0, 1]))
        ('stable', 'unstable', 'continuum (1-dimensional)')
    """
    return tuple(
        f"continuum ({d}-dimensional)" if d else "marginal" if m else "unstable" if i else "stable"
        for i, m, d in zip(index, marginal, dimension, strict=True)
    )


def summary(words: Sequence[str], noun: str, units: int) -> str:
    """How many of each kind.

    Example:
        >>> summary(["stable", "unstable", "unstable"], "fixed point", 3)
        '3 fixed points of 3 units: 1 stable, 2 unstable'
    """
    each = ", ".join(f"{count} {word}" for word, count in Counter(words).items())
    return f"{counted(len(words), noun)} of {counted(units, 'unit')}" + (
        f": {each}" if each else ""
    )


def completeness(complete: bool | None, total: int | None) -> str:
    """The index check in words.

    Example:
        >>> completeness(False, 3)
        'INCOMPLETE (index sum +3, must be +1)'
    """
    if complete is None or total is None:
        return "the index check does not apply"
    shown = f"{total:+d}".replace("-", "−")
    if complete:
        return f"complete (index sum {shown})"
    return f"INCOMPLETE (index sum {shown}, must be +1)"
