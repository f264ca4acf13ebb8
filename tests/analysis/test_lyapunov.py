"""Lyapunov exponents with known values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab.analysis import lyapunov
from rnnlab.analysis.dynamics import Dynamics
from rnnlab.analysis.lyapunov import jacobians, kaplan_yorke
from tests.analysis.helpers import inputs, rnn, rotation, varied

F64 = torch.float64


def fed(matrices):
    """A linear map whose matrix is the input: s' = X s."""
    return rl.Recur(lambda h, x: (x @ h, h), torch.ones(len(matrices[0]), dtype=F64))


@pytest.mark.parametrize(
    "W",
    [
        np.diag([0.9, 0.5, -0.2]),
        [[0.9, 1e4, -3e3], [0, 0.5, 1e4], [0, 0, 0.2]],
        np.array([[0.9, 1e4, -3e3], [0, 0.5, 1e4], [0, 0, 0.2]])[::-1, ::-1],
        rotation(0.5) @ np.diag([1.4, 0.3]) @ rotation(-0.5),
    ],
)
def test_linear_maps_to_1e_12(W):
    want = np.sort(np.log(np.abs(np.linalg.eigvals(np.asarray(W)))))[::-1]
    found = lyapunov(rnn(W, "identity"), np.zeros((400, 1)), transient=200)
    np.testing.assert_allclose(found.exponents, want, rtol=0, atol=1e-12)
    assert found.standard_error.max() < 1e-12


def test_a_product_is_taken_in_the_order_of_time():
    """Three matrices in turn, and the reverse of that, have different exponents."""
    rng = np.random.default_rng(5)
    three = [np.diag([1.5, 0.6, 0.2]) + 0.3 * rng.normal(size=(3, 3)) for _ in range(3)]

    def exponents(order):
        product = np.eye(3)
        for matrix in order:
            product = matrix @ product
        return np.sort(np.log(np.abs(np.linalg.eigvals(product))))[::-1] / 3

    forward, backward = exponents(three), exponents(three[::-1])
    assert np.abs(forward - backward).max() > 0.01  # so the order can be told
    found = lyapunov(fed(three), np.array(three * 200), transient=300)
    np.testing.assert_allclose(found.exponents, forward, atol=1e-10)


def test_not_the_transposes():
    """Jᵀ in time order is the product reversed: other exponents for these."""
    a, b, c = np.diag([3.0, 0.5]), np.array([[1.0, 1.0], [0, 1.0]]), np.array([[1.0, 0], [0.5, 1]])

    def exponents(product):
        return np.sort(np.log(np.abs(np.linalg.eigvals(product))))[::-1] / 3

    wrong = exponents(c.T @ b.T @ a.T)
    want = exponents(c @ b @ a)
    assert np.abs(want - wrong).max() > 0.01
    found = lyapunov(fed([a]), np.array([a, b, c] * 150), transient=150)
    np.testing.assert_allclose(found.exponents, want, atol=1e-10)


@pytest.mark.parametrize("kind", [rl.RNN, rl.GRU, rl.LSTM])
def test_the_sum_is_the_mean_log_determinant(kind):
    model = varied(kind(2, 3, dtype=F64), size=1.2)
    xs = inputs(120, 2)
    found = lyapunov(model, xs, transient=20)
    d = Dynamics(model, "test")
    given, _ = d.sequence(xs)
    with torch.no_grad():
        states = d.trajectory(d.vector(None), given)
        logs = [torch.linalg.slogdet(J)[1].item() for J in jacobians(d, states[:-1], given)]
    assert found.exponents.sum() == pytest.approx(np.mean(logs[20:]), abs=1e-11)
    np.testing.assert_allclose(found.log_det, logs[20:], atol=1e-10)
    assert found.running[-1].sum() == pytest.approx(found.exponents.sum())


