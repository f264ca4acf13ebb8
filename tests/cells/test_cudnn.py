"""What is handed to cuDNN, seen from the CPU; cells/test_gpu has the kernels themselves."""

import copy
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.backends import cudnn

import rnnlab as rl
from rnnlab import Recur, unroll
from rnnlab.cells import cuda
from tests.helpers import F64, close, filled, randomise, weighted

I, H, B, T = 5, 4, 3, 6

FUSED = pytest.mark.parametrize("kind", [rl.LSTMCell, rl.GRUCell, rl.RNNCell])
BIAS = pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])


@pytest.fixture
def moves(monkeypatch):
    """Every tensor passes for one on a GPU; torch's kernels for the CPU take its place.

    The value is the list of calls of `_cudnn_rnn_flatten_weight`, which does what it does there.
    """
    calls = []

    def flatten(weights, each, *sizes):
        assert len(weights) == each  # of one layer in one direction
        calls.append(weights[0].dtype)
        rows = weights[0].shape[0]
        entries = sum(weight.numel() for weight in weights[:2]) + 2 * rows
        buffer, at = torch.zeros(entries, dtype=weights[0].dtype), 0
        for weight in weights:
            part = buffer[at : at + weight.numel()].view(weight.shape)
            part.copy_(weight)
            weight.set_(part)
            at += weight.numel()
        return buffer

    monkeypatch.setattr(Tensor, "is_cuda", property(lambda self: True))
    monkeypatch.setattr(Tensor, "is_cpu", property(lambda self: False))
    monkeypatch.setattr(torch, "_cudnn_rnn_flatten_weight", flatten)
    monkeypatch.setattr(torch, "_use_cudnn_rnn_flatten_weight", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(cudnn, "is_acceptable", lambda t: t.dtype != torch.bfloat16)
    monkeypatch.setattr(cudnn, "is_available", lambda: True)
    monkeypatch.setattr(cudnn, "version", lambda: 91300)
    monkeypatch.setattr(cudnn.rnn, "get_cudnn_mode", lambda mode: mode)
    return calls


def side_by_side(cell):
    own = [cell.weight_ih, cell.weight_hh, *([] if cell.bias is None else [cell.bias])]
    start = own[0].untyped_storage().data_ptr()
    for weight in own:
        if weight.data_ptr() != start:
            return False
        start += weight.numel() * weight.element_size()
    return True


@FUSED
@BIAS
def test_weights_are_moved_once_and_trained_where_they_are(moves, kind, bias):
    m, xs = Recur(randomise(kind(I, H, bias=bias, dtype=F64))), filled(T, B, I)
    before = [weight.detach().clone() for weight in m.parameters()]
    with torch.inference_mode():
        unroll(m, xs)
    assert side_by_side(m.cell)
    weights, *_ = cuda.sequence_arguments(m.cell, "LSTM")
    assert not any(weight.is_inference() for weight in weights)  # a graph may keep them
    close([weight.detach() for weight in m.parameters()], before, 0)
    optimizer = torch.optim.SGD(m.parameters(), lr=0.1)
    for _ in range(2):
        m.reset()
        weighted(unroll(m, xs)).backward()
        optimizer.step()
    assert side_by_side(m.cell)
    assert len(moves) == 1
    weights, *_ = cuda.sequence_arguments(m.cell, "LSTM")
    assert all(not weight.any() for weight in weights[3:])


@FUSED
def test_each_type_has_a_buffer_of_its_own(moves, kind):
    m, xs = Recur(randomise(kind(I, H))), filled(T, B, I)
    types = [torch.bfloat16, torch.float16, torch.float64]
    for dtype in types:
        m.to(dtype).reset()
        unroll(m, xs.to(dtype))
        assert side_by_side(m.cell)
    assert moves == types


def test_bfloat16_stays_where_it_is_if_cudnn_has_no_use_for_it(moves, monkeypatch):
    m, xs = Recur(rl.GRUCell(I, H).to(torch.bfloat16)), filled(T, B, I, dtype=torch.bfloat16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    unroll(m, xs)
    assert not moves


def test_without_cudnn_nothing_moves(moves, monkeypatch):
    monkeypatch.setattr(torch, "_use_cudnn_rnn_flatten_weight", lambda: False)  # ROCm
    unroll(Recur(rl.GRUCell(I, H)), filled(T, B, I, dtype=torch.float32))
    assert not moves


def test_weights_that_are_one_stay_one(moves):
    cell = rl.RNNCell(H, H, dtype=F64)
    cell.weight_ih = cell.weight_hh
    for _ in range(2):
        unroll(Recur(cell), filled(T, B, H))
    assert not moves
    assert cell.weight_ih is cell.weight_hh


def test_weights_that_were_put_elsewhere_are_moved_again(moves):
    m, xs = Recur(rl.LSTMCell(I, H, bias=False, dtype=F64)), filled(T, B, I)
    unroll(m, xs)
    both = torch.cat([m.cell.weight_ih.detach(), m.cell.weight_hh.detach().repeat(1, 2)[:, :I]])
    m.cell.weight_ih.data, m.cell.weight_hh.data = both[: 4 * H], both[4 * H :, :H]
    unroll(m, xs)
    assert len(moves) == 2
    assert side_by_side(m.cell)


@pytest.mark.parametrize("options", [{}, {"proj_size": 2}], ids=["plain", "projected"])
def test_a_layer_without_biases_says_so_only_where_nothing_lies_behind_it(moves, options):
    """cuDNN adds what it finds behind the weights; in a larger buffer that is another layer."""
    theirs = nn.LSTM(I, H, bias=False, dtype=F64, **options)
    cell = rl.adapt(theirs)[0].cell
    rows, own = 4 * H, list(theirs.parameters())
    sizes = [weight.numel() for weight in own]
    for behind, biases in [(2 * rows, False), (2 * rows + 1, True)]:
        buffer = torch.ones(sum(sizes) + behind, dtype=F64)
        parts = buffer.split([*sizes, behind])
        for weight, part in zip(own, parts, strict=False):
            weight.data = part.view(weight.shape)
        weights, has_biases, *_ = cell._flat()
        assert has_biases is biases
        assert len(weights) == len(own) + 2 * biases
        if biases:
            assert not weights[2].any()
            assert not weights[3].any()


@pytest.fixture
def bfloat16():
    """Autocast for a GPU: tensors that only pass for being on one it leaves as they are."""
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    yield
    torch.set_autocast_enabled("cuda", before[0])
    torch.set_autocast_dtype("cuda", before[1])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Recur(rl.LSTMCell(I, H)),
        lambda: Recur(rl.GRUCell(I, H)),
        lambda: Recur(rl.RNNCell(I, H)),
        lambda: rl.adapt(nn.LSTM(I, H)),
        lambda: rl.adapt(nn.LSTM(I, H, proj_size=2, bias=False)),
    ],
    ids=["LSTM", "GRU", "RNN", "adapted", "projected"],
)
def test_cudnn_has_the_type_that_autocast_was_asked_for(moves, bfloat16, make):
    """torch's own autocast has cuDNN run in float16, whichever that is."""
    m, xs = randomise(make()), filled(T, B, I, dtype=torch.float32)
    ys = unroll(m, xs)
    assert ys.dtype == torch.bfloat16
    assert all(state.dtype == torch.bfloat16 for state in rl.states(m).values())
    weighted(ys.float()).backward()
    weights = list(m.parameters())
    assert all(weight.grad is not None and weight.dtype == torch.float32 for weight in weights)
    double = copy.deepcopy(m).double()
    rl.reset(double)
    want = unroll(double, xs.double())
    assert want.dtype == F64  # autocast leaves doubles as they are
    close(ys.double(), want, 2e-2)


def test_of_weights_that_must_lie_apart_nothing_is_said(moves):
    def fused(xs, state, weights):
        warnings.warn("RNN module weights are not part of single contiguous chunk.", stacklevel=1)
        return "ran"

    weight, xs = nn.Parameter(torch.ones(2)), torch.ones(2)
    with pytest.warns(UserWarning, match="not part of single"):
        cuda.run(fused, xs, None, ([weight],))
    assert cuda.run(fused, xs, None, ([weight, 2 * weight],)) == "ran"
    assert cuda.run(fused, xs, None, ([weight, weight],)) == "ran"
    assert cuda.run(fused, xs, None, ([weight],), owned=False) == "ran"
