"""unroll(model, xs) against [model(x) for x in xs]."""

import copy
import itertools

import pytest
import torch
from torch import nn

import rnnlab as rl
from rnnlab import Chain, Dense, Recur, unroll
from tests.helpers import F64, close, filled, gradients, parts, randomise, weighted

I, H, O, B, T = 4, 3, 2, 5, 6
LEADS = pytest.mark.parametrize("lead", [(), (B,)], ids=["unbatched", "batched"])


def leaky(h, x):
    h = 0.9 * h + x
    return h, h.sin()


class Residual(nn.Module):
    """A Recur inside a module that unroll knows nothing of."""

    def __init__(self):
        super().__init__()
        self.inner = rl.GRU(H, H, dtype=F64)

    def forward(self, x):
        return x + self.inner(x)


def shared_twice() -> Chain:
    r = rl.RNN(I, I, dtype=F64)
    return Chain(r, Dense(I, I, "tanh", dtype=F64), r)


def shared_inside() -> Chain:
    r = Residual()
    return Chain(rl.RNN(I, H, dtype=F64), r, torch.tanh, r.inner)


MODELS = {
    "rnn": lambda: rl.RNN(I, H, dtype=F64),
    "relu rnn": lambda: rl.RNN(I, H, "relu", dtype=F64),
    "sigmoid rnn": lambda: rl.RNN(I, H, "sigmoid", dtype=F64),
    "lstm": lambda: rl.LSTM(I, H, dtype=F64),
    "lstm without bias": lambda: rl.LSTM(I, H, bias=False, dtype=F64),
    "gru": lambda: rl.GRU(I, H, dtype=F64),
    "gruv3": lambda: rl.GRUv3(I, H, dtype=F64),
    "fixed start": lambda: rl.LSTM(I, H, train_init=False, dtype=F64),
    "own start": lambda: Recur(rl.GRUCell(I, H, train_init=False, dtype=F64), filled(H)),
    "function": lambda: Recur(leaky, nn.Parameter(filled(I))),
    "chain": lambda: Chain(
        rl.LSTM(I, H, dtype=F64), rl.GRUv3(H, H, dtype=F64), Dense(H, O, "tanh", dtype=F64)
    ),
    "nested chain": lambda: Chain(
        Dense(I, H, dtype=F64), Chain(rl.GRU(H, H, dtype=F64), nn.Tanh()), Recur(leaky, 0.5)
    ),
    "functions between": lambda: Chain(
        rl.RNN(I, H, dtype=F64), lambda h: torch.cat([h, -h], -1), rl.GRU(2 * H, H, dtype=F64)
    ),
    "inside a module": lambda: Chain(rl.RNN(I, H, dtype=F64), Residual()),
    "softmax of a row": lambda: Chain(rl.RNN(I, H, dtype=F64), lambda h: h.softmax(0)),
    "shared twice": shared_twice,
    "shared inside": shared_inside,
}
EVERY = pytest.mark.parametrize("name", MODELS)


def both(model, xs, run):
    """What the loop and `run` give: outputs, states, gradients; each from a copy of the model."""
    results = []
    for way in (lambda m, xs: torch.stack([m(x) for x in xs]), run):
        m, inputs = copy.deepcopy(model), xs.detach().clone().requires_grad_()
        ys = way(m, inputs)
        last = list(rl.states(m).values())
        slopes = torch.autograd.grad(
            weighted([ys, *last]), [*m.parameters(), inputs], allow_unused=True
        )
        results.append((ys, last, slopes))
    return results


@EVERY
@LEADS
def test_a_tensor_is_the_loop(name, lead):
    loop, whole = both(randomise(MODELS[name]()), filled(T, *lead, I), unroll)
    close(whole, loop)


@EVERY
@LEADS
def test_a_list_is_the_loop(name, lead):
    def run(m, xs):
        ys = unroll(m, list(xs))
        assert type(ys) is list
        return torch.stack(ys)

    loop, whole = both(randomise(MODELS[name]()), filled(T, *lead, I), run)
    close(whole, loop)


@EVERY
@pytest.mark.parametrize("cuts", [(0, 1, T), (0, 3, 3, T), (0, *range(1, T + 1))])
def test_pieces_are_the_whole(name, cuts):
    """From mid-run, through empty pieces, and step by step with the plain call between."""

    def run(m, xs):
        done = [unroll(m, list(xs[a:b])) for a, b in itertools.pairwise(cuts)]
        return torch.stack(list(itertools.chain(*done)))

    def mixed(m, xs):
        return torch.cat([m(xs[0])[None], unroll(m, xs[1:4]), m(xs[4])[None], m(xs[5])[None]])

    model = randomise(MODELS[name]())
    for way in (run, mixed):
        loop, whole = both(model, filled(T, B, I), way)
        close(whole, loop)


@pytest.mark.parametrize("name", MODELS)
def test_float32(name):
    model = randomise(MODELS[name]()).float()
    loop, whole = both(model, filled(T, B, I, dtype=torch.float32), unroll)
    close(whole, loop, 1e-5)


@pytest.mark.parametrize("kind", [rl.RNN, rl.LSTM, rl.GRU, rl.GRUv3])
@LEADS
def test_states_that_were_put_in(kind, lead):
    """One state for a whole batch, and one state a row, with gradients to both."""
    m, xs = randomise(kind(I, H, dtype=F64)), filled(T, *lead, I)
    for shape in {(H,), (*lead, H)}:
        starts = [filled(*shape, seed=s).requires_grad_() for s in range(len(parts(m.init)))]
        got = []
        for way in (lambda xs: torch.stack([m(x) for x in xs]), lambda xs: unroll(m, xs)):
            m.state = tuple(starts) if len(starts) > 1 else starts[0]
            got.append((ys := way(xs), gradients(weighted(ys), nn.Module(), *starts)))
        close(got[1], got[0])


def test_without_gradients():
    model, xs = randomise(MODELS["chain"]()), filled(T, B, I)
    want = unroll(model, xs).detach()
    rl.reset(model)
    with torch.no_grad():
        close(unroll(model, xs), want, 1e-13)
    assert not any(v.requires_grad for v in rl.states(model).values())


@pytest.mark.parametrize("name", ["sigmoid rnn", "gru", "gruv3"])
@pytest.mark.parametrize("steps", [1, 2, 9, 50])
@pytest.mark.parametrize("rows", [1, 200])
def test_short_and_long_narrow_and_wide(name, steps, rows):
    """Other ways are taken for other sizes; 50 steps of 200 rows are made in several chunks."""
    loop, whole = both(randomise(MODELS[name]()), filled(steps, rows, I), unroll)
    close(whole, loop)


def test_double_backward():
    model, xs = randomise(rl.LSTM(I, H, dtype=F64)), filled(3, I).requires_grad_()
    second = []
    for way in (lambda: torch.stack([model(x) for x in xs]), lambda: unroll(model, xs)):
        model.reset()
        slope = torch.autograd.grad(weighted(way()), xs, create_graph=True)[0]
        second.append(torch.autograd.grad(weighted(slope), [xs, model.cell.weight_hh]))
    close(second[1], second[0])
