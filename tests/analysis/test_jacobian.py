"""Jacobians against central differences, and their spectra."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab.analysis import jacobian
from rnnlab.analysis.dynamics import Dynamics
from rnnlab.cells.registry import CELLS
from tests.analysis.helpers import rnn, varied
from tests.helpers import numeric_jacobian

F64 = torch.float64


def differences(model, s, x):
    """∂F/∂s and ∂F/∂x by central differences with h = 1e-5."""
    d = Dynamics(model, "test")

    def step(s, x):
        with torch.no_grad():
            return d.step(torch.as_tensor(s), (torch.as_tensor(x),))[0].numpy()

    return (
        numeric_jacobian(lambda v: step(v, x), s, eps=1e-5),
        numeric_jacobian(lambda v: step(s, v), x, eps=1e-5),
    )


@pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.__name__)
def test_every_cell(kind):
    torch.manual_seed(1)
    cell = kind(2, 2, dtype=F64) if "LightRU" in kind.__name__ else kind(2, 3, dtype=F64)
    rng = np.random.default_rng(0)
    n = Dynamics(cell, "test").n
    s, x = 0.5 * rng.normal(size=n), rng.normal(size=2)
    found = jacobian(cell, s, x)
    J, B = differences(cell, s, x)
    np.testing.assert_allclose(found.matrix, J, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.input, B, rtol=1e-6, atol=1e-9)


def test_a_whole_model():
    model = varied(rl.Chain(rl.LSTM(2, 3, dtype=F64), rl.GRU(3, 2, dtype=F64)))
    rng = np.random.default_rng(0)
    s, x = rng.normal(size=8), rng.normal(size=2)
    found = jacobian(model, s, x)
    J, B = differences(model, s, x)
    np.testing.assert_allclose(found.matrix, J, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.input, B, rtol=1e-6, atol=1e-9)
    assert np.abs(found.matrix[6:, :6]).max() > 0  # the second layer sees the first's new state


def test_eigenvectors():
    found = jacobian(varied(rl.LSTM(2, 4, dtype=F64)), x=[0.5, -1.0])
    J = found.matrix
    scaled = found.right * found.eigenvalues
    np.testing.assert_allclose(J @ found.right, scaled, atol=1e-12)
    np.testing.assert_allclose(found.left @ J, found.eigenvalues[:, None] * found.left, atol=1e-12)
    np.testing.assert_allclose(found.left @ found.right, np.eye(8), atol=1e-10)
    np.testing.assert_allclose(found.writes, found.left @ found.input, atol=1e-14)
    assert (np.diff(np.abs(found.eigenvalues)) <= 1e-15).all()


def test_time_constants_and_frequencies():
    angle = 2 * np.pi / 5
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    W = np.zeros((4, 4))
    W[:2, :2], W[2, 2], W[3, 3] = np.exp(-0.1) * turn, 1.0, 0.0
    found = jacobian(rnn(W, "identity"))
    np.testing.assert_allclose(found.time_constants, [np.inf, 10, 10, 0], atol=1e-12)
    np.testing.assert_allclose(sorted(found.frequencies), [-0.2, 0, 0, 0.2], atol=1e-14)
    assert repr(found) == "Jacobian(4 × 4: largest |λ| 1, longest time constant ∞ steps)"


def test_state_by_name():
    model = rl.Chain(rl.LSTM(2, 3), rl.Dense(3, 1))
    model(torch.ones(2))
    by_name = jacobian(model, rl.states(model))
    assert by_name.state[3:].tolist() == pytest.approx(rl.states(model)["0.c"].tolist())
    assert by_name.units[3] == ("0.c", 0)
    assert not np.allclose(by_name.matrix, jacobian(model).matrix)


def test_a_defective_one_says_so():
    found = jacobian(rnn([[0.5, 1.0], [0.0, 0.5]], "identity"))
    assert len(found.failed) == 1
    assert "no full set of eigenvectors" in found.failed[0]
    np.testing.assert_allclose(found.eigenvalues, 0.5, atol=1e-7)


def test_nan_says_so():
    found = jacobian(rnn(np.eye(2)), [np.nan, 0.0])
    assert found.failed == ("The Jacobian is not finite (rows of h); there is no spectrum.",)
    assert np.isnan(found.eigenvalues).all()


def test_a_singular_one_is_no_failure():
    found = jacobian(rnn(np.diag([0.5, 0.0]), "identity"))
    assert found.eigenvalues.tolist() == [0.5, 0.0]
    assert found.time_constants.tolist() == [pytest.approx(1 / np.log(2)), 0.0]
    assert found.failed == ()


def test_a_complex_input_is_refused():
    with pytest.raises(rl.RnnlabError) as error:
        jacobian(rnn(np.eye(2)), x=np.array([1j]))
    assert str(error.value) == (
        "jacobian: x must be real, got ndarray of shape (1,) and type complex128."
    )


def test_tokens_have_no_input_jacobian():
    class Embedded(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(5, 2)
            self.rnn = rl.RNN(2, 3)

        def forward(self, token):
            return self.rnn(self.table(token))

    found = jacobian(Embedded(), x=3)
    assert found.input is None
    assert found.writes is None
    assert found.matrix.shape == (3, 3)


def test_table():
    table = jacobian(rnn(np.eye(2))).to_pandas()
    assert list(table.columns) == ["real", "imaginary", "modulus", "time_constant", "frequency"]


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (np.zeros(3), "jacobian: one state is needed, a dictionary by name or a vector (2,); got "
                      "shape (3,)."),
        ({"c": np.zeros(2)}, "jacobian: no state 'c'. They are: h."),
        ({"h": np.zeros((4, 2))}, "jacobian: one state is needed, a dictionary by name or a vector "
                                  "(2,); got shape (4, 2), a batch: take one row of 4."),
    ],
)  # fmt: skip
def test_wrong_state(state, text):
    with pytest.raises(rl.RnnlabError) as error:
        jacobian(rnn(np.eye(2)), state)
    assert str(error.value) == text


def test_no_state():
    with pytest.raises(rl.RnnlabError, match="has no state"):
        jacobian(torch.nn.Linear(2, 2))
