"""Models that are not what their types say: hooks, computed weights, kinks, changes in place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import rnnlab as rl
from rnnlab import analysis
from tests.analysis.helpers import rnn, varied

F64 = torch.float64
X = torch.ones(1, dtype=F64)


def moved(model, points, x=X):
    """How far a step of the model moves each of these states."""
    step = rl.as_cell(model, dtype=F64).flat_step
    with torch.no_grad():
        return [float((step(torch.tensor(p), x)[0] - torch.tensor(p)).norm()) for p in points]


def lesioned(kind):
    model = varied(kind(1, 2, dtype=F64), seed=1, size=2.0)

    def hook(cell, given, result):
        state, y = result
        h = state[0] if isinstance(state, tuple) else state
        cut = h * torch.tensor([0.0, 1.0], dtype=F64)
        return ((cut, state[1] + 0.2) if isinstance(state, tuple) else cut), y

    model.cell.register_forward_hook(hook)
    return model


def driven(kind):
    model = varied(kind(1, 2, dtype=F64), seed=1, size=2.0)
    model.cell.register_forward_pre_hook(lambda cell, given: (given[0], given[1] - 2))
    return model


def patched(kind):
    model = varied(kind(1, 2, dtype=F64), seed=1, size=2.0)
    update = model.cell.update
    model.cell.update = lambda state, u: update(state, u + 0.5)
    return model


@pytest.mark.parametrize("change", [lesioned, driven, patched])
@pytest.mark.parametrize("kind", [rl.LSTM, rl.GRU])
def test_points_are_those_of_the_step_that_is_taken(kind, change):
    model = change(kind)
    found = analysis.fixed_points(model, x=X, starts=120, rounds=4)
    assert len(found.points)
    assert max(moved(model, found.points)) < 1e-9
    for point, values in zip(found.points, found.eigenvalues, strict=True):
        want = analysis.jacobian(model, point, X).eigenvalues
        np.testing.assert_allclose(np.abs(values), np.abs(want), atol=1e-6)


def test_a_hook_can_lead_out_of_the_bounds_of_a_cell():
    """h = 3 tanh(0.9 h) has three solutions, two of them beyond 1."""
    cell = rnn([[0.9]])
    cell.register_forward_hook(lambda cell, given, result: (3 * result[0], 3 * result[1]))
    found = analysis.fixed_points(rl.Recur(cell))
    assert sorted(found.points.ravel().round(6)) == [-2.971615, 0.0, 2.971615]
    assert found.complete is None
    assert found.failed == ()


def test_a_patched_cell_leaves_its_bounds_too():
    cell = rnn([[0.9]])
    update = cell.update
    cell.update = lambda state, u: tuple(3 * part for part in update(state, u))
    found = analysis.fixed_points(rl.Recur(cell))
    assert sorted(found.points.ravel().round(6)) == [-2.971615, 0.0, 2.971615]


def test_a_closed_gate_behind_computed_weights_is_told_of():
    torch.manual_seed(0)
    layer = nn.GRU(1, 2)
    with torch.no_grad():
        layer.bias_ih_l0[2:4] = 45.0
    assert analysis.fixed_points(rl.adapt(layer), x=X, starts=60).failed == ()
    wrapped = nn.utils.parametrizations.weight_norm(layer, "weight_hh_l0")
    found = analysis.fixed_points(rl.adapt(wrapped), x=torch.ones(1, 1), starts=60)
    assert found.continuum_dimension == 2
    assert found.failed == (
        "Of layer only s − F(s) is known, not what its gates make of it: a closed gate looks like "
        "a continuum there.",
    )


class TestKinks:
    def test_at_a_point(self):
        """h' = relu(2h): 0 is a fixed point with the slopes 0 and 2."""
        found = analysis.fixed_points(rnn([[2.0]], "relu"), starts=60)
        assert found.points.tolist() == [[0.0]]
        (said,) = found.failed
        assert said.startswith("F has a kink at 1 point (number 0): its slope is another on the")

    def test_not_beside_it(self):
        found = analysis.fixed_points(rnn([[0.5]], "relu", bias=[1.0]), starts=60)
        np.testing.assert_allclose(found.points, [[2.0]])
        assert found.failed == ()

    def test_nor_where_a_curve_is_steep(self):
        found = analysis.fixed_points(rnn([[500.0]]), starts=60)
        assert len(found.points) == 3
        assert found.failed == ()


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = rl.RNN(1, 2, dtype=F64)
        self.register_buffer("seen", torch.zeros((), dtype=F64))

    def forward(self, x):
        self.seen.add_(1)
        return self.rnn(x)


def test_a_buffer_that_a_step_changes():
    with pytest.raises(rl.RnnlabError) as error:
        analysis.jacobian(Counting(), x=X)
    assert str(error.value).endswith(
        "The step changes a tensor of the model in place (a buffer, a counter), and no derivative "
        "can be taken through that. If it does so in training only, model.eval() helps; else keep "
        "it out of the step."
    )


def test_batch_norm_in_training():
    model = rl.Chain(nn.BatchNorm1d(1), rl.RNN(1, 2))
    with pytest.raises(rl.RnnlabError, match=r"model\.eval\(\) takes single rows\.$"):
        analysis.jacobian(model, x=torch.ones(1, 1))


def test_an_input_that_is_not_finite():
    found = analysis.jacobian(rl.GRU(2, 3), x=torch.tensor([torch.inf, 0.0]))
    assert found.failed == ("The state or x is not finite: J is that of a limit, if of anything.",)


@pytest.mark.parametrize(
    ("W", "said"),
    [
        (np.diag([0.9, 1.05]), "longest time constant 9.491 steps, 1 mode growing"),
        (np.diag([0.9, 0.5]), "longest time constant 9.491 steps"),
        (np.diag([1.5, 1.05]), "largest |λ| 1.5, 2 modes growing"),
        (np.diag([1.0, 0.5]), "longest time constant ∞ steps"),
    ],
)
def test_the_longest_time_constant_is_of_what_decays(W, said):
    assert repr(analysis.jacobian(rnn(W, "identity"))).endswith(f"{said})")
