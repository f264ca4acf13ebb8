"""Gates that are all but closed, in every cell and every container: no false points."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import rnnlab as rl
from rnnlab.adapters import adapt
from rnnlab.analysis import fixed_points
from rnnlab.analysis.bounds import invariant_box
from rnnlab.analysis.closed import formula_of
from rnnlab.cells.registry import CELLS
from tests.analysis.helpers import varied

F64 = torch.float64


class Inside(nn.Module):
    """A module of someone who only knows torch."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.out = nn.Linear(layer.hidden_size, 1, dtype=F64)

    def forward(self, x):
        return self.out(self.layer(x)[0])


class Holding(nn.Module):
    """A module with a Recur somewhere inside."""

    def __init__(self, layer):
        super().__init__()
        self.front = nn.Identity()
        self.layer = layer

    def forward(self, x):
        return 2 * self.layer(self.front(x))


def gru(gate):
    layer = varied(nn.GRU(2, 3, dtype=F64), size=0.4)
    with torch.no_grad():
        layer.bias_ih_l0[3:6] += torch.as_tensor(gate, dtype=F64)
    return layer


def lstm(kind, forget):
    layer = varied(kind(2, 2, dtype=F64), size=1.0)
    bias = layer.bias_ih_l0 if isinstance(layer, nn.LSTM) else layer.cell.bias
    with torch.no_grad():
        bias[2:4] = forget
    return layer


def same(found, bare):
    assert found.kinds == bare.kinds
    np.testing.assert_allclose(found.points, bare.points, rtol=1e-7, atol=1e-9)
    assert (found.complete, found.failed) == (bare.complete, bare.failed)


@pytest.mark.parametrize("gate", [60.0, [40.0, 0.0, 0.0]])
def test_a_closed_gru_that_is_adapted(gate):
    layer = gru(gate)
    bare = fixed_points(adapt(layer), starts=60)
    assert len(bare.points) == 1
    assert bare.complete
    same(fixed_points(adapt(Inside(layer)), x=np.zeros((1, 2)), starts=60), bare)


def test_a_closed_lstm_that_is_adapted():
    layer = lstm(nn.LSTM, 8.0)
    bare = fixed_points(adapt(layer), starts=45)
    assert bare.complete
    same(fixed_points(adapt(Inside(layer)), x=np.zeros((1, 2)), starts=45), bare)


@pytest.mark.parametrize(
    "container", [Holding, lambda m: nn.Sequential(m, nn.Linear(2, 1).double())]
)
def test_a_closed_lstm_in_a_container(container):
    layer = lstm(rl.LSTM, 8.0)
    bare = fixed_points(layer, starts=45)
    assert bare.complete
    same(fixed_points(container(layer), starts=45), bare)


