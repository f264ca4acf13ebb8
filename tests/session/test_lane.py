"""The short way of a step: it is taken, gives what the usual way gives, and leaves no trace."""

from __future__ import annotations

import contextlib
from functools import partial

import pytest
import torch

import rnnlab as rl
from rnnlab.recur import atomic
from rnnlab.session import Session, lane
from rnnlab.session.columns import PENDING
from rnnlab.session.lane import SLOW
from tests.helpers import filled, randomise
from tests.session.helpers import bits, contents, running

I, H = 5, 7
f32 = partial(filled, dtype=torch.float32)


class Driver(torch.nn.Module):
    """A model that does something of its own in its step."""

    def __init__(self):
        super().__init__()
        self.rnn = rl.RNN(I, H)
        self.action = lambda: None

    def forward(self, x):
        y = self.rnn(x)
        self.action()
        return y


MODELS = {
    "rnn": lambda: rl.RNN(I, H),
    "lstm": lambda: rl.LSTM(I, H),
    "gru": lambda: rl.GRU(I, H),
    "gruv3": lambda: rl.GRUv3(I, H),
    "chain": lambda: rl.Chain(rl.LSTM(I, H), rl.GRU(H, H), rl.Dense(H, 2)),
    "module": Driver,
}
COMMANDS = {
    "here": lambda s: s.rewind(s.t),
    "start": lambda s: s.rewind(0),
    "back": lambda s: s.back(0),
    "checkout": lambda s: s.checkout("main"),
    "undo": lambda s: s.undo(),
    "redo": lambda s: s.redo(),
    "reset": lambda s: s.reset(),
    "branch": lambda s: s.branch("other"),
    "poke": lambda s: s.poke("rnn.h", 0, s.states()["rnn.h"][0].item()),
    "step": lambda s: s.step(torch.ones(I)),
    "run": lambda s: s.run(torch.ones(2, I)),
}
every = pytest.mark.parametrize("name", MODELS)
LEADS = pytest.mark.parametrize("lead", [(), (3,)], ids=["vector", "batch"])


def opened(name, lead=()):
    """A session that has its short way, and inputs for it."""
    s = Session(randomise(MODELS[name]()))
    xs = list(f32(20, *lead, I).unbind(0))
    for x in xs[:3]:
        s.step(x)
    assert s._lane is not None
    return s, xs


def taken(s, x):
    """A step by the short way alone."""
    assert s._lane is not None
    y = s._lane(x)
    assert y is not SLOW
    return y


def usual(s, x):
    """A step by the usual way alone."""
    s._lane = None
    return s.step(x)


@every
@LEADS
def test_both_ways_give_the_same_to_the_bit(name, lead):
    short, xs = opened(name, lead)
    long, _ = opened(name, lead)
    for x in xs[3:]:
        assert bits(taken(short, x)) == bits(usual(long, x)) == bits(short.output())
    assert contents(short) == contents(long)
    assert list(short.log) == list(long.log)


@every
@LEADS
def test_what_is_not_as_it_was_is_left_with_nothing_done(name, lead):
    s, xs = opened(name, lead)
    x = xs[3]
    bad = x.clone()
    bad[..., -1] = torch.inf
    for given in (bad, x * torch.nan, x[..., :-1], x.numpy(), 1.0, None):
        before = contents(s)
        with contextlib.suppress(rl.RnnlabError):  # refused by the model itself
            assert s._lane(given) is SLOW
        assert contents(s) == before
        usual(s, x)
        s.step(x)


