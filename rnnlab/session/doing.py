"""Carrying out commands: to the end or not at all, with a log, undo and redo.

An interrupt (Ctrl-C) may fall in a command: Python lets it in where something is called or a loop
goes round. So what is noted of a command is noted last, by one statement without either; and what
puts back a command that failed is called again if the interrupt falls in that. A `with` would not
do, for its end is a call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from rnnlab.errors import RnnlabError
from rnnlab.session.commands import Command
from rnnlab.session.engine import Engine
from rnnlab.session.history import Entry, Log, Undone
from rnnlab.session.lane import open_lane

T = TypeVar("T")


class Doing(Engine):
    """What a session does, and takes back."""

    def _carry_out(
        self, command: Command | None, work: Callable[[Entry], T], run: bool = False
    ) -> T:
        """Carry out one command: logged if it succeeds, without a trace if it fails."""
        self._refuse_if_busy()
        self._lane = None
        self._stepper.watch.doubt()
        before = (self._branch, self._t)
        entry = Entry(command, before, before, run, edits=len(self._edits))
        put_back, log, end = self._keep(entry.cut), self._entries, len(self._entries)
        try:
            self._change = entry
            done = work(entry)
            after = (self._branch, self._t)
            self._change, entry.after, self._undone, log[end:] = None, after, [], (entry,)
        except BaseException:
            try:
                put_back()
            finally:
                put_back()
            raise
        return done

    def _step(self, xs: tuple[Any, ...], label: str | None) -> Any:
        """One step as a command; steps in a row share an entry of the log."""
        self._refuse_if_busy()
        before, log, end = (self._branch, self._t), self._entries, len(self._entries)
        forks, edits = self._t < len(self._branch), len(self._edits)
        last = log[-1] if end > self._sealed and not forks else None
        entry = last if last is not None and last.leads_to(before) else None
        more = entry is not None
        put_back = self._keep(lambda: None if forks else before[0].cut(before[1]))
        try:
            y = self._advance(xs, label)
            after = (self._branch, self._t)
            if entry is None:
                entry = Entry(None, before, after, edits=edits)
                if forks:
                    entry.added.append(self._branch)
                else:
                    entry.grown.append(before)
            entry.after, self._undone, log[end:] = after, [], () if more else (entry,)
        except BaseException:
            try:
                put_back()
            finally:
                put_back()
            raise
        if more:
            self._lane = open_lane(self, entry)
        return y

    def _undo(self) -> None:
        self._refuse_if_busy()
        if len(self._entries) <= self._sealed:
            loaded = " What was done before the session was saved stays." if self._sealed else ""
            raise RnnlabError(f"Session: nothing to undo.{loaded}")
        log, undone = self._entries, self._undone
        at, end = len(log) - 1, len(undone)
        entry = last = log[at]
        after, kept = last.after, ()
        if len(last) > 1:  # of steps in a row, the last
            branch, stop = after
            entry = Entry(None, (branch, stop - 1), after, edits=len(self._edits))
            entry.grown.append(entry.before)
            after, kept = entry.before, (last,)
        lines = [branch.keep() for branch, _ in entry.grown]
        put_back = self._keep(lambda: [put_back() for put_back in lines])
        try:
            taken = self._take_back(entry)
            last.after, log[at:], undone[end:] = after, kept, (taken,)
        except BaseException:
            try:
                put_back()
            finally:
                put_back()
            raise

    def _take_back(self, entry: Entry) -> Undone:
        known, edits = self._branches, self._edits
        rows = [(b, b.layout, b.cut(length)) for b, length in entry.grown if len(b) > length]
        added = [branch.name for branch in entry.added]
        self._branches = entry.known or {n: b for n, b in known.items() if n not in added}
        self._edits = edits[: entry.edits]
        self._enter(*entry.before)
        return Undone(
            entry,
            [(branch, cut, layout) for branch, layout, cut in rows],
            edits[entry.edits :],
            known if entry.known is not None else None,
        )

    def _redo(self) -> None:
        self._refuse_if_busy()
        if not self._undone:
            raise RnnlabError("Session: nothing to redo.")
        log, undone = self._entries, self._undone
        at, end = len(undone) - 1, len(log)
        taken = undone[at]
        entry = taken.entry
        last = log[-1] if end > self._sealed and entry.single and not entry.added else None
        more = last is not None and last.leads_to(entry.before)
        lines = [branch.keep() for branch, *_ in taken.rows]
        put_back = self._keep(lambda: [put_back() for put_back in lines])
        try:
            for branch, rows, layout in taken.rows:
                branch.paste(rows, layout)
            added = {branch.name: branch for branch in entry.added}
            self._branches = taken.known or {**self._branches, **added}
            self._edits = [*self._edits, *taken.edits]
            self._enter(*entry.after)
            if last is not None and more:
                last.after, undone[at:] = entry.after, ()
            else:
                log[end:], undone[at:] = (entry,), ()
        except BaseException:
            try:
                put_back()
            finally:
                put_back()
            raise

    @property
    def log(self) -> Log:
        """Everything done so far, as commands; `replay(model, log)` does it again."""
        with self._lock:
            return Log(self._entries)
