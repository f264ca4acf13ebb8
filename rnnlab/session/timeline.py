"""The tree of branches: who forked from whom, where, and what each recorded since."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rnnlab.errors import RnnlabError
from rnnlab.nested import State, map_leaves
from rnnlab.session.columns import Column, as_numpy
from rnnlab.session.commands import Clamp, Edit
from rnnlab.session.layout import Layout, _own, leaves_of


@dataclass
class Rows:
    """Steps that were cut off a branch, to be put back by `Branch.paste`."""

    columns: list[list[np.ndarray]]
    like: list[Any]
    count: int
    labels: dict[int, str]
    weights: list[tuple[int, dict[str, str]]]
    runs: list[tuple[int, int]]


@dataclass(eq=False)
class Branch:
    """A line of steps that shares its first `fork` steps with its parent.

    `entry` holds the states at the fork, from which the first own step goes on: one (nested) state
    per Recur of the model, and `names` the same with names in place of values. If the branch was
    begun by `edits`, the entry is what they made of the parent's states.
    """

    name: str
    entry: list[State]
    names: list[State]
    parent: Branch | None = None
    fork: int = 0
    edits: tuple[Edit, ...] = ()
    layout: Layout | None = None
    columns: list[Column] = field(default_factory=list)
    count: int = 0
    labels: dict[int, str] = field(default_factory=dict)
    weights: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    runs: list[tuple[int, int]] = field(default_factory=list)
    marked: dict[str, str] | None = None

    def __post_init__(self) -> None:
        before = self.parent.holds if self.parent is not None else ()
        own = tuple(edit for edit in self.edits if isinstance(edit.command, Clamp))
        self.holds: tuple[Edit, ...] = tuple(h for h in before if h.holds(self.fork)) + own
        self.layout = self.layout or self._lent()

    def _lent(self) -> Layout | None:
        """The layout of the steps that are shared; where none is, a branch may begin another."""
        return self.parent.layout if self.parent is not None and self.fork else None

    def __len__(self) -> int:
        return self.fork + self.count

    def lineage(self) -> Iterator[tuple[Branch, int]]:
        """This branch and its ancestors, each with the last step that it lends to this one."""
        branch: Branch | None = self
        stop = len(self)
        while branch is not None:
            yield branch, stop
            stop = min(stop, branch.fork)
            branch = branch.parent

    def holder(self, t: int) -> Branch:
        """The branch of this line that has the place after step t, edits made there included."""
        branch = self
        while branch.parent is not None and (t < branch.fork):
            branch = branch.parent
        return branch

    def place(self, t: int) -> Branch:
        """The oldest branch that has this place: forks without an edit share it."""
        branch = self.holder(t)
        while branch.parent is not None and branch.fork == t and not branch.edits:
            branch = branch.parent
        return branch

    def unedited(self, t: int) -> Branch:
        """The branch of this line that has the place after step t before it was edited there."""
        branch = base = self.holder(t)
        while branch.parent is not None and branch.fork == t:
            base = branch.parent if branch.edits else base
            branch = branch.parent
        return base.place(t)

    def edits_at(self, t: int) -> tuple[Edit, ...]:
        """The edits of this line at the place after step t, in order."""
        found: list[Edit] = []
        for branch, _ in self.lineage():
            if branch.fork == t:
                found[:0] = branch.edits
        return tuple(found)

    @property
    def root(self) -> Branch:
        return self if self.parent is None else self.parent.root

    # recording

    def begin(self, layout: Layout) -> None:
        """Make ready for the first own row."""
        if not self.columns:
            self.layout = layout
            self.columns = layout.columns()

    def append(self, rows: list[Any], label: str | None) -> None:
        """Record one more step."""
        for column, row in zip(self.columns, rows):  # noqa: B905 - in the way of every step
            column.append(row)
        if label is not None:
            self.labels[len(self)] = label
        self.count += 1

    def extend(self, rows: list[Any], count: int, labels: list[str | None] | None) -> None:
        """Record many steps that were run at once."""
        for column, many in zip(self.columns, rows, strict=True):
            column.extend(many)
        start = len(self)
        self.labels |= {start + i: text for i, text in enumerate(labels or ()) if text is not None}
        self.runs.append((start, start + count))
        self.count += count

    def cut(self, length: int) -> Rows:
        """Forget the own steps after step `length`; returns them for `paste`.

        What holds them is replaced, not changed: see `keep`.
        """
        rows = Rows(
            [column.cut(length - self.fork) for column in self.columns],
            [column.like for column in self.columns],
            len(self) - length,
            {t: text for t, text in self.labels.items() if t >= length},
            [mark for mark in self.weights if mark[0] >= length],
            [run for run in self.runs if run[0] >= length],
        )
        self.labels = {t: text for t, text in self.labels.items() if t < length}
        self.weights = [mark for mark in self.weights if mark[0] < length]
        self.runs = [run for run in self.runs if run[0] < length]
        self.marked = None
        self.count = length - self.fork
        if not self.count:
            self.columns = []
            self.layout = self._lent()
        return rows

    def paste(self, rows: Rows, layout: Layout) -> None:
        """Put back what `cut` took."""
        self.begin(layout)
        for column, pieces, like in zip(self.columns, rows.columns, rows.like, strict=True):
            column.like = like
            column.paste(pieces)
        self.labels |= rows.labels
        self.weights += rows.weights
        self.runs += rows.runs
        self.count += rows.count

    def keep(self) -> Callable[[], None]:
        """Take down the own steps as they are; the function given puts them back, however often."""
        columns, kept = self.columns, [column.keep() for column in self.columns]
        was = self.layout, columns, self.labels, self.weights, self.runs, self.count

        def put_back() -> None:
            self.layout, self.columns, self.labels, self.weights, self.runs, self.count = was
            for column, rows in zip(columns, kept, strict=True):
                column.put(rows)
            self.cut(self.fork + self.count)  # labels and marks that came in addition

        return put_back

    # reading

    def states(self, t: int) -> list[State]:
        """The states after step t, exactly as they were; copies."""
        branch = self.holder(t)
        if t == branch.fork:
            return [map_leaves(_own, state) for state in branch.entry]
        if branch.layout is None or t > len(branch):
            raise RnnlabError(f"Session: branch {self.name!r} has no step {t}.")
        at = t - branch.fork - 1
        return branch.layout.states_of([column.row(at) for column in branch.columns])

    def entry_values(self) -> dict[str, Any]:
        """The states at the fork by name."""
        names: list[Any] = []
        values: list[Any] = []
        leaves_of(self.names, names, [])
        leaves_of(self.entry, values, [])
        return dict(zip(names, values, strict=True))

    def start(self) -> Branch:
        """The branch of this line whose entry is the line's state at t = 0."""
        return self.holder(0)

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """Steps start + 1 … stop of one array, the shared past included."""
        assert self.layout is not None
        slot = self.layout.slots[name]
        units = None if slot.whole else slice(slot.start, slot.stop)
        parts: list[np.ndarray] = []
        for branch, end in self.lineage():
            if min(stop, end) > max(start, branch.fork):
                column = branch.columns[slot.column]
                first = max(0, start - branch.fork)
                parts.append(column.read(first, min(stop, end) - branch.fork, units))
        if not parts:
            rows = Column(self._like(slot.column)).read(0, 0, units)
        else:
            rows = np.concatenate(parts[::-1]) if len(parts) > 1 else parts[0]
        return self._with_edits(name, rows, start, stop)

    def _like(self, column: int) -> Any:
        for branch, _ in self.lineage():
            if branch.columns:
                return branch.columns[column].like
        return None

    def _with_edits(self, name: str, rows: np.ndarray, start: int, stop: int) -> np.ndarray:
        """A state's row at a fork is what the edits made of it."""
        seen: set[int] = set()
        edited: np.ndarray | None = None
        for branch, _ in self.lineage():
            t = branch.fork
            if start < t <= stop and t not in seen and branch.edits:
                seen.add(t)
                values = branch.entry_values()
                if name in values:
                    edited = np.array(rows) if edited is None else edited
                    value = values[name]
                    edited[t - 1 - start] = as_numpy(value)
        rows = rows if edited is None else edited
        rows.flags.writeable = False
        return rows

    def inputs(self, t: int) -> tuple[Any, ...]:
        """What step t + 1 was fed, exactly."""
        branch = self.holder(t + 1) if t < len(self) else self
        while branch.fork > t:
            assert branch.parent is not None
            branch = branch.parent
        layout = branch.layout
        assert layout is not None
        return tuple(
            layout.take(name, branch.columns[layout.slots[name].column].row(t - branch.fork))
            for name in layout.input_names
        )

    def input_rows(self, start: int, stop: int) -> list[np.ndarray]:
        """What the steps start + 1 … stop were fed, as arrays."""
        assert self.layout is not None
        return [self.read(name, start, stop) for name in self.layout.input_names]

    def segments(self, start: int, stop: int) -> Iterator[tuple[int, int, bool]]:
        """The steps start … stop as they were taken: in one run (true) or one by one (false)."""
        runs = [
            (max(first, start), min(last, end, stop))
            for branch, end in self.lineage()
            for first, last in branch.runs
            if max(first, start) < min(last, end, stop)
        ]
        at = start
        for first, last in sorted(runs):
            if at < first:
                yield at, first, False
            yield first, last, True
            at = last
        if at < stop:
            yield at, stop, False

    def all_labels(self) -> list[str | None]:
        """The label of every step, the shared past included."""
        return self.labels_of(0, len(self))

    def labels_of(self, start: int, stop: int) -> list[str | None]:
        """The labels of the steps start + 1 … stop, at the cost of these alone."""
        labels: list[str | None] = []
        for branch, end in self.lineage():
            own = range(max(start, branch.fork), min(stop, end))
            found = branch.labels
            labels[:0] = [found.get(t) for t in own] if found else [None] * len(own)
        return labels

    def all_edits(self) -> list[Edit]:
        """The edits along this line, in the order in which they were met."""
        return [edit for branch, _ in reversed(list(self.lineage())) for edit in branch.edits]

    def weights_at(self, t: int) -> dict[str, str] | None:
        """The fingerprint of the weights that made step t + 1, or would make it."""
        for owner, stop in self.lineage():
            for at, weights in reversed(owner.weights):
                if at < stop and at <= t:
                    return weights
        return None

    def mark(self, weights: dict[str, str]) -> None:
        """Note the weights' fingerprint where it differs from that of the steps before."""
        if self.marked is not weights:
            if self.weights_at(len(self)) != weights:
                self.weights.append((len(self), weights))
            self.marked = weights

    def weight_marks(self) -> list[tuple[int, dict[str, str]]]:
        """The fingerprints of the weights along the line, each with the step t that it follows."""
        return [
            mark
            for branch, stop in reversed(list(self.lineage()))
            for mark in branch.weights
            if mark[0] < stop
        ]
