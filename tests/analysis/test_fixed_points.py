"""All fixed points, and nothing else."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

import rnnlab as rl
from rnnlab.adapters import adapt
from rnnlab.analysis import fixed_points
from tests.analysis.helpers import SLOPES, rnn, rotation, varied


@pytest.mark.parametrize("w", SLOPES)
def test_one_unit(w):
    found = fixed_points(rnn([[w]]))
    h = SLOPES[w]
    np.testing.assert_allclose(found.points.ravel(), [-h, h, 0], atol=1e-13)
    np.testing.assert_allclose(
        found.eigenvalues.ravel(), [w * (1 - h**2), w * (1 - h**2), w], atol=1e-12
    )
    assert found.index.tolist() == [0, 0, 1]
    assert found.stable.tolist() == [True, True, False]
    assert found.complete is True
    assert found.index_sum == 1
    assert found.failed == ()


def test_slope_of_the_public_case():
    found = fixed_points(rnn([[2.0]]))
    assert found.eigenvalues[0, 0].real == pytest.approx(0.166372087751674, abs=1e-14)


@pytest.mark.parametrize("seed", range(4))
def test_three_units_have_27_points_for_every_seed(seed):
    found = fixed_points(rnn(2 * np.eye(3)), seed=seed)
    assert Counter(found.index.tolist()) == {0: 8, 1: 12, 2: 6, 3: 1}
    assert found.complete
    assert found.residual.max() < 1e-14
    assert found.error_radius.max() < 1e-12
    values = {-1: -SLOPES[2.0], 0: 0.0, 1: SLOPES[2.0]}
    nearest = np.rint(found.points).astype(int)
    np.testing.assert_allclose(found.points, np.vectorize(values.get)(nearest), atol=1e-13)
    assert len({tuple(row) for row in nearest}) == 27


def test_five_units_have_243_points():
    found = fixed_points(rnn(2 * np.eye(5)), seed=1)
    assert Counter(found.index.tolist()) == {0: 32, 1: 80, 2: 80, 3: 40, 4: 10, 5: 1}
    assert found.complete


def test_the_order_is_the_same_for_every_seed():
    W = 2 * np.eye(3) + 0.2 * np.array([[0, 1, -1], [1, 0, 0.5], [0.3, -0.4, 0]])
    one, other = fixed_points(rnn(W), seed=0), fixed_points(rnn(W), seed=5)
    np.testing.assert_allclose(one.points, other.points, atol=1e-12)
    assert len(one.points) == 27


def brute_force(W: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Every solution of h = tanh(W h + b) in two units, by the roots of one function of h₁.

    The first equation gives h₂ = (atanh h₁ − w₁₁ h₁ − b₁)/w₁₂; what is left of the second changes
    its sign at every simple solution.
    """
    first = np.tanh(np.linspace(-9, 9, 400_001))

    def second(h):
        return (np.arctanh(h) - W[0, 0] * h - b[0]) / W[0, 1]

    def rest(h):
        return second(h) - np.tanh(W[1, 0] * h + W[1, 1] * second(h) + b[1])

    sign = np.sign(rest(first))
    found = []
    for k in np.flatnonzero(sign[1:] * sign[:-1] < 0):
        low, high = first[k], first[k + 1]
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if rest(middle) * rest(low) > 0 else (low, middle)
        found.append((low, second(low)))
    found += [(h, second(h)) for h in first[sign == 0]]
    return np.array(sorted(found))


@pytest.mark.parametrize("seed", range(6))
def test_other_couplings_against_brute_force(seed):
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(2, 2)) * 1.5 + np.eye(2) * (seed % 3)
    b = rng.normal(size=2) * 0.2
    want = brute_force(W, b)
    found = fixed_points(rnn(W, bias=b), seed=seed)
    assert len(found.points) == len(want)
    got = found.points[np.lexsort(found.points.T[::-1])]
    np.testing.assert_allclose(got, want, atol=1e-7)
    assert found.complete


@pytest.mark.parametrize("coupling", [-0.3, 0.3])
def test_coupled_pairs(coupling):
    """Two blocks of two units, each solved by brute force: the points are all the pairs."""
    W = np.array([[2.0, coupling], [coupling, 2.0]])
    single = brute_force(W, np.zeros(2))
    found = fixed_points(rnn(np.kron(np.eye(2), W)))
    assert len(found.points) == len(single) ** 2
    assert found.complete


