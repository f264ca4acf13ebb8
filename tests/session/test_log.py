"""The log: commands as data, undo, redo, replay."""

import copy
import dataclasses
import gc
import threading
import tracemalloc

import pytest
import torch

import rnnlab as rl
from rnnlab.session import (
    Checkout,
    Clamp,
    MakeBranch,
    Poke,
    Refeed,
    Reset,
    Rewind,
    Run,
    Session,
    Step,
    Switch,
    Transplant,
    replay,
)
from tests.session.helpers import MODELS, I, accumulator, contents, inputs, make, states


def busy(name="lstm"):
    """A session in which everything was done once."""
    session = Session(make(name))
    xs = inputs(6, model=session.model)
    key = next(iter(session.states()))
    session.step(xs[0], label="one")
    session.step(xs[1])
    session.run(torch.stack(xs))
    session.run(list(xs[:2]))
    session.back(3)
    session.step(xs[2])
    session.branch("river")
    session.poke(key, 1, 0.5)
    session.step(xs[3])
    session.clamp(key, 0, 0.25, 2)
    session.step(xs[4])
    session.step(xs[5])
    session.reset()
    session.step(xs[1])
    session.transplant(None, "river", 3)
    session.step(xs[0])
    session.checkout("main", 4)
    session.poke(key, 0, 0.9)
    session.refeed("main", 2)
    session.switch(4, False)
    session.switch(4, True)
    return session


class TestLog:
    def test_every_command_is_a_line(self):
        log = busy().log
        kinds = [type(command) for command in log]
        assert kinds == [
            Step, Step, Run, Run, Rewind, Step, MakeBranch, Poke, Step, Clamp, Step, Step, Reset,
            Step, Transplant, Step, Checkout, Poke, Refeed, Switch, Switch,
        ]  # fmt: skip
        assert len(log) == len(kinds)
        assert log[4] == Rewind(7)
        assert log[-1] == Switch(4, True)
        assert log[0].label == "one"
        assert torch.equal(log[0].inputs[0], inputs(6)[0])
        assert log[2].inputs[0].shape == (6, I)
        assert log[1:3] == (log[1], log[2])
        with pytest.raises(IndexError, match="the log has 21 commands, there is no 21"):
            log[21]

    def test_commands_are_frozen(self):
        command = busy().log[4]
        with pytest.raises(dataclasses.FrozenInstanceError):
            command.t = 3
        assert command == Rewind(7) != Rewind(6)
        assert {command: 1}[Rewind(7)] == 1

    @pytest.mark.parametrize("name", MODELS)
    def test_replayed_it_is_the_same_bit_for_bit(self, name):
        session = busy(name)
        again = replay(copy.deepcopy(session.model), session.log)
        assert contents(again) == contents(session)
        assert again.log == session.log

    def test_only_commands(self):
        with pytest.raises(
            rl.RnnlabError,
            match=r"^Session: 'step' is not a command\. Those of rnnlab\.session: Step, .*\.$",
        ):
            Session(make("rnn")).do("step")
        with pytest.raises(
            rl.RnnlabError, match=r"^replay: the log is a sequence .*, not int 3\.$"
        ):
            replay(make("rnn"), 3)

    def test_do(self):
        session = Session(accumulator())
        assert session.do(Step((2,))) == 0.0
        assert session.do(Run(((3, 4),))) == [4.0, 10.0]
        session.do(Poke("h", None, 1.0))
        assert session.do(Step((1,))) == 2.0