def test_logistic_map():
    model = rl.Recur(lambda h, x: (4 * h * (1 - h), h), torch.tensor(0.3, dtype=F64))
    found = lyapunov(model, np.zeros(2000))
    assert found.exponents[0] == pytest.approx(np.log(2), abs=5e-3)
    assert found.standard_error[0] < 0.02
    assert found.dimension == 1.0


def test_henon_map():
    def henon(s, x):
        a, b = s
        return (1 - 1.4 * a**2 + b, 0.3 * a), a

    start = (torch.tensor(0.1, dtype=F64), torch.tensor(0.1, dtype=F64))
    found = lyapunov(rl.Recur(henon, start), np.zeros(1500))
    assert found.exponents.sum() == pytest.approx(np.log(0.3), abs=1e-12)
    assert found.exponents[0] == pytest.approx(0.419, abs=0.02)
    assert found.dimension == pytest.approx(1 + found.exponents[0] / -found.exponents[1])


def test_weak_random_networks_shrink():
    rng = np.random.default_rng(0)
    W = 0.8 * rng.normal(size=(30, 30)) / np.sqrt(30)
    found = lyapunov(rnn(W), np.zeros((200, 1)))
    assert (found.exponents < 0).all()
    assert found.dimension == 0.0


class TestDeadDirections:
    def test_a_singular_matrix(self):
        found = lyapunov(rnn([[0.5, 0.5], [0.5, 0.5]], "identity"), np.zeros((50, 1)))
        assert found.exponents[0] == pytest.approx(0, abs=1e-14)
        assert np.isneginf(found.exponents[1])
        assert not np.isnan(found.standard_error).any()
        assert found.standard_error[1] == 0
        assert found.failed == ()

    def test_a_nilpotent_one(self):
        found = lyapunov(rnn([[0, 1.0], [0, 0]], "identity"), np.zeros((50, 1)))
        assert np.isneginf(found.exponents).all()
        assert found.dimension == 0.0

    def test_one_projection_in_a_run(self):
        matrices = [np.diag([2.0, 3.0, 0.5])] * 60
        matrices[40] = np.diag([1.0, 0.0, 1.0])
        found = lyapunov(fed(matrices), np.array(matrices), transient=10)
        assert np.isneginf(found.exponents).tolist() == [False, False, True]
        np.testing.assert_allclose(found.exponents[:2], np.log([2.0, 0.5]), atol=0.1)

    def test_a_death_in_the_transient_does_not_count(self):
        matrices = [np.diag([2.0, 3.0])] * 60
        matrices[3] = np.diag([1.0, 0.0])
        found = lyapunov(fed(matrices), np.array(matrices), transient=10)
        assert np.isfinite(found.exponents).all()

    def test_units_that_relu_switches_off(self):
        found = lyapunov(rnn(np.diag([0.5, 0.5]), "relu", bias=[1.0, -1.0]), np.zeros((50, 1)))
        np.testing.assert_allclose(found.exponents, [np.log(0.5), -np.inf])

    def test_saturated_units_shrink_a_direction_without_killing_it(self):
        """1 − tanh² of a unit at 14 is 3e-12, less than rounding beside a hundred other units."""
        n, steps = 100, 40
        W = 1.5 * np.random.default_rng(1).normal(size=(n, n)) / np.sqrt(n)
        bias = np.zeros(n)
        bias[[0, 50]] = 14.0
        found = lyapunov(rnn(W, bias=bias), np.zeros((steps, 1)), transient=10)
        h, want = np.zeros(n), []
        for _ in range(steps):
            h = np.tanh(W @ h + bias)
            want.append(np.log(1 - h * h).sum() + np.linalg.slogdet(W)[1])
        np.testing.assert_allclose(found.log_det, want[10:], rtol=1e-5)
        assert found.exponents[-2:].max() < -15 < found.exponents[-3]

    def test_a_connectivity_of_low_rank(self):
        """Rounding leaves something of the directions that the rank lacks; it is not a rate."""
        rng = np.random.default_rng(2)
        W = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 40)) / 40
        found = lyapunov(rnn(W), np.zeros((30, 1)), transient=5)
        assert np.isneginf(found.exponents).tolist() == [False] * 3 + [True] * 37
        assert found.failed == ()
        assert "37 −∞ (shrunk to rounding within one step, first at step 6)" in repr(found)


