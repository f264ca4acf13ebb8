"""What callers may give wrongly, and what the errors then say."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab import analysis
from rnnlab.analysis.advice import told
from rnnlab.analysis.dynamics import Dynamics
from tests.analysis.helpers import inputs, rnn, varied

F64 = torch.float64
XS = np.ones((6, 1))
CELL = rnn(np.eye(2) / 2)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: analysis.fixed_points(CELL, starts="many"),
            "fixed_points: starts is not numeric: str 'many'.",
        ),
        (
            lambda: analysis.jacobian(CELL, "h"),
            "jacobian: state is not numeric: str 'h'.",
        ),
        (
            lambda: analysis.attribution(CELL, XS, 0, "integrated", baseline="zero"),
            "attribution: baseline is not numeric: str 'zero'.",
        ),
        (
            lambda: analysis.fixed_points(CELL, radius="big"),
            "fixed_points: radius must be a positive number, got 'big'.",
        ),
        (
            lambda: analysis.cycles(CELL, period=2, seed="a"),
            "cycles: seed must be a whole number ≥ 0, got 'a'.",
        ),
        (
            lambda: analysis.lyapunov(CELL, XS, seed=-1),
            "lyapunov: seed must be a whole number ≥ 0, got -1.",
        ),
        (
            lambda: analysis.lyapunov(CELL, XS, transient=True),
            "lyapunov: transient must be a whole number from 0 to 5 (xs has 6 steps), got True.",
        ),
        (
            lambda: analysis.lyapunov(CELL, "abc"),
            "lyapunov: x is not numeric: str 'abc'.",
        ),
        (
            lambda: analysis.lyapunov(CELL, [[1.0], [1.0, 2.0]]),
            "lyapunov: x is not numeric: a list of 2.",
        ),
        (
            lambda: analysis.memory(CELL, XS, row=1),
            "memory: row= is for a Trace of a batch; of an array give one row, xs[:, b].",
        ),
        (
            lambda: analysis.divergence(CELL, "a", "b"),
            "divergence: needs the Session whose branches are compared, got RNNCell.",
        ),
        (
            lambda: analysis.pca(rl.Trace({"h": np.eye(3)}), 5),
            "pca: name must be an array's name, or several; got 5.",
        ),
        (
            lambda: analysis.pca(rl.Trace({"h": np.eye(3)}), "h", steps=5),
            "pca: steps must be a slice, as slice(0, 10); got 5.",
        ),
        (
            lambda: analysis.attribution(CELL, XS, lambda y: y.nope),
            "attribution: the target function failed on y, a tensor of shape (2,): "
            "AttributeError: 'Tensor' object has no attribute 'nope'",
        ),
    ],
)
def test_wrong_arguments(call, text):
    with pytest.raises(rl.RnnlabError) as error:
        call()
    assert str(error.value) == text


ANALYSES = {
    "jacobian": lambda m: analysis.jacobian(m, x=XS[0]),
    "fixed_points": lambda m: analysis.fixed_points(m, x=XS[0]),
    "lyapunov": lambda m: analysis.lyapunov(m, XS),
    "memory": lambda m: analysis.memory(m, XS),
    "attribution": lambda m: analysis.attribution(m, XS),
}


@pytest.mark.parametrize("name", ANALYSES)
def test_a_state_of_whole_numbers(name):
    count = rl.Recur(lambda h, x: (h + 1, h), torch.zeros(2, dtype=torch.long))
    with pytest.raises(rl.RnnlabError) as error:
        ANALYSES[name](count)
    assert str(error.value) == (
        f"{name}: the state 'h' of Recur(<lambda>) is of type torch.int64; a derivative needs real "
        "numbers. Begin with a state of floats."
    )


@pytest.mark.parametrize("name", ANALYSES)
def test_a_step_in_numpy(name):
    def cell(h, x):
        return torch.from_numpy(np.tanh((h + x).numpy())), h

    with pytest.raises(rl.RnnlabError) as error:
        ANALYSES[name](rl.Recur(cell, torch.zeros(1, dtype=F64)))
    assert str(error.value).endswith(
        "A derivative can be followed through torch operations only; write the step without "
        ".numpy(), .item() and the like."
    )


def test_what_a_gpu_says_of_numpy_is_known_too():
    error = TypeError(
        "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to "
        "host memory first."
    )
    assert told(error, "Look.").endswith("write the step without .numpy(), .item() and the like.")


def test_a_function_cell_lies_where_its_initial_state_does():
    cell = rl.Recur(lambda h, x: (h + x, h), torch.zeros(2, device="meta"))  # stands for a GPU
    d = Dynamics(cell, "test")
    assert d.device == torch.device("meta")
    assert d.inputs(np.ones(2))[0].device == d.device


@pytest.mark.parametrize("draw", [random.random, np.random.random])
def test_random_numbers_of_python_and_numpy(draw):
    model = rl.Recur(lambda h, x: (torch.tanh(h + draw()), h), torch.zeros(2, dtype=F64))
    random.seed(3)
    np.random.seed(3)
    want = draw()
    random.seed(3)
    np.random.seed(3)
    with pytest.raises(rl.RnnlabError, match="two different states for the same state and input"):
        analysis.fixed_points(model)
    assert draw() == want  # nor were they moved


@pytest.mark.parametrize("kind", [rl.LSTM, rl.GRU])
def test_a_row_of_a_recorded_batch(kind):
    model = varied(kind(2, 3, dtype=F64))
    xs = np.stack([inputs(9, 2), 2 * inputs(9, 2)], axis=1)
    session = rl.Session(model)
    session.run(torch.as_tensor(xs))
    trace = session.trace()
    for analyse, what in (
        (analysis.memory, "log_state"),
        (analysis.attribution, "values"),
        (analysis.lyapunov, "running"),
    ):
        alone, row = analyse(model, xs[:, 1]), analyse(model, trace, row=1)
        np.testing.assert_allclose(getattr(row, what), getattr(alone, what), rtol=1e-12)
        for wrong in (None, 2, -1, 0.0, True):
            with pytest.raises(rl.RnnlabError) as error:
                analyse(model, trace, row=wrong)
            assert str(error.value) == (
                f"{analyse.__name__}: the run is a batch of 2; row= says which (0 to 1), "
                f"got {wrong!r}."
            )
    session.reset()
    session.run(torch.as_tensor(xs[:, 1:]))
    one = analysis.memory(model, session.trace())  # a batch of one row is that row
    np.testing.assert_allclose(
        one.log_state, analysis.memory(model, xs[:, 1]).log_state, rtol=1e-12
    )
    np.testing.assert_array_equal(
        analysis.jacobian(model, session.states()).state,
        np.concatenate([session.states()[name][0] for name in rl.as_cell(model).names]),
    )


def test_a_row_of_an_adapted_batch():
    torch.manual_seed(1)

    class Reader(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = torch.nn.GRU(2, 3, batch_first=True, dtype=F64)

        def forward(self, x):
            return self.rnn(x)[0]

    model = rl.adapt(Reader())
    session = rl.Session(model)
    xs = torch.randn(8, 3, 1, 2, dtype=F64)
    session.run(xs)
    row = analysis.lyapunov(model, session.trace(), row=2)
    alone = analysis.lyapunov(model, xs[:, 2:])
    np.testing.assert_allclose(row.exponents, alone.exponents, rtol=1e-10)


def test_a_batch_without_a_trace_is_refused_with_what_to_do():
    with pytest.raises(rl.RnnlabError) as error:
        analysis.memory(rl.LSTM(2, 3), np.ones((5, 4, 2)))
    assert str(error.value) == (
        "memory: one step of one row is needed; with x of shape (4, 2) the state becomes (4, 6). "
        "Take one row of a batch: x[b] of a step, xs[:, b] of a sequence."
    )


@pytest.mark.parametrize("method", ["gradient", "integrated", "input_x_gradient"])
def test_progress_of_an_attribution_goes_by_its_own_work(method):
    seen: list[float] = []
    analysis.attribution(CELL, XS, 0, method, progress=seen.append)
    assert seen[0] == 0.0
    assert seen[-2:] == [1.0, 1.0]  # after the last piece, and at the end


def test_spectra_can_be_stopped():
    """After the last round of starts there is work left, and it can be stopped too."""

    class EnoughError(Exception):
        pass

    def stop(share):
        if share == 1.0:
            calls.append(share)
            if len(calls) == 3:
                raise EnoughError

    calls: list[float] = []
    with pytest.raises(EnoughError):
        analysis.fixed_points(rnn(2 * np.eye(2)), rounds=1, progress=stop)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_state_at_rest_has_no_principal_axes(dtype):
    h = np.full((7, 3), 0.1, dtype)
    h[3] = np.nextafter(h[3], dtype(1))  # the last bit of a recording moves at rest
    found = analysis.pca(rl.Trace({"h": h}), "h")
    assert found.variance_ratio.tolist() == [0, 0, 0]
    assert found.failed == ("All states are the same: there is no variance, and no axes.",)
    h[4] += dtype(1e-5 if dtype == np.float32 else 1e-12)
    moves = analysis.pca(rl.Trace({"h": h}), "h")
    assert moves.failed == ()
    assert moves.variance_ratio[0] == pytest.approx(1, abs=1e-3)


def test_gates_that_are_never_finite_have_no_share():
    z = np.full((4, 2), 0.95)
    z[:, 0] = np.nan
    fine = np.full((4, 2), 0.5)
    found = analysis.saturation(rl.Trace({"r": fine, "z": z, "n": fine}))
    rows = found.to_pandas().loc["z"]
    assert rows.loc[0].isna().all()
    assert rows.loc[1].tolist() == [0.0, 1.0, pytest.approx(0.95)]
    assert found.failed == ("z has values that are not finite.",)
    assert "z 0% shut, 100% open" in repr(found)
    z = np.full((4, 2), np.nan)
    assert "z not finite" in repr(analysis.saturation(rl.Trace({"r": fine, "z": z, "n": fine})))


def test_the_memory_of_a_derivative_that_is_not_finite():
    def cell(h, x):
        return torch.tanh(h + torch.sqrt(torch.abs(x - 1))), h

    found = analysis.memory(rl.Recur(cell, torch.zeros(1, dtype=F64)), np.ones((8, 1)))
    assert np.isnan(found.log_state).any()
    assert found.failed == ("A derivative is not finite: entries that are NaN are not known.",)