def test_an_input_moves_and_annihilates_points():
    cell = rnn([[2.0]])
    scale = float(cell.weight_ih.detach()[0, 0])
    counts = [len(fixed_points(cell, x=[b / scale]).points) for b in (0.5, 0.6)]
    assert counts == [3, 1]  # the fold is at b = 0.5329


def test_a_rotation_has_the_origin_alone():
    found = fixed_points(rnn(1.5 * rotation(0.7)))
    np.testing.assert_allclose(found.points, 0, atol=1e-14)
    np.testing.assert_allclose(np.abs(found.eigenvalues), 1.5, atol=1e-12)
    assert found.index.tolist() == [2]
    assert found.complete


@pytest.mark.parametrize(
    ("W", "crossing"),
    [
        ([[1.0]], "λ = +1 (saddle-node)"),
        ([[-1.0]], "λ = −1 (flip)"),
        (rotation(0.7), "complex (Neimark–Sacker)"),
    ],
)
def test_marginal_points_say_how_they_cross(W, crossing):
    found = fixed_points(rnn(W))
    assert len(found.points) == 1
    assert found.marginal.tolist() == [True]
    assert found.crossing == (crossing,)
    assert np.abs(found.points).max() <= found.error_radius.max()
    assert not found.stable.any()


def test_only_a_point_that_the_index_cannot_count_stops_the_check():
    assert fixed_points(rnn([[-1.0]])).complete is True
    assert fixed_points(rnn([[1.0]])).complete is None


@pytest.mark.parametrize(("diagonal", "dimension"), [((1, 0.8, 0.7), 1), ((1, 1, 0.5), 2)])
def test_relu_continua(diagonal, dimension):
    found = fixed_points(rnn(np.diag(diagonal), "relu"))
    assert found.continuum_dimension == dimension
    assert len(found.points) == 1
    assert found.dimension.tolist() == [dimension]
    assert len(found.samples) > 50
    assert set(found.sample_of) == {0}
    assert found.complete is None
    assert "continuum" in repr(found)


def test_the_identity_is_a_continuum():
    assert fixed_points(rnn(np.eye(3), "relu")).dimension.tolist() == [3]
    assert fixed_points(rnn(np.eye(2), "identity")).dimension.tolist() == [2]


def test_a_ring_is_one_dimensional():
    def ring(h, x):
        new = 1.5 * h / (0.5 + (h * h).sum().sqrt())  # radius 1 is fixed, every angle too
        return new, new

    found = fixed_points(rl.Recur(ring, torch.tensor([0.6, 0.8])))
    assert found.continuum_dimension == 1
    ring_point = found.points[found.dimension == 1]
    np.testing.assert_allclose(np.linalg.norm(ring_point, axis=1), 1, atol=1e-10)
    assert (found.dimension == 0).sum() <= 1  # the origin, if a start reaches it


@pytest.mark.parametrize(
    ("kind", "gate"),
    [(rl.GRUCell, 0.0), (rl.GRUCell, 15.0), (rl.GRUCell, 80.0), (rl.GRUv3Cell, 40.0)],
)
def test_a_saturated_gru_has_its_one_point(kind, gate):
    cell = varied(kind(1, 4, dtype=torch.float64), size=0.2)
    with torch.no_grad():
        cell.bias[4:8] = gate
    found = fixed_points(cell)
    assert len(found.points) == 1
    assert found.stable.all()
    assert found.complete
    values = cell.gates(torch.tensor(found.points[0]), torch.zeros(1, dtype=torch.float64))
    np.testing.assert_allclose(values["n"].detach(), found.points[0], atol=1e-13)


def test_gru_points_do_not_depend_on_the_gate():
    """z does not move a fixed point of a GRU: h = n(h)."""
    cell = varied(rl.GRUCell(1, 3, dtype=torch.float64), size=2.0)
    points = []
    for gate in (0.0, 30.0):
        with torch.no_grad():
            cell.bias[3:6] = gate
        points.append(fixed_points(cell).points)
    order = [rows[np.lexsort(rows.round(9).T[::-1])] for rows in points]
    np.testing.assert_allclose(*order, atol=1e-11)


