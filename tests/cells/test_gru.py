"""GRUCell and GRUv3Cell against the documented equations in numpy; GRUCell against torch's too."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from rnnlab import GRU, GRUCell, GRUv3Cell, unroll
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
BOTH = pytest.mark.parametrize("kind", [GRUCell, GRUv3Cell])


def make(kind=GRUCell, **options):
    return randomise(kind(I, H, dtype=F64, **options))


def sigma(a):
    return 1 / (1 + np.exp(-a))


def equation(kind, W, U, b, h, x):
    """Every intermediate, written down from the reference, one block at a time."""
    R, Z, N = (slice(k * H, (k + 1) * H) for k in range(3))
    r = sigma(x @ W[R].T + h @ U[R].T + b[R])
    z = sigma(x @ W[Z].T + h @ U[Z].T + b[Z])
    inner = r * (h @ U[N].T) if kind is GRUCell else (r * h) @ U[N].T
    n = np.tanh(x @ W[N].T + b[N] + inner)
    return {"r": r, "z": z, "n": n, "h": (1 - z) * n + z * h}


@BOTH
@pytest.mark.parametrize("lead", [(), (B,)], ids=["unbatched", "batched"])
def test_the_documented_equation(kind, lead):
    cell, h, x = make(kind), filled(*lead, H, seed=2), filled(*lead, I, seed=3)
    w = numpy_weights(cell)
    want = equation(kind, w["weight_ih"], w["weight_hh"], w["bias"], h.numpy(), x.numpy())
    want = {name: torch.from_numpy(value) for name, value in want.items()}
    new, y = cell(h, x)
    assert new is y
    close(new, want["h"], 1e-13)
    gates = cell.gates(h, x)
    assert list(gates) == ["r", "z", "n", "h"]
    close(gates, want, 1e-13)


@BOTH
def test_gradients_of_the_equation(kind):
    """Autograd's against central differences of the numpy formula, in every argument."""
    cell = make(kind)
    h, x = filled(H, seed=2).requires_grad_(), filled(I, seed=3).requires_grad_()
    wanted = [cell.weight_ih, cell.weight_hh, cell.bias, h, x]
    got = torch.autograd.grad(weighted(cell(h, x)[0]), wanted)
    out = filled(H, seed=77).numpy()

    def loss(flat):
        W, U, b, *rest = np.split(flat, np.cumsum([v.numel() for v in wanted])[:-1])
        return out @ equation(kind, W.reshape(3 * H, I), U.reshape(3 * H, H), b, *rest)["h"]

    flat = torch.cat([v.detach().reshape(-1) for v in wanted]).numpy()
    want = torch.from_numpy(numeric_jacobian(loss, flat))
    close(torch.cat([g.reshape(-1) for g in got]), want, 1e-8)


def torch_cell(cell, *, where: str) -> nn.GRUCell:
    """torch's cell with our weights, our one bias in `where` and zero in the other."""
    peer = nn.GRUCell(I, H, dtype=F64)
    with torch.no_grad():
        peer.weight_ih.copy_(cell.weight_ih)
        peer.weight_hh.copy_(cell.weight_hh)
        for name in ("bias_ih", "bias_hh"):
            getattr(peer, name).copy_(cell.bias if name == where else torch.zeros(3 * H))
    return peer


@pytest.mark.parametrize("lead", [(), (B,)], ids=["unbatched", "batched"])
def test_one_step_is_torch_gru_cell_with_our_bias_in_b_ih(lead):
    cell = make()
    peer = torch_cell(cell, where="bias_ih")
    h, x = filled(*lead, H, seed=2).requires_grad_(), filled(*lead, I, seed=3).requires_grad_()
    ours, theirs = cell(h, x)[1], peer(x, h)
    close(ours, theirs, 1e-13)
    mine = torch.autograd.grad(weighted(ours), [cell.weight_ih, cell.weight_hh, cell.bias, h, x])
    want = torch.autograd.grad(weighted(theirs), [*list(peer.parameters())[:3], h, x])
    close(mine, want, 1e-12)


def test_our_bias_in_b_hh_is_a_different_function():
    """b_n would be multiplied by r; b_r and b_z may stand on either side."""
    cell, h, x = make(), filled(B, H, seed=2), filled(B, I, seed=3)
    ours = cell(h, x)[1]
    assert (ours - torch_cell(cell, where="bias_hh")(x, h)).abs().max() > 0.01
    with torch.no_grad():
        cell.bias[2 * H :] = 0
    close(cell(h, x)[1], torch_cell(cell, where="bias_hh")(x, h), 1e-13)


