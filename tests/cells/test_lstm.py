"""LSTMCell against torch.nn.LSTMCell and against the documented equation in numpy."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from rnnlab import LSTM, LSTMCell, RnnlabError, unroll
from tests.helpers import (
    F64,
    close,
    filled,
    gradients,
    numeric_jacobian,
    numpy_weights,
    randomise,
    weighted,
)

I, H, B, T = 4, 3, 5, 6


def make(**options) -> LSTMCell:
    return randomise(LSTMCell(I, H, dtype=F64, **options))


def sigma(a):
    return 1 / (1 + np.exp(-a))


def equation(W, U, b, h, c, x):
    """Every intermediate, written down from the reference, one block at a time."""
    block = [slice(k * H, (k + 1) * H) for k in range(4)]
    i, f, g, o = (x @ W[k].T + h @ U[k].T + b[k] for k in block)
    i, f, g, o = sigma(i), sigma(f), np.tanh(g), sigma(o)
    new_c = f * c + i * g
    return {"i": i, "f": f, "g": g, "o": o, "h": o * np.tanh(new_c), "c": new_c}


@pytest.mark.parametrize("lead", [(), (B,)], ids=["unbatched", "batched"])
def test_the_documented_equation(lead):
    cell = make()
    h, c, x = filled(*lead, H, seed=2), filled(*lead, H, seed=3), filled(*lead, I, seed=4)
    w = numpy_weights(cell)
    want = equation(w["weight_ih"], w["weight_hh"], w["bias"], *map(np.asarray, (h, c, x)))
    want = {name: torch.from_numpy(value) for name, value in want.items()}
    (new_h, new_c), y = cell((h, c), x)
    assert y is new_h
    close((new_h, new_c), (want["h"], want["c"]), 1e-13)
    gates = cell.gates((h, c), x)
    assert list(gates) == ["i", "f", "g", "o", "h", "c"]
    close(gates, want, 1e-13)


def test_gradients_of_the_equation():
    """Autograd's against central differences of the numpy formula, in every argument."""
    cell = make()
    h, c, x = (filled(n, seed=k).requires_grad_() for k, n in ((2, H), (3, H), (4, I)))
    wanted = [cell.weight_ih, cell.weight_hh, cell.bias, h, c, x]
    (new_h, new_c), _ = cell((h, c), x)
    got = torch.autograd.grad(weighted([new_h, new_c]), wanted)
    out = filled(H, seed=77).numpy()

    def loss(flat):
        W, U, b, *rest = np.split(flat, np.cumsum([v.numel() for v in wanted])[:-1])
        values = equation(W.reshape(4 * H, I), U.reshape(4 * H, H), b, *rest)
        return out @ values["h"] + 2 * out @ values["c"]

    flat = torch.cat([v.detach().reshape(-1) for v in wanted]).numpy()
    want = torch.from_numpy(numeric_jacobian(loss, flat))
    close(torch.cat([g.reshape(-1) for g in got]), want, 1e-8)


@pytest.mark.parametrize("lead", [(), (B,)], ids=["unbatched", "batched"])
def test_one_step_is_torch_lstm_cell(lead):
    """Same blocks in the same order; torch's two biases only ever act by their sum."""
    cell, peer = make(), nn.LSTMCell(I, H, dtype=F64)
    with torch.no_grad():
        peer.weight_ih.copy_(cell.weight_ih)
        peer.weight_hh.copy_(cell.weight_hh)
        peer.bias_ih.copy_(0.25 * cell.bias)
        peer.bias_hh.copy_(0.75 * cell.bias)
    h, c = filled(*lead, H, seed=2).requires_grad_(), filled(*lead, H, seed=3).requires_grad_()
    x = filled(*lead, I, seed=4).requires_grad_()
    ours, theirs = cell((h, c), x)[0], peer(x, (h, c))
    close(ours, theirs, 1e-13)
    mine = torch.autograd.grad(weighted(ours), [cell.weight_ih, cell.weight_hh, cell.bias, h, c, x])
    want = torch.autograd.grad(weighted(theirs), [*list(peer.parameters())[:3], h, c, x])
    close(mine, want, 1e-12)


@pytest.mark.parametrize("bias", [True, False])
def test_a_sequence_is_torch_lstm(bias):
    m = randomise(LSTM(I, H, dtype=F64, bias=bias))
    peer = nn.LSTM(I, H, bias=bias, dtype=F64)
    with torch.no_grad():
        peer.weight_ih_l0.copy_(m.cell.weight_ih)
        peer.weight_hh_l0.copy_(m.cell.weight_hh)
        if bias:
            peer.bias_ih_l0.copy_(m.cell.bias)
            peer.bias_hh_l0.zero_()
    xs = filled(T, B, I, seed=3).requires_grad_()
    h0, c0 = (part.detach().clone().requires_grad_() for part in m.init)
    theirs, (h, c) = peer(xs, (h0.expand(1, B, H), c0.expand(1, B, H)))
    used = list(peer.parameters())[: 3 if bias else 2]
    want = torch.autograd.grad(weighted([theirs, c[0]]), [*used, h0, c0, xs])
    for run in (lambda: unroll(m, xs), lambda: torch.stack([m(x) for x in xs])):
        ours = run()
        close(ours, theirs, 1e-12)
        close(m.state, (h[0], c[0]), 1e-12)
        close(gradients(weighted([ours, m.state[1]]), m, xs), list(want), 1e-11)
        m.reset()