@pytest.mark.parametrize(("forget", "count"), [(-1.0, 1), (5.0, 3)])
def test_lstm(forget, count):
    cell = varied(rl.LSTMCell(1, 3, dtype=torch.float64), size=0.5)
    with torch.no_grad():
        cell.bias[3:6] = forget
    found = fixed_points(cell)
    assert len(found.points) == count
    assert found.complete
    h, c = torch.tensor(found.points).split(3, dim=1)
    (h2, c2), _ = cell((h, c), torch.zeros(count, 1, dtype=torch.float64))
    np.testing.assert_allclose(torch.cat([h2, c2], dim=1).detach(), found.points, rtol=1e-11)
    assert found.units == (*(("h", k) for k in range(3)), *(("c", k) for k in range(3)))


def test_a_bistable_lstm():
    """One unit that drives its own gates: two memories and the saddle between."""
    cell = rl.LSTMCell(1, 1, dtype=torch.float64)
    with torch.no_grad():
        cell.weight_hh.copy_(torch.tensor([[0.0], [0.0], [4.0], [0.0]]))
        cell.bias.copy_(torch.tensor([3.0, 0.0, 0.0, 3.0]))
    found = fixed_points(cell)
    assert found.index.tolist() == [0, 0, 1]
    assert found.complete


def test_a_whole_model():
    model = varied(
        rl.Chain(
            rl.LSTM(2, 3, dtype=torch.float64),
            rl.GRU(3, 2, dtype=torch.float64),
            rl.Dense(2, 1, dtype=torch.float64),
        )
    )
    found = fixed_points(model, x=[0.3, -0.4])
    assert found.complete
    states, _ = rl.functional.as_cell(model)(
        {
            "0.h": torch.tensor(found.points[0][:3]),
            "0.c": torch.tensor(found.points[0][3:6]),
            "1.h": torch.tensor(found.points[0][6:]),
        },
        torch.tensor([0.3, -0.4], dtype=torch.float64),
    )
    after = torch.cat([value.detach() for value in states.values()])
    np.testing.assert_allclose(after, found.points[0], atol=1e-12)


def test_an_adapted_model_has_the_same_points():
    layer = nn.GRU(2, 2, dtype=torch.float64)
    varied(layer, size=1.5)
    found = fixed_points(adapt(layer))
    assert found.complete

    class Inside(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = layer

        def forward(self, x):
            return self.gru(x)[0]

    inside = fixed_points(adapt(Inside()), x=np.zeros((1, 2)), starts=30)
    np.testing.assert_allclose(inside.points, found.points, atol=1e-9)
    assert inside.complete


def test_function_cells_have_no_bounds():
    cell = rl.Recur(lambda h, x: (torch.tanh(2 * h), h), torch.zeros(2))
    found = fixed_points(cell)
    assert len(found.points) == 9
    assert found.complete is None
    assert "does not apply" in repr(found)


def test_henon_points():
    def henon(s, x):
        a, b = s
        return (1 - 1.4 * a**2 + b, 0.3 * a), a

    found = fixed_points(rl.Recur(henon, (torch.tensor(0.0), torch.tensor(0.0))))
    root = np.sqrt(0.7**2 + 4 * 1.4)
    want = sorted((-0.7 + sign * root) / 2.8 for sign in (-1, 1))
    np.testing.assert_allclose(sorted(found.points[:, 0]), want, atol=1e-12)


def test_python_that_looks_at_the_data():
    def cell(h, x):
        if h.sum() > 100:
            return h, h
        new = torch.tanh(2 * h)
        return new, new

    found = fixed_points(rl.Recur(cell, torch.zeros(1)), starts=9, rounds=3)
    np.testing.assert_allclose(
        sorted(found.points.ravel()), [-SLOPES[2.0], 0, SLOPES[2.0]], atol=1e-12
    )


class TestStarts:
    def test_given_ones_are_used(self):
        found = fixed_points(rnn([[2.0]]), starts=np.array([[0.3], [0.95]]))
        assert len(found.points) == 3

    def test_a_trace(self):
        session = rl.Session(rl.Recur(rnn([[2.0]])))
        session.run(torch.zeros(5, 1, dtype=torch.float64))
        assert len(fixed_points(session.model, starts=session.trace()).points) == 3

    def test_far_points_need_a_wider_box(self):
        cell = rl.Recur(lambda h, x: (h + 0.1 * torch.sin(h), h), torch.zeros(1))
        near, far = (
            fixed_points(cell, radius=4, starts=30),
            fixed_points(cell, radius=40, starts=200),
        )
        assert len(near.points) >= 3
        assert len(far.points) == 25
        steps = far.points / np.pi
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-9)

    def test_what_lies_outside_the_invariant_set_is_counted(self):
        """tanh(2h) has no points outside, but its search does not leave [−1, 1] either."""
        found = fixed_points(rnn([[2.0]]), starts=np.array([[50.0]]))
        assert np.abs(found.points).max() <= 1
        assert found.starts >= found.merged + len(found.points)
        spent = found.merged + len(found.points) + sum(found.rejected.values())
        assert spent == found.starts


