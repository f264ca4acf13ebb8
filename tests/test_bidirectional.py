"""Bidirectional and Stacked."""

import copy

import pytest
import torch
from torch import nn

import rnnlab as rl
from rnnlab import Chain, Dense, RnnlabError, unroll
from rnnlab.layers import Bidirectional, Stacked
from tests.helpers import F64, close, filled, gradients, randomise, weighted

I, H, B, T = 3, 4, 5, 7
LENGTHS = [7, 3, 1, 7, 6]


def pair(**options):
    return rl.LSTM(I, H, dtype=F64, **options), rl.GRUv3(I, 2, dtype=F64)


def refusal(fn, *args, **options) -> str:
    with pytest.raises(RnnlabError) as caught:
        fn(*args, **options)
    return str(caught.value)


def both_ways(model, xs):
    """The two halves by loops, side by side."""
    ahead = [model.forward_layer(x) for x in xs]
    back = [model.backward_layer(x) for x in reversed(xs)][::-1]
    return torch.stack([torch.cat(two, dim=-1) for two in zip(ahead, back, strict=True)])


class TestBidirectional:
    def test_values_states_and_gradients(self):
        model, xs = randomise(Bidirectional(*pair())), filled(T, B, I).requires_grad_()
        want = both_ways(model, xs)
        end = rl.states(model)
        grads = gradients(weighted(want) + weighted(list(end.values())), model, xs)
        rl.reset(model)
        got = unroll(model, xs)
        states = rl.states(model)
        close((got, states), (want, end))
        close(gradients(weighted(got) + weighted(list(states.values())), model, xs), grads)
        assert list(states) == ["forward_layer.h", "forward_layer.c", "backward_layer.h"]

    def test_against_torch(self):
        theirs = randomise(nn.LSTM(I, H, bidirectional=True, dtype=F64))
        model = Bidirectional(rl.LSTM(I, H, dtype=F64), rl.LSTM(I, H, dtype=F64))
        with torch.no_grad():
            for half, end in ((model.forward_layer, "l0"), (model.backward_layer, "l0_reverse")):
                for ours, name in (("weight_ih", "weight_ih"), ("weight_hh", "weight_hh")):
                    getattr(half.cell, ours).copy_(getattr(theirs, f"{name}_{end}"))
                bias = getattr(theirs, f"bias_ih_{end}") + getattr(theirs, f"bias_hh_{end}")
                half.cell.bias.copy_(bias)
        xs = filled(T, B, I)
        want, (h, _) = theirs(xs)
        close(unroll(model, xs), want)
        states = rl.states(model)
        close((states["forward_layer.h"], states["backward_layer.h"]), (h[0], h[1]))
        packed = nn.utils.rnn.pack_padded_sequence(xs, LENGTHS, enforce_sorted=False)
        rl.reset(model)
        close(unroll(model, packed).data, theirs(packed)[0].data)

    @pytest.mark.parametrize("reverse", [False, True])
    def test_rows_of_unequal_length(self, reverse):
        model, xs = randomise(Bidirectional(*pair())), filled(T, B, I)
        got = unroll(model, xs, lengths=LENGTHS, reverse=reverse)
        states = rl.states(model)
        for b, n in enumerate(LENGTHS):
            rl.reset(model)
            row = xs[:n, b].flip(0) if reverse else xs[:n, b]
            want = both_ways(model, list(row))
            close(got[:n, b], want.flip(0) if reverse else want)
            assert not got[n:, b].any()
            end = rl.states(model)
            close({name: value[b] for name, value in states.items()}, end)

    def test_resets_are_those_of_its_halves(self):
        model, xs = randomise(Bidirectional(*pair())), filled(T, B, I)
        resets = torch.arange(T * B).reshape(T, B) % 4 == 1
        for lengths in (None, LENGTHS):
            rl.reset(model)
            got = unroll(model, xs, reset_at=resets, lengths=lengths)
            rl.reset(model)
            options = {"reset_at": resets, "lengths": lengths}
            halves = [
                unroll(model.forward_layer, xs, **options),
                unroll(model.backward_layer, xs, reverse=True, **options),
            ]
            close(got, torch.cat(halves, dim=-1))

    def test_the_second_half_goes_on_until_it_comes_to_the_reset(self):
        model, xs = randomise(Bidirectional(*pair())), filled(T, B, I)
        resets = torch.arange(T) == 0
        unroll(model, xs)  # so that there is a state to lose
        running = copy.deepcopy(model)
        got = unroll(model, xs, reset_at=resets)
        ahead = unroll(running.forward_layer, xs, reset_at=resets)
        back = unroll(running.backward_layer, xs, reset_at=resets, reverse=True)
        close(got, torch.cat([ahead, back], dim=-1))
        rl.reset(model)
        again = unroll(model, xs, reset_at=resets)
        assert not torch.allclose(again[1:, :, H:], got[1:, :, H:])

    @pytest.mark.parametrize("reverse", [False, True])
    def test_rows_of_unequal_length_after_a_layer_that_is_stepped_through(self, reverse):
        inner = randomise(Bidirectional(*pair()))
        model = Chain(lambda x: torch.tanh(2 * x), inner)
        xs = filled(T, B, I)
        want = unroll(inner, torch.tanh(2 * xs), lengths=LENGTHS, reverse=reverse)
        rl.reset(model)
        close(unroll(model, xs, lengths=LENGTHS, reverse=reverse), want)

    def test_lists_nothing_and_one_step_sequences(self):
        model, xs = randomise(Bidirectional(*pair())), filled(T, B, I)
        want = unroll(model, xs)
        rl.reset(model)
        got = unroll(model, list(xs))
        assert type(got) is list
        close(torch.stack(got), want, 0)
        rl.reset(model)
        assert unroll(model, xs[:0]).shape == (0, B, H + 2)
        assert unroll(model, xs[:1]).shape == (1, B, H + 2)
        assert unroll(model, []) == []
        rl.reset(model)
        close(unroll(model, xs[:, 0]), want[:, 0])

    def test_inside_other_models(self):
        inner = Bidirectional(rl.RNN(I, H, dtype=F64), Chain(rl.GRU(I, 2, dtype=F64), torch.tanh))
        model = randomise(Chain(Dense(I, I, dtype=F64), inner, Dense(H + 2, 2, dtype=F64)))
        xs = filled(T, B, I)
        want = model[2](both_ways(inner, list(model[0](xs))))
        rl.reset(model)
        close(unroll(model, xs), want)
        rl.reset(model)
        words = Chain(lambda word: filled(I, seed=len(word)), inner)
        got = unroll(words, ["a", "bcd", "ef"])
        rl.reset(model)
        close(torch.stack(got), both_ways(inner, [filled(I, seed=n) for n in (1, 3, 2)]))

    def test_a_single_step_is_refused(self):
        model = Bidirectional(rl.LSTM(3, 4), rl.LSTM(3, 4))
        text = (
            "Bidirectional(Recur(LSTMCell(3, 4)), Recur(LSTMCell(3, 4))): cannot take a single "
            "step, because its second half starts at the end of the sequence. "
            "Give it the whole sequence: unroll(model, xs)."
        )
        assert refusal(model, torch.ones(3)) == text
        chain = Chain(rl.RNN(3, 3), model)
        before = rl.states(chain)
        assert refusal(chain, torch.ones(3)) == text
        assert all(value is before[name] for name, value in rl.states(chain).items())

    def test_a_failing_half_leaves_both(self):
        model = Bidirectional(rl.LSTM(I, H), rl.LSTM(I + 1, H))
        model.forward_layer(torch.ones(B, I))
        before = rl.states(model)
        assert refusal(unroll, model, torch.ones(T, B, I)) == (
            "LSTMCell(4, 4): x has 3 features, expected 4; x.shape = (7, 5, 3)"
        )
        assert all(value is before[name] for name, value in rl.states(model).items())

    def test_wrong_halves(self):
        one = rl.RNN(3, 4)
        assert refusal(Bidirectional, one, one) == (
            "Bidirectional: both halves use the same Recur in Recur(RNNCell(3, 4, tanh)); they "
            "read in different directions and need a state each. "
            "copy.deepcopy(layer) makes another."
        )
        assert refusal(Bidirectional, one, Dense(3, 4)) == (
            "Bidirectional: each half must have a state, as LSTM(3, 4) has; got Dense(3, 4)."
        )
        assert refusal(Bidirectional, 3, one) == (
            "Bidirectional: each half must have a state, as LSTM(3, 4) has; got int 3."
        )


