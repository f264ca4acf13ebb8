"""RNNCell against torch.nn.RNNCell and against h' = act(W_ih x + W_hh h + b) in numpy."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from rnnlab import RNN, RNNCell, RnnlabError, identity, unroll
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
ERF = np.vectorize(math.erf)
FORMULAS = {
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "softplus": lambda a: np.log1p(np.exp(a)),
    "gelu": lambda a: a * 0.5 * (1 + ERF(a / np.sqrt(2))),
    "silu": lambda a: a / (1 + np.exp(-a)),
    "identity": lambda a: a,
}


def make(activation="tanh", **options) -> RNNCell:
    return randomise(RNNCell(I, H, activation, dtype=F64, **options))


@pytest.mark.parametrize("lead", [(), (B,)], ids=["unbatched", "batched"])
@pytest.mark.parametrize("name", FORMULAS)
def test_the_documented_equation(name, lead):
    cell, h, x = make(name), filled(*lead, H, seed=2), filled(*lead, I, seed=3)
    w = numpy_weights(cell)
    a = x.numpy() @ w["weight_ih"].T + h.numpy() @ w["weight_hh"].T + w["bias"]
    new, y = cell(h, x)
    assert new is y
    close(new, torch.from_numpy(FORMULAS[name](a)), 1e-13)
    gates = cell.gates(h, x)
    assert list(gates) == ["a", "h"]
    close(gates["a"], torch.from_numpy(a), 1e-13)
    close(gates["h"], new, 1e-13)


@pytest.mark.parametrize("name", FORMULAS)
def test_gradients_of_the_equation(name):
    """Autograd's against central differences of the numpy formula, in every argument."""
    cell = make(name)
    h, x = filled(H, seed=2).requires_grad_(), filled(I, seed=3).requires_grad_()
    weights = [cell.weight_ih, cell.weight_hh, cell.bias]
    got = torch.autograd.grad(weighted(cell(h, x)[0]), [*weights, h, x])
    sizes = [v.numel() for v in (*weights, h, x)]
    out = filled(H, seed=77).numpy()

    def loss(flat):
        w, u, b, state, inputs = np.split(flat, np.cumsum(sizes)[:-1])
        a = w.reshape(H, I) @ inputs + u.reshape(H, H) @ state + b
        return out @ FORMULAS[name](a)

    flat = torch.cat([v.detach().reshape(-1) for v in (*weights, h, x)]).numpy()
    want = torch.from_numpy(numeric_jacobian(loss, flat))
    close(torch.cat([g.reshape(-1) for g in got]), want, 1e-8)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("lead", [(), (B,)], ids=["unbatched", "batched"])
def test_one_step_is_torch_rnn_cell(activation, lead):
    cell = make(activation)
    peer = nn.RNNCell(I, H, nonlinearity=activation, dtype=F64)
    with torch.no_grad():
        peer.weight_ih.copy_(cell.weight_ih)
        peer.weight_hh.copy_(cell.weight_hh)
        peer.bias_ih.copy_(0.25 * cell.bias)  # torch's two biases only ever act by their sum
        peer.bias_hh.copy_(0.75 * cell.bias)
    h, x = filled(*lead, H, seed=2).requires_grad_(), filled(*lead, I, seed=3).requires_grad_()
    ours, theirs = cell(h, x)[1], peer(x, h)
    close(ours, theirs, 1e-13)
    mine = torch.autograd.grad(weighted(ours), [cell.weight_ih, cell.weight_hh, cell.bias, h, x])
    want = torch.autograd.grad(weighted(theirs), [*list(peer.parameters())[:3], h, x])
    close(mine, want, 1e-12)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_sequence_is_torch_rnn(activation, bias):
    m = randomise(RNN(I, H, activation, dtype=F64, bias=bias))
    peer = nn.RNN(I, H, nonlinearity=activation, bias=bias, dtype=F64)
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


