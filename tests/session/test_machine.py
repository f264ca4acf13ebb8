"""Any sequence of commands keeps what the issue promises, on every kind of model."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab.session import Session, replay
from tests.session.helpers import MODELS, bits, contents, inputs, make, states

pytest.importorskip("hypothesis", reason="hypothesis is in rnnlab[test]")
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

SEEDS = st.integers(0, 9)
PLACES = st.floats(0, 1)


class Machine(RuleBasedStateMachine):
    """Drives one session; remembers the bits of every state of every branch."""

    @initialize(name=st.sampled_from(sorted(MODELS)))
    def begin(self, name):
        self.kind = name
        self.session = Session(make(name))
        self.seen: dict[tuple[str, int], dict] = {}
        self.rows: dict[str, list] = {}
        self.note()

    def note(self):
        """Every state of the current place is what it was when this place was last visited."""
        s = self.session
        at = (s.branch_name, s.t)
        assert states(s) == self.seen.setdefault(at, states(s))
        for name in s.branches:
            if not s.recorded(name):
                continue
            key = next(iter(s.states()))
            rows = s.read(key, branch=name)
            before = self.rows.get(name)
            if before is not None:
                shared = min(len(before), len(rows))
                assert rows[:shared].tobytes() == before[:shared].tobytes()
            self.rows[name] = rows

    def forget_what_is_gone(self):
        s = self.session
        lengths = {name: s.length(name) for name in s.branches}
        lengths.pop(s.branch_name) if s.edits else None
        self.rows = {n: r[: lengths[n]] for n, r in self.rows.items() if n in lengths}
        self.seen = {k: v for k, v in self.seen.items() if k[1] <= lengths.get(k[0], -1)}

    def x(self, seed):
        return inputs(1, seed=seed, model=self.session.model)[0]

    def place(self, share):
        return round(share * self.session.length())

    @rule(seed=SEEDS)
    def step(self, seed):
        s = self.session
        old, lengths = s.t, {name: s.length(name) for name in s.branches}
        before = {name: s.trace(name)["x"].tobytes() for name in s.branches if s.recorded(name)}
        s.step(self.x(seed))
        assert s.t == old + 1
        for name, length in lengths.items():
            if name != s.branch_name:
                assert s.length(name) == length
            if name in before:
                assert s.trace(name)[:length]["x"].tobytes() == before[name]
        self.note()

    @rule(seed=SEEDS, count=st.integers(0, 4), whole=st.booleans())
    def run(self, seed, count, whole):
        xs = inputs(count, seed=seed, model=self.session.model)
        self.session.run(torch.stack(xs) if whole and xs else xs)
        self.note()

    @rule(share=PLACES)
    def rewind(self, share):
        self.session.rewind(self.place(share))
        self.note()

    @rule(share=PLACES, data=st.data())
    def checkout(self, share, data):
        name = data.draw(st.sampled_from(self.session.branches))
        self.session.checkout(name, round(share * self.session.length(name)))
        self.note()

    @rule()
    def reset(self):
        self.session.reset()
        assert self.session.t == 0
        self.note()

    @rule()
    def branch(self):
        before = states(self.session)
        self.session.branch(f"branch {len(self.session.branches)}")
        assert states(self.session) == before
        self.note()

    def state(self, data):
        found = self.session.states()
        floats = [n for n, v in found.items() if v.is_floating_point()]
        return data.draw(st.sampled_from(floats))

    @rule(data=st.data(), value=st.floats(-1, 1, width=16))
    def poke(self, data, value):
        s, name = self.session, self.state(data)
        unit = data.draw(st.integers(0, s.states()[name].shape[-1] - 1))
        before, t = s.trace(), s.t
        s.poke(name, unit, value)
        self.forget_what_is_gone()
        after = s.trace()
        assert s.states()[name][unit] == value
        for key in before:  # what is before the edit is untouched
            if key not in after:  # a fork before the first step has recorded states alone
                assert (t, len(after)) == (0, 0)
                continue
            last = t - 1 if key in before.states else t
            assert after[key][: max(last, 0)].tobytes() == before[key][: max(last, 0)].tobytes()
        self.note()

    @rule(data=st.data())
    def poke_without_effect(self, data):
        name = self.state(data)
        before, log = contents(self.session), len(self.session.log)
        self.session.poke(name, None, lambda value: value)
        self.session.poke(name, [0], self.session.states()[name][[0]])
        assert contents(self.session) == before
        assert len(self.session.log) == log

    @rule(data=st.data(), steps=st.sampled_from([1, 2, None]))
    def clamp(self, data, steps):
        self.session.clamp(self.state(data), 0, 0.25, steps)
        self.forget_what_is_gone()
        self.note()

    @precondition(lambda self: self.session._gates())
    @rule(data=st.data(), steps=st.sampled_from([1, 3, None]), value=st.sampled_from([0.0, 1.0]))
    def clamp_a_gate(self, data, steps, value):
        s = self.session
        s.clamp(data.draw(st.sampled_from(s._gates())), 0, value, steps)
        self.forget_what_is_gone()
        self.note()

    @rule(seed=SEEDS)
    def step_again(self, seed):
        s, x = self.session, self.x(seed)
        here = s.branch_name, s.t
        s.step(x)
        want, y = states(s), bits(s.output())
        s.checkout(*here)
        s.step(x)
        assert (states(s), bits(s.output())) == (want, y)
        self.note()

    @rule(data=st.data())
    def refeed(self, data):
        s = self.session
        longer = [name for name in s.branches if s.length(name) > s.t]
        if not longer:
            return
        source, t = data.draw(st.sampled_from(longer)), s.t
        left = s.length(source) - t
        steps = data.draw(st.sampled_from([None, 0, 1, left]))
        s.refeed(source, steps)
        count = left if steps is None else steps
        assert s.t == t + count
        fed = s.trace()["x"][t : s.t] if count else np.empty(0)
        assert fed.tobytes() == (s.trace(source)["x"][t : s.t] if count else fed).tobytes()
        self.note()

    @precondition(lambda self: self.session.recorded())
    @rule(share=PLACES)
    def tiles(self, share):
        s, start = self.session, self.place(share)
        for name in s.recorded():
            lows, highs = s.tiles(name, start, buckets=1)
            rows = s.read(name, start)
            assert len(lows) == len(highs) == min(1, len(rows))
            if len(rows):
                assert lows[0].tolist() == rows.min(axis=0).tolist()
                assert highs[0].tolist() == rows.max(axis=0).tolist()

    @rule(data=st.data(), share=PLACES)
    def transplant(self, data, share):
        s = self.session
        source = data.draw(st.sampled_from(s.branches))
        t = round(share * s.length(source))
        s.checkout(source, t)
        want = states(s)
        s.back(0)
        s.undo() if s.log and s.log[-1] == rl.session.Checkout(source, t) else None
        s.transplant(None, source, t)
        self.forget_what_is_gone()
        assert states(s) == want
        self.note()

    @precondition(lambda self: self.session.active_edits)
    @rule(data=st.data())
    def off_and_on(self, data):
        s = self.session
        edit = data.draw(st.sampled_from(s.active_edits))
        before, t, bits = s.trace(), s.t, states(s)
        count = len(s.branches)
        s.switch(edit, False)
        assert edit not in s.active_edits
        assert s.t == t <= s.length()
        made = len(s.branches) - count
        s.switch(edit, True)
        assert states(s) == bits
        after = s.trace()
        assert len(after) >= len(before)  # the line without the edit may have been the longer one
        for key in before:
            assert after[key][: len(before)].tobytes() == before[key].tobytes()
        if len(after) == len(before):
            assert len(s.branches) == count + made, "what was recorded already is found again"
        self.note()

    @rule(seed=SEEDS)
    def refused(self, seed):
        s = self.session
        x = self.x(seed)
        for bad in (
            lambda: s.step(torch.ones(7)),
            lambda: s.step("word"),
            lambda: s.step(x * float("nan")),
            lambda: s.run([x, x, x * float("inf")]),
            lambda: s.rewind(s.length() + 1),
            lambda: s.checkout("nowhere"),
            lambda: s.poke("nothing", 0, 1.0),
            lambda: s.poke(next(iter(s.states())), 99, 1.0),
            lambda: s.clamp("nothing", 0, 1.0, 2),
            lambda: s.switch(999, False),
            lambda: s.refeed(None, 10**6),
            lambda: s.transplant(None, s.branch_name, -1),
            lambda: s.tiles("nothing"),
        ):
            before, log = contents(s), list(s.log)
            with pytest.raises(rl.RnnlabError):
                bad()
            assert contents(s) == before
            assert list(s.log) == log

    @precondition(lambda self: len(self.session.log))
    @rule(count=st.integers(1, 4))
    def undo_redo(self, count):
        s = self.session
        count = min(count, len(s.log))
        before, log = contents(s), list(s.log)
        for _ in range(count):
            s.undo()
        assert list(s.log) == log[: len(log) - count]
        for _ in range(count):
            s.redo()
        assert contents(s) == before
        assert list(s.log) == log

    @precondition(lambda self: len(self.session.log))
    @rule()
    def undo(self):
        self.session.undo()
        self.forget_what_is_gone()
        self.note()

    @rule()
    def replay(self):
        s = self.session
        again = replay(copy.deepcopy(s.model), s.log)
        assert contents(again) == contents(s)
        assert again.log == s.log

    def teardown(self):
        if not hasattr(self, "session"):
            return
        s = self.session
        for (name, t), want in self.seen.items():
            if name in s.branches and t <= s.length(name):
                s.checkout(name, t)
                assert states(s) == want
        assert all(
            np.isfinite(s.trace(name)[key]).all() for name in s.branches for key in s.trace(name)
        )


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=20, stateful_step_count=14, deadline=None)
