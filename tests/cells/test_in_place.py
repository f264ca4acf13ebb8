"""Sequences in inference in the memory of their projection: the equation, nothing else changed."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import rnnlab as rl
from rnnlab import Recur, unroll
from rnnlab.cells import gru, in_place, rnn, torch_cells
from tests.helpers import F64, close, filled, randomise

I, H, B, T = 5, 4, 3, 7


def of_torch(layer: nn.Module) -> nn.Module:
    return rl.adapt(layer)[0].cell


CELLS = {
    "tanh": lambda **o: rl.RNNCell(I, H, **o),
    "relu": lambda **o: rl.RNNCell(I, H, "relu", **o),
    "gru": lambda **o: rl.GRUCell(I, H, **o),
    "torch tanh": lambda **o: of_torch(nn.RNN(I, H, **o)),
    "torch relu": lambda **o: of_torch(nn.RNN(I, H, nonlinearity="relu", **o)),
    "torch gru": lambda **o: of_torch(nn.GRU(I, H, **o)),
}
KINDS = pytest.mark.parametrize("kind", CELLS)
LEADS = pytest.mark.parametrize("lead", [(), (1,), (B,)], ids=["unbatched", "one", "batched"])


def make(kind: str, **options) -> Recur:
    return Recur(randomise(CELLS[kind](**{"dtype": F64, **options})))


def written(cell, state, xs):
    """The steps by the documented equation."""
    ys = []
    for x in xs:
        state, y = cell.update(state, cell.project(x))
        ys.append(y)
    return state, torch.stack(ys)


@pytest.fixture
def taken(monkeypatch):
    """One entry for each sequence that was run in place."""
    calls = []
    for module in (rnn, gru, torch_cells):
        for name in ("rnn_in_place", "gru_in_place"):
            if hasattr(module, name):
                way = counted(getattr(in_place, name), calls)
                monkeypatch.setattr(module, name, way)
    return calls


def counted(way, calls):
    def run(*args):
        calls.append(way)
        return way(*args)

    return run


@KINDS
@LEADS
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_is_taken_and_is_the_equation(kind, lead, bias, mode, taken):
    m, xs = make(kind, bias=bias), filled(T, *lead, I)
    for shape in {(H,), (*lead, H)}:
        start = filled(*shape, seed=3)
        before = xs.clone(), start.clone(), [weight.clone() for weight in m.parameters()]
        with mode():
            m.state = start
            ys = unroll(m, xs)
            state, want = written(m.cell, start, xs)
        close((ys, m.state), (want, state), 1e-12)
        # what was given is as it was, and what came out is no part of it
        close((xs, start, list(m.parameters())), (before[0], before[1], before[2]), 0)
        stores = [value.untyped_storage().data_ptr() for value in (xs, start, ys, m.state)]
        assert len(set(stores)) == 4
    assert len(taken) == len({(H,), (*lead, H)})


@KINDS
def test_weights_are_read_at_every_call(kind, taken):
    m, xs = make(kind), filled(T, B, I)
    optimizer = torch.optim.SGD(m.parameters(), lr=0.1)

    def step():
        m.reset()
        unroll(m, xs).sum().backward()
        optimizer.step()

    changes = [
        step,
        step,
        lambda: m.load_state_dict({k: 0.7 * v for k, v in m.state_dict().items()}),
        lambda: m.cell.weight_hh.data.mul_(0.5),
        lambda: setattr(m.cell, "weight_hh", nn.Parameter(filled(*m.cell.weight_hh.shape, seed=6))),
    ]
    for change in changes:
        change()
        m.reset()
        with torch.no_grad():
            close(unroll(m, xs), written(m.cell, m.init, xs)[1], 1e-12)
    assert len(taken) == len(changes)


@KINDS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_types(kind, dtype, taken):
    m, xs = make(kind).to(dtype), filled(T, B, I, dtype=dtype)
    with torch.no_grad():
        ys = unroll(m, xs)
        m.double()
        want = written(m.cell, m.init, xs.double())[1]
    assert ys.dtype == dtype
    close(ys.double(), want, 1e-5 if dtype is torch.float32 else 5e-2)
    assert taken


@KINDS
def test_infinite_states_and_inputs_are_values_like_others(kind, taken):
    m, xs = make(kind), filled(T, B, I)
    xs[3, 0, 0], xs[4, 1, 1] = float("inf"), float("nan")
    start = filled(B, H, seed=3)
    start[2, 1] = float("inf")
    with torch.no_grad():
        m.cell.weight_hh.abs_()  # then an infinite state stays infinite in a GRU
        m.state = start
        got = unroll(m, xs)
        want = written(m.cell, start, xs)[1]
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12, equal_nan=True)
    assert not got.isfinite().all()
    assert taken


class Recording(TorchDispatchMode):
    """A mode that may do anything with what it is given, also keep it."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", ["tanh", "gru", "torch tanh", "torch gru"])
def test_it_is_not_taken_where_something_stands_in_between(kind, taken):
    m, xs = make(kind, dtype=torch.float32), filled(T, B, I, dtype=torch.float32)
    with torch.no_grad():
        with Recording():
            unroll(m, xs)
        with torch.autocast("cpu", torch.bfloat16):
            m.reset()
            unroll(m, xs)
    m.reset()
    assert unroll(m, xs).requires_grad
    assert not taken
    m.reset()
    with torch.no_grad():
        unroll(m, xs)
    assert taken
