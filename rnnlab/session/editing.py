"""Edits: poke, clamp, transplant; switching them off and on again."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from rnnlab.cells.base import describe
from rnnlab.cells.held import Hold, has_equation, put
from rnnlab.errors import RnnlabError
from rnnlab.nested import State
from rnnlab.recur import Recur
from rnnlab.session.commands import Clamp, Edit, Poke, Transplant, plain, same
from rnnlab.session.doing import Doing
from rnnlab.session.engine import whole
from rnnlab.session.history import Entry
from rnnlab.session.layout import filled_like, leaves_of
from rnnlab.session.timeline import Branch
from rnnlab.session.values import (
    broadcasts,
    describe_shape,
    held_as,
    is_complex,
    kind_of,
    part_of,
    units_of,
)

Units = int | slice | Sequence[int] | None


class Editing(Doing):
    """What a session can do to the states of its model."""

    # carrying out

    def _edit(self, command: Poke | Clamp | Transplant) -> None:
        """Begin an edited branch here; edits at one place without a step between share one."""
        self._refuse_if_busy()
        branch, t = self._branch, self._t
        states = branch.states(t)
        entry = self._edited(states, command)
        if not isinstance(command, Clamp) and same(_flat(states), _flat(entry)):
            return

        def begin(change: Entry) -> None:
            edit, others = Edit(self._next_number(), t, command), self._branches.values()
            self._edits = [*self._edits, edit]
            fresh = bool(branch.edits) and branch.fork == t and not branch.count
            fresh = fresh and all(other.parent is not branch for other in others)
            fresh = fresh and not any(branch.name == _source(edit.command) for edit in self._edits)
            edits = (*branch.edits, edit) if fresh else (edit,)
            parent = branch.parent if fresh else branch.holder(t)
            if fresh:
                change.known = self._branches
                self._branches = {other.name: other for other in others if other is not branch}
            self._begin_edited(parent, t, entry, edits)

        self._carry_out(command, begin)

    def _begin_edited(
        self, parent: Branch | None, t: int, entry: list[State], edits: tuple[Edit, ...]
    ) -> None:
        assert parent is not None
        title = ", ".join(edit.title() for edit in edits[:2]) + (", …" if len(edits) > 2 else "")
        name = self._unused(f"{parent.root.name}@{t} {title}")
        names = self._stepper.names(entry)
        self._add(Branch(name, entry, names, parent, t, edits))
        self._enter(self._branches[name], t)

    def _next_number(self) -> int:
        return 1 + max((edit.number for edit in self._edits), default=0)

    def _edited(self, states: list[State], command: Poke | Clamp | Transplant) -> list[State]:
        """The states as an edit leaves them."""
        named = self._stepper.names(states)
        values = _by_name(named, states)
        if isinstance(command, Transplant):
            source = self._find(command.branch)
            given = source.states(command.t)
            values |= {
                name: value
                for name, value in _by_name(self._stepper.names(given), given).items()
                if name in command.names
            }
        elif command.name in values:
            values[command.name] = put(values[command.name], command.units, command.value)
        return filled_like(named, values)

    def _holds(self, branch: Branch, t: int) -> list[tuple[Recur, dict[str, Hold]]]:
        """What is held during the step from t to t + 1, per Recur and name inside its cell."""
        found: dict[int, tuple[Recur, dict[str, Hold]]] = {}
        for edit in branch.holds:
            if edit.holds(t) and isinstance(edit.command, Clamp):
                command = edit.command
                recur, local = self._inside(command.name)
                holds = found.setdefault(id(recur), (recur, {}))[1]
                holds.setdefault(local, []).append((command.units, command.value))
        return list(found.values())

    # addressing

    def _inside(self, name: str) -> tuple[Recur, str]:
        """The Recur that `name` belongs to, and what is left of the name inside it."""
        if not isinstance(name, str):
            raise self._unknown(name)
        fits = [
            (len(path), recur, name[len(path) + 1 :] if path else name)
            for path, recur in self._stepper.recurs
            if not path or name.startswith(f"{path}.")
        ]
        if not fits:
            raise self._unknown(name)
        _, recur, local = max(fits, key=lambda fit: fit[0])
        return recur, local

    def _state(self, name: str) -> Any:
        states = self._branch.states(self._t)
        values = _by_name(self._stepper.names(states), states)
        if name not in list(values):
            raise self._unknown(name)
        return values[name]

    def _unknown(self, name: str, gates: Sequence[str] = ()) -> RnnlabError:
        known = list(_by_name(self._stepper.names(self._branch.entry), self._branch.entry))
        said = f" Gates that can be held: {', '.join(gates)}." if gates else ""
        return RnnlabError(f"Session: no state {name!r}. There are: {', '.join(known)}.{said}")

    def _gates(self) -> list[str]:
        """The names of all gates that can be held."""
        return [
            f"{path}.{gate}" if path else gate
            for path, recur in self._stepper.recurs
            if has_equation(recur.cell)
            for gate in recur.cell.gate_names  # type: ignore[union-attr]
        ]

    def _target(self, name: str) -> Any:
        """The present value of a state, or for a gate a tensor of its shape."""
        states = self._branch.states(self._t)
        values = _by_name(self._stepper.names(states), states)
        if name in list(values):
            return values[name]
        gates = self._gates()
        if name not in gates:
            raise self._unknown(name, gates)
        recur, _ = self._inside(name)
        width = recur.cell.hidden_size  # type: ignore[union-attr]
        like = next(value for key, value in values.items() if self._inside(key)[0] is recur)
        return like.new_zeros(*like.shape[:-1], width)

    def _poke(self, name: str, units: Units, value: Any) -> Poke:
        """The command that a call of `poke` means, checked."""
        now = self._state(name)
        chosen = units_of(name, units, now)
        if callable(value):
            part = part_of(now, chosen)
            self._refuse_if_busy()
            try:
                self._working = True
                value = value(part)
            except Exception as error:
                raise RnnlabError(
                    f"Session: the function for {name} failed with {type(error).__name__}: {error}."
                ) from error
            finally:
                self._working = False
        return Poke(name, chosen, self._value(name, now, chosen, value))

    def _clamp(self, name: str, units: Units, value: Any, steps: int | None) -> Clamp:
        if steps is not None and whole("steps", steps) < 1:
            raise RnnlabError(
                f"Session: steps must be a whole number ≥ 1, or None to the end, got {steps!r}."
            )
        like = self._target(name)
        chosen = units_of(name, units, like)
        value = self._value(name, like, chosen, value)
        return Clamp(name, chosen, value, None if steps is None else int(steps))

    def _transplant(self, name: Any, source: str, t: int) -> Transplant:
        line = self._find(source)
        if not 0 <= whole("t", t) <= len(line):
            raise RnnlabError(
                f"Session: branch {line.name!r} has steps 0 to {len(line)}, there is no {t}."
            )
        given = line.states(int(t))
        theirs = _by_name(self._stepper.names(given), given)
        several = isinstance(name, (list, tuple, set))
        names = tuple(theirs) if name is None else tuple(name) if several else (name,)
        if not names:
            raise RnnlabError(
                f"Session: {name!r} names no state. None means all: {', '.join(theirs)}."
            )
        for wanted in names:
            ours = self._state(wanted)
            if describe_shape(ours) != describe_shape(theirs.get(wanted)):
                raise RnnlabError(
                    f"Session: {wanted} is {describe_shape(ours)} here and "
                    f"{describe_shape(theirs.get(wanted))} at step {t} of {source!r}."
                )
        return Transplant(names, line.name, int(t))

    def _value(self, name: str, now: Any, units: tuple[int, ...] | None, value: Any) -> Any:
        """`value` as plain numbers, if it fits the chosen units and they can hold it."""
        part = part_of(now, units)
        wanted = tuple(part.shape) if isinstance(part, Tensor) else ()
        several = f", or to numbers of shape {wanted}" if wanted else ""
        given, told = plain(value), None
        with contextlib.suppress(ValueError):  # rows of unequal length
            told = np.asarray(given)
        kinds = "biufc" if is_complex(now) else "biuf"
        if told is None or told.dtype.kind not in kinds:
            raise RnnlabError(
                f"Session: {name} can be set to a number{several}; got {_told(value)}."
            )
        if not broadcasts(told.shape, wanted):
            raise RnnlabError(
                f"Session: {name} can be set to a number{several}; got shape {told.shape}."
            )
        held, kind = held_as(now, given), kind_of(now)
        if held is None:
            raise RnnlabError(
                f"Session: {name} is {kind} and cannot hold {value!r}. Give numbers of that type."
            )
        if not self._stepper.allow_nonfinite and not np.isfinite(np.asarray(held)).all():
            raise RnnlabError(
                f"Session: {name} would be set to values that are not finite (NaN or infinity) in "
                f"{kind}. Session(model, allow_nonfinite=True) accepts them."
            )
        return given

    # switching

    def _switch(self, number: int, on: bool) -> None:
        """Go to the line that has, or has not, this edit, with everything else as it is."""
        line, t, length = self._branch, self._t, len(self._branch)
        here = line.all_edits()
        edit = next((edit for edit in self._edits if edit.number == number), None)
        if edit is None:
            known = ", ".join(str(edit.number) for edit in self._edits) or "none"
            raise RnnlabError(f"Session: no edit {number!r}. There are: {known}.")
        if (edit in here) == on:
            raise RnnlabError(f"Session: edit {number} is {'on' if on else 'off'} already.")
        if edit.t > length:
            raise RnnlabError(
                f"Session: edit {number} is at step {edit.t}; branch {line.name!r} has {length}."
            )
        base = line.unedited(edit.t)
        wanted = [other for other in here if other is not edit] + ([edit] if on else [])
        later = sorted(
            (other for other in wanted if other.t >= edit.t), key=lambda e: (e.t, e.number)
        )
        known = self._recorded(line, base, edit.t, wanted)
        if known is not None:
            self._enter(known, t)
            return
        self._enter(base, edit.t)
        for stop in sorted({length, *(other.t for other in later)}):
            self._follow(line, stop)
            group = tuple(other for other in later if other.t == stop)
            if group:
                self._apply(group)
        self._enter(self._branch, t)

    def _recorded(self, line: Branch, base: Branch, t: int, edits: list[Edit]) -> Branch | None:
        """The branch that is `line` with these edits, step for step, the first of them at t."""
        for other in self._branches.values():
            if (
                len(other) == len(line)
                and set(other.all_edits()) == set(edits)
                and other.unedited(t) is base
                and self._matching(other, line, t, len(line)) == len(line) - t
            ):
                return other
        return None

    def _apply(self, edits: tuple[Edit, ...]) -> None:
        """Enter the branch that these edits begin here: one that is there already, or a new one."""
        here, t = self._branch.place(self._t), self._t
        for other in self._branches.values():
            if other.fork == t and other.edits_at(t) == edits and other.unedited(t) is here:
                self._enter(other, t)
                return
        entry = here.states(t)
        for edit in edits:
            entry = self._edited(entry, edit.command)
        self._begin_edited(here, t, entry, edits)

    def _follow(self, line: Branch, stop: int) -> None:
        """Come to step `stop` on the inputs of `line`: along what is recorded, then by feeding."""
        while self._t < stop:
            t = self._t
            matched = max(
                ((self._matching(other, line, t, stop), other) for other in self._candidates()),
                key=lambda pair: pair[0],
                default=(0, self._branch),
            )
            if not matched[0]:
                break
            self._enter(matched[1], t + matched[0])
        if self._t < stop:
            branch, t = self._branch, self._t
            if t == len(branch) and branch not in (self._change.added if self._change else []):
                self._add(self._fork(branch, t, self._unused(f"{branch.root.name}@{t}")))
                self._branch = list(self._branches.values())[-1]
            self._refeed(line, t, stop)

    def _candidates(self) -> list[Branch]:
        """The branches that go on from here without an edit."""
        return [self._branch.place(self._t), *(b for b in self._forks() if not b.edits)]

    def _forks(self) -> list[Branch]:
        """The branches that were forked here."""
        here, t = self._branch.place(self._t), self._t
        return [
            b
            for b in self._branches.values()
            if b.fork == t and b.parent is not None and b.parent.place(t) is here
        ]

    def _matching(self, branch: Branch, line: Branch, t: int, stop: int) -> int:
        """How many steps of `branch` from t on were fed what `line` was, by these weights.

        The same is the same to the bit, under the same label: the recording stands for the other.
        """
        stop = min(stop, len(branch))
        ours, theirs = branch.layout, line.layout
        if stop <= t or not ours or not theirs or ours.input_names != theirs.input_names:
            return 0
        count = stop - t
        for a, b in zip(branch.input_rows(t, stop), line.input_rows(t, stop), strict=True):
            if a.dtype != b.dtype or a.shape != b.shape:
                return 0
            differ = np.flatnonzero((_bytes(a) != _bytes(b)).any(axis=1))
            count = min([count, *differ[:1].tolist()])
        labels = zip(branch.labels_of(t, t + count), line.labels_of(t, t + count), strict=True)
        unlike = (at for at, (a, b) in enumerate(labels) if a != b)
        weights = self._stepper.weights_now()
        if branch.weights_at(t) != weights:
            return 0
        changes = [
            at - t
            for owner, end in branch.lineage()
            for at, made in owner.weights
            if t < at < end and made != weights
        ]
        return min([count, next(unlike, count), *changes])


def _by_name(names: list[State], states: list[State]) -> dict[str, Any]:
    keys: list[Any] = []
    values: list[Any] = []
    leaves_of(names, keys, [])
    leaves_of(states, values, [])
    return dict(zip(keys, values, strict=True))


def _flat(states: list[State]) -> list[Any]:
    values: list[Any] = []
    leaves_of(states, values, [])
    return values


def _bytes(rows: np.ndarray) -> np.ndarray:
    """Every row as its bytes: −0 is not 0, and NaN is itself."""
    return np.ascontiguousarray(rows).reshape(len(rows), -1).view(np.uint8)


def _told(value: Any) -> str:
    """A value that was given, in words; arrays by their shape and type."""
    if isinstance(value, Tensor):
        return f"{describe(value)} and type {value.dtype}"
    return f"list {value!r}" if isinstance(value, list) else describe(value)


def _source(command: Poke | Clamp | Transplant) -> str | None:
    return command.branch if isinstance(command, Transplant) else None