class TestStacked:
    def test_is_the_chain_of_its_layers(self):
        layers = [rl.LSTM(I, H, dtype=F64), rl.GRUv3(H, 2, dtype=F64), rl.RNN(2, H, dtype=F64)]
        model = randomise(Stacked(*layers))
        chain = Chain(*copy.deepcopy(layers))
        xs = filled(T, B, I)
        want = unroll(chain, xs)
        close(torch.stack([model(x) for x in xs]), want)
        close(rl.states(model), rl.states(chain))
        assert list(rl.states(model)) == ["0.h", "0.c", "1.h", "2.h"]
        assert model.state_dict().keys() == chain.state_dict().keys()

    def test_against_torch(self):
        theirs = randomise(nn.RNN(I, H, num_layers=2, bidirectional=True, bias=False, dtype=F64))
        halves = [rl.RNN(n, H, bias=False, dtype=F64) for n in (I, I, 2 * H, 2 * H)]
        model = Stacked(Bidirectional(*halves[:2]), Bidirectional(*halves[2:]))
        with torch.no_grad():
            for half, end in zip(halves, ("l0", "l0_reverse", "l1", "l1_reverse"), strict=True):
                half.cell.weight_ih.copy_(getattr(theirs, f"weight_ih_{end}"))
                half.cell.weight_hh.copy_(getattr(theirs, f"weight_hh_{end}"))
        xs = filled(T, B, I)
        close(unroll(model, xs), theirs(xs)[0])
        packed = nn.utils.rnn.pack_padded_sequence(xs, LENGTHS, enforce_sorted=False)
        rl.reset(model)
        close(unroll(model, packed).data, theirs(packed)[0].data)

    @pytest.mark.parametrize("whole", [True, False], ids=["unroll", "steps"])
    def test_dropout_between_layers_in_training_only(self, whole):
        # an identity below and above: what is seen is the dropout and nothing else
        def line(n):
            layer = rl.RNN(n, n, "identity", bias=False, dtype=F64)
            with torch.no_grad():
                layer.cell.weight_ih.copy_(torch.eye(n))
                layer.cell.weight_hh.zero_()
            return layer

        model, xs = Stacked(line(10), line(10), line(10), dropout=0.3), torch.ones(50, 20, 10)
        xs = xs.to(F64)
        torch.manual_seed(0)

        def run():
            rl.reset(model)
            return unroll(model, xs) if whole else torch.stack([model(x) for x in xs])

        ys = run()
        kept = ys != 0
        close(ys[kept], torch.full_like(ys[kept], 1 / 0.7**2))  # twice: not after the last
        assert abs(kept.double().mean() - 0.7**2) < 0.02
        assert not torch.equal(kept[0], kept[1])  # anew at every step
        assert not torch.equal(ys, run())
        model.eval()
        close(run(), xs, 0)

    def test_printing_slices_and_copies(self):
        model = Stacked(rl.LSTM(8, 16), rl.LSTM(16, 16), rl.LSTM(16, 4), dropout=0.1)
        assert repr(model[:2]) == (
            "Stacked(Recur(LSTMCell(8, 16)), Recur(LSTMCell(16, 16)), dropout=0.1)"
        )
        assert type(model[:2]) is Stacked
        assert model[:2].state_dict().keys() == Stacked(*model[:2]).state_dict().keys()
        assert repr(Stacked(rl.RNN(2, 3))) == "Stacked(Recur(RNNCell(2, 3, tanh)))"
        assert repr(copy.deepcopy(model)) == repr(model)
        assert repr(model.eval()[1:]) == (
            "Stacked(Recur(LSTMCell(16, 16)), Recur(LSTMCell(16, 4)), dropout=0.1)"
        )
        assert not model[1:].training

    def test_what_it_refuses(self):
        a, b = rl.LSTM(8, 16), rl.LSTM(15, 16)
        assert refusal(Stacked) == "Stacked: there is no layer. Stacked(LSTM(8, 16), …) has one."
        for p in (1, 1.5, -0.1, True, "a", float("nan")):
            assert refusal(Stacked, a, dropout=p) == (
                f"Stacked: dropout must be a number 0 ≤ p < 1, got {p!r}."
            )
        assert refusal(Stacked, a, b) == (
            "Stacked: layer 1, Recur(LSTMCell(15, 16)), takes 15 features, "
            "and the layer before it gives 16."
        )
        two = Bidirectional(rl.RNN(8, 3), rl.RNN(8, 4))
        assert refusal(Stacked, two, rl.RNN(8, 1)) == (
            "Stacked: layer 1, Recur(RNNCell(8, 1, tanh)), takes 8 features, "
            "and the layer before it gives 7."
        )
        assert refusal(Stacked, a, Dense(16, 2)) == (
            "Stacked: layer 1, Dense(16, 2), has no state. Chain takes layers with and without."
        )
        assert refusal(Stacked, a, 3) == (
            "Chain: layer 1 must be a module or a function, got int 3."
        )
