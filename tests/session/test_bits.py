"""Going back and doing the same again gives the same, to the last bit.

A product rounds differently when its factors lie elsewhere in memory: at an odd address, or with
gaps. So inputs are given here in every such way, and the models keep their states in every such
way; what is recorded must not tell the difference.
"""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch

import rnnlab as rl
from rnnlab.session import Session, replay
from tests.helpers import filled, randomise
from tests.session.helpers import MODELS, bits, contents, inputs, make, states

pytest.importorskip("hypothesis", reason="hypothesis is in rnnlab[test]")
from hypothesis import given, settings
from hypothesis import strategies as st

H = 33
f32 = partial(filled, dtype=torch.float32)


def odd(x, place):
    """The same numbers, `place` elements past an address that torch would give."""
    room = torch.empty(x.numel() + 16, dtype=x.dtype)
    there = room[place : place + x.numel()].view(x.shape)
    return there.copy_(x)


def gaps(x):
    """The same numbers, each followed by another."""
    return torch.stack([x, x + 1], dim=-1)[..., 0]


def views():
    """A cell whose states are parts of one tensor, one at an odd address, one with gaps."""
    weight = 0.3 * f32(2 * H, 2 * H, seed=3)

    def cell(state, x):
        a, b = state
        both = torch.tanh(weight @ torch.cat([a, b]) + torch.cat([x, -x]))
        return (both[1::2], both[:H]), both[H:]

    return rl.Recur(cell, (torch.zeros(H), torch.zeros(H)))


def big(name):
    match name:
        case "rnn":
            return randomise(rl.RNN(H, H))
        case "lstm":
            return randomise(rl.LSTM(H, H))
        case "gru":
            return randomise(rl.GRU(H, H))
        case "gruv3":
            return randomise(rl.GRUv3(H, H))
        case "chain":
            return randomise(rl.Chain(rl.LSTM(H, H), rl.GRU(H, H), rl.Dense(H, 7)))
        case "views":
            return views()
    return rl.adapt(Stack())


class Stack(torch.nn.Module):
    """Two layers in one nn.LSTM: their states are handed out as parts of one tensor."""

    def __init__(self):
        super().__init__()
        self.lstm = torch.nn.LSTM(H, H, num_layers=2)
        with torch.no_grad():
            for number, weight in enumerate(self.parameters()):
                weight.copy_(0.4 * f32(*weight.shape, seed=number))

    def forward(self, x):
        return self.lstm(x)[0]


BIG = ("rnn", "lstm", "gru", "gruv3", "chain", "views", "stack")


def rows(name, count=6, batch=()):
    shape = (1, H) if name == "stack" else (*batch, H)
    return list(f32(count, *shape, seed=5).unbind(0))


def recorded(session, branch=None):
    trace = session.trace(branch)
    return {name: bits(trace[name]) for name in trace}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batch", [(), (5,)], ids=["single", "batch"])
@pytest.mark.parametrize("name", BIG)
def test_it_does_not_matter_how_inputs_lie(name, batch, threads):
    if batch and name in ("views", "stack"):
        batch = ()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        s = Session(big(name))
        for x in rows(name, batch=batch):
            s.step(x)
        want = recorded(s)
        for place in (1, 3, 4, 7):
            s.reset()
            for x in rows(name, batch=batch):
                s.step(odd(x, place))
            assert recorded(s) == want, place
        s.reset()
        for x in rows(name, batch=batch):
            s.step(gaps(x))
        assert recorded(s) == want
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", BIG)
def test_going_back_and_stepping_again(name):
    """From every place, by whatever way it was come to, the same input gives the same."""
    s = Session(big(name))
    xs = rows(name, 8)
    for x in xs:
        s.step(x)
    want = recorded(s, "main")
    for t in range(8):
        s.checkout("main", t)
        for x in xs[t:]:
            s.step(odd(x, 1))
        assert s.branch_name != "main"
        assert recorded(s) == want, t
    s.checkout("main", 3)
    s.refeed("main")
    assert recorded(s) == want


