"""Ctrl-C at any moment of a command: it was carried out, or it was not, and the session goes on."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

import rnnlab as rl
from rnnlab.session import Session, replay
from rnnlab.session.columns import PENDING
from tests.session.helpers import contents, inputs, make

ASKS = {"CALL", "CALL_KW", "CALL_FUNCTION_EX", "JUMP_BACKWARD", "RESUME"}
"""After these the interpreter looks whether a signal has come."""

RECORDERS = tuple(
    f"/session/{name}.py" for name in ("lane", "doing", "engine", "columns", "timeline")
)
CHANGERS = tuple(f"/{name}.py" for name in ("aside", "editing", "feeding", "history", "holds"))
CHANGERS += RECORDERS


def interrupted(command: Callable[[], Any], place: int, files: Sequence[str] = RECORDERS) -> bool:
    """Carry out a command with an interrupt at one of the places for it; False if it has fewer."""
    before: dict[int, int] = {}
    left = place

    def look(frame: Any, event: str, _: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.endswith(tuple(files)):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            last = before.get(id(frame))
            before[id(frame)] = frame.f_code.co_code[frame.f_lasti]
            if last is not None and dis.opname[last] in ASKS:
                left -= 1
                if left < 0:
                    sys.settrace(None)
                    raise KeyboardInterrupt
        elif event in ("return", "exception"):  # a call that failed is followed by no look
            before.pop(id(frame), None)
        return look

    others = sys.gettrace()
    sys.settrace(look)
    try:
        command()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(others)
    return False


def stepped(name: str, count: int) -> Session:
    session = Session(make(name))
    for x in inputs(count, model=session.model):
        session.step(x)
    return session


def fork(session: Session, x: torch.Tensor) -> None:
    session.rewind(1)
    session.step(x)


COMMANDS: dict[str, Callable[[Session, torch.Tensor], Any]] = {
    "step": Session.step,
    "labelled step": lambda s, x: s.step(x, label="a"),
    "step from the past": fork,
    "run": lambda s, x: s.run(torch.stack([x, -x])),
    "poke": lambda s, x: s.poke(next(iter(s.states())), 1, 0.5),
}


@pytest.mark.parametrize("name", ["gru", "chain"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_carried_out_or_not(name, command):
    x, y = inputs(2, seed=7)
    twin = stepped(name, 4)
    before = contents(twin)
    place = 0
    while True:
        session = stepped(name, 4)
        if not interrupted(lambda s=session: COMMANDS[command](s, x), place):
            break
        assert torch.is_grad_enabled()
        now = contents(session)
        session.step(y)
        again = replay(make(name), session.log)
        assert contents(again) == contents(session)
        session.undo()
        assert contents(session) == now
        while session.can_undo and len(session.log) > 4:
            session.undo()
        assert contents(session) == before
        place += 1
    assert place > 5


@pytest.mark.parametrize("name", ["gru", "chain"])
def test_rows_are_moved_together_once(name):
    x, y = inputs(2, seed=7)
    fed = torch.stack(inputs(PENDING, model=make(name))).tolist()
    place = 0
    while True:
        session = stepped(name, PENDING)
        if not interrupted(lambda s=session: s.step(x), place):
            break
        session.step(y)
        trace = session.trace()
        assert len(trace) == session.t == len(session.log)
        taken = [x.tolist()] if session.t > PENDING + 1 else []
        assert trace["x"].tolist() == [*fed, *taken, y.tolist()]
        place += 1
    assert place > 5


def everything() -> Session:
    """A session with forks, labels, runs, a poke and a state that is held."""
    session = stepped("gru", 3)
    xs = inputs(4, seed=3)
    session.run(torch.stack(xs[:2]))
    session.rewind(3)
    session.step(xs[2], label="b")
    session.poke("h", 1, 0.5)
    session.step(xs[3])
    session.clamp("h", 0, 0.25, 2)
    session.step(xs[0], label="z")
    return session


def done(*commands: Callable[[Session], Any]) -> Callable[[], Session]:
    def prepared() -> Session:
        session = everything()
        for command in commands:
            command(session)
        return session

    return prepared


def run(session: Session) -> None:
    session.run(torch.stack(inputs(2, seed=7)))


def refused(command: Callable[[Session], Any]) -> Callable[[Session], None]:
    def tried(session: Session) -> None:
        with pytest.raises(rl.RnnlabError):
            command(session)

    return tried


MAIN, BACK = (lambda s: s.checkout("main")), (lambda s: s.back())
POKE, AGAIN = (lambda s: s.poke("h", 2, 0.3)), (lambda s: s.poke("h", None, lambda h: -h))
OFF, ON = (lambda s: s.switch(1, False)), (lambda s: s.switch(1, True))
BAD = torch.tensor([0.5, float("nan"), 1.0])

PREPARED: dict[str, tuple[Callable[[], Session], Callable[[Session], Any]]] = {
    "a step that is held": (done(BACK), lambda s: s.step(inputs(1)[0])),
    "a refused step": (done(), refused(lambda s: s.step(BAD))),
    "a refused list": (done(MAIN), refused(lambda s: s.run([inputs(1)[0], BAD]))),
    "a refused run": (done(MAIN), refused(lambda s: s.run(torch.stack([*inputs(1), BAD])))),
    "a run of nothing": (done(), lambda s: s.run(torch.empty(0, 3))),
    "a list": (done(MAIN), lambda s: s.run([x.tolist() for x in inputs(2)])),
    "reset": (done(), Session.reset),
    "reset again": (done(Session.reset), Session.reset),
    "rewind": (done(), lambda s: s.rewind(2)),
    "forward": (done(lambda s: s.rewind(0)), lambda s: s.forward(2)),
    "branch": (done(), lambda s: s.branch("new")),
    "checkout": (done(), lambda s: s.checkout("main", 2)),
    "a second poke": (done(POKE), AGAIN),
    "clamp": (done(), lambda s: s.clamp("h", 2, 0.3, 3)),
    "transplant": (done(), lambda s: s.transplant(None, "main", 2)),
    "switch off": (done(), OFF),
    "switch on": (done(OFF), ON),
    "refeed": (done(lambda s: s.checkout("main", 3)), lambda s: s.refeed("main")),
    "undo a step": (done(), Session.undo),
    "undo a fork": (done(Session.undo, Session.undo, Session.undo), Session.undo),
    "undo a run": (done(MAIN, run), Session.undo),
    "undo a second poke": (done(POKE, AGAIN), Session.undo),
    "undo a switch": (done(OFF), Session.undo),
    "undo reset": (done(Session.reset, Session.reset), Session.undo),
    "redo a step": (done(Session.undo), Session.redo),
    "redo a fork": (done(*[Session.undo] * 4), Session.redo),
    "redo a run": (done(MAIN, run, Session.undo), Session.redo),
    "redo a second poke": (done(POKE, AGAIN, Session.undo), Session.redo),
    "redo a switch": (done(OFF, Session.undo), Session.redo),
    "redo reset": (done(Session.reset, Session.reset, Session.undo), Session.redo),
}
EVERY = {"a step that is held": 7, "switch off": 29, "switch on": 19, "refeed": 13}
"""Of commands with many places, every so manieth; of undo and redo, each."""


def there(session: Session) -> Any:
    return contents(session), list(session.log), session.can_undo, session.can_redo


@pytest.mark.parametrize("name", PREPARED)
def test_the_session_is_as_before_or_as_after(name):
    prepare, command = PREPARED[name]
    before, session = there(prepare()), prepare()
    command(session)
    after, place = there(session), 0
    while True:
        session = prepare()
        if not interrupted(lambda s=session: command(s), place, CHANGERS):
            break
        assert torch.is_grad_enabled()
        assert there(session) in (before, after)
        session.step(inputs(1, seed=8)[0])
        session.undo()
        while session.can_undo:
            session.undo()
        assert session.branches == ("main",)
        assert not session.recorded()
        place += 1 if name.startswith(("undo", "redo")) else EVERY.get(name, 5)
    assert place > 5
