"""The LSTM of oneDNN called directly: what `torch.lstm` gives, bit for bit, and its gradients."""

import pytest
import torch
from torch import nn

import rnnlab as rl
from rnnlab import Recur, unroll
from rnnlab.cells import onednn
from tests.helpers import close, filled, gradients, parts, randomise, weighted

I, H, B, T = 5, 4, 3, 7
F32 = torch.float32
CELLS = {
    "ours": lambda **o: rl.LSTMCell(I, H, **o),
    "torch": lambda **o: rl.adapt(nn.LSTM(I, H, **o))[0].cell,
}
KINDS = pytest.mark.parametrize("kind", CELLS)
LEADS = pytest.mark.parametrize("lead", [(), (1,), (B,)], ids=["unbatched", "one", "batched"])
pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="needs a torch that is built with oneDNN"
)


def make(kind, **options) -> Recur:
    return Recur(randomise(CELLS[kind](**options)))


@pytest.fixture
def taken(monkeypatch):
    """One entry for each sequence that went to oneDNN directly."""
    calls, real = [], onednn.lstm
    monkeypatch.setattr(onednn, "lstm", lambda *args: calls.append(1) or real(*args))
    return calls


def both(m, xs, run, *others):
    """What `run` gives directly, and through `torch.lstm`."""
    results = []
    for direct in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not direct:
                patch.setattr(onednn, "takes", lambda *args: False)
            results.append(run(m, xs, *others))
    return results


@KINDS
@LEADS
@pytest.mark.parametrize("training", [False, True])
def test_it_is_taken_and_is_torch_lstm(kind, lead, training, taken):
    m, xs = make(kind), filled(T, *lead, I, dtype=F32)

    def run(m, xs, start):
        m.state = start
        with torch.set_grad_enabled(training):
            ys = unroll(m, xs)
            return ys.detach(), [part.detach() for part in m.state]

    shapes = {(H,), (*lead, H)}
    for shape in shapes:
        start = filled(*shape, seed=3, dtype=F32), filled(*shape, seed=4, dtype=F32)
        direct, through = both(m, xs, run, start)
        close(direct, through, 0)
        with torch.no_grad():
            state, want = start, []
            for x in xs:
                state, y = m.cell.update(state, m.cell.project(x))
                want.append(y)
        close(direct, (torch.stack(want), list(state)), 1e-5)
    assert len(taken) == len(shapes)


@KINDS
@LEADS
def test_gradients_are_those_of_torch_lstm(kind, lead, taken):
    m, xs = make(kind), filled(T, *lead, I, dtype=F32).requires_grad_()
    start = [filled(H, seed=s, dtype=F32).requires_grad_() for s in (3, 4)]

    def run(m, xs):
        m.state = tuple(start)
        loss = weighted((unroll(m, xs), *m.state))
        weights = [weight for name, weight in m.named_parameters() if not name.endswith("0")]
        return torch.autograd.grad(loss, [*weights, xs, *start])

    direct, through = both(m, xs, run)
    close(direct, through, 1e-6)
    assert len(taken) == 1


def test_the_initial_state_trains(taken):
    m, xs = make("ours"), filled(T, B, I, dtype=F32)

    def run(m, xs):
        m.reset()
        return gradients(weighted((unroll(m, xs), *m.state)), m)

    direct, through = both(m, xs, run)
    close(direct, through, 1e-6)
    assert all(slope.any() for slope in direct)
    assert taken


@KINDS
def test_however_inputs_and_states_lie_in_memory(kind, taken):
    """oneDNN is given addresses: strides have to be done away with before."""
    m, xs = make(kind), filled(T, B, I, dtype=F32)
    start = filled(B, H, seed=3, dtype=F32), filled(B, H, seed=4, dtype=F32)
    with torch.no_grad():
        m.state = start
        want = unroll(m, xs), *m.state
        strided = [part.t().contiguous().t() for part in start]
        for inputs in (xs.transpose(0, 2).contiguous().transpose(0, 2), xs.repeat(2, 1, 1)[:T]):
            m.state = tuple(strided)
            close((unroll(m, inputs), *m.state), want, 0)
        assert not any(part.is_contiguous() for part in strided)
        # the numbers of a row apart from each other
        m.state = tuple(torch.stack([part, part], -1)[..., 0] for part in start)
        close((unroll(m, xs), *m.state), want, 0)
        m.state = tuple(part[:1] for part in start)
        first = unroll(m, xs[:, :1])
        m.state = tuple(torch.stack([part[0], part[0]], -1)[..., 0] for part in start)
        close(unroll(m, xs[:, :1].transpose(0, 2).contiguous().transpose(0, 2)), first, 0)
    assert len(taken) == 6


@KINDS
def test_weights_are_read_at_every_call(kind, taken):
    m, xs = make(kind), filled(T, B, I, dtype=F32)
    optimizer = torch.optim.SGD(m.parameters(), lr=0.1)

    def step():
        m.reset()
        unroll(m, xs).sum().backward()
        optimizer.step()

    for change in (
        step,
        step,
        lambda: m.load_state_dict({k: 0.7 * v for k, v in m.state_dict().items()}),
        lambda: m.cell.weight_hh.data.mul_(0.5),
        lambda: setattr(m.cell, "weight_hh", nn.Parameter(filled(4 * H, H, seed=6, dtype=F32))),
        lambda: setattr(m.cell.weight_hh, "data", m.cell.weight_hh.t().contiguous().t() * 0.9),
    ):
        change()
        m.reset()
        with torch.no_grad():
            state, want = m.init, []
            for x in xs:
                state, y = m.cell.update(state, m.cell.project(x))
                want.append(y)
            close(unroll(m, xs), torch.stack(want), 1e-5)
    assert len(taken) == 8


@KINDS
def test_what_came_out_before_stays(kind):
    m, xs = make(kind), filled(T, B, I, dtype=F32)
    with torch.no_grad():
        held = [unroll(m, xs), *parts(m.state)]
        copies = [value.clone() for value in held]
        unroll(m, xs)
    close(held, copies, 0)
    assert len({value.untyped_storage().data_ptr() for value in held}) == 3


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # whatever flag is set, this one is too
def test_others_at_work(taken):
    """Double precision, no bias, no batch, oneDNN off, autocast: torch.lstm knows what to do."""
    with torch.no_grad():
        unroll(make("ours", dtype=torch.float64), filled(T, B, I))
        unroll(make("ours", bias=False), filled(T, B, I, dtype=F32))
        assert unroll(make("ours"), torch.ones(T, 0, I)).shape == (T, 0, H)
        m, xs = make("ours"), filled(T, B, I, dtype=F32)
        with torch.backends.mkldnn.flags(enabled=False):
            off = unroll(m, xs)
        with torch.autocast("cpu", torch.bfloat16):
            assert not onednn.takes(xs, list(m.cell.parameters())[:4])
        assert not taken
        m.reset()
        close(unroll(m, xs), off, 1e-6)
    assert taken
