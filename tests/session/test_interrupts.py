"""Ctrl-C at any moment of a command: it was carried out, or it was not, and the session goes on."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from rnnlab.session import Session, replay
from rnnlab.session.columns import PENDING
from tests.session.helpers import contents, inputs, make

ASKS = {"CALL", "CALL_KW", "CALL_FUNCTION_EX", "JUMP_BACKWARD", "RESUME"}
"""After these the interpreter looks whether a signal has come."""

RECORDERS = tuple(f"/session/{name}.py" for name in ("lane", "engine", "columns", "timeline"))


def interrupted(command: Callable[[], Any], place: int) -> bool:
    """Carry out a command with an interrupt at one of the places for it; False if it has fewer."""
    before: dict[int, int] = {}
    left = place

    def look(frame: Any, event: str, _: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.endswith(RECORDERS):
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
        elif event == "return":
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
