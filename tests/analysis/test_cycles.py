"""Periodic orbits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab.analysis import cycles, fixed_points
from tests.analysis.helpers import SLOPES, rnn, rotation, varied


def test_the_two_cycle_of_a_negative_weight():
    found = cycles(rnn([[-2.0]]), period=2)
    np.testing.assert_allclose(found.points, [[[-SLOPES[2.0]], [SLOPES[2.0]]]], atol=1e-13)
    np.testing.assert_allclose(found.multipliers, [[0.166372087751674**2]], atol=1e-14)
    assert found.multipliers[0, 0].real == pytest.approx(0.0276797, abs=5e-8)
    assert found.stable.tolist() == [True]
    assert found.shorter == 1
    assert found.complete
    assert fixed_points(rnn([[-2.0]])).index.tolist() == [1]


@pytest.mark.parametrize("seed", range(2))
def test_two_units(seed):
    """F² has 9 fixed points: the origin, and four orbits of two."""
    found = cycles(rnn(-2 * np.eye(2)), period=2, seed=seed)
    assert found.points.shape == (4, 2, 2)
    assert sorted(found.index.tolist()) == [0, 0, 1, 1]
    assert found.shorter == 1
    assert found.complete


def test_orbits_are_orbits():
    cell = rnn(-2 * np.eye(3) + 0.3 * np.random.default_rng(0).normal(size=(3, 3)), bias=[0.1] * 3)
    x = torch.zeros(1, dtype=torch.float64)
    for period in (2, 3):
        found = cycles(cell, period=period)
        for orbit in found.points:
            after = cell(torch.tensor(orbit), x.expand(period, 1))[0].detach().numpy()
            np.testing.assert_allclose(after, np.roll(orbit, -1, axis=0), atol=1e-10)
            away = np.linalg.norm(orbit[1:] - orbit[0], axis=1)
            assert away.min() > 1e-3
        assert found.complete
        if period == 2:
            assert len(found.points) >= 1


def test_period_one_is_the_fixed_points():
    found, points = cycles(rnn([[2.0]]), period=1), fixed_points(rnn([[2.0]]))
    np.testing.assert_allclose(found.points[:, 0], points.points, atol=1e-13)
    np.testing.assert_allclose(found.multipliers, points.eigenvalues, atol=1e-12)


def test_a_closed_gate_makes_no_orbits():
    cell = varied(rl.GRUCell(1, 3, dtype=torch.float64), size=0.2)
    with torch.no_grad():
        cell.bias[3:6] = 40.0
    found = cycles(cell, period=2)
    assert len(found.points) == 0
    assert found.shorter == 1
    assert found.complete


def test_a_reflection_is_a_continuum_of_two_cycles():
    found = cycles(rnn(-np.eye(1), "identity"), period=2)
    assert found.dimension.tolist() == [1]
    assert found.points[0, 0] == -found.points[0, 1]
    assert found.complete is None


def test_a_quarter_turn_closes_after_four_steps():
    cell = rnn(3.0 * rotation(np.pi / 2))
    found = cycles(cell, period=4)
    assert found.stable.any()
    assert found.complete


def test_table():
    table = cycles(rnn([[-2.0]]), period=2).to_pandas()
    assert table.index.names == ["orbit", "phase"]
    assert table["h[0]"].round(6).tolist() == [-0.957504, 0.957504]
    none = cycles(rnn([[0.5]]), period=2, starts=9, rounds=1).to_pandas()
    assert len(none) == 0
    assert list(none.columns) == list(table.columns)


def test_wrong_period():
    with pytest.raises(rl.RnnlabError) as error:
        cycles(rnn([[2.0]]), period=0)
    assert str(error.value) == "cycles: period must be a whole number ≥ 1, got 0."
