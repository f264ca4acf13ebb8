"""The machinery of a Session: the place, and feeding from it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnlab.cells.base import RESET
from rnnlab.errors import RnnlabError
from rnnlab.recur import AT_INIT
from rnnlab.session.commands import Edit
from rnnlab.session.events import Watched
from rnnlab.session.history import Entry, Undone
from rnnlab.session.lane import Lane
from rnnlab.session.stepping import Stepper
from rnnlab.session.timeline import Branch
from rnnlab.session.wording import refuse_transforms, refused, short

CHUNK = 4096
"""Steps that a whole-sequence evaluation takes at a time."""


class Engine(Watched):
    """Where a session stands, and the few moves that everything else is made of.

    The dictionary of branches and the list of edits are never changed but replaced, so that to
    take down what there is costs nothing.
    """

    def __init__(self, stepper: Stepper) -> None:
        self._stepper = stepper
        self._lock = threading.RLock()
        super().__init__()
        self._branches: dict[str, Branch] = {}
        self._entries: list[Entry] = []
        self._undone: list[Undone] = []
        self._sealed = 0  # so many entries came from a file: they are not undone
        self._edits: list[Edit] = []
        self._change: Entry | None = None
        self._lane: Lane | None = None
        self._working = False  # whether the model is at work
        self._root("main")

    # the place

    def _enter(self, branch: Branch, t: int) -> None:
        states = branch.states(t)
        if t == 0:  # an untouched initial state is the model's own, not a copy of it
            states = self._stepper.at_start(states)
        self._stand(branch, t, states)

    def _stand(self, branch: Branch, t: int, states: list[Any]) -> None:
        self._lane = None
        self._branch, self._t, self._states = branch, t, states
        self._stepper.install(states)

    def _root(self, name: str) -> None:
        """Enter a new run: its root holds the initial states as they are now."""
        entry = self._stepper.initial()
        self._add(Branch(name, entry, self._stepper.names(entry)))
        self._stand(self._branches[name], 0, [AT_INIT] * len(entry))

    def _add(self, branch: Branch) -> None:
        self._branches = {**self._branches, branch.name: branch}
        if self._change is not None:
            self._change.added.append(branch)

    def _fork(self, branch: Branch, t: int, name: str) -> Branch:
        holder = branch.holder(t)
        states = branch.states(t)
        return Branch(name, states, self._stepper.names(states), holder, t)

    def _find(self, name: str | None) -> Branch:
        if name is None:
            return self._branch
        if not isinstance(name, str) or name not in self._branches:
            raise RnnlabError(
                f"Session: no branch {name!r}. There are: {', '.join(self._branches)}."
            )
        return self._branches[name]

    def _unused(self, name: str, numbered: str | None = None) -> str:
        numbered = numbered or f"{name} ({{}})"
        count = 2
        while name in self._branches:
            name = numbered.format(count)
            count += 1
        return name

    # feeding

    def _advance(self, xs: tuple[Any, ...], label: str | None) -> Any:
        """Take one step and record it; whoever calls this puts back what a failure leaves."""
        branch, t, stepper = self._branch, self._t, self._stepper
        self._lane = None
        try:
            self._working = True
            with torch.no_grad():
                self._states = stepper.make_ready(self._states)
            holds = self._holds(branch, t) if branch.holds else ()
            y, layout, rows = stepper.step(xs, branch, holds)
            weights = stepper.weights_now()
            if t < branch.fork + branch.count:
                branch = self._fork(branch, t, self._unused(f"{branch.root.name}@{t}"))
        except Exception as error:
            self._explain(error, xs)
            raise
        finally:
            self._working = False
        if self._change is not None or branch is not self._branch:
            self._grow(branch)
        if not branch.columns:
            branch.begin(layout)
        if branch.marked is not weights:
            branch.mark(weights)
        branch.append(rows, label)
        self._branch, self._t, self._states = branch, t + 1, stepper.running()
        return y

    def _advance_many(self, xs: Tensor, labels: Sequence[str | None] | None) -> Any:
        """Take many steps at once and record them; None if they have to be taken singly.

        Whoever calls this puts back what a failure leaves.
        """
        branch, t, stepper = self._branch, self._t, self._stepper
        if branch.layout is not None and branch.layout.inputs != 1:
            return None
        stepper.install(self._states)
        put_back = stepper.aside.keep()
        try:
            self._working = True
            done = stepper.whole(xs, branch.layout)
            weights = stepper.weights_now()
            if done is not None and t < len(branch):
                branch = self._fork(branch, t, self._unused(f"{branch.root.name}@{t}"))
        except Exception as error:
            self._explain(error, (xs,))
            raise
        finally:
            self._working = False
        if done is None:
            put_back()
            self._enter(branch, t)
            return None
        ys, layout, rows, last = done
        self._grow(branch)
        branch.begin(layout)
        branch.mark(weights)
        branch.extend(rows, len(xs), list(labels) if labels is not None else None)
        self._branch, self._t, self._states = branch, t + len(xs), last
        stepper.install(last)
        return ys

    def _explain(self, error: Exception, xs: Sequence[Any] = ()) -> None:
        """Raise what there is to say of an exception that came while the model was at work."""
        self._stepper.refuse_converted(self._branch.root.entry, error)
        if isinstance(error, RnnlabError) and RESET in str(error):
            ours = RESET.replace("reset(model)", "the session's reset()")  # the model's is undone
            raise RnnlabError(str(error).replace(RESET, ours)) from error
        if not isinstance(error, RnnlabError):
            raise refused(short(self._stepper.model), error, xs, self._stepper.like()) from error

    def _grow(self, branch: Branch) -> None:
        """Note that `branch` gets rows, so that this can be undone."""
        known = self._branches.get(branch.name) is branch
        if not known:
            self._add(branch)
        elif self._change is not None and branch not in self._change.added:
            grown = self._change.grown
            if all(old is not branch for old, _ in grown):
                grown.append((branch, len(branch)))

    def _feed(
        self,
        xs: Tensor | Sequence[tuple[Any, ...]],
        labels: Sequence[str | None] | None,
        tick: Callable[[int], Any] = lambda n: None,
    ) -> list[Any]:
        """Feed a sequence as fast as it goes; the outputs, in pieces of many or of one step.

        A tensor `(T, …)` may go through whole-sequence evaluation, a list is stepped.
        """
        ys: list[Any] = []
        at = 0
        singly = not isinstance(xs, Tensor)
        while at < len(xs):
            held = any(edit.holds(self._t) for edit in self._branch.holds)
            if isinstance(xs, Tensor) and not (singly or held):
                stop = min(at + CHUNK, len(xs))
                part = None if labels is None else labels[at:stop]
                many = self._advance_many(xs[at:stop], part)
                if many is not None:
                    ys.append(many)
                    tick(stop - at)
                    at = stop
                    continue
                singly = True
            x = (xs[at],) if isinstance(xs, Tensor) else xs[at]
            y = self._advance(x, None if labels is None else labels[at])
            ys.append(y[None] if isinstance(xs, Tensor) and isinstance(y, Tensor) else y)
            tick(1)
            at += 1
        return ys

    def _feed_nothing(self, xs: Tensor) -> Any:
        """What comes of a sequence `(0, …)`: as many outputs, of the shape that they would have."""
        self._refuse_if_busy()
        put_back = self._keep()
        try:
            self._working = True
            self._stepper.install(self._states)
            ys = self._stepper.nothing(xs)
        except Exception as error:
            self._explain(error, (xs,))
            raise
        finally:
            try:
                put_back()
            finally:
                put_back()
        return ys

    def _refeed(self, line: Branch, start: int, stop: int) -> None:
        """Feed the inputs of the steps start + 1 … stop of a line, in the way they were fed."""
        labels = line.all_labels()
        for first, last, run in line.segments(start, stop):
            steps = [line.inputs(t) for t in range(first, last)]
            tensors = run and len(steps[0]) == 1 and isinstance(steps[0][0], Tensor)
            xs = torch.stack([x for (x,) in steps]) if tensors else steps
            self._feed(xs, labels[first:last])

    def _holds(self, branch: Branch, t: int) -> Any:
        raise NotImplementedError

    # commands

    def _refuse_if_busy(self) -> None:
        refuse_transforms()
        if self._change is not None or self._working:
            raise RnnlabError(
                "Session: a command was given while another was being carried out. What is called "
                "inside a step (the model, its hooks) cannot move the session that takes the step; "
                "give the command after it, or from a subscriber."
            )

    def _keep(self, rows: Callable[[], Any] = lambda: None) -> Callable[[], None]:
        """Take down what a command changes, but for the log; the function given puts it back.

        Args:
            rows: puts back the rows of the branches. Called twice, it does the same as once.
        """
        place, branches, edits = (self._branch, self._t), self._branches, self._edits
        aside, grad = self._stepper.aside.keep(), torch.is_grad_enabled()

        def put_back() -> None:
            self._change, self._working = None, False
            torch.set_grad_enabled(grad)  # an interrupt in the end of a `no_grad` leaves it
            aside()
            rows()
            self._branches, self._edits = branches, edits
            self._enter(*place)  # from the recording: the model may have worked in place

        return put_back


def whole(name: str, value: Any) -> int:
    """A whole number that somebody gave, as Python's own."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise RnnlabError(f"Session: {name} must be a whole number, got {value!r}.")
    return int(value)
