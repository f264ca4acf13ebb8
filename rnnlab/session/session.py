"""Session: a recurrent model under a stepping engine that records, rewinds, edits and branches."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from rnnlab.cells.base import describe
from rnnlab.errors import RnnlabError
from rnnlab.session import commands as c
from rnnlab.session.engine import whole
from rnnlab.session.feeding import Feeding
from rnnlab.session.history import Entry
from rnnlab.session.stepping import Stepper
from rnnlab.session.wording import short


class Session(Feeding):
    """Feeds a recurrent model step by step, records everything, and can go back.

    The session drives the model itself: the model's running states are those of the session's
    place on the timeline. Steps run without gradients. The timeline is a tree: stepping from the
    past forks a branch, an edit begins one, `reset` starts a new run, and nothing recorded is ever
    overwritten. Every command is data: `log` lists them, `undo` and `redo` walk along them.

    What is recorded and put back are the states of the Recurs. Buffers that a model changes (the
    means of a BatchNorm) and random numbers that it draws (Dropout) in training mode are not: a
    step taken again, and the log replayed, then give other numbers; `model.eval()` makes them the
    same. A command that fails leaves these too as they were. Weights that change are noticed by
    the next step. Those written through `.data` or numpy, in models of up to 16 MiB, are by the
    next step that is taken with or after another command: a run, a rewind, an edit.

    Args:
        model: a Recur, a Chain, any `nn.Module` with Recurs inside, or a cell of the library.
        encode: turns what `step` is given into the model's input; left out, arrays and lists
            become one, and a number stays a number. All but the tensors given to `step` itself get
            the dtype and device of the model; whole numbers become int64 tensors if the first
            layer with weights is an `nn.Embedding`, or a module that has one.
        decode: turns the model's output into what `output` returns for it: a dict label → number.
            A Vocabulary's names the outputs of the traces too.
        allow_nonfinite: accept steps that take or produce NaN or infinity.

    Attributes:
        model: the model.
        t: how many steps of the current branch lie before the current place.
        branches: the names of all branches, oldest first.
        log: every command so far.

    Raises:
        RnnlabError: a model without state (at construction). From a command: an input that the
            model refuses, any exception inside the model (as its cause), a result that is not
            finite, a name or place that is not there. The session then stands where it stood.

    Example:
        >>> import rnnlab as rl
        >>> s = Session(rl.Recur(lambda h, x: (h + x, 2 * h), 0.0))
        >>> s.step(2), s.step(3), s.t
        (0.0, 4.0, 2)
        >>> s.back()
        >>> s.step(10)  # from the past: the recorded future is kept, a branch is forked
        4.0
        >>> s.branches, s.branch_name
        (('main', 'main@1'), 'main@1')
        >>> s.trace()["h"].tolist(), s.trace("main")["h"].tolist()
        ([2.0, 12.0], [2.0, 5.0])
    """

    def __init__(
        self,
        model: Any,
        encode: Callable[..., Any] | None = None,
        decode: Callable[[Any], Any] | None = None,
        *,
        allow_nonfinite: bool = False,
    ) -> None:
        for name, function in (("encode", encode), ("decode", decode)):
            if function is not None and not callable(function):
                bound = getattr(function, name, None)
                way = f"; give its method .{name}" if callable(bound) else ""
                raise RnnlabError(
                    f"Session: {name} must be a function, got {describe(function)}{way}."
                )
        super().__init__(Stepper(model, encode, allow_nonfinite))
        self.decode = decode

    @property
    def model(self) -> Any:
        return self._stepper.model

    @property
    def allow_nonfinite(self) -> bool:
        return self._stepper.allow_nonfinite

    def __repr__(self) -> str:
        place = f"step {self.t} of {self.length()}, branch {self.branch_name!r}"
        return f"Session({short(self.model)}, {place})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise RnnlabError(
            "Session: a session drives the model that it was given; it is not copied or pickled. "
            "branch(name) starts another line in it, save(path) writes it, and "
            "replay(copy.deepcopy(session.model), session.log) makes one on a copy of the model."
        )

    # moving

    def reset(self) -> None:
        """Put the states back to the initial ones and start a new run at t = 0.

        The old run stays, as a branch; a run without a step yet is simply begun again.
        """

        def begin(change: Entry) -> None:
            branch = self._branch
            blank = branch.parent is None and len(branch) == 0
            blank = blank and all(b.parent is not branch for b in self._branches.values())
            if blank:
                change.known = self._branches
            self._root(branch.name if blank else self._unused("run 2", "run {}"))

        with self._lock:
            self._carry_out(c.Reset(), begin)
            self._tell()

    def rewind(self, t: int) -> None:
        """Go to the place after step t of the current branch; every state is put back exactly."""
        with self._lock:
            self._go(None, t)

    def back(self, steps: int = 1) -> None:
        """Go back along the current branch."""
        self._shift(-whole("steps", steps))

    def forward(self, steps: int = 1) -> None:
        """Go forward along the recorded steps of the current branch."""
        self._shift(whole("steps", steps))

    def branch(self, name: str) -> None:
        """Start a branch here, under a name of your own, and go on in it."""
        with self._lock:
            if not isinstance(name, str) or not name.strip():
                raise RnnlabError(f"Session: a branch needs a name, got {name!r}.")
            if name in self._branches:
                raise RnnlabError(
                    f"Session: there is a branch {name!r} already; checkout({name!r}) goes to it."
                )

            def begin(_: Entry) -> None:
                self._add(self._fork(self._branch, self._t, name))
                self._enter(self._branches[name], self._t)

            self._carry_out(c.MakeBranch(name), begin)
            self._tell()

    def checkout(self, name: str, t: int | None = None) -> None:
        """Go to a branch: to its end, or to the place after its step t."""
        with self._lock:
            self._find(name)
            self._go(name, t)

    def _shift(self, steps: int) -> None:
        with self._lock:
            t = self._t + steps
            if not 0 <= t <= len(self._branch):
                where = "the start" if steps < 0 else "the last recorded step"
                raise RnnlabError(
                    f"Session: step {self._t} of {len(self._branch)} on {self.branch_name!r}: "
                    f"{abs(steps)} more would pass {where}."
                )
            self._go(None, t)

    def _go(self, name: str | None, t: int | None) -> None:
        self._refuse_if_busy()
        branch = self._find(name)
        to_end = t is None and name is not None
        t = len(branch) if to_end else whole("t", t)
        command = c.Rewind(t) if name is None else c.Checkout(name, None if to_end else t)
        if not 0 <= t <= len(branch):
            raise RnnlabError(
                f"Session: branch {branch.name!r} has steps 0 to {len(branch)}, there is no {t}."
            )
        if (branch, t) == (self._branch, self._t):
            self._enter(branch, t)
        else:
            self._carry_out(command, lambda _: self._enter(branch, t))
        self._tell()

    # editing

    def poke(self, name: str, unit: Any = None, value: Any = 0.0) -> None:
        """Set a unit of a state, or several, or all, and go on from there in a new branch.

        Args:
            name: the state: `"0.h"`.
            unit: a unit, several, a slice, or None for all.
            value: a number, one for each unit, or a function of what is there now (a tensor); its
                result is what is logged.

        A poke that changes nothing does nothing.

        Example:
            >>> import torch, rnnlab as rl
            >>> s = Session(rl.Recur(lambda h, x: (h + x, h), torch.zeros(2)))
            >>> y = s.step(torch.ones(2))
            >>> s.poke("h", 1, 5.0)
            >>> s.branch_name, s.states()["h"].tolist()
            ('main@1 h[1]=5', [1.0, 5.0])
        """
        with self._lock:
            self._edit(self._poke(name, unit, value))
            self._tell()

    def clamp(self, name: str, units: Any, value: Any, steps: int | None = None) -> None:
        """Hold units of a state, or of a gate, at a value for the next `steps` steps.

        A state is held from here on: now, and after each of the steps. A gate (`"0.f"`) is held
        inside the step, so that all that depends on it sees it; this needs a cell of the library.

        Args:
            name: the state or gate.
            units: a unit, several, a slice, or None for all.
            value: a number, or one for each unit.
            steps: for how many steps; None to the end.

        Example:
            >>> import rnnlab as rl
            >>> s = Session(rl.LSTM(1, 2))
            >>> s.clamp("f", None, 1.0, steps=3)
            >>> s.branch_name
            'main@0 f=1 for 3'
        """
        with self._lock:
            self._edit(self._clamp(name, units, value, steps))
            self._tell()

    def transplant(self, name: Any, from_branch: str, t: int) -> None:
        """Put a state of step t of another branch in the place of the one here.

        Args:
            name: a state, several, or None for all.
            from_branch: the branch to take it from.
            t: its step.
        """
        with self._lock:
            self._edit(self._transplant(name, from_branch, t))
            self._tell()

    def switch(self, edit: int, on: bool) -> None:
        """Switch an edit of the current line off, or on: everything after it is computed anew.

        `edits` numbers them. The current line gives way to the one that was fed the same inputs
        with, or without, the edit; where that one was recorded already, it is that recording.
        """
        with self._lock:
            command = c.Switch(whole("edit", edit), bool(on))
            self._carry_out(command, lambda _: self._switch(command.edit, command.on))
            self._tell()

    def refeed(self, branch: str | None = None, steps: int | None = None) -> None:
        """Feed what followed this place on a branch: the one that this one forked from.

        Args:
            branch: the branch whose inputs to feed from its step t on.
            steps: how many of them; all if left out.
        """
        with self._lock:
            if branch is None and self._branch.parent is None:
                raise RnnlabError(f"Session: {self._branch.name!r} was not forked; name a branch.")
            line = self._find(branch) if branch is not None else self._branch.parent
            assert line is not None
            t, left = self._t, len(line) - self._t
            if left < 0:
                raise RnnlabError(
                    f"Session: {line.name!r} ends at step {len(line)}; nothing in it follows step "
                    f"{t}. rewind({len(line)}), or to an earlier step, comes first."
                )
            steps = left if steps is None else whole("steps", steps)
            if not 0 <= steps <= left:
                raise RnnlabError(
                    f"Session: {line.name!r} has {left} steps after step {t}, not {steps!r}."
                )
            stop, command = t + steps, c.Refeed(line.name, steps)
            self._carry_out(command, lambda _: self._refeed(line, t, stop))
            self._tell(t)

    # the log

    @property
    def can_undo(self) -> bool:
        """Whether there is a command that `undo` would take back."""
        with self._lock:
            return len(self._entries) > self._sealed

    @property
    def can_redo(self) -> bool:
        """Whether `undo` took something back that `redo` would do again."""
        with self._lock:
            return bool(self._undone)

    def undo(self) -> None:
        """Take back the last command: the place and the branches are as they were before it."""
        with self._lock:
            self._undo()
            self._tell()

    def redo(self) -> None:
        """Do again what `undo` took back."""
        with self._lock:
            self._redo()
            self._tell()

    def do(self, command: c.Command) -> Any:
        """Carry out a command of a log; a Step returns the output, a Run all of them."""
        from rnnlab.session.replaying import do

        with self._lock:
            return do(self, command)

    # looking for something

    def backtrack(self, predicate: Callable[[Any, int], bool]) -> int | None:
        """The last step at which something held, at or before the current place.

        Args:
            predicate: called with the Trace up to here and t, from t downwards; or one of
                `crossed`, `argmax_changed`, `differ`, which look at all steps at once.

        Returns:
            The step, to be given to `rewind`; None if it never held.

        Example:
            >>> import rnnlab as rl
            >>> s = Session(rl.Recur(lambda h, x: (h + x, h), 0.0))
            >>> ys = s.run([1, 1, -3, 1])
            >>> s.backtrack(lambda trace, t: trace["h"][t - 1] > 0)
            2
        """
        from rnnlab.session.backtrack import last

        with self._lock:
            return last(self, predicate)

    # files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the session to `path`: one file, replaced only when it is complete.

        The format is numpy's npz without pickle, or safetensors if the name ends in `.safetensors`.

        `encode` and `decode` are code and are not written; give them again to `load`.

        Raises:
            RnnlabError: nothing can be written at `path`; complex numbers for safetensors.
        """
        from rnnlab.session.files import save

        with self._lock:
            save(self, path)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        model: Any,
        encode: Callable[..., Any] | None = None,
        decode: Callable[[Any], Any] | None = None,
        *,
        force: bool = False,
    ) -> Session:
        """Read what `save` wrote, for the model that it was made with.

        The weights are compared by their fingerprint. What a function or an activation does, these
        do not tell: some of the recorded steps (8 at most) are taken again, and must come out as
        they were recorded, but for how another machine rounds.

        Raises:
            RnnlabError: the weights or the initial states are others (the first that differs is
                named), or the model takes a recorded step otherwise, unless `force`; the states do
                not fit; the file is missing, no session, or of a newer version.
        """
        from rnnlab.session.files import load

        return load(cls, path, model, encode, decode, force)
