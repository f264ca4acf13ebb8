"""The layers RNN, LSTM, GRU, GRUv3; Dense and Chain."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import rnnlab as rl
from rnnlab import Chain, Dense, Recur, RnnlabError
from tests.helpers import F64, close, filled, gradients, randomise, weighted

I, H, O, B = 4, 3, 2, 5


def refusal(fn, *args) -> str:
    with pytest.raises(RnnlabError) as caught:
        fn(*args)
    return str(caught.value)


def accum(h, x):
    return h + x, x


def boom(x):
    raise ZeroDivisionError


def chain(*more) -> Chain:
    m = Chain(rl.LSTM(I, H, dtype=F64), rl.GRU(H, H, dtype=F64), Dense(H, O, "tanh", dtype=F64))
    return randomise(Chain(*m, *more))


@pytest.mark.parametrize(
    ("layer", "cell"),
    [
        (rl.RNN, rl.RNNCell),
        (rl.LSTM, rl.LSTMCell),
        (rl.GRU, rl.GRUCell),
        (rl.GRUv3, rl.GRUv3Cell),
    ],
)
def test_a_layer_is_recur_around_the_cell_of_that_name(layer, cell):
    torch.manual_seed(3)
    m = layer(I, H, bias=False, train_init=False, dtype=F64)
    torch.manual_seed(3)
    own = cell(I, H, bias=False, train_init=False, dtype=F64)
    assert type(m) is Recur
    assert type(m.cell) is cell
    close(m.state_dict(), {f"cell.{name}": v for name, v in own.state_dict().items()}, 0)
    x = filled(B, I)
    close(m(x), own(own.initial_state(), x)[1], 0)


def test_the_activation_of_rnn_is_passed_on():
    m = randomise(rl.RNN(I, H, "relu", dtype=F64))
    x = filled(I)
    close(m(x), (m.cell.weight_ih @ x + m.cell.weight_hh @ m.init + m.cell.bias).relu())
    assert repr(m) == "Recur(RNNCell(4, 3, relu))"


class TestDense:
    @pytest.mark.parametrize("lead", [(), (B,), (6, B), (0, B)])
    @pytest.mark.parametrize("bias", [True, False])
    def test_values_and_gradients(self, lead, bias):
        m = randomise(Dense(I, O, torch.tanh, bias=bias, dtype=F64))
        x = filled(*lead, I).requires_grad_()
        peer = nn.Linear(I, O, bias=bias, dtype=F64)
        peer.load_state_dict(m.state_dict())
        y, want = m(x), peer(x).tanh()
        close(y, want, 1e-14)
        close(gradients(weighted(y), m, x), gradients(weighted(want), peer, x), 1e-13)
        array = x.detach().numpy() @ m.weight.detach().numpy().T
        array = np.tanh(array + (m.bias.detach().numpy() if bias else 0))
        close(y.detach(), torch.from_numpy(array), 1e-13)

    def test_parameters_and_their_start(self):
        m = Dense(60, 40)
        limit = math.sqrt(6 / 100)
        assert m.weight.shape == (40, 60)
        assert 0.95 * limit < m.weight.abs().max() <= limit
        assert m.weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.05)
        assert m.bias.shape == (40,)
        assert not m.bias.any()
        assert Dense(I, O, bias=False).bias is None

    @pytest.mark.parametrize(
        ("m", "shown"),
        [
            (Dense(15, 5), "Dense(15, 5)"),
            (Dense(15, 5, "relu"), "Dense(15, 5, relu)"),
            (Dense(15, 5, torch.relu), "Dense(15, 5, relu)"),
            (Dense(15, 5, rl.identity), "Dense(15, 5)"),
            (Dense(15, 5, "tanh", bias=False), "Dense(15, 5, tanh, bias=False)"),
        ],
    )
    def test_printing(self, m, shown):
        assert repr(m) == shown

    def test_refused(self):
        m = Dense(I, O)
        assert refusal(m, torch.ones(3, 5)) == (
            "Dense(4, 2): x has 5 features, expected 4; x.shape = (3, 5)"
        )
        assert refusal(m, torch.tensor(1.0)) == (
            "Dense(4, 2): x has no features, expected 4; x.shape = ()"
        )
        assert refusal(m, filled(I)) == (
            "Dense(4, 2): x is torch.float64 and the weights are torch.float32. "
            "x.to(torch.float32) converts the input."
        )
        assert refusal(m, [1, 2]) == "Dense(4, 2): x must be a torch tensor, got a list of 2."
        assert refusal(Dense, 0, 5) == "Dense: input_size must be a whole number ≥ 1, got 0."
        assert refusal(Dense, 5, 2.0) == "Dense: output_size must be a whole number ≥ 1, got 2.0."
        assert refusal(Dense, 5, 2, "rellu") == (
            "Dense: unknown activation 'rellu'. Did you mean 'relu'? Known: tanh, relu, sigmoid, "
            "softplus, gelu, silu, identity; or give a function."
        )


class TestChain:
    def test_it_is_one_layer_after_the_other(self):
        m, xs = chain(torch.exp), filled(4, B, I).requires_grad_()
        ys = torch.stack([m(x) for x in xs])
        lstm, gru, dense = m[0].cell, m[1].cell, m[2]
        s, h, want = lstm.initial_state(), gru.initial_state(), []
        for x in xs:
            s, y = lstm(s, x)
            h, y = gru(h, y)
            want.append(dense(y).exp())
        close(ys, torch.stack(want), 0)
        close(list(rl.states(m).values()), [*s, h], 0)
        slopes = gradients(weighted(torch.stack(want)), m, xs)
        close(gradients(weighted(ys), m, xs), slopes, 1e-13)

    @pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
    @pytest.mark.parametrize("steps", [0, 2])
    def test_a_failure_in_a_later_layer_leaves_the_earlier_states(self, error, steps):
        def perhaps(x):
            if fail:
                raise error
            return x

        m, fail = chain(perhaps), False
        for _ in range(steps):
            m(filled(B, I))
        before, fail = rl.states(m), True
        with pytest.raises(error):
            m(filled(B, I))
        assert all(v is before[name] for name, v in rl.states(m).items())
        fail = False
        twin = copy.deepcopy(m)
        close(m(filled(B, I)), twin(filled(B, I)), 0)

    def test_a_failure_in_a_nested_chain(self):
        a, b, c = Recur(accum, 0), Recur(accum, 0), Recur(accum, 0)
        good = Chain(a, Chain(b), c)
        good(3)
        for model in (
            Chain(a, Chain(b, boom), c),
            Chain(Chain(a, Chain(b)), c, boom),
            Chain(nn.Sequential(a, b), boom),
        ):
            with pytest.raises(ZeroDivisionError):
                model(4)
            assert [m.state for m in (a, b, c)] == [3, 3, 3]

    def test_a_refused_batch_leaves_all_states(self):
        m = chain()
        m(filled(B, I))
        m[0].reset()
        before = rl.states(m)
        assert refusal(m, filled(2, I)) == (
            "Recur(GRUCell(3, 3)): the state is for a batch of 5, x has a batch of 2. "
            "Call reset(model) before starting with another batch size."
        )
        assert all(v is before[name] for name, v in rl.states(m).items())
        assert m[0].state[0] is m[0].cell.h0

    def test_the_same_recur_twice_advances_twice_a_call(self):
        r = randomise(rl.RNN(H, H, dtype=F64))
        m, x = Chain(r, torch.neg, r), filled(H)
        h, _ = r.cell(r.init, x)
        want, _ = r.cell(h, -h)
        close(m(x), want, 0)
        close(r.state, want, 0)
        with pytest.raises(ZeroDivisionError):
            Chain(r, r, boom)(x)
        close(r.state, want, 0)

    def test_with_several_inputs_and_without_layers(self):
        m = Chain(Recur(lambda h, x, z: (h + x * z, h), 1), lambda y: y + 0.5)
        assert [m(2, 3), m(1, 1)] == [1.5, 7.5]
        assert Chain()(3) == 3
        assert Chain()(3, 4) == (3, 4)

    def test_without_state_it_is_a_function(self):
        m = randomise(Chain(Dense(I, H, dtype=F64), nn.LayerNorm(H, dtype=F64), torch.relu))
        x = filled(6, B, I)
        close(m(x), nn.functional.layer_norm(m[0](x), (H,), m[1].weight, m[1].bias).relu())

    def test_names(self):
        m = Chain(rl.RNN(I, H), read=rl.RNN(H, H), say=Dense(H, O))
        assert list(rl.states(m)) == ["0.h", "read.h"]
        assert m.read.cell.weight_hh is m.state_dict(keep_vars=True)["read.cell.weight_hh"]

    def test_slices_are_chains_that_share_layers_and_names(self):
        m = chain()
        part = m[1:]
        assert type(part) is Chain
        assert list(part) == [m[1], m[2]]
        assert list(rl.states(part)) == ["1.h"]
        part(filled(H))
        close(rl.states(m)["1.h"], m[1].state, 0)
        assert len(m) == 3
        assert m[-1] is m[2]

    @pytest.mark.parametrize(
        ("m", "shown"),
        [
            (
                Chain(rl.LSTM(10, 15), Dense(15, 5)),
                "Chain(Recur(LSTMCell(10, 15)), Dense(15, 5))",
            ),
            (
                Chain(read=rl.LSTM(10, 15), say=Dense(15, 5, "relu")),
                "Chain(read=Recur(LSTMCell(10, 15)), say=Dense(15, 5, relu))",
            ),
            (Chain(torch.relu, Chain(Recur(accum, 0))), "Chain(relu, Chain(Recur(accum)))"),
            (Chain(), "Chain()"),
            (Chain(nn.Tanh())[:0], "Chain()"),
        ],
    )
    def test_printing(self, m, shown):
        assert repr(m) == shown

    def test_refused_at_construction(self):
        assert refusal(Chain, nn.Tanh(), 3) == (
            "Chain: layer 1 must be a module or a function, got int 3."
        )
        assert refusal(lambda: Chain(say="x")) == (
            "Chain: layer say must be a module or a function, got str 'x'."
        )

    def test_state_dict_copy_and_pickle(self):
        m, x = chain(torch.tanh), filled(B, I)
        m(x)
        twins = [copy.deepcopy(m), pickle.loads(pickle.dumps(m))]
        fresh = Chain(
            rl.LSTM(I, H, dtype=F64),
            rl.GRU(H, H, dtype=F64),
            Dense(H, O, "tanh", dtype=F64),
            torch.tanh,
        )
        fresh.load_state_dict(m.state_dict())
        rl.load_states(fresh, rl.states(m))
        want = m(x)
        for twin in (*twins, fresh):
            close(twin(x), want, 0)
            assert repr(twin) == repr(m)