@pytest.mark.parametrize("bias", [True, False])
def test_a_sequence_is_torch_gru(bias):
    m = randomise(GRU(I, H, dtype=F64, bias=bias))
    peer = nn.GRU(I, H, bias=bias, dtype=F64)
    with torch.no_grad():
        peer.weight_ih_l0.copy_(m.cell.weight_ih)
        peer.weight_hh_l0.copy_(m.cell.weight_hh)
        if bias:
            peer.bias_ih_l0.copy_(m.cell.bias)
            peer.bias_hh_l0.zero_()
    xs = filled(T, B, I, seed=3).requires_grad_()
    h0 = m.init.detach().clone().requires_grad_()
    theirs, last = peer(xs, h0.expand(1, B, H))
    used = list(peer.parameters())[: 3 if bias else 2]
    want = torch.autograd.grad(weighted(theirs), [*used, h0, xs])
    for run in (lambda: unroll(m, xs), lambda: torch.stack([m(x) for x in xs])):
        ours = run()
        close(ours, theirs, 1e-12)
        close(m.state, last[0], 1e-12)
        close(gradients(weighted(ours), m, xs), list(want), 1e-11)
        m.reset()


def test_the_second_bias_of_the_kernel_stays_zero_under_training():
    """After steps of gradient descent through the kernel the one-bias equation still holds."""
    m, xs = randomise(GRU(I, H, dtype=F64)), filled(T, B, I, seed=3)
    optimizer = torch.optim.SGD(m.parameters(), lr=0.5)
    for _ in range(3):
        m.reset()
        optimizer.zero_grad()
        weighted(unroll(m, xs)).backward()
        optimizer.step()
    m.reset()
    got, w = unroll(m, xs), numpy_weights(m.cell)
    h = np.broadcast_to(w["h0"], (B, H))
    for t in range(T):
        args = (w["weight_ih"], w["weight_hh"], w["bias"], h, xs[t].numpy())
        h = equation(GRUCell, *args)["h"]
        close(got[t], torch.from_numpy(h), 1e-12)


def test_the_two_versions_differ_and_agree_where_they_must():
    one, three = make(), make(GRUv3Cell)
    three.load_state_dict(one.state_dict())
    h, x = filled(B, H, seed=2), filled(B, I, seed=3)
    assert (one(h, x)[1] - three(h, x)[1]).abs().max() > 0.01
    with torch.no_grad():  # a diagonal U_n: before or after the product is the same
        for cell in (one, three):
            cell.weight_hh[2 * H :] = torch.diag(torch.tensor([0.5, -1.5, 2.0], dtype=F64))
    close(one(h, x), three(h, x), 1e-13)


def test_which_gru_has_a_kernel():
    assert GRUCell(I, H).has_kernel
    assert not GRUv3Cell(I, H).has_kernel


@BOTH
def test_parameters_and_their_start(kind):
    cell = kind(40, 60)
    shapes = {name: tuple(p.shape) for name, p in cell.named_parameters()}
    assert shapes == {"weight_ih": (180, 40), "weight_hh": (180, 60), "bias": (180,), "h0": (60,)}
    assert not cell.bias.any()
    assert not cell.h0.any()
    for weight in (cell.weight_ih, cell.weight_hh):
        limit = math.sqrt(6 / sum(weight.shape))  # of the stacked matrix
        assert 0.95 * limit < weight.abs().max() <= limit
        assert weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.05)


@BOTH
def test_without_bias_the_bias_is_zero(kind):
    cell, h, x = make(kind, bias=False), filled(H, seed=2), filled(I, seed=3)
    assert cell.bias is None
    assert [name for name, _ in cell.named_parameters()] == ["weight_ih", "weight_hh", "h0"]
    w = numpy_weights(cell)
    want = equation(kind, w["weight_ih"], w["weight_hh"], np.zeros(3 * H), h.numpy(), x.numpy())
    close(cell(h, x)[1], torch.from_numpy(want["h"]), 1e-13)


@BOTH
def test_train_init_false_makes_a_buffer(kind):
    cell = kind(I, H, train_init=False)
    assert dict(cell.named_buffers()).keys() == {"h0"}
    assert "h0" not in dict(cell.named_parameters())
    assert cell.initial_state() is cell.h0


@BOTH
def test_printing(kind):
    assert repr(kind(10, 5)) == f"{kind.__name__}(10, 5)"
    assert repr(kind(10, 5, bias=False)) == f"{kind.__name__}(10, 5, bias=False)"
