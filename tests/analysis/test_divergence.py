"""The difference of two branches against the Jacobian's prediction."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab.analysis import divergence, lyapunov
from tests.analysis.helpers import inputs, rnn, varied

F64 = torch.float64


def poked(model, size, steps=30, at=10, name="h", features=2):
    session = rl.Session(model)
    session.run(torch.as_tensor(inputs(steps, features)))
    session.rewind(at)
    session.poke(name, 0, lambda value: value + size)
    session.refeed()
    return session, session.branch_name


def test_a_small_poke_is_predicted():
    session, branch = poked(varied(rl.LSTM(2, 4, dtype=F64), size=0.4), 1e-6, name="c")
    found = divergence(session, "main", branch)
    assert found.steps.tolist() == list(range(10, 31))
    assert found.distance[0] == pytest.approx(1e-6)
    np.testing.assert_allclose(found.distance, found.predicted, rtol=1e-3)
    assert found.linear_until == 30
    assert not found.edited


def test_a_large_one_is_not():
    session, branch = poked(varied(rl.RNN(2, 4, dtype=F64), size=1.2), 2.0)
    found = divergence(session, "main", branch)
    assert found.linear_until < 30
    assert found.error[-1] > 0.1 * found.distance[-1]


def test_a_linear_model_is_predicted_whatever_the_size():
    session, branch = poked(rnn([[0.5, 2.0], [0.0, 0.7]], "identity", inputs=2), 100.0)
    found = divergence(session, "main", branch)
    np.testing.assert_allclose(found.error, 0, atol=1e-11)


def test_other_inputs_are_predicted_too():
    model = varied(rl.GRU(2, 4, dtype=F64))
    session = rl.Session(model)
    xs = inputs(20, 2)
    session.run(torch.as_tensor(xs))
    session.rewind(8)
    xs[8:] += 1e-5
    session.run(torch.as_tensor(xs[8:]))
    found = divergence(session, "main", session.branch_name)
    assert found.distance[0] == 0
    assert found.distance[1] > 0
    np.testing.assert_allclose(found.predicted[1:], found.distance[1:], rtol=1e-3)


def test_growth_is_the_lyapunov_exponent():
    model = rnn(np.diag([0.8, 0.5]), "identity", inputs=2)
    session, branch = poked(model, 1.0, steps=60)
    found = divergence(session, "main", branch)
    assert found.growth == pytest.approx(np.log(0.8))
    assert found.growth == pytest.approx(lyapunov(model, inputs(60, 2)).exponents[0])


def test_the_session_does_not_move():
    session, branch = poked(varied(rl.RNN(2, 3, dtype=F64)), 0.1)
    session.rewind(15)
    before = session.t, session.branch_name, len(session.log), session.branches
    divergence(session, "main", branch)
    assert (session.t, session.branch_name, len(session.log), session.branches) == before


def test_clamps_are_said():
    session = rl.Session(varied(rl.RNN(2, 3, dtype=F64)))
    session.run(torch.as_tensor(inputs(10, 2)))
    session.rewind(4)
    session.clamp("h", 0, 0.5, steps=3)
    session.refeed()
    assert divergence(session, "main", session.branch_name).edited


def test_a_batch_needs_a_row():
    model = varied(rl.LSTM(2, 3, dtype=F64))
    session = rl.Session(model)
    session.run(torch.as_tensor(inputs(20, 2)).reshape(10, 2, 2))
    session.rewind(4)
    session.poke("h", 0, 0.5)
    session.refeed()
    with pytest.raises(rl.RnnlabError) as error:
        divergence(session, "main", session.branch_name)
    assert str(error.value) == (
        "divergence: the run is a batch of 2; row= says which (0 to 1), got None."
    )
    found = divergence(session, "main", session.branch_name, row=1)
    assert found.distance[0] > 0


def test_changed_weights():
    model = varied(rl.RNN(2, 3, dtype=F64))
    session, branch = poked(model, 0.1)
    varied(model, seed=9)
    with pytest.raises(rl.RnnlabError, match="is not what it was when branch 'main'"):
        divergence(session, "main", branch)


def test_wrong_branches():
    session, _ = poked(varied(rl.RNN(2, 3, dtype=F64)), 0.1)
    with pytest.raises(rl.RnnlabError) as error:
        divergence(session, "main", "main")
    assert str(error.value) == "divergence: the branches must differ, got 'main' twice."
    with pytest.raises(rl.RnnlabError, match="nowhere"):
        divergence(session, "main", "nowhere")


def test_table():
    session, branch = poked(varied(rl.RNN(2, 3, dtype=F64)), 0.1)
    table = divergence(session, "main", branch).to_pandas()
    assert list(table.columns) == ["distance", "predicted", "error"]
    assert table.index[0] == 10