class TestIncomplete:
    def test_a_missing_point_is_seen(self):
        """A few starts find one or two of three points: the index sum says so."""
        seen = [fixed_points(rnn([[2.0]]), starts=1, rounds=1, seed=s) for s in range(4)]
        for one in seen:
            assert one.complete is (one.index_sum == 1)
            if len(one.points) == 2:
                assert one.complete is False
                assert "a point is missing" in one.failed[0]
                assert "INCOMPLETE" in repr(one)
        assert {1, 2} & {len(one.points) for one in seen}

    def test_no_rounds_left(self):
        found = fixed_points(rnn(2 * np.eye(8)), starts=16, rounds=2)
        assert "New points were still being found" in " ".join(found.failed)

    def test_nan(self):
        found = fixed_points(rl.Recur(lambda h, x: (h * float("nan"), h), torch.ones(2)))
        assert len(found.points) == 0
        assert found.complete is None
        assert found.rejected["not finite"] == found.starts
        assert found.failed == (
            "The model's state is not finite after the first step at this input.",
        )

    def test_nan_in_a_region(self):
        def cell(h, x):
            new = torch.where(h > 0.5, torch.full_like(h, float("nan")), torch.tanh(2 * h))
            return new, new

        found = fixed_points(rl.Recur(cell, torch.zeros(1)))
        np.testing.assert_allclose(sorted(found.points.ravel()), [-SLOPES[2.0], 0], atol=1e-12)
        assert found.rejected["not finite"] > 0

    def test_no_point_at_all(self):
        found = fixed_points(rl.Recur(lambda h, x: (h + 1 + h * h, h), torch.zeros(1)), rounds=3)
        assert len(found.points) == 0
        assert found.rejected["did not converge"] == found.starts
        assert found.failed == (
            f"{found.starts:,} of {found.starts:,} starts did not converge: there may be points "
            "that were not found, or that cannot be, where F is not smooth or a gate is closed.",
        )

    def test_a_point_where_the_slope_is_infinite(self):
        cell = rl.Recur(lambda h, x: (h.sign() * h.abs().sqrt(), h), torch.full((1,), 0.3))
        found = fixed_points(cell, rounds=3)
        assert found.points.ravel().round(9).tolist() == [-1.0, 1.0]
        assert found.failed == (
            "F(s) = s also where its derivative is not finite, as at s = (0): not among the "
            "points, for its stability cannot be told.",
        )

    @pytest.mark.parametrize(
        "step",
        [
            lambda h: torch.tanh(2 * h.detach()) + 0 * h,
            lambda h: torch.tanh(2 * h * h.detach() + 0.3),
            lambda h: torch.stack([h[0] * 0 + math.tanh(2 * h[0].item()), torch.tanh(h[1])]),
        ],
    )
    def test_a_cell_that_cuts_autograd(self, step):
        found = fixed_points(
            rl.Recur(lambda h, x: (step(h), h), torch.zeros(2)), rounds=1, starts=6
        )
        assert found.failed[0].startswith("The derivative that autograd gives is not that of")

    @pytest.mark.parametrize(
        "step",
        [torch.relu, torch.floor, lambda h: torch.tanh(1e7 * h), lambda h: 1e6 + 1e-3 * h],
    )
    def test_a_steep_or_broken_cell_does_not(self, step):
        cell = rl.Recur(lambda h, x: (step(h), h), torch.zeros(2))
        assert "autograd" not in " ".join(fixed_points(cell, rounds=1, starts=6).failed)

    @pytest.mark.parametrize("x", [np.nan, np.inf])
    def test_an_input_that_is_not_finite(self, x):
        """Nothing was searched: that is no missing point."""
        found = fixed_points(rnn(2 * np.eye(2)), x=[x])
        if np.isnan(x):
            assert found.complete is None
            assert found.failed == (
                "The model's state is not finite after the first step at this input.",
            )
        else:  # tanh(∞) = 1 is one state, and it is fixed
            assert np.abs(found.points).tolist() == [[1.0, 1.0]]

    def test_weights_that_are_not_finite(self):
        found = fixed_points(rnn([[np.nan, 0.0], [0.0, 1.0]]))
        assert found.complete is None
        assert len(found.failed) == 1

    def test_starts_that_are_not_finite(self):
        found = fixed_points(rnn([[2.0]]), starts=np.array([[np.nan], [np.inf]]))
        assert len(found.points) == 3
        assert found.failed == ()

    def test_next_to_a_fold(self):
        """tanh(w h) with w = 1 + 10⁻⁶: three points 0.0017 apart; with 10⁻⁹ they cannot be told."""
        found = fixed_points(rnn([[1 + 1e-6]]))
        assert len(found.points) == 3
        np.testing.assert_allclose(found.points[1], np.sqrt(3e-6), rtol=1e-4)
        assert found.complete
        one = fixed_points(rnn([[1 + 1e-9]]))
        assert one.marginal.tolist() == [True]
        assert one.complete is None

    def test_very_steep_units(self):
        found = fixed_points(rnn(1e6 * np.eye(2)))
        assert Counter(found.index.tolist()) == {0: 4, 1: 4, 2: 1}
        assert found.complete