class TestUndo:
    @pytest.mark.parametrize("name", MODELS)
    def test_all_the_way_back_and_forth(self, name):
        session = busy(name)
        seen = [contents(session)]
        log = list(session.log)
        for left in range(len(log) - 1, -1, -1):
            session.undo()
            assert list(session.log) == log[:left]
            seen.append(contents(session))
        assert session.branches == ("main",)
        assert session.length() == 0
        with pytest.raises(rl.RnnlabError, match=r"^Session: nothing to undo\.$"):
            session.undo()
        for want in seen[-2::-1]:
            session.redo()
            assert contents(session) == want
        assert list(session.log) == log
        with pytest.raises(rl.RnnlabError, match=r"^Session: nothing to redo\.$"):
            session.redo()

    def test_what_was_undone_gives_way(self):
        session = Session(make("rnn"))
        xs = inputs(3)
        session.step(xs[0])
        session.step(xs[1])
        session.undo()
        session.step(xs[2])
        assert session.branches == ("main",)
        alone = Session(make("rnn"))
        alone.step(xs[0])
        alone.step(xs[2])
        assert contents(session) == contents(alone)
        with pytest.raises(rl.RnnlabError, match="nothing to redo"):
            session.redo()

    def test_a_step_of_many(self):
        session = Session(make("rnn"))
        for x in inputs(600):
            session.step(x)
        want = states(session)
        for _ in range(300):
            session.undo()
        assert (session.t, session.length()) == (300, 300)
        for _ in range(300):
            session.redo()
        assert states(session) == want
        assert len(session.log) == 600

    def test_a_refused_command_keeps_the_redo(self):
        session = Session(make("rnn"))
        session.step(torch.ones(I))
        session.undo()
        with pytest.raises(rl.RnnlabError):
            session.step(torch.ones(I + 1))
        session.redo()
        assert session.t == 1

    def test_it_is_told(self):
        session, told = Session(make("rnn")), []
        session.run(inputs(3))
        session.subscribe(told.append)
        session.undo()
        session.redo()
        assert [moved.t for moved in told] == [0, 3]


class TestCosts:
    def test_memory_is_the_recording(self):
        session = Session(make("lstm"))
        x = torch.ones(I)
        for _ in range(1500):
            session.step(x)
        gc.collect()
        tensors = len([o for o in gc.get_objects() if type(o) is torch.Tensor])
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        steps = 4000
        for _ in range(steps):
            session.step(x)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        numbers = sum(column.nbytes for column in session._branch.columns)
        assert numbers <= 1.2 * 5500 * 4 * (I + 4 + 4 + 4)
        assert after - before < 1.2 * steps * 4 * (I + 4 + 4 + 4) + 200_000
        assert len([o for o in gc.get_objects() if type(o) is torch.Tensor]) < tensors + 300
        assert len(session._entries) == 1

    def test_going_back_does_not_touch_the_rest(self, monkeypatch):
        session = Session(make("lstm"))
        session.run(torch.stack(inputs(3000)))
        calls = []
        real = type(session._branch.columns[0]).read
        monkeypatch.setattr(
            type(session._branch.columns[0]), "read", lambda *a: calls.append(a) or real(*a)
        )
        session.rewind(1500)
        session.back()
        assert calls == []


class TestThreads:
    def test_a_reader_never_sees_half_a_step(self):
        session = Session(make("lstm"))
        wrong, done = [], threading.Event()

        def look():
            while not done.is_set():
                trace = session.trace()
                lengths = {len(trace[name]) for name in trace}
                if len(lengths) > 1:
                    wrong.append(lengths)

        reader = threading.Thread(target=look)
        reader.start()
        try:
            for x in inputs(300):
                session.step(x)
                if session.t % 50 == 0:
                    session.back(10)
        finally:
            done.set()
            reader.join()
        assert wrong == []

    def test_two_writers_take_turns(self):
        session = Session(make("lstm"))

        def feed():
            for x in inputs(100):
                session.step(x)

        threads = [threading.Thread(target=feed) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert session.t == session.length() == 200
        again = replay(copy.deepcopy(session.model), session.log)
        assert contents(again) == contents(session)

    def test_a_model_that_commands_its_session_is_refused(self):
        holder = []

        def cell(h, x):
            if holder:
                holder[0].reset()
            return h + x, h

        session = Session(rl.Recur(cell, 0.0))
        session.step(1)
        holder.append(session)
        for command in (lambda: session.run([1, 2]), lambda: session.step(1)):
            with pytest.raises(rl.RnnlabError, match="while another was being carried out"):
                command()
        holder.clear()
        assert session.t == 1