@pytest.mark.parametrize("name", ["rnn", "module"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_near_the_largest_are_finite(name, dtype):
    """The quick test lets none pass that is not finite; what it doubts, the exact one decides."""
    s = Session(randomise(MODELS[name]()).to(dtype))
    xs = filled(4, I, dtype=dtype)
    for x in xs:
        s.step(x)
    large = torch.zeros(I, dtype=dtype)
    for value in (1e30, torch.finfo(dtype).max, torch.finfo(dtype).min):
        large[1] = value
        s.step(large)
        assert s.trace()["x"][-1].tolist() == large.tolist()
        s.step(xs[0])
    for value in (torch.inf, -torch.inf, torch.nan, -torch.nan):
        s.step(xs[0])
        large[1] = value
        with pytest.raises(rl.RnnlabError, match="the input has values that are not finite"):
            s.step(large)
    assert s.t == 14


@every
def test_a_changed_weight_is_noted(name):
    s, xs = opened(name)
    first = s._branch.weights_at(s.t)
    with torch.no_grad():
        next(s.model.parameters()).add_(0.125)
    s.step(xs[3])
    assert s._branch.weights_at(s.t) != first
    assert "changed before step 4" in s.trace().weights.values()


@every
@LEADS
def test_what_is_handed_out_is_the_callers(name, lead):
    """An output and an input may be written into; a state that is kept stays what it was."""
    s, xs = opened(name, lead)
    kept = [(dict(rl.states(s.model)), running(s.model))]
    for _ in range(2 * PENDING + 3):  # the memory for rows has been used again by then
        x = xs[3].clone()
        y = taken(s, x)
        before = contents(s) if s.t % 100 == 0 else None
        y.fill_(9)
        x.fill_(9)
        assert before is None or contents(s) == before
        if s.t in (5, PENDING):
            kept.append((dict(rl.states(s.model)), running(s.model)))
    for states, were in kept:
        assert {key: bits(value) for key, value in states.items()} == were
    assert (s.trace()["x"][3:] == xs[3].numpy()).all()


@every
@pytest.mark.parametrize("end", ["taken", "left", "failed", "a weight replaced"])
def test_gradients_are_formed_after_a_step_however_it_ends(name, end, monkeypatch):
    """A step goes past autograd where only code of ours runs: with its end that is over."""
    s, xs = opened(name)
    if end == "taken":
        y = taken(s, xs[3])
    elif end == "left":
        s._lane(xs[3] * torch.nan)
        y = s.output()
    elif end == "failed":

        def fail(*_, **__):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(lane, "_cat", fail)
            with pytest.raises(KeyboardInterrupt) as kept:
                s._lane(xs[3])
        y = s.output()
        assert kept.traceback
    else:
        weight = next(s.model.parameters())
        weight.data = weight.data.clone()
        y = s.step(xs[3])
    assert torch.is_grad_enabled()
    assert not y.requires_grad
    weight = next(s.model.parameters())
    rl.reset(s.model)
    (gradient,) = torch.autograd.grad(s.model(xs[3]).sum(), [weight])
    twin = randomise(MODELS[name]())
    (wanted,) = torch.autograd.grad(twin(xs[3]).sum(), [next(twin.parameters())])
    assert bits(gradient) == bits(wanted)


@every
def test_a_failing_block_puts_the_model_back(name):
    """`atomic` hears of these steps too; the session goes on from where it stands itself."""
    s, xs = opened(name)
    twin, _ = opened(name)
    before = running(s.model)

    @atomic()
    def fail():
        for x in xs[3:6]:
            taken(s, x)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert running(s.model) == before
    for x in xs[3:6]:
        twin.step(x)
    assert contents(s)[4] == contents(twin)[4]
    assert bits(s.step(xs[6])) == bits(twin.step(xs[6]))
    assert contents(s) == contents(twin)


@pytest.mark.parametrize("steps", [0, 1, 4])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_model_cannot_move_the_session_that_steps_it(command, steps):
    s = Session(randomise(Driver()))
    x = f32(I)
    for _ in range(steps):
        s.step(x)
    before, log = contents(s), len(s.log)
    s.model.action = lambda: COMMANDS[command](s)
    with pytest.raises(rl.RnnlabError, match=r"inside a step .* cannot move the session"):
        s.step(x)
    s.model.action = lambda: None
    assert (contents(s), len(s.log)) == (before, log)
    s.step(x)
    assert s.t == steps + 1


def test_a_model_that_resets_itself_is_recorded_at_its_initial_state():
    s = Session(randomise(Driver()))
    s.model.action = lambda: rl.reset(s.model)
    x = f32(I)
    first = s.step(x)
    for _ in range(4):
        assert bits(s.step(x)) == bits(first)
    initial = s.model.rnn.init.detach().clone()
    assert (s.trace()["rnn.h"] == initial.numpy()).all()
    with torch.no_grad():
        s.model.rnn.init.add_(1)  # what was recorded is what is gone on from
    assert bits(rl.states(s.model)["rnn.h"]) == bits(initial)


@pytest.mark.parametrize("name", ["rnn", "lstm", "chain"])
def test_a_model_that_was_converted_says_so(name):
    s, xs = opened(name)
    before = s.t, len(s.log), s.trace()["y"].tobytes()
    s.model.double()
    for feed in (lambda: s.step(xs[3]), lambda: s.step(xs[3].double()), lambda: s.run(xs[3:5])):
        with pytest.raises(rl.RnnlabError, match=r"h was torch\.float32 .* Call reset\(\)"):
            feed()
        assert (s.t, len(s.log), s.trace()["y"].tobytes()) == before
    s.reset()
    assert s.step(xs[3].double()).dtype == torch.float64
    s.model.float()
    s.checkout("main")
    assert s.step(xs[3]).dtype == torch.float32
