"""A log done again: each of its commands is the call of a Session that it tells of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from rnnlab.cells.base import describe
from rnnlab.errors import RnnlabError
from rnnlab.session import commands as c
from rnnlab.session.feeding import joined
from rnnlab.session.session import Session


def do(session: Session, command: c.Command) -> Any:
    """Carry out a command of a log; see `Session.do`."""
    match command:
        case c.Step(inputs, label):
            c.check(command)
            y = session._step(session._stepper.as_inputs(inputs), label)
            session._tell(session._t - 1)
            return y
        case c.Run(inputs, labels):
            c.check(command)
            t, given = session._t, session._stepper.as_inputs
            one = len(inputs) == 1 and isinstance(inputs[0], Tensor)
            fed = given(inputs)[0] if one else [given(x) for x in zip(*inputs, strict=True)]
            ys = session._carry_out(None, lambda _: session._feed(fed, labels), run=True)
            session._tell(t)
            return joined(ys, one, one)
        case c.Poke(name, units, value):
            return session.poke(name, units, value)
        case c.Clamp(name, units, value, steps):
            return session.clamp(name, units, value, steps)
        case c.Transplant(names, branch, t):
            return session.transplant(names, branch, t)
        case c.Rewind(t):
            return session.rewind(t)
        case c.Checkout(name, t):
            return session.checkout(name, t)
        case c.MakeBranch(name):
            return session.branch(name)
        case c.Switch(edit, on):
            return session.switch(edit, on)
        case c.Refeed(branch, steps):
            return session.refeed(branch, steps)
        case c.Reset():
            return session.reset()
    known = ", ".join(c.COMMANDS)
    raise RnnlabError(f"Session: {command!r} is not a command. Those of rnnlab.session: {known}.")


def replay(
    model: Any,
    log: Iterable[c.Command],
    encode: Callable[..., Any] | None = None,
    decode: Callable[[Any], Any] | None = None,
    *,
    allow_nonfinite: bool = False,
) -> Session:
    """A new session on `model` in which all commands of a log are done again, bit for bit.

    Example:
        >>> import rnnlab as rl
        >>> s = Session(rl.Recur(lambda h, x: (h + x, h), 0.0))
        >>> ys = s.run([1, 2, 3])
        >>> s.back()
        >>> replay(s.model, s.log)
        Session(Recur(<lambda>), step 2 of 3, branch 'main')
    """
    if not isinstance(log, Iterable):
        raise RnnlabError(f"replay: the log is a sequence of commands, not {describe(log)}.")
    session = Session(model, encode, decode, allow_nonfinite=allow_nonfinite)
    for command in list(log):
        session.do(command)
    return session
