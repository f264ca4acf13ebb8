"""No analysis leaves a mark on the model or on the global random state."""

from __future__ import annotations

import inspect
import random
from functools import cache, partial

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab import analysis
from rnnlab.derive import derive
from tests.analysis.helpers import inputs, varied

F64 = torch.float64
PLANE = (("0.h", 0), ("0.h", 1))
XS = inputs(8, 2)

CALLS = {
    "jacobian": analysis.jacobian,
    "fixed_points": partial(analysis.fixed_points, starts=6, rounds=1),
    "cycles": partial(analysis.cycles, period=2, starts=6, rounds=1),
    "flow": partial(analysis.flow, plane=PLANE, grid=3),
    "basins": partial(analysis.basins, plane=PLANE, grid=3, steps=20),
    "lyapunov": partial(analysis.lyapunov, xs=XS),
    "attribution": partial(analysis.attribution, xs=XS, target=0, method="integrated", points=4),
    "memory": partial(analysis.memory, xs=XS),
}
OF_TRACES = ("pca", "saturation", "timescales", "waterfall", "divergence")


def model():
    net = varied(
        rl.Chain(
            rl.LSTM(2, 3, dtype=F64),
            torch.nn.Dropout(0.5),
            rl.GRU(3, 2, dtype=F64),
            rl.Dense(2, 1, dtype=F64),
        )
    ).eval()
    net[2].train()  # modes may be mixed
    net[0].cell.weight_ih.requires_grad_(False)
    net[3].weight.grad = torch.ones_like(net[3].weight)
    net.register_forward_hook(lambda module, args, y: None)
    net[0].register_forward_pre_hook(lambda module, args: None)
    net(torch.ones(2, dtype=F64))  # a running state with a graph behind it
    return net


def marks(net):
    """Everything that could be touched: values, versions, flags, modes, hooks, states."""
    found = []
    for name, weight in net.named_parameters():
        grad = None if weight.grad is None else weight.grad.clone()
        found += [name, id(weight), weight.detach().clone(), weight._version, weight.requires_grad]
        found += [grad, weight.grad_fn]
    for name, module in net.named_modules():
        found += [name, id(module), module.training, sorted(module.__dict__)]
        found += [dict(module._forward_hooks), dict(module._forward_pre_hooks)]
        found += [dict(module._backward_hooks)]
    for name, state in rl.states(net).items():
        found += [name, id(state), state.detach().clone(), state.requires_grad, state.grad_fn]
    return found


def same(a, b):
    return all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in zip(a, b))  # noqa: B905


def global_state():
    return (
        torch.get_rng_state(),
        str(np.random.get_state()),
        random.getstate(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
    )


@cache
def result_of(name):
    """Of one model, for all tests; what they call themselves is compared with it."""
    return CALLS[name](model())


@pytest.mark.parametrize("name", CALLS)
def test_untouched_and_the_same_for_the_same_seed(name):
    one, net = result_of(name), model()
    before, world = marks(net), global_state()
    two = CALLS[name](net)
    assert same(before, marks(net))
    assert same(world, global_state())
    assert type(two).__name__.lower() == name.replace("_", "")
    assert repr(one) == repr(two)
    for field in one.axes:
        a, b = getattr(one, field), getattr(two, field)
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", OF_TRACES)
def test_traces_and_sessions_are_untouched(name):
    net = model()
    session = rl.Session(net)
    session.run(torch.as_tensor(XS))
    session.rewind(3)
    session.poke("0.h", 0, 0.2)
    session.refeed()
    trace = derive(net, session.trace("main"))
    arrays = {key: np.array(trace[key]) for key in trace}
    before, world = marks(net), global_state()
    log = len(session.log)
    if name == "divergence":
        analysis.divergence(session, "main", session.branch_name)
    elif name == "waterfall":
        analysis.waterfall(trace, "0.c", 0, 4)
    else:
        getattr(analysis, name)(trace)
    assert same(before, marks(net))
    assert same(world, global_state())
    assert len(session.log) == log
    for key, values in arrays.items():
        np.testing.assert_array_equal(trace[key], values)


def test_every_function_is_covered():
    public = {name for name in analysis.__all__ if inspect.isfunction(getattr(analysis, name))}
    assert public == {*CALLS, *OF_TRACES}


@pytest.mark.parametrize("name", CALLS)
def test_a_random_model_is_refused(name):
    net = model()
    net[1].train()
    with pytest.raises(rl.RnnlabError, match=f"^{name}: .* draws random numbers in a step"):
        CALLS[name](net)


@pytest.mark.parametrize("name", CALLS)
def test_a_float32_model_is_analysed_in_float64(name):
    net = model().float()
    result = CALLS[name](net)
    for field in result.axes:
        value = getattr(result, field)
        if isinstance(value, np.ndarray) and value.dtype.kind in "fc":
            assert value.dtype in (np.float64, np.complex128), field
    assert next(net.parameters()).dtype == torch.float32


@pytest.mark.parametrize("name", CALLS)
def test_gradients_off_and_inference_mode(name):
    net = model()
    with torch.inference_mode():
        assert repr(CALLS[name](net)) == repr(result_of(name))


def test_as_cell_results_are_taken():
    net = model()
    cell = rl.functional.as_cell(net)
    np.testing.assert_array_equal(analysis.jacobian(cell).matrix, analysis.jacobian(net).matrix)
    world = marks(net)
    analysis.fixed_points(cell, starts=10, rounds=1)
    assert same(world, marks(net))


class Last(torch.nn.Module):
    """Someone else's model that takes batches only, and gives the last step of each."""

    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(2, 3, batch_first=True, dtype=F64)
        self.out = torch.nn.Linear(3, 2, dtype=F64)

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, -1])


def test_a_batch_of_one_row_is_that_row():
    theirs = varied(Last())
    whole, bare = rl.adapt(theirs), rl.Chain(rl.adapt(theirs.lstm), theirs.out)
    xs = torch.as_tensor(inputs(6, 2))
    fed = xs[:, None, None]
    same = partial(np.testing.assert_allclose, atol=1e-12)
    a, b = analysis.jacobian(whole, x=fed[0]), analysis.jacobian(bare, x=xs[0])
    same(a.matrix, b.matrix)
    same(a.input, b.input)
    for call in (
        lambda m, x: analysis.attribution(m, x, 1).values,
        lambda m, x: analysis.memory(m, x).log_output,
        lambda m, x: analysis.lyapunov(m, x).exponents,
    ):
        same(call(whole, fed), call(bare, xs))
    same(
        *(
            analysis.fixed_points(m, x=x[0], starts=9, rounds=2).points
            for m, x in ((whole, fed), (bare, xs))
        )
    )
    apart = []
    for model, x, name in ((whole, fed, "lstm.h"), (bare, xs, "0.0.h")):
        session = rl.Session(model)
        session.run(x)
        session.rewind(3)
        session.poke(name, 1, 0.5)
        session.refeed()
        apart.append(analysis.divergence(session, "main", session.branch_name))
        same(
            analysis.attribution(model, session.trace("main"), 1).values,
            analysis.attribution(bare, xs, 1).values,
        )
    same(apart[0].predicted, apart[1].predicted)
    same(apart[0].distance, apart[1].distance)
    with pytest.raises(rl.RnnlabError, match=r"one step of one row is needed; .* becomes \(2, 6\)"):
        analysis.jacobian(whole, x=torch.zeros(2, 1, 2))