class TestBounds:
    zero = (torch.zeros(2, dtype=F64),)

    def box(self, model, xs=None):
        return [b.tolist() for b in invariant_box(model, xs or self.zero)]

    def test_a_container_changes_none(self):
        layer = lstm(rl.LSTM, 5.0)
        bare = self.box(layer)
        assert np.isfinite(bare).all()
        for model in (
            Holding(layer),
            nn.Sequential(layer),
            rl.Chain(layer),
            nn.Sequential(Holding(layer)),
        ):
            assert self.box(model) == bare

    def test_layers_one_upon_the_other(self):
        theirs = varied(nn.LSTM(2, 3, num_layers=2, dtype=F64))
        ours = adapt(theirs)
        np.testing.assert_allclose(
            self.box(adapt(Inside(theirs)), (torch.zeros(1, 2, dtype=F64),)), self.box(ours)
        )

    def test_through_what_is_linear_or_grows(self):
        below, above = rl.LSTM(2, 2, dtype=F64), rl.LSTM(2, 2, dtype=F64)
        middle = nn.Linear(2, 2, dtype=F64)
        with torch.no_grad():
            middle.weight.copy_(torch.tensor([[1.0, -2.0], [0.0, 3.0]]))
            middle.bias.fill_(0.5)
        high = self.box(nn.Sequential(below, middle, above))[1]
        widest = torch.tensor([3.5, 3.5]), torch.tensor([-2.5, -2.5])
        W = above.cell.weight_ih.detach()
        u = W.clamp(min=0) @ widest[0].double() + W.clamp(max=0) @ widest[1].double()
        a = u + above.cell.bias.detach() + above.cell.weight_hh.detach().abs().sum(dim=1)
        want = torch.sigmoid(a[:2]) / torch.sigmoid(-a[2:4])
        np.testing.assert_allclose(high[-2:], want)

    @pytest.mark.parametrize("kind", [rl.MinGRU, rl.MinLSTM])
    @pytest.mark.parametrize("positive", [False, True])
    def test_a_minimal_cell_stays_between_its_state_and_its_candidate(self, kind, positive):
        layer = varied(kind(2, 3, positive=positive, dtype=F64), size=3.0)
        x = torch.tensor([1.0, -2.0], dtype=F64)
        high = self.box(layer, (x,))[1]
        n = layer.cell.gates(layer.cell.initial_state(), x)["n"]
        np.testing.assert_allclose(high, n.detach().abs().clamp(min=1.0))
        found = fixed_points(layer, x=x, starts=30)
        assert found.complete
        assert found.failed == ()
        np.testing.assert_allclose(found.points, [n.tolist()], atol=1e-12)
        deep = nn.Sequential(layer, varied(kind(3, 2, positive=positive, dtype=F64)))
        assert fixed_points(deep, x=x, starts=30).complete

    def test_a_projected_lstm(self):
        theirs = varied(nn.LSTM(2, 3, proj_size=2, dtype=F64), size=2.0)
        model = adapt(theirs)
        high = np.array(self.box(model)[1])
        np.testing.assert_allclose(high[:2], theirs.weight_hr_l0.detach().abs().sum(dim=1))
        s = torch.as_tensor(high) * torch.sign(torch.randn(500, 5, dtype=F64))
        new = rl.as_cell(model).flat_step(s, torch.zeros(500, 2, dtype=F64))[0]
        assert (new.abs() <= torch.as_tensor(high)).all()
        found = fixed_points(model, starts=200)
        assert found.complete
        assert len(found.points) >= 1

    def test_what_is_not_known_has_none(self):
        class Odd(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = rl.LSTM(2, 2, dtype=F64), rl.LSTM(2, 2, dtype=F64)

            def forward(self, x):
                return self.b(self.a(x) ** 2)

        assert np.isfinite(self.box(Odd())[1]).tolist() == [True] * 6 + [False] * 2


@pytest.mark.parametrize("steps", [1, 2])
def test_several_steps_are_not_taken_for_one(steps):
    """F of two steps with inputs that differ has other points than either step."""
    layer = gru(0.0)
    x = torch.tensor([[2.0, -1.0], [-2.0, 1.0]], dtype=F64)[:steps]
    found = fixed_points(adapt(Inside(layer)), x=x, starts=60)
    assert len(found.points) == 1
    h = torch.tensor(found.points)
    np.testing.assert_allclose(layer(x, h)[1].detach(), h, atol=1e-12)


def state_of(cell, seed):
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.randn(n, generator=generator, dtype=F64) for n in cell.state_sizes()]
    return parts[0] if len(parts) == 1 else tuple(parts)


@pytest.mark.parametrize("kind", [kind for kind in CELLS if formula_of(kind(1, 1))])
def test_what_is_formed_without_cancellation_is_the_difference(kind):
    cell = varied(kind(2, 3, dtype=F64))
    state, x = state_of(cell, 0), torch.tensor([0.4, -0.3], dtype=F64)
    new = cell(state, x)[0]
    pairs = [(state, new)] if isinstance(state, torch.Tensor) else zip(state, new, strict=True)
    for part, (before, after) in zip(formula_of(cell)(cell, state, x), pairs, strict=True):
        assert torch.allclose(part.gap, before - after, rtol=1e-12, atol=1e-15)
        assert (part.scale > 0).all()


CLOSED = [
    ("JANETCell", slice(0, 2), 40.0),
    ("MinGRUCell", slice(0, 2), -40.0),
    ("MinLSTMCell", slice(2, 4), -40.0),
    ("LEMCell", slice(0, 4), -40.0),
    ("GatedAntisymmetricRNNCell", slice(0, 2), -40.0),
    ("PeepholeLSTMCell", slice(2, 4), 6.0),
    ("MGUCell", slice(0, 2), -40.0),
    ("UGRNNCell", slice(0, 2), 40.0),
]


@pytest.mark.parametrize(("name", "rows", "gate"), CLOSED)
def test_every_gated_cell_closed_has_no_false_points(name, rows, gate):
    """Where the gate depends on neither the input nor the state, it does not move the points of a
    cell that blends; one that writes by another gate has the points of its quotient."""
    cell = varied({kind.__name__: kind for kind in CELLS}[name](1, 2, dtype=F64), size=0.4)
    with torch.no_grad():
        cell.bias[rows] += gate
    found = fixed_points(cell, starts=30)
    assert len(found.points) == 1
    assert found.continuum_dimension == 0
    s = torch.tensor(found.points[0])
    state = s if len(cell.state_names) == 1 else tuple(s.chunk(2))
    parts = formula_of(cell)(cell, state, torch.zeros(1, dtype=F64))
    cancelled = torch.cat([part.cancelled for part in parts])
    assert cancelled.abs().max() < 1e-12 * (1 + s.abs().max())