def test_the_largest_few():
    model = varied(rl.RNN(1, 20, dtype=F64), size=0.3)
    xs = inputs(200, 1)
    few, all_ = lyapunov(model, xs, 3), lyapunov(model, xs)
    np.testing.assert_allclose(few.exponents, all_.exponents[:3], atol=0.02)
    assert np.isnan(few.dimension) or few.dimension == all_.dimension
    assert few.log_det.shape == (0,)
    np.testing.assert_allclose(few.exponents, lyapunov(model, xs, 3, seed=4).exponents, atol=0.02)


def test_a_trace_brings_inputs_and_state():
    model = varied(rl.LSTM(2, 3, dtype=F64))
    session = rl.Session(model)
    xs = inputs(40, 2)
    session.run(torch.as_tensor(xs))
    np.testing.assert_allclose(
        lyapunov(model, session.trace()).exponents, lyapunov(model, xs).exponents
    )


def test_kaplan_yorke():
    assert kaplan_yorke(np.array([0.2, -0.1, -0.4]), 3) == 2.25
    assert kaplan_yorke(np.array([0.2, -np.inf]), 2) == 1.0
    assert kaplan_yorke(np.array([0.2, 0.1]), 2) == 2.0


def test_nan_on_the_way():
    model = rl.Recur(lambda h, x: (h * x, h), torch.ones(1, dtype=F64))
    xs = np.full((40, 1), 0.5)
    xs[30] = np.nan
    found = lyapunov(model, xs, transient=0)
    assert found.exponents[0] == pytest.approx(np.log(0.5))
    assert found.steps == 30
    assert found.failed == (
        "The model's state is not finite after step 31 of 40; the exponents are those of the steps "
        "before.",
    )
    assert "FAILED" in repr(found)


def test_nothing_left():
    model = rl.Recur(lambda h, x: (h * float("nan"), h), torch.ones(1))
    found = lyapunov(model, np.zeros((9, 1)))
    assert np.isnan(found.exponents).all()
    assert np.isnan(found.dimension)
    assert found.steps == 0
    assert found.running.shape == (0, 1)
    assert "there are no exponents" in found.failed[-1]
    assert len(found.to_pandas()) == 1


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"k": 3}, "lyapunov: k = 3 exponents of a state of 2 numbers; k ≤ 2."),
        ({"k": 0}, "lyapunov: k must be a whole number ≥ 1, got 0."),
        (
            {"transient": 20},
            "lyapunov: transient must be a whole number from 0 to 19 (xs has 20 steps), got 20.",
        ),
    ],
)
def test_wrong_arguments(options, text):
    with pytest.raises(rl.RnnlabError) as error:
        lyapunov(rnn(np.eye(2)), np.zeros((20, 1)), **options)
    assert str(error.value) == text


@pytest.mark.parametrize(
    ("xs", "text"),
    [
        (np.zeros((0, 1)), "lyapunov: xs is empty; give at least one step."),
        (3.0, "lyapunov: xs must be a sequence (T, …) with time first; got ()."),
    ],
)
def test_wrong_sequences(xs, text):
    with pytest.raises(rl.RnnlabError) as error:
        lyapunov(rnn(np.eye(2)), xs)
    assert str(error.value) == text


def test_table_and_repr():
    found = lyapunov(rnn(np.diag([0.5, 0.25]), "identity"), np.zeros((60, 1)))
    assert list(found.to_pandas().columns) == ["exponent", "standard_error"]
    assert repr(found) == (
        "Lyapunov(2 of 2: −0.6931, −1.386 nats per step over 45 steps; Kaplan–Yorke dimension 0)"
    )
