"""The log of a session: what was done, and what it takes to undo it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from rnnlab.session.commands import Command, Run, Step, same
from rnnlab.session.timeline import Branch, Rows

Place = tuple[Branch, int]


@dataclass(slots=True)
class Entry:
    """One command, or a stretch of single steps, and how the tree looked before and after.

    Steps are not stored: their inputs are read from what the branch recorded.
    """

    command: Command | None
    before: Place
    after: Place
    run: bool = False
    added: list[Branch] = field(default_factory=list)
    grown: list[tuple[Branch, int]] = field(default_factory=list)
    known: dict[str, Branch] | None = None  # the branches before, where one was taken away
    edits: int = 0  # how many edits were known before

    @property
    def start(self) -> int:
        return self.before[1]

    @property
    def stop(self) -> int:
        return self.after[1]

    @property
    def single(self) -> bool:
        """Whether these are single steps."""
        return self.command is None and not self.run

    def cut(self) -> None:
        """Forget the rows that came with it, and what an interrupt left half recorded."""
        for branch, length in self.grown:
            branch.cut(length)

    def leads_to(self, place: Place) -> bool:
        """Whether a step from `place` would be one more of these."""
        return self.single and self.after[0] is place[0] and self.after[1] == place[1]

    def __len__(self) -> int:
        """How many commands of the log this is."""
        return 1 if self.command is not None or self.run else self.stop - self.start

    def commands(self, index: int) -> Command:
        """The command at a position in this stretch."""
        if self.command is not None:
            return self.command
        line, start = self.after[0], self.start
        if not self.run:
            t = start + index
            label = line.holder(t + 1).labels.get(t)
            return Step(line.inputs(t), label)
        labels = line.all_labels()[start : self.stop]
        steps = [line.inputs(t) for t in range(start, self.stop)]
        return Run(_stacked(steps), tuple(labels) if any(labels) else None)


def _stacked(steps: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    """One tensor per input where there are tensors, else one tuple of numbers."""
    import torch

    return tuple(
        torch.stack(list(column)) if isinstance(column[0], torch.Tensor) else tuple(column)
        for column in zip(*steps, strict=True)
    )


@dataclass(slots=True)
class Undone:
    """An entry taken back, with the rows that went with it."""

    entry: Entry
    rows: list[tuple[Branch, Rows, Any]]
    edits: list[Any]
    known: dict[str, Branch] | None = None


class Log(Sequence[Command]):
    """The commands of a session, oldest first; read from the recording as they are asked for.

    Example:
        >>> import rnnlab as rl
        >>> s = rl.Session(rl.Recur(lambda h, x: (h + x, x), 0))
        >>> y = s.step(2)
        >>> s.back()
        >>> s.log
        Log(2 commands)
        >>> list(s.log)
        [Step(inputs=(2,), label=None), Rewind(t=0)]
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = [entry for entry in entries if len(entry)]
        self._ends: list[int] = []
        total = 0
        for entry in self._entries:
            total += len(entry)
            self._ends.append(total)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Command: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Command, ...]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"the log has {len(self)} commands, there is no {index}")
        index %= len(self)
        at = bisect_right(self._ends, index)
        entry = self._entries[at]
        return entry.commands(index - (self._ends[at] - len(entry)))

    def __iter__(self) -> Iterator[Command]:
        return (entry.commands(i) for entry in self._entries for i in range(len(entry)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(same(a, b) for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Log({len(self)} commands)"
