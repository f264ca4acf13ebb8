"""The tree of branches: who forked from whom, where, and what each recorded since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from rnnlab.errors import RnnlabError
from rnnlab.nested import State, map_leaves
from rnnlab.session.columns import Column

Row = Mapping[str, Any]
"""One step's record: name → tensor or number."""


class Branch:
    """A line of steps that shares its first `fork` steps with its parent.

    `entry` holds the states at the fork, from which the first own step goes on, one (nested) state
    per Recur of the model; `layout` has the same structure with the name of each leaf in its place.
    """

    def __init__(
        self,
        name: str,
        entry: list[State],
        layout: list[State],
        parent: Branch | None = None,
        fork: int = 0,
    ) -> None:
        self.name = name
        self.entry = entry
        self.layout = layout
        self.parent = parent
        self.fork = fork
        self.columns: dict[str, Column] = {}
        self.labels: list[str | None] = []
        self.weights: list[tuple[int, dict[str, str]]] = []

    def __len__(self) -> int:
        return self.fork + len(self.labels)

    def lineage(self) -> Iterator[tuple[Branch, int]]:
        """This branch and its ancestors, each with the last step that it lends to this one."""
        branch: Branch | None = self
        stop = len(self)
        while branch is not None:
            yield branch, stop
            stop = branch.fork
            branch = branch.parent

    @property
    def root(self) -> Branch:
        return self if self.parent is None else self.parent.root

    def append(self, row: Row, layout: list[State], label: str | None) -> None:
        """Record one more step; its shapes must be those of the steps before it."""
        self._check(row)
        if not self.columns:
            self.columns = {name: Column() for name in row}
            self.layout = layout
        for name, value in row.items():
            self.columns[name].append(value)
        self.labels.append(label)

    def truncate(self, length: int) -> None:
        """Forget the own steps after step `length`."""
        for column in self.columns.values():
            column.truncate(length - self.fork)
        del self.labels[length - self.fork :]
        self.weights = [(t, w) for t, w in self.weights if t < length]
        if not self.labels:
            self.columns = {}

    def _check(self, row: Row) -> None:
        recorded = self.recorded()
        if not recorded:
            return
        if recorded.keys() != row.keys():
            raise RnnlabError(
                f"branch {self.name!r} records {', '.join(recorded)}; "
                f"this step gave {', '.join(row)}. Call reset() to start a new run."
            )
        for name, value in row.items():
            if not recorded[name].fits(value):
                given = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
                raise RnnlabError(
                    f"branch {self.name!r} records {name} with {recorded[name].describe()}; "
                    f"this step gave {given}. Call reset() to start a new run."
                )

    def recorded(self) -> dict[str, Column]:
        """The columns of this branch, or those of the ancestor that it goes on from."""
        return next((branch.columns for branch, _ in self.lineage() if branch.columns), {})

    def states(self, t: int) -> list[State]:
        """The states after step t, exactly as they were."""
        for branch, stop in self.lineage():
            if branch.fork < t <= stop:
                at = t - branch.fork - 1
                return map_leaves(lambda name: branch.columns[name].row(at), branch.layout)
            if t == branch.fork:
                return branch.entry
        raise RnnlabError(f"branch {self.name!r} has no step {t}.")

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """Steps start + 1 … stop of one array, the shared past included."""
        parts = [
            branch.columns[name].read(max(0, start - branch.fork), min(stop, end) - branch.fork)
            for branch, end in self.lineage()
            if min(stop, end) > max(start, branch.fork)
        ]
        if len(parts) == 1:
            return parts[0]
        if parts:
            return np.concatenate(parts[::-1])
        column = self.recorded().get(name)
        return column.read(0, 0) if column else np.empty((0,), np.float32)

    def all_labels(self) -> list[str | None]:
        """The label of every step, the shared past included."""
        parts = [branch.labels[: stop - branch.fork] for branch, stop in self.lineage()]
        return [label for part in reversed(parts) for label in part]

    def all_weights(self) -> dict[str, str] | None:
        """The fingerprint of the weights that made these steps; what changed on the way is said."""
        marks = [
            mark
            for branch, stop in reversed(list(self.lineage()))
            for mark in branch.weights
            if mark[0] < stop
        ]
        if not marks:
            return None
        merged = dict(marks[0][1])
        for t, weights in marks[1:]:
            for name in merged:
                if weights.get(name) != merged[name] and "changed" not in merged[name]:
                    merged[name] = f"changed before step {t + 1}"
        return merged
