"""Any sequence of commands on tokens and numbers: the log replayed gives the same bits."""

import copy

import pytest
import torch

import rnnlab as rl
from rnnlab.session import Session, Vocabulary, replay
from tests.helpers import randomise
from tests.session.helpers import accumulator, contents, states

pytest.importorskip("hypothesis", reason="hypothesis is in rnnlab[test]")
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

V = Vocabulary("abcdefg")


def speller():
    return randomise(
        rl.Chain(torch.nn.Embedding(len(V), 8), rl.LSTM(8, 33), rl.Dense(33, len(V)))
    ).float()


TOKENS = st.sampled_from(V.tokens)
KINDS = {
    "vocabulary": (speller, V.encode, TOKENS, "1.h"),
    "tokens": (speller, None, TOKENS.map(V.index), "1.h"),
    "numbers": (accumulator, None, st.integers(-3, 3) | st.floats(-2, 2, width=16), "h"),
}
PLACES = st.floats(0, 1)


class Machine(RuleBasedStateMachine):
    """Drives one session; remembers the bits of the states of every place."""

    @initialize(kind=st.sampled_from(sorted(KINDS)))
    def begin(self, kind):
        model, self.encode, self.inputs, self.key = KINDS[kind]
        self.session = Session(model(), self.encode)

    @rule(data=st.data())
    def step(self, data):
        s = self.session
        here, x = (s.branch_name, s.t), data.draw(self.inputs)
        before = states(s)
        s.step(x)
        after = states(s)
        s.checkout(*here)
        assert states(s) == before
        s.step(x)
        assert states(s) == after

    @rule(data=st.data(), tensor=st.booleans())
    def run(self, data, tensor):
        xs = data.draw(st.lists(self.inputs, max_size=5))
        whole = tensor and self.encode is None and self.key != "h"
        self.session.run(torch.tensor(xs, dtype=torch.int64) if whole else xs)

    @rule(share=PLACES)
    def rewind(self, share):
        self.session.rewind(round(share * self.session.length()))

    @rule(data=st.data())
    def checkout(self, data):
        self.session.checkout(data.draw(st.sampled_from(self.session.branches)))

    @rule(data=st.data())
    def refeed(self, data):
        s = self.session
        longer = [name for name in s.branches if s.length(name) > s.t]
        if longer:
            s.refeed(data.draw(st.sampled_from(longer)))

    @rule()
    def reset(self):
        self.session.reset()

    @rule(value=st.floats(-1, 1, width=16))
    def poke(self, value):
        self.session.poke(self.key, None, value)

    @rule()
    def undo(self):
        if len(self.session.log):
            self.session.undo()

    @rule(data=st.data())
    def refused(self, data):
        s, good = self.session, data.draw(self.inputs)
        before, log = contents(s), list(s.log)
        for bad in (lambda: s.step("z"), lambda: s.run([good, "z"]), lambda: s.step(None)):
            with pytest.raises(rl.RnnlabError):
                bad()
        assert (contents(s), list(s.log)) == (before, log)

    @rule()
    def replay(self):
        s = self.session
        again = replay(copy.deepcopy(s.model), s.log, self.encode)
        assert contents(again) == contents(s)
        assert again.log == s.log

    def teardown(self):
        if hasattr(self, "session"):
            self.replay()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=20, stateful_step_count=12, deadline=None)
