"""How dependence on the past fades."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab.analysis import memory
from tests.analysis.helpers import inputs, rnn, varied

F64 = torch.float64


def leak(rate, units=1):
    return rl.Recur(lambda h, x: (rate * h + x, 3 * h), torch.zeros(units, dtype=F64))


@pytest.mark.parametrize("rate", [0.5, 0.9, 1e-6])
def test_a_leak(rate):
    found = memory(leak(rate), np.ones((100, 1)))
    ago = np.arange(100)
    np.testing.assert_allclose(found.log_state[::-1], ago * np.log(rate), atol=1e-9)
    np.testing.assert_allclose(found.log_lag, ago * np.log(rate), atol=1e-9)
    assert found.log_output[-1] == -np.inf  # y is of the state before
    np.testing.assert_allclose(
        found.log_output[:-1][::-1], np.log(3) + ago[:-1] * np.log(rate), atol=1e-9
    )
    assert found.e_folding == pytest.approx(-1 / np.log(rate))
    assert found.horizon == int(np.floor(np.log(0.01) / np.log(rate) + 1e-9)) + 1
    assert found.horizon_reached


def test_dependence_far_below_the_smallest_number():
    found = memory(leak(1e-6), np.ones((100, 1)))
    assert found.log_state[0] == pytest.approx(99 * np.log(1e-6))
    assert found.log_state[0] < -1000


def test_at_least():
    found = memory(leak(1.0), np.ones((30, 1)))
    assert found.horizon == 30
    assert not found.horizon_reached
    assert found.e_folding == np.inf
    assert repr(found) == "Memory(30 steps: 1 % horizon at least 30 steps, e-folding time ∞ steps)"


def test_nothing_is_remembered():
    found = memory(leak(0.0), np.ones((10, 1)))
    assert found.horizon == 1
    assert found.e_folding == 0.0
    assert np.isneginf(found.log_lag[1:]).all()


@pytest.mark.parametrize("kind", [rl.RNN, rl.GRU, rl.LSTM])
def test_against_autograd(kind):
    model = varied(rl.Chain(kind(2, 3, dtype=F64), rl.Dense(3, 2, dtype=F64)))
    xs = inputs(9, 2)
    found = memory(model, xs)
    cell = rl.functional.as_cell(model)

    def run(x, until):
        s = cell.flat(cell.initial_state())
        y = torch.zeros(2)
        for t in range(until):
            s, y = cell.flat_step(s, x[t])
        return s, y

    x = torch.tensor(xs)
    to_state, to_output = (J.detach() for J in torch.func.jacrev(lambda x: run(x, 9))(x))
    for s in range(9):
        assert found.state[s] == pytest.approx(float(to_state[:, s].norm()), rel=1e-10)
        assert found.output[s] == pytest.approx(float(to_output[:, s].norm()), rel=1e-10)
    norms = {}
    for until in range(1, 10):
        slopes = torch.func.jacrev(lambda x, until=until: run(x, until)[0])(x).detach()
        for s in range(until):
            norms.setdefault(until - 1 - s, []).append(float(slopes[:, s].norm()))
    want = [np.mean(norms[k]) for k in range(9)]
    np.testing.assert_allclose(found.lag, want, rtol=1e-10)


def test_a_long_sequence_is_averaged_from_64_steps():
    found = memory(leak(0.9), np.ones((300, 1)))
    assert found.averaged == 64
    assert found.e_folding == pytest.approx(-1 / np.log(0.9), rel=1e-6)


def test_an_input_that_never_enters():
    found = memory(rl.Recur(lambda h, x: (0.5 * h, h), torch.zeros(1, dtype=F64)), np.ones((9, 1)))
    assert (found.horizon, found.horizon_reached, found.e_folding) == (0, True, 0.0)
    assert repr(found) == "Memory(9 steps: 1 % horizon 0 steps, e-folding time 0 steps)"


def test_nan_on_the_way():
    xs = np.ones((20, 1))
    xs[15] = np.nan
    found = memory(leak(0.5), xs)
    assert len(found.log_state) == 15
    assert found.failed == (
        "The model's state is not finite after step 16 of 20; only the 15 steps before are "
        "analysed.",
    )
    assert found.e_folding == pytest.approx(-1 / np.log(0.5))


def test_nan_at_once():
    found = memory(leak(float("nan")), np.ones((5, 1)))
    assert len(found.log_state) == 0
    assert found.horizon == 0
    assert found.failed


def test_table():
    table = memory(rnn(np.eye(2) / 2), inputs(6, 1)).to_pandas()
    assert table["steps_ago"].tolist() == [5, 4, 3, 2, 1, 0]
    assert table.index.name == "step"
