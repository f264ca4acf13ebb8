"""Principal axes, flow and basins."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab.analysis import Plane, basins, fixed_points, flow, pca
from tests.analysis.helpers import SLOPES, inputs, rnn, rotation, varied

F64 = torch.float64
PLANE = (("h", 0), ("h", 1))


def recorded(steps=40, kind=rl.LSTM, batch=None):
    model = varied(kind(2, 5, dtype=F64))
    session = rl.Session(model)
    xs = inputs(steps * (batch or 1), 2).reshape(steps, *([batch] if batch else []), 2)
    session.run(torch.as_tensor(xs))
    return session


class TestPca:
    def test_against_the_covariance(self):
        trace = recorded().trace()
        found = pca(trace, "h")
        h = trace["h"]
        values, vectors = np.linalg.eigh(np.cov(h.T))
        ratio = values[::-1] / values.sum()
        np.testing.assert_allclose(found.variance_ratio, ratio, atol=1e-12)
        for axis, vector in zip(found.components, vectors.T[::-1], strict=True):
            assert abs(axis @ vector) == pytest.approx(1)
            assert axis[np.argmax(np.abs(axis))] > 0
        np.testing.assert_allclose(found.scores, (h - h.mean(axis=0)) @ found.components.T)
        np.testing.assert_allclose(found.components @ found.components.T, np.eye(5), atol=1e-12)

    def test_all_states(self):
        trace = recorded().trace()
        found = pca(trace)
        assert found.names == ("h", "c")
        assert found.components.shape == (10, 10)
        assert found.units[5] == ("c", 0)

    def test_the_fit_set_is_stated(self):
        trace = recorded().trace()
        assert pca(trace, "h").fitted == "40 steps of h"
        assert pca(trace, "h", steps=slice(10, 30)).fitted == "20 steps (11 to 30) of h"
        batch = recorded(batch=3).trace()
        assert pca(batch, "h").fitted == "40 steps × 3 rows of h"

    def test_fit_to_some_place_all(self):
        trace = recorded().trace()
        found = pca(trace, "h", steps=slice(10, 30))
        np.testing.assert_allclose(found.mean, trace["h"][10:30].mean(axis=0))
        assert found.scores.shape == (40, 5)

    def test_a_branch_moves_no_axis(self):
        session = recorded()
        found = pca(session.trace("main"), "h")
        session.rewind(20)
        session.poke("h", 0, 0.9)
        session.refeed()
        branch = session.trace()
        placed = found.place(branch)
        np.testing.assert_allclose(placed[:19], found.scores[:19])
        np.testing.assert_allclose(placed, (branch["h"] - found.mean) @ found.components.T)
        np.testing.assert_allclose(found.place({"h": branch["h"]}), placed)

    def test_the_initial_state_is_placed_not_fitted(self):
        trace = recorded().trace()
        found = pca(trace, "h")
        np.testing.assert_allclose(found.initial, found.place(trace.initial["h"]))

    def test_no_variance(self):
        found = pca(rl.Trace({"h": np.ones((4, 3))}), "h")
        assert found.failed == ("All states are the same: there is no variance, and no axes.",)
        assert found.variance_ratio.tolist() == [0, 0, 0]

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (("q",), "pca: no array 'q'. There are: h."),
            (("h", 7), "pca: components must be a whole number from 1 to 3, got 7."),
        ],
    )
    def test_wrong_arguments(self, arguments, text):
        trace = rl.Trace({"h": inputs(5, 3)})
        with pytest.raises(rl.RnnlabError) as error:
            pca(trace, arguments[0], components=arguments[1] if len(arguments) > 1 else None)
        assert str(error.value) == text

    def test_values_that_are_not_finite(self):
        h = inputs(5, 3)
        h[2, 0] = np.inf
        with pytest.raises(rl.RnnlabError, match="not finite in row 2"):
            pca(rl.Trace({"h": h}), "h")

    def test_table_and_repr(self):
        found = pca(rl.Trace({"h": inputs(5, 3)}), "h", components=2)
        assert list(found.to_pandas().columns) == ["PC1", "PC2"]
        assert repr(found).endswith("of the variance; fitted to 5 steps of h)")


class TestFlow:
    def test_against_single_steps(self):
        cell = varied(rl.LSTMCell(2, 3, dtype=F64))
        x = np.array([0.3, -0.2])
        state = {"h": np.full(3, 0.1), "c": np.full(3, -0.2)}
        found = flow(cell, (("h", 1), ("c", 2)), x=x, state=state, grid=5)
        assert found.plane.labels == ("h[1]", "c[2]")
        for i, b in enumerate(found.b):
            for j, a in enumerate(found.a):
                h, c = torch.tensor(state["h"]), torch.tensor(state["c"])
                h[1], c[2] = a, b
                (h2, c2), _ = cell((h, c), torch.tensor(x))
                step = torch.cat([h2 - h, c2 - c]).detach().numpy()
                np.testing.assert_allclose(found.velocity[i, j], step[[1, 5]], atol=1e-12)
                assert found.speed[i, j] == pytest.approx(np.linalg.norm(step))
                out = np.linalg.norm(np.delete(step, [1, 5])) / np.linalg.norm(step)
                assert found.out_of_plane[i, j] == pytest.approx(out)

    def test_nothing_leaves_an_invariant_plane(self):
        found = flow(rnn(2 * np.eye(3)), PLANE, grid=7)
        np.testing.assert_allclose(found.out_of_plane, 0, atol=1e-12)

    def test_a_zero_in_the_plane_is_no_fixed_point(self):
        found = flow(rnn(2 * np.eye(3)), PLANE, state=np.array([0, 0, 0.5]), grid=3)
        assert found.velocity[1, 1].tolist() == [0, 0]
        assert found.out_of_plane[1, 1] == 1.0
        assert found.speed[1, 1] > 0.2

    def test_points_are_zeros_of_the_flow(self):
        cell = rnn(2 * np.eye(2))
        h = SLOPES[2.0]
        found = flow(cell, PLANE, extent=((-h, h), (-h, h)), grid=3)
        np.testing.assert_allclose(found.speed, 0, atol=1e-13)

    def test_an_input_moves_it(self):
        cell = rnn(2 * np.eye(2))
        rest, pushed = (flow(cell, PLANE, x=[x], grid=5) for x in (0.0, 1.0))
        assert np.abs(rest.velocity - pushed.velocity).max() > 0.1

    def test_in_principal_axes(self):
        session = recorded()
        axes = pca(session.trace(), "h")
        found = flow(session.model, axes, state=rl.states(session.model), grid=4)
        np.testing.assert_allclose(found.plane.axes[:, :5], axes.components[:2])
        np.testing.assert_allclose(found.plane.origin[:5], axes.mean)
        np.testing.assert_allclose(found.plane.origin[5:], rl.states(session.model)["c"])
        low, high = found.plane.extent[0]
        assert low < axes.scores[:, 0].min()
        assert high > axes.scores[:, 0].max()

    def test_a_plane_of_ones_own(self):
        plane = Plane(np.zeros(2), rotation(0.3), ("u", "v"), ((-1, 1), (-1, 1)))
        found = flow(rnn(0.5 * np.eye(2), "identity"), plane, grid=3)
        a, b = np.meshgrid(found.a, found.b)
        np.testing.assert_allclose(found.velocity, -0.5 * np.stack([a, b], -1), atol=1e-14)

    def test_nan_places_are_counted(self):
        def cell(h, x):
            return torch.where(h > 0.5, torch.full_like(h, float("nan")), h / 2), h

        found = flow(rl.Recur(cell, torch.zeros(2)), PLANE, extent=((0, 1), (0, 1)), grid=3)
        assert found.failed == ("The model's step is not finite at 5 of 9 places.",)
        assert np.isfinite(found.speed).sum() == 4
        assert "FAILED" in repr(found)

    @pytest.mark.parametrize(
        ("plane", "options", "text"),
        [
            (
                "h",
                {},
                'flow: plane must be two units, as (("h", 0), ("h", 1)), a PCA or a Plane; got '
                "'h'.",
            ),
            (
                (("h", 0), ("c", 1)),
                {},
                "flow: no unit ('c', 1) in the state. Units are pairs, from ('h', 0) to ('h', 1).",
            ),
            (
                (("h", 0), ("h", 0)),
                {},
                "flow: the two units of a plane must differ, got (('h', 0), ('h', 0)).",
            ),
            (PLANE, {"grid": 0}, "flow: grid must be a whole number ≥ 1, got 0."),
            (
                PLANE,
                {"extent": (1, 2)},
                "flow: extent must be ((low, high), (low, high)), finite and with low < high, "
                "got (1, 2).",
            ),
            (
                PLANE,
                {"extent": ((-np.inf, 0), (0, 1))},
                "flow: extent must be ((low, high), (low, high)), finite and with low < high, "
                "got ((-inf, 0), (0, 1)).",
            ),
            (PLANE, {"state": "h"}, "flow: state is not numeric: str 'h'."),
        ],
    )
    def test_wrong_arguments(self, plane, options, text):
        with pytest.raises(rl.RnnlabError) as error:
            flow(rnn(np.eye(2)), plane, **options)
        assert str(error.value) == text


def test_a_plane_must_be_orthonormal():
    with pytest.raises(rl.RnnlabError) as error:
        Plane(np.zeros(2), np.ones((2, 2)), ("a", "b"), ((0, 1), (0, 1)))
    assert str(error.value) == "Plane: the two axes must be orthonormal."


class TestBasins:
    def test_quadrants(self):
        found = basins(rnn(2 * np.eye(2)), PLANE, grid=8)
        assert found.share.tolist() == [0.25] * 4
        assert found.period.tolist() == [1] * 4
        np.testing.assert_allclose(np.abs(found.attractors), SLOPES[2.0], atol=1e-12)
        a, b = np.meshgrid(found.a, found.b)
        ends = found.attractors[found.label]
        assert (np.sign(ends[..., 0]) == np.sign(a)).all()
        assert (np.sign(ends[..., 1]) == np.sign(b)).all()

    def test_an_input_takes_basins_away(self):
        cell = rnn([[2.0, 0.0], [0.0, 2.0]])
        scale = cell.weight_ih.detach().numpy().ravel()
        counts = [
            len(basins(cell, PLANE, x=[push / scale[0]], grid=6).attractors) for push in (0, 3.0)
        ]
        assert counts[0] == 4
        assert counts[1] < 4

    def test_cycles_are_one_attractor(self):
        found = basins(rnn(-2 * np.eye(2)), PLANE, grid=6)
        assert found.period.tolist() == [2, 2]
        assert found.share.tolist() == [0.5, 0.5]
        turning = basins(rnn(3.0 * rotation(np.pi / 2)), PLANE, grid=6)
        assert set(turning.period.tolist()) <= {1, 4}

    def test_the_border_ends_on_the_saddle(self):
        found = basins(rnn(2 * np.eye(2)), PLANE, grid=5)
        assert len(found.attractors) == 9
        assert found.share.min() == 1 / 25

    def test_attractors_are_the_stable_points(self):
        cell = rnn([[1.8, 0.4], [-0.3, 2.0]])
        points = fixed_points(cell)
        found = basins(cell, PLANE, grid=20)
        want = points.points[points.stable]
        got = found.attractors[np.lexsort(found.attractors.round(9).T[::-1])]
        np.testing.assert_allclose(got, want[np.lexsort(want.round(9).T[::-1])], atol=1e-10)

    def test_what_does_not_settle_is_said(self):
        found = basins(rnn(1.5 * rotation(0.7)), PLANE, grid=4, steps=100)
        assert (found.label == -1).all()
        assert found.failed == ("16 of 16 places had not settled after 100 steps.",)
        assert found.attractors.shape == (0, 2)

    def test_a_plane_through_a_state_that_is_not_finite(self):
        found = flow(rnn(2 * np.eye(3)), PLANE, state=[0, 0, np.nan], grid=3)
        assert found.failed == ("The model's step is not finite at 9 of 9 places.",)
        assert np.isnan(found.velocity).all()
        assert repr(found).startswith("Flow(3 × 3 places on h[0], h[1]; FAILED")

    def test_what_explodes_is_said(self):
        found = basins(rnn(3 * np.eye(2), "identity"), PLANE, grid=4, steps=2000)
        assert (found.label == -2).all()
        assert found.failed == ("The state is not finite for 16 of 16 places.",)

    @pytest.mark.parametrize(("turn", "count"), [(0.0, 9), (0.6, 81)])
    def test_a_continuum_is_said(self, turn, count):
        line = rotation(turn) @ np.diag([1.0, 0.5]) @ rotation(-turn)
        found = basins(rnn(line, "identity"), PLANE, grid=9, steps=200)
        assert len(found.attractors) == count
        assert f"{count} of them with a neutral direction: they probably lie" in found.failed[0]

    def test_the_ends_of_a_continuum_can_be_left(self):
        """To tell thousands of ends apart takes longer than to run to them."""
        beats = []
        line = rotation(0.6) @ np.diag([1.0, 0.5]) @ rotation(-0.6)
        found = basins(rnn(line, "identity"), PLANE, grid=20, steps=200, progress=beats.append)
        assert len(found.attractors) == 400
        assert len(beats) > 2 * 400

    def test_a_saturated_gru_is_slow_not_settled(self):
        """Its step is below rounding everywhere, but its true point is one."""
        cell = varied(rl.GRUCell(1, 2, dtype=F64), size=0.2)
        with torch.no_grad():
            cell.bias[2:4] = 40.0
        found = basins(cell, PLANE, grid=4, steps=64)
        assert len(found.attractors) == 0
        assert found.failed

    def test_table_and_repr(self):
        found = basins(rnn(2 * np.eye(2)), PLANE, grid=4)
        assert list(found.to_pandas().columns) == ["a", "b", "label", "settled"]
        assert repr(found).startswith("Basins(4 × 4 places, 4 attractors: 25% fixed point")