@pytest.mark.parametrize("name", BIG)
def test_a_run_again_is_the_same_run(name):
    s = Session(big(name))
    xs = torch.stack(rows(name, 40))
    s.run(xs)
    want = recorded(s)
    s.rewind(0)
    s.run(odd(xs, 3))
    assert s.branch_name != "main"
    assert recorded(s) == want
    s.reset()
    s.run(gaps(xs))
    assert recorded(s) == want
    s.reset()
    s.run(list(xs))
    assert recorded(s) == want
    s.checkout("main", 10)
    s.step(xs[10])
    s.refeed("main")  # from there singly or by parts of the run: to rounding only
    assert s.length() == 40
    assert recorded(replay(copy.deepcopy(s.model), s.log), "main") == want


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(MODELS)), st.data())
def test_branches_made_by_the_same_commands_are_equal(name, data):
    """However inputs lie, and whether or not one has been elsewhere between the steps."""
    s = Session(make(name))
    for x in inputs(3, model=s.model):
        s.step(x)
    t = data.draw(st.integers(0, 3))
    commands = data.draw(
        st.lists(st.tuples(st.sampled_from(["step", "run", "poke"]), st.integers(1, 5)), max_size=5)
    )
    made = []
    for branch in ("one", "two"):
        s.checkout("main", t)
        s.branch(branch)
        for kind, number in commands:
            xs = [odd(x, data.draw(st.integers(0, 5))) for x in inputs(number, number, s.model)]
            if kind == "step":
                s.step(gaps(xs[0]) if data.draw(st.booleans()) else xs[0])
            elif kind == "run":
                s.run(torch.stack(xs))
            else:
                first = next(key for key, v in s.states().items() if v.is_floating_point())
                s.poke(first, 0, 0.125 * number)
            if data.draw(st.booleans()):
                here = (s.branch_name, s.t)
                s.checkout("main", data.draw(st.integers(0, 3)))
                s.checkout(*here)
        made.append((recorded(s), states(s)))
    assert made[0] == made[1]


def test_a_state_that_is_the_input_is_not_the_callers():
    """A cell may keep x itself; whoever gave it may write into it afterwards."""
    s = Session(rl.Recur(lambda h, x: (x, x), torch.zeros(2)))
    x = torch.ones(2)
    for _ in range(3):
        y = s.step(x)
        before = contents(s)
        x += 1
        y += 1
        assert contents(s) == before
    assert s.trace()["h"][:, 0].tolist() == [1, 2, 3]


def test_a_row_taken_back_is_not_written_over():
    """Rows are gathered in memory that is used again; none before it was copied."""
    s = Session(rl.RNN(2, 3))
    xs = list(f32(1200, 2).unbind(0))
    for number, x in enumerate(xs):
        s.step(x)
        if number % 97 == 0:  # leaves the short way, and takes it again
            s.rewind(s.t - 1)
            s.forward()
        if number % 131 == 0:
            with pytest.raises(rl.RnnlabError, match="not finite"):
                s.step(x * float("nan"))
        if number % 150 == 0:
            s.undo()
            s.redo()
    assert s.trace()["x"].tobytes() == torch.stack(xs).numpy().tobytes()
    again = Session(s.model)
    again.step(xs[0])
    for x in xs[1:]:
        again.rewind(again.t)
        again.do(rl.session.Step((x,)))
    assert recorded(again) == recorded(s)


def test_large_numbers_are_not_taken_for_infinite():
    s = Session(rl.Recur(lambda h, x: (x, x), torch.zeros(2)))
    for value in (1e30, 2e30, 3e30, 1.0, 2.0):
        s.step(torch.full((2,), value))
    assert s.trace()["h"][:, 0].tolist() == torch.tensor([1e30, 2e30, 3e30, 1, 2]).tolist()
