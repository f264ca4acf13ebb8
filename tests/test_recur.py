"""Recur: running, the initial state, and calls that fail."""

import pytest
import torch
from torch import nn

import rnnlab as rl
from rnnlab import Recur, RnnlabError
from rnnlab.recur import atomic
from tests.helpers import F64, close, filled, gradients, randomise, weighted

I, H, B = 4, 3, 5
KINDS = pytest.mark.parametrize("kind", [rl.RNN, rl.LSTM, rl.GRU, rl.GRUv3])


def make(kind=rl.RNN, **options) -> Recur:
    return randomise(kind(I, H, dtype=F64, **options))


def accum(h, x):
    return h + x, x


def refusal(fn, *args) -> str:
    with pytest.raises(RnnlabError) as caught:
        fn(*args)
    return str(caught.value)


def test_the_accumulator():
    m = Recur(accum, 0)
    assert (m(2), m(3), m.state) == (2, 3, 5)
    m.reset()
    assert m.state == 0
    m = Recur(accum, 0)
    m(2), m(3)
    assert [m(x) for x in range(1, 11)] == list(range(1, 11))
    assert m.state == 60


@KINDS
def test_it_folds_the_cell(kind):
    """Values and gradients are those of h, y = cell(h, x) written out."""
    m, xs = make(kind), filled(6, B, I).requires_grad_()
    ys = torch.stack([m(x) for x in xs])
    h, want = m.cell.initial_state(), []
    for x in xs:
        h, y = m.cell(h, x)
        want.append(y)
    close((ys, m.state), (torch.stack(want), h), 0)
    close(gradients(weighted(ys), m, xs), gradients(weighted(torch.stack(want)), m.cell, xs), 1e-13)


@KINDS
def test_the_first_state_is_init_itself_and_gets_gradients(kind):
    m, x = make(kind), filled(I)
    for _ in range(2):
        mine = m.state if isinstance(m.state, tuple) else (m.state,)
        own = [m.cell.get_parameter(f"{name}0") for name in m.cell.state_names]
        assert all(a is b for a, b in zip(mine, own, strict=True))
        for slope in torch.autograd.grad(m(x).sum(), own):
            assert slope.any()
        m.reset()


def test_training_the_initial_state_moves_what_reset_goes_back_to():
    m, xs, target = make(), filled(3, I), filled(H, seed=9).tanh()
    optimizer = torch.optim.SGD([m.cell.h0], lr=0.3)
    losses = []
    for _ in range(20):
        m.reset()
        loss = (rl.unroll(m, xs)[0] - target).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    m.reset()
    assert m.state is m.cell.h0


@KINDS
def test_one_state_broadcasts_over_the_first_batch_and_gradients_sum(kind):
    m, x = make(kind), filled(B, I)
    own = [m.cell.get_parameter(f"{name}0") for name in m.cell.state_names]
    got = torch.autograd.grad(m(x).square().sum(), own)
    each = []
    for row in x:
        m.reset()
        each.append(torch.autograd.grad(m(row).square().sum(), own))
    close(list(got), [torch.stack(slopes).sum(0) for slopes in zip(*each, strict=True)], 1e-12)


class TestInit:
    def test_parameter_trains(self):
        h0 = nn.Parameter(filled(H))
        m = Recur(accum, h0)
        assert dict(m.named_parameters()) == {"init_h": h0}
        assert m.state is m.init is h0
        m(filled(B, H, seed=3))
        assert torch.equal(torch.autograd.grad(m.state.sum(), h0)[0], torch.full((H,), 5.0))

    def test_tensor_becomes_a_buffer(self):
        m = Recur(accum, filled(H).requires_grad_())
        assert not list(m.parameters())
        close(dict(m.named_buffers()), {"init_h": filled(H)}, 0)
        assert m.state is m.init is m.init_h
        assert not m.init.requires_grad

    def test_number_stays_a_number(self):
        m = Recur(accum, 2)
        assert type(m.init) is int
        assert not m.state_dict()
        m(1.5)
        assert m.state == 3.5
        m.reset()
        assert m.state == 2

    def test_mixed_parts(self):
        h, c = nn.Parameter(filled(H)), filled(H, seed=2)
        m = Recur(lambda s, x: ((s[0] + x, (s[1][0] * x, s[1][1] + 1)), x), (h, (c, 7)))
        assert list(m.state_dict()) == ["init_h_0", "init_h_1_0"]
        m(filled(H, seed=3))
        assert m.state[1][1] == 8
        m.reset()
        assert m.state[0] is h
        assert m.state[1][1] == 7

    def test_it_replaces_that_of_a_library_cell(self):
        start = (filled(H), nn.Parameter(filled(H, seed=2)))
        m = Recur(rl.LSTMCell(I, H, dtype=F64), start)
        x = filled(I)
        close(m(x), m.cell(start, x)[1], 0)
        assert [n for n, _ in m.named_parameters() if "init" in n] == ["init_c"]

    def test_a_module_with_an_initial_state_needs_no_init(self):
        class Counter(nn.Module):
            def initial_state(self):
                return 100

            def forward(self, h, x):
                return h + 1, h * x

        m = Recur(Counter())
        assert [m(2), m(2), m.state] == [200, 202, 102]

    def test_state_dict_round_trip(self):
        m = make(rl.LSTM)
        m(filled(I))
        assert list(m.state_dict()) == [
            f"cell.{name}" for name in ("weight_ih", "weight_hh", "bias", "h0", "c0")
        ]
        twin = rl.LSTM(I, H, dtype=F64)
        twin.load_state_dict(m.state_dict())
        m.reset()
        x = filled(B, I)
        close((twin(x), twin.state), (m(x), m.state), 0)
        other = Recur(accum, torch.zeros(H, dtype=F64))
        other.load_state_dict({"init_h": filled(H)})
        close(other.state, filled(H), 0)


