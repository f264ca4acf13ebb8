"""On the GPU every cell is the function that it is on the CPU."""

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn

import rnnlab as rl
from rnnlab import Recur, RnnlabError, analysis, unroll
from rnnlab.cells.registry import CELLS
from rnnlab.graphs import graphed
from tests.helpers import F64, close, filled, gradients, joined, randomise, weighted

I, H, B, T = 5, 4, 3, 6

pytestmark = [
    pytest.mark.gpu,
    # torch 2.9 would have TF32 set by another name, which earlier versions do not know
    pytest.mark.filterwarnings("ignore:Please use the new API settings"),
    # and a first product in a backward pass may tell that the thread had no context yet
    pytest.mark.filterwarnings("ignore:Attempting to run cuBLAS"),
]
EVERY = pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.__name__)
FUSED = pytest.mark.parametrize("kind", [rl.LSTMCell, rl.GRUCell, rl.RNNCell])


@pytest.fixture(autouse=True)
def exact():
    """cuDNN and cuBLAS round float32 to TF32 unless told otherwise; the tests tell them."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def loop(m, xs):
    return torch.stack([m(x) for x in xs])


def results(m, xs, way):
    ys = way(m, xs)
    slopes = gradients(weighted(ys.cpu()), m)
    return ys.cpu(), joined(m.state).cpu(), [slope.cpu() for slope in slopes]


@EVERY
@pytest.mark.parametrize("way", [unroll, loop])
def test_values_and_gradients_are_those_of_the_cpu(kind, way):
    torch.manual_seed(5)
    m, xs = Recur(randomise(kind(I, H, dtype=F64))), filled(T, B, I)
    want = results(m, xs, way)
    m.reset()
    close(results(m.cuda(), xs.cuda(), way), want)


@EVERY
def test_a_running_state_moves_along(kind):
    torch.manual_seed(5)
    m, x = Recur(randomise(kind(I, H, dtype=F64))), filled(B, I)
    m(x)
    before = joined(m.state).detach()
    m.cuda()
    close(joined(m.state).cpu(), before, 0)
    with pytest.raises(RnnlabError) as caught:
        m(x)
    assert str(caught.value) == (
        f"{m.cell!r}: x is on cpu and the weights are on cuda:0. x.to('cuda:0') moves the input."
    )
    close(joined(m.state).cpu(), before, 0)
    m(x.cuda())


@FUSED
@pytest.mark.parametrize("way", [unroll, loop])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_float32_is_that_of_the_cpu(kind, way, bias):
    m = Recur(randomise(kind(64, 64, bias=bias), seed=3))
    with torch.no_grad():
        m.cell.weight_ih.mul_(0.2)
        m.cell.weight_hh.mul_(0.2)
    xs = filled(T, B, 64, dtype=torch.float32)
    with torch.no_grad():
        want = way(m, xs)
        m.reset()
        close(way(m.cuda(), xs.cuda()).cpu(), want, 1e-5)


@FUSED
@pytest.mark.parametrize("way", [unroll, loop])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(kind, way, dtype):
    exact = Recur(randomise(kind(I, H, dtype=F64)))
    m = copy.deepcopy(exact).cuda().to(dtype)
    xs = filled(T, B, I)
    ys = way(m, xs.cuda().to(dtype))
    assert ys.dtype == dtype
    close(ys.double().cpu(), loop(exact, xs), 5e-2)
    assert all(slope.isfinite().all() for slope in gradients(weighted(ys.float()), m))


@FUSED
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_weights_lie_in_one_buffer_that_trains(kind, bias):
    """No warning (the tests make one an error), no copy at a call, and a zero that stays zero."""
    m, xs = Recur(randomise(kind(I, H, bias=bias, dtype=F64))).cuda(), filled(T, B, I).cuda()
    own = [m.cell.weight_ih, m.cell.weight_hh, *([m.cell.bias] if bias else [])]
    before = [weight.detach().clone() for weight in own]
    unroll(m, xs)
    stores = {weight.untyped_storage().data_ptr() for weight in own}
    assert len(stores) == 1
    close([weight.detach() for weight in own], before, 0)
    places = [weight.data_ptr() for weight in own]
    optimizer = torch.optim.AdamW(m.parameters(), lr=0.1, weight_decay=0.1)
    for _ in range(3):
        m.reset()
        optimizer.zero_grad()
        weighted(unroll(m, xs)).backward()
        optimizer.step()
    assert [weight.data_ptr() for weight in own] == places
    on_cpu = copy.deepcopy(m).cpu()
    m.reset()
    on_cpu.reset()
    close(unroll(m, xs).cpu(), loop(on_cpu, xs.cpu()))
    again = copy.deepcopy(m)
    again.reset()
    m.reset()
    close(unroll(again, xs), unroll(m, xs))
    file = io.BytesIO()
    torch.save(m.state_dict(), file)
    assert file.tell() < 100_000


def test_of_weights_that_are_one_nothing_is_said():
    """They cannot lie side by side, so cuDNN copies them at every call, and would warn."""
    m, xs = rl.RNN(H, H, dtype=F64).cuda(), filled(T, B, H).cuda()
    m.cell.weight_ih = m.cell.weight_hh
    want = loop(m, xs)
    m.reset()
    close(unroll(m, xs), want)


@FUSED
def test_a_graph_from_before_the_buffer_can_still_be_gone_through(kind):
    m, xs = Recur(randomise(kind(I, H, dtype=F64))), filled(2 * T, B, I)
    want = gradients(weighted(loop(m, xs)), m)
    m.reset()
    m.cuda()
    ys = torch.cat([loop(m, xs[:T].cuda()), unroll(m, xs[T:].cuda())])
    close([slope.cpu() for slope in gradients(weighted(ys.cpu()), m)], want)


@FUSED
def test_a_first_call_in_inference_leaves_weights_that_can_be_trained(kind):
    m, xs = Recur(randomise(kind(I, H, dtype=F64))), filled(T, B, I)
    want = gradients(weighted(unroll(m, xs)), m)
    m.cuda().reset()
    with torch.inference_mode():
        unroll(m, xs.cuda())
    m.reset()
    slopes = gradients(weighted(unroll(m, xs.cuda())), m)
    close([slope.cpu() for slope in slopes], want)


@FUSED
def test_steps_can_be_differentiated_twice(kind):
    m = Recur(randomise(kind(I, H, dtype=F64)))
    found = []
    for device in ("cpu", "cuda"):
        m.to(device).reset()
        xs = filled(3, B, I).to(device).requires_grad_()
        (slope,) = torch.autograd.grad(weighted(loop(m, xs)), xs, create_graph=True)
        found.append([each.cpu() for each in gradients(weighted(slope), m.cell, xs)])
    close(*found)


@FUSED
def test_without_cudnn_sequences_can_be_differentiated_twice(kind):
    m = Recur(randomise(kind(I, H, dtype=F64)))
    found = []
    for device in ("cpu", "cuda"):
        m.to(device).reset()
        xs = filled(3, B, I).to(device).requires_grad_()
        with torch.backends.cudnn.flags(enabled=False):
            ys = unroll(m, xs)
        (slope,) = torch.autograd.grad(weighted(ys), xs, create_graph=True)
        found.append([each.cpu() for each in gradients(weighted(slope), m.cell, xs)])
    close(*found)


LAYERS = [
    (kind, {"num_layers": layers, "bias": bias, **more})
    for kind, more in [(nn.LSTM, {}), (nn.GRU, {}), (nn.RNN, {}), (nn.LSTM, {"proj_size": 2})]
    for layers in (1, 2)
    for bias in (True, False)
]


@pytest.mark.parametrize(
    ("kind", "options"), LAYERS, ids=[f"{kind.__name__} {options}" for kind, options in LAYERS]
)
def test_adapted_layers_leave_the_buffer_of_their_owner(kind, options):
    """No warning (the tests make one an error), neither here nor when the owner goes on."""
    theirs = kind(I, H, dtype=F64, **options).cuda()
    m, xs = rl.adapt(theirs), filled(T, B, I).cuda()
    want = theirs(xs)[0]
    slopes = gradients(weighted(want.cpu()), theirs)
    for way in (unroll, loop):
        rl.reset(m)
        ys = way(m, xs)
        close(ys, want)
        close(gradients(weighted(ys.cpu()), theirs), slopes)
    close(theirs(xs)[0], want, 0)


def test_the_analyses_of_a_module_of_torch_say_nothing():
    """They run in float64 on copies of its weights, which are in no buffer."""

    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(I, H, num_layers=2)

        def forward(self, x):
            return self.lstm(x)[0]

    torch.manual_seed(5)
    reader, xs = Reader(), filled(T, 1, I).numpy()
    found = []
    for device in ("cpu", "cuda"):
        m = rl.adapt(reader.to(device))
        session = rl.Session(m)
        session.run(xs, progress=False)
        found += [
            (
                session.trace()["lstm.1.h"],
                rl.derive(m, session.trace())["lstm.0.f"],
                analysis.jacobian(m, x=xs[0]).matrix,
                analysis.lyapunov(m, xs, progress=False).exponents,
                analysis.attribution(m, xs, progress=False).values,
            )
        ]
    for got, want in zip(found[1], found[0], strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_between_other_layers(kind, dtype):
    m = rl.Chain(rl.Dense(I, I), Recur(randomise(kind(I, H))), rl.Dense(H, 2)).cuda()
    xs = filled(T, B, I, dtype=torch.float32).cuda()
    want = loop(m, xs)
    for way in (loop, unroll):
        rl.reset(m)
        with torch.autocast("cuda", dtype):
            ys = torch.cat([way(m, xs[:2]), way(m, xs[2:])])
        assert ys.dtype == dtype
        assert all(state.dtype in (dtype, torch.float32) for state in rl.states(m).values())
        close(ys.float(), want, 0.05)


@FUSED
@pytest.mark.parametrize("lead", [(), (B,)], ids=["unbatched", "batched"])
def test_graphed(kind, lead):
    """A captured step is the step; `reset` and ordinary calls in between are seen."""
    m = rl.Chain(Recur(randomise(kind(I, H, dtype=F64))), rl.Dense(H, 2, dtype=F64)).cuda()
    other, xs = copy.deepcopy(m), filled(12, *lead, I).cuda()
    step = graphed(m, xs[0])
    held = []
    with torch.no_grad():
        for number, x in enumerate(xs):
            if number in (4, 5):
                rl.reset([m, other])
            if number == 7:
                for at in (m, other):
                    at[0].cell.weight_hh.mul_(0.5)
            if number == 9:
                unroll(m, xs[:2]), unroll(other, xs[:2])  # moves the weights: captured anew
            y = (m if number == 6 else step)(x)
            close(y, other(x), 1e-12)
            close(joined(m[0].state), joined(other[0].state), 1e-12)
            held.append((y, y.clone()))
    for y, before in held:
        close(y, before, 0)