def test_parameters_and_their_start():
    cell = LSTMCell(40, 60)
    shapes = {name: tuple(p.shape) for name, p in cell.named_parameters()}
    assert shapes == {
        "weight_ih": (240, 40),
        "weight_hh": (240, 60),
        "bias": (240,),
        "h0": (60,),
        "c0": (60,),
    }
    for state in (cell.h0, cell.c0):
        assert not state.any()
    i, f, g, o = cell.bias.chunk(4)
    assert (f == 1).all()
    assert not torch.cat([i, g, o]).any()
    for weight in (cell.weight_ih, cell.weight_hh):
        limit = math.sqrt(6 / sum(weight.shape))  # of the stacked matrix
        assert 0.95 * limit < weight.abs().max() <= limit
        assert weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.05)


def test_without_bias_the_bias_is_zero_also_in_the_forget_block():
    cell, h, c, x = make(bias=False), filled(H, seed=2), filled(H, seed=3), filled(I, seed=4)
    assert cell.bias is None
    names = [name for name, _ in cell.named_parameters()]
    assert names == ["weight_ih", "weight_hh", "h0", "c0"]
    w = numpy_weights(cell)
    args = map(np.asarray, (h, c, x))
    want = equation(w["weight_ih"], w["weight_hh"], np.zeros(4 * H), *args)
    close(cell((h, c), x)[0], tuple(torch.from_numpy(want[k]) for k in "hc"), 1e-13)


def test_train_init_false_makes_buffers():
    cell = LSTMCell(I, H, train_init=False)
    assert dict(cell.named_buffers()).keys() == {"h0", "c0"}
    assert {"h0", "c0"}.isdisjoint(dict(cell.named_parameters()))
    assert {"h0", "c0"} <= cell.state_dict().keys()
    h, c = cell.initial_state()
    assert h is cell.h0
    assert c is cell.c0


def test_c_is_a_scan_over_the_gates():
    """c_t = f_t∘c_{t−1} + i_t∘g_t: the gates and the initial state give every c."""
    m, xs = randomise(LSTM(I, H, dtype=F64)), filled(T, B, I)
    before, after = [], []
    for x in xs:
        before.append(tuple(part.expand(B, H) for part in m.state))
        m(x)
        after.append(m.state[1])
    hs, cs = (torch.stack(part) for part in zip(*before, strict=True))
    gates = m.cell.gates((hs, torch.full_like(cs, torch.nan)), xs)  # i, f, g, o need no c
    c = m.init[1].expand(B, H)
    for t in range(T):
        c = gates["f"][t] * c + gates["i"][t] * gates["g"][t]
        close(c, after[t], 1e-13)


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (LSTMCell(10, 15), "LSTMCell(10, 15)"),
        (LSTMCell(10, 15, bias=False), "LSTMCell(10, 15, bias=False)"),
    ],
)
def test_printing(cell, shown):
    assert repr(cell) == shown


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (torch.ones(3), "the state must be (h, c), got a tensor of shape (3,)."),
        ([torch.ones(3)] * 2, "the state must be (h, c), got a list of 2."),
        ((torch.ones(3),), "the state must be (h, c), got a tuple of 1."),
        (None, "the state must be (h, c), got None."),
        (0, "the state must be (h, c), got int 0."),
        ((torch.ones(3), 0.5), "state c must be a tensor, got float 0.5."),
        (
            (torch.ones(3), torch.ones(4)),
            "state c must have shape (3,) or (B, 3); c.shape = (4,)",
        ),
        (
            (torch.ones(2, 2, 3), torch.ones(3)),
            "state h must have shape (3,) or (B, 3); h.shape = (2, 2, 3)",
        ),
        (
            (torch.ones(3), torch.ones(5, 3)),
            "the state is for a batch of 5, x is unbatched. "
            "Call reset(model) before starting with another batch size.",
        ),
        (
            (torch.ones(3), torch.ones(3, dtype=F64)),
            "state c is torch.float64 and x is torch.float32; "
            "both must have the dtype of the weights.",
        ),
        (
            (torch.ones(3), torch.ones(3, device="meta")),
            "state c is on meta and x is on cpu. c.to('cpu') moves the state.",
        ),
    ],
)
def test_refused_states(state, text):
    with pytest.raises(RnnlabError) as caught:
        LSTMCell(4, 3)(state, torch.ones(4))
    assert str(caught.value) == f"LSTMCell(4, 3): {text}"