def test_two_recurs_around_one_cell_share_weights_and_no_state():
    cell, x = randomise(rl.LSTMCell(I, H, dtype=F64)), filled(I)
    a, b = Recur(cell), Recur(cell)
    first = a(x)
    a(x)
    assert b.state[1] is cell.c0
    close(b(x), first, 0)


def test_refused_at_construction():
    assert refusal(Recur, accum) == (
        "Recur(accum): a function cell needs an initial state. "
        "Give it as the second argument: Recur(accum, torch.zeros(H))."
    )
    assert refusal(Recur, nn.Linear(2, 3)) == (
        "Recur(Linear(in_features=2, out_features=3, bias=True)): a function cell needs an initial "
        "state. Give it as the second argument: "
        "Recur(Linear(in_features=2, out_features=3, bias=True), torch.zeros(H))."
    )
    assert refusal(Recur, 3) == "Recur: the cell must be callable as h, y = cell(h, x), got int 3."
    assert refusal(Recur, rl.RNN(4, 3)) == (
        "Recur: Recur(RNNCell(4, 3, tanh)) is already stateful; use it as it is."
    )
    assert refusal(Recur, rl.LSTMCell(4, 3), torch.ones(3)) == (
        "Recur(LSTMCell(4, 3)): init must be (h, c), got a tensor of shape (3,)."
    )
    for clash in ({"a_b": 1, "a": {"b": 2}}, {"a.b": 1, "a": {"b": 2}}):
        assert refusal(Recur, accum, clash) == (
            "Recur(accum): two parts of init are both named h_a_b; rename the dict keys or fields."
        )


def test_printing():
    assert repr(rl.RNN(10, 5)) == "Recur(RNNCell(10, 5, tanh))"
    assert repr(rl.LSTM(10, 15)) == "Recur(LSTMCell(10, 15))"
    assert repr(rl.GRU(10, 5)) == "Recur(GRUCell(10, 5))"
    assert repr(Recur(accum, 0)) == "Recur(accum)"
    assert repr(Recur(lambda h, x: (h, x), 0)) == "Recur(<lambda>)"


class TestAssigning:
    def test_values_gradients_and_no_registration(self):
        """A Parameter that is put in as the state is not made a weight of the model."""
        m, x = make(), filled(I)
        start = nn.Parameter(filled(H))
        names = [name for name, _ in m.named_parameters()]
        m.state = start
        assert m.state is start
        assert [name for name, _ in m.named_parameters()] == names
        assert list(m.state_dict()) == names
        y = m(x)
        close(y, m.cell(start, x)[1], 0)
        assert torch.autograd.grad(y.sum(), start)[0].any()
        m.reset()
        assert m.state is m.cell.h0

    def test_the_state_lives_in_the_instance_dict(self):
        """nn.Module.__setattr__ is slow and would register a Parameter."""
        for m, x in ((make(), filled(I)), (Recur(accum, 0), 1)):
            m(x)
            held = [v for v in m.__dict__.values() if v is m.state]
            assert len(held) == 1
            assert not any(m.state is v for v in (*m._buffers.values(), *m._parameters.values()))


class TestFailure:
    @pytest.mark.parametrize("error", [ZeroDivisionError, RuntimeError, KeyboardInterrupt])
    def test_the_state_is_what_it_was(self, error):
        def cell(h, x):
            if x is None:
                raise error
            return h + x, x

        m = Recur(cell, torch.zeros(H))
        for x in (None, torch.ones(B, H)):
            before = m.state
            with pytest.raises(error):
                m(None)
            assert m.state is before
            if x is not None:
                m(x)
        close(m.state, torch.ones(B, H), 0)
        assert "batch of 5" in refusal(m, torch.ones(2, H))

    def test_atomic_puts_back_all_and_only_what_it_advanced(self):
        a, b = Recur(accum, 0), Recur(accum, 0)
        a(1), b(1)

        @atomic()
        def fails_late():
            a(10)
            with atomic():
                b(10)
            a.reset()
            a(5)
            b.state = 77
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fails_late()
        assert (a.state, b.state) == (1, 1)
        with atomic():
            a(10)
            with pytest.raises(ZeroDivisionError):
                fails_late()
        assert (a.state, b.state) == (11, 1)

    def test_atomic_also_puts_back_which_batch_the_state_is_for(self):
        m = Recur(accum, torch.zeros(H))
        m(torch.ones(B, H))

        @atomic()
        def fails_late():
            m.reset()
            m(torch.ones(2, H))
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fails_late()
        assert "batch of 5" in refusal(m, torch.ones(1, H))
        m(torch.ones(B, H))
