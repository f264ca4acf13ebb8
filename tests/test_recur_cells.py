"""Recur around plain functions, several inputs and nested states; a batch that changes."""

from collections import namedtuple

import pytest
import torch

import rnnlab as rl
from rnnlab import Recur, RnnlabError, detach, reset
from rnnlab.nested import map_leaves
from tests.helpers import F64, close, filled, randomise

I, H, B = 4, 3, 5


def make(kind=rl.RNN) -> Recur:
    return randomise(kind(I, H, dtype=F64))


def accum(h, x):
    return h + x, x


def refusal(fn, *args) -> str:
    with pytest.raises(RnnlabError) as caught:
        fn(*args)
    return str(caught.value)


Named = namedtuple("Named", ["fast", "slow"])


class TestFunctionCells:
    def test_several_inputs(self):
        m = Recur(lambda h, x, gain, *rest: (h + gain * x, (h, len(rest))), 0.0)
        assert m(1.0, 10) == (0.0, 0)
        assert m(2.0, 100, "more", None) == (10.0, 2)
        assert m.state == 210.0

    def test_several_tensor_inputs_keep_their_batch(self):
        m = Recur(lambda h, x, z: (h + x * z, h), torch.zeros(H))
        m(torch.ones(B, H), torch.full((B, H), 2.0))
        close(m.state, torch.full((B, H), 2.0), 0)
        text = (
            "Recur(<lambda>): the state is for a batch of 5, x has a batch of 4. "
            "Call reset(model) before starting with another batch size."
        )
        assert refusal(m, torch.ones(B, H), torch.ones(4, H)) == text
        assert refusal(m, torch.ones(4, H), torch.ones(B, H)) == text
        close(m.state, torch.full((B, H), 2.0), 0)

    @pytest.mark.parametrize(
        "init",
        [
            (1.0, (2.0, (3.0, 4.0))),
            Named(1.0, (2.0, 3.0)),
            [1.0, [2.0, 3.0]],
            {"h": 1.0, "more": {"c": (2.0, 3.0)}},
        ],
        ids=["tuples", "named tuple", "lists", "dicts"],
    )
    @pytest.mark.parametrize("of", [lambda v: v, torch.tensor], ids=["numbers", "tensors"])
    def test_nested_states(self, init, of):
        init = map_leaves(of, init)
        m = Recur(lambda s, x: (map_leaves(lambda v: 2 * v + x, s), s), init)
        y = m(of(1.0))
        assert type(y) is type(m.state) is type(m.init) is type(init)
        assert y == init
        want = map_leaves(lambda v: 2 * v + 1, init)
        assert m.state == want
        detach(m)
        assert m.state == want
        m.reset()
        assert m.state == init

    def test_the_state_may_change_its_structure(self):
        m = Recur(lambda h, x: ((*h, x), len(h)), ())
        assert [m("a"), m("b"), m.state] == [0, 1, ("a", "b")]
        m.reset()
        assert m.state == ()

    @pytest.mark.parametrize(
        ("result", "text"),
        [
            (None, "None"),
            (3, "int 3"),
            ([1, 2], "a list of 2"),
            ((1, 2, 3), "a tuple of 3"),
            (torch.ones(2, 3), "a tensor of shape (2, 3)"),
        ],
    )
    def test_what_is_not_state_and_y_is_refused(self, result, text):
        def cell(h, x):
            return result

        m = Recur(cell, 5)
        assert refusal(m, 1) == (
            f"Recur(cell): a cell must return the tuple (state, y), got {text}."
        )
        assert m.state == 5


class TestBatch:
    def test_a_function_cell_refuses_another_batch(self):
        """Without the check, a batch of 1 and no batch would broadcast silently."""
        m = Recur(accum, torch.zeros(H))
        m(torch.ones(B, H))
        before = m.state
        for now, has in (((1, H), "has a batch of 1"), ((H,), "is unbatched")):
            assert refusal(m, torch.ones(now)) == (
                f"Recur(accum): the state is for a batch of 5, x {has}. "
                "Call reset(model) before starting with another batch size."
            )
            assert m.state is before
        reset(m)
        m(torch.ones(1, H))
        assert m.state.shape == (1, H)

    def test_a_batch_after_an_unbatched_start(self):
        m = make()
        m(filled(I))
        assert refusal(m, filled(B, I)) == (
            "Recur(RNNCell(4, 3, tanh)): the state is unbatched, x has a batch of 5. "
            "Call reset(model) before starting with another batch size."
        )

    def test_an_assigned_state_is_checked_by_the_cell(self):
        m = make()
        m(filled(2, I))
        m.state = filled(B, H)
        x = filled(B, I)
        close(m(x), m.cell(filled(B, H), x)[1], 0)
        m.state = filled(B, H)
        assert refusal(m, filled(2, I)) == (
            "RNNCell(4, 3, tanh): the state is for a batch of 5, x has a batch of 2. "
            "Call reset(model) before starting with another batch size."
        )

    def test_a_batch_of_none(self):
        m = make(rl.LSTM)
        assert m(filled(0, I)).shape == (0, H)
        assert m.state[1].shape == (0, H)