def test_where_the_model_gives_nan_is_said():
    def cell(h, x):
        return torch.where(h[..., :1] > 1.0, torch.full_like(h, torch.nan), torch.tanh(2 * h)), h

    found = fixed_points(rl.Recur(cell, torch.zeros(2)), starts=40)
    assert len(found.points) == 9
    lost = found.rejected["not finite"]
    assert found.failed == (
        f"{lost:,} of {found.starts:,} starts ended where the model gives NaN or infinity: what "
        "lies there was not searched.",
    )
    assert lost


def test_what_the_model_raises_is_told_by_its_analysis():
    def cell(h, x):
        if calls.append(0) or len(calls) > 20:
            raise KeyError("lost")
        return torch.tanh(h), h

    for call in (fixed_points, lambda m: rl.analysis.lyapunov(m, np.zeros((40, 1)))):
        calls = []
        with pytest.raises(
            rl.RnnlabError, match=r" failed on the way with KeyError: 'lost'\. "
        ) as e:
            call(rl.Recur(cell, torch.zeros(1)))
        assert isinstance(e.value.__cause__, KeyError)


def test_table_and_axes():
    found = fixed_points(rnn(2 * np.eye(2)))
    table = found.to_pandas()
    assert list(table.columns[:2]) == ["kind", "index"]
    assert list(table.columns[-2:]) == ["h[0]", "h[1]"]
    assert len(table) == 9
    for name, axes in found.axes.items():
        assert getattr(found, name).ndim == len(axes)
        assert not getattr(found, name).flags.writeable
    assert repr(found) == (
        "FixedPoints(9 fixed points of 2 units: 4 stable, 5 unstable; complete (index sum +1))"
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"starts": np.zeros((3, 5))},
            "fixed_points: starts must be states (M, 2), a Trace, or how many to draw; got a "
            "tensor of shape (3, 5).",
        ),
        ({"starts": 0}, "fixed_points: starts must be at least 1, got 0."),
        ({"rounds": 0}, "fixed_points: rounds must be a whole number ≥ 1, got 0."),
        ({"radius": -1.0}, "fixed_points: radius must be a positive number, got -1.0."),
    ],
)
def test_wrong_arguments(options, text):
    with pytest.raises(rl.RnnlabError) as error:
        fixed_points(rnn(np.eye(2)), **options)
    assert str(error.value) == text


def test_wrong_input():
    with pytest.raises(rl.RnnlabError, match="x has 3 features, expected 1"):
        fixed_points(rnn(np.eye(2)), x=[1.0, 2.0, 3.0])
