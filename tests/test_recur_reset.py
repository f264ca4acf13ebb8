"""reset and detach."""

import gc
import weakref
from collections import namedtuple

import pytest
import torch
from torch import nn

import rnnlab as rl
from rnnlab import Recur, RnnlabError, detach, reset
from tests.helpers import F64, close, filled, joined, randomise, weighted

I, H, B = 4, 3, 5
KINDS = pytest.mark.parametrize("kind", [rl.RNN, rl.LSTM, rl.GRU, rl.GRUv3])
Pair = namedtuple("Pair", ["only"])


def make(kind=rl.RNN) -> Recur:
    return randomise(kind(I, H, dtype=F64))


def accum(h, x):
    return h + x, x


def refusal(fn, *args) -> str:
    with pytest.raises(RnnlabError) as caught:
        fn(*args)
    return str(caught.value)


def test_reset_finds_every_recur():
    ms = [Recur(accum, 0) for _ in range(6)]
    holder = nn.Module()
    holder.inner = nn.ModuleList([ms[0], nn.ModuleDict({"a": ms[1]})])
    for m in ms:
        m(3)
    model = {"x": [holder, (ms[2], "text", None)], "y": rl.Chain(ms[3]), "z": Pair(ms[4])}
    reset(model)
    assert [m.state for m in ms] == [0, 0, 0, 0, 0, 3]
    reset([])
    reset(nn.Linear(2, 2))


def test_looking_for_recurs_keeps_no_model_alive():
    m = rl.Chain(make(), rl.RNN(H, H, dtype=F64))
    gone = weakref.ref(m[0])
    gc.disable()
    try:
        reset([m])
        detach({"a": m})
        rl.unroll(m, torch.ones(3, I, dtype=F64))
        del m
        assert gone() is None
    finally:
        gc.enable()


@KINDS
def test_detach_keeps_values_and_cuts_the_graph(kind):
    m, xs = make(kind), filled(4, B, I).requires_grad_()
    for x in xs[:2]:
        m(x)
    values = joined(m.state).clone()
    detach([m])
    close(joined(m.state), values.detach(), 0)
    assert not joined(m.state).requires_grad
    for x in xs[2:]:
        y = m(x)
    slope = torch.autograd.grad(weighted(y), xs)[0]
    assert not slope[:2].any()
    assert slope[2].any()
    assert "batch of 5" in refusal(m, filled(I))


def test_without_detach_gradients_reach_back_to_the_reset():
    m, xs = make(rl.GRU), filled(4, I).requires_grad_()
    for x in xs:
        y = m(x)
    slope = torch.autograd.grad(weighted(y), [xs, m.cell.h0])
    assert all(row.any() for row in slope[0])
    assert slope[1].any()


def test_detach_at_the_initial_state_keeps_it_trainable():
    m = make()
    detach(m)
    assert m.state is m.cell.h0
    assert torch.autograd.grad(m(filled(I)).sum(), m.cell.h0)[0].any()


@KINDS
@pytest.mark.parametrize("trained", [True, False])
def test_what_was_reset_moves_with_its_init(kind, trained):
    m = randomise(kind(I, H, dtype=F64, train_init=trained))
    m(filled(B, I))
    m.reset()
    m.float()
    state = m.state if isinstance(m.state, tuple) else (m.state,)
    own = [getattr(m.cell, f"{name}0") for name in m.cell.state_names]
    assert all(a is b for a, b in zip(state, own, strict=True))
    assert {part.dtype for part in state} == {torch.float32}


def test_detach_still_knows_the_batch():
    m = Recur(accum, torch.zeros(H))
    m(torch.ones(B, H))
    detach(m)
    assert "batch of 5" in refusal(m, torch.ones(1, H))


def test_detach_takes_numbers_along():
    m = Recur(lambda s, x: ((s[0] + 1, s[1] * x), x), (0, torch.ones(2)))
    m(torch.ones(2, requires_grad=True))
    detach(m)
    assert m.state[0] == 1
    assert not m.state[1].requires_grad
