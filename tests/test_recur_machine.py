"""Any sequence of commands leaves a running model where plain recurrence would be."""

import copy

import pytest
import torch

import rnnlab as rl
from rnnlab import Chain, Dense, Recur
from tests.helpers import F64, close, filled, randomise

pytest.importorskip("hypothesis", reason="pip install hypothesis runs this")
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

I, H = 3, 4


HOW = st.sampled_from([list, torch.clone])


class Failing(torch.nn.Module):
    armed = False

    def forward(self, x):
        if self.armed:
            raise ZeroDivisionError
        return x


class Machine(RuleBasedStateMachine):
    """A chain beside the same recurrence written as pure functions of explicit states."""

    def __init__(self):
        super().__init__()
        self.bomb = Failing()
        layers = (rl.LSTM(I, H, dtype=F64), rl.GRUv3(H, H, dtype=F64), Dense(H, I, dtype=F64))
        self.model = randomise(Chain(*layers, Recur(lambda h, x: (h + x, h + x), 0.5), self.bomb))
        self.lead = None
        self.kept = {}
        self.reset()

    @rule()
    def reset(self):
        rl.reset(self.model)
        lstm, gru = self.model[0].cell, self.model[1].cell
        self.want = [lstm.initial_state(), gru.initial_state(), 0.5]
        self.lead = None

    def expected(self, x):
        (h, c), y = self.model[0].cell(self.want[0], x)
        g, y = self.model[1].cell(self.want[1], y)
        y = self.model[2](y)
        self.want = [(h, c), g, self.want[2] + y]
        return self.want[2]

    def inputs(self, seed, batch, *time):
        if self.lead is None:
            self.lead = (batch,) if batch else ()
        return filled(*time, *self.lead, I, seed=seed)

    def feed(self, x, time, how):
        return rl.unroll(self.model, how(x)) if time else self.model(x)

    @rule(seed=st.integers(0, 99), batch=st.integers(0, 3))
    def step(self, seed, batch):
        x = self.inputs(seed, batch)
        close(self.model(x), self.expected(x))

    @rule(seed=st.integers(0, 99), batch=st.integers(0, 3), time=st.integers(1, 4), how=HOW)
    def unroll(self, seed, batch, time, how):
        xs = self.inputs(seed, batch, time)
        ys = rl.unroll(self.model, how(xs))
        close(list(ys), [self.expected(x) for x in xs])

    @rule(seed=st.integers(0, 99), time=st.integers(0, 3), how=HOW)
    def fail_at_the_end(self, seed, time, how):
        self.bomb.armed = True
        with pytest.raises(ZeroDivisionError):
            self.feed(filled(*(time,)[: time > 0], *(self.lead or ()), I, seed=seed), time, how)
        self.bomb.armed = False

    @precondition(lambda self: self.lead)  # a single state that was put in may broadcast
    @rule(time=st.integers(0, 3), how=HOW)
    def another_batch(self, time, how):
        with pytest.raises(rl.RnnlabError, match="reset"):
            self.feed(filled(*(time,)[: time > 0], 7, I), time, how)

    @rule()
    def detach(self):
        rl.detach(self.model)

    @rule()
    def copy(self):
        self.bomb = (model := copy.deepcopy(self.model))[-1]
        self.model = model

    @rule(name=st.sampled_from("abc"))
    def keep(self, name):
        self.kept[name] = rl.states(self.model), list(self.want), self.lead

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def go_back(self, data):
        kept, self.want, self.lead = self.kept[data.draw(st.sampled_from(sorted(self.kept)))]
        self.want = list(self.want)
        rl.load_states(self.model, kept)

    @invariant()
    def states_agree(self):
        (h, c), g, total = self.want
        got = rl.states(self.model)
        for name, want in {"0.h": h, "0.c": c, "1.h": g, "3.h": total}.items():
            value = torch.as_tensor(got[name], dtype=F64).detach()
            close(value, torch.as_tensor(want, dtype=F64).detach())


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