def test_parameters_and_their_start():
    cell = RNNCell(40, 60)
    shapes = {name: tuple(p.shape) for name, p in cell.named_parameters()}
    assert shapes == {"weight_ih": (60, 40), "weight_hh": (60, 60), "bias": (60,), "h0": (60,)}
    assert not cell.bias.any()
    assert not cell.h0.any()
    for weight in (cell.weight_ih, cell.weight_hh):
        limit = math.sqrt(6 / sum(weight.shape))
        assert 0.95 * limit < weight.abs().max() <= limit
        assert weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.05)
        assert abs(weight.mean().item()) < 0.05 * limit


def test_without_bias_the_bias_is_zero():
    with_bias, without = make(), make(bias=False)
    assert without.bias is None
    assert [name for name, _ in without.named_parameters()] == ["weight_ih", "weight_hh", "h0"]
    with torch.no_grad():
        with_bias.bias.zero_()
        with_bias.weight_ih.copy_(without.weight_ih)
        with_bias.weight_hh.copy_(without.weight_hh)
    h, x = filled(H, seed=2), filled(I, seed=3)
    close(without(h, x), with_bias(h, x), 1e-15)


def test_train_init_false_makes_a_buffer():
    cell = RNNCell(I, H, train_init=False)
    assert dict(cell.named_buffers()).keys() == {"h0"}
    assert "h0" not in dict(cell.named_parameters())
    assert "h0" in cell.state_dict()
    assert not cell.initial_state().requires_grad


@pytest.mark.parametrize(
    ("activation", "shown"),
    [
        ("tanh", "RNNCell(10, 5, tanh)"),
        (torch.tanh, "RNNCell(10, 5, tanh)"),
        (nn.functional.tanh, "RNNCell(10, 5, tanh)"),
        ("relu", "RNNCell(10, 5, relu)"),
        (torch.relu, "RNNCell(10, 5, relu)"),
        (nn.functional.relu, "RNNCell(10, 5, relu)"),
        ("sigmoid", "RNNCell(10, 5, sigmoid)"),
        ("identity", "RNNCell(10, 5)"),
        (identity, "RNNCell(10, 5)"),
        (torch.sin, "RNNCell(10, 5, sin)"),
        (nn.Softsign(), "RNNCell(10, 5, Softsign())"),
    ],
)
def test_printing(activation, shown):
    assert repr(RNNCell(10, 5, activation)) == shown


def test_printing_without_bias():
    assert repr(RNNCell(10, 5, bias=False)) == "RNNCell(10, 5, tanh, bias=False)"
    assert repr(RNNCell(10, 5, identity, bias=False)) == "RNNCell(10, 5, bias=False)"


@pytest.mark.parametrize("activation", [lambda a: a * a, nn.PReLU(dtype=F64), torch.sin])
def test_any_function_is_an_activation(activation):
    cell, h, x = make(activation), filled(B, H, seed=2), filled(B, I, seed=3)
    assert not cell.has_kernel
    close(cell(h, x)[1], activation(x @ cell.weight_ih.T + h @ cell.weight_hh.T + cell.bias))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0, 5), "RNNCell: input_size must be a whole number ≥ 1, got 0."),
        ((10, -5), "RNNCell: hidden_size must be a whole number ≥ 1, got -5."),
        ((10, 5.0), "RNNCell: hidden_size must be a whole number ≥ 1, got 5.0."),
        ((True, 5), "RNNCell: input_size must be a whole number ≥ 1, got True."),
        (
            (10, 5, "tahn"),
            "RNNCell: unknown activation 'tahn'. Did you mean 'tanh'? Known: tanh, relu, sigmoid, "
            "softplus, gelu, silu, identity; or give a function.",
        ),
        (
            (10, 5, "???"),
            "RNNCell: unknown activation '???'. Known: tanh, relu, sigmoid, "
            "softplus, gelu, silu, identity; or give a function.",
        ),
        (
            (10, 5, 3),
            "RNNCell: the activation must be a name or a function, not 3. "
            "Known names: tanh, relu, sigmoid, softplus, gelu, silu, identity.",
        ),
    ],
)
def test_refused_at_construction(arguments, text):
    with pytest.raises(RnnlabError) as caught:
        RNNCell(*arguments)
    assert str(caught.value) == text
