"""Where a feed stood at each place of the timeline."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

Place = tuple[str, int]
"""A place of a session's timeline: the branch that recorded the step, and the step."""


@dataclass
class _Stretch:
    """Steps start … stop of a branch in which the position moved on with them, or stood still."""

    start: int
    stop: int
    tape: Any
    position: int
    pace: int = 0

    def at(self, t: int) -> tuple[Any, int]:
        return self.tape, self.position + self.pace * (t - self.start)

    def part(self, start: int, stop: int) -> Iterator[_Stretch]:
        """What of it lies within start … stop."""
        start, stop = max(start, self.start), min(stop, self.stop)
        if start <= stop:
            yield replace(self, start=start, stop=stop, position=self.at(start)[1])

    def follows(self, t: int, tape: Any, position: int) -> bool:
        """Take in the next step if it goes on as the ones before."""
        pace = position - self.at(self.stop)[1]
        alike = t == self.stop + 1 and (self.tape is tape or self.tape == tape)
        if not alike or pace not in ((0, 1) if self.start == self.stop else (self.pace,)):
            return False
        self.pace, self.stop = pace, t
        return True


class Memory:
    """A tape and the position on it, for each place.

    The tape is whatever the position counts on: a recording, a text. What is kept grows with the
    number of changes, not with the number of steps: a run is one stretch.

    Example:
        >>> memory = Memory()
        >>> for t in range(1000):
        ...     memory.note(("main", t), "tape", t)
        >>> memory.at(("main", 500)), memory.at(("main", 1000)), len(memory)
        (('tape', 500), None, 1)
    """

    def __init__(self) -> None:
        self._lines: dict[str, list[_Stretch]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def at(self, place: Place) -> tuple[Any, int] | None:
        """The tape and the position at a place, if they are known."""
        branch, t = place
        line = self._lines.get(branch, [])
        k = bisect_right(line, t, key=attrgetter("start")) - 1
        return line[k].at(t) if k >= 0 and t <= line[k].stop else None

    def note(self, place: Place, tape: Any, position: int) -> None:
        """Keep the tape and the position of a place, in the stead of what was known of it."""
        branch, t = place
        line = self._lines.setdefault(branch, [])
        k = bisect_right(line, t, key=attrgetter("start")) - 1
        if k >= 0 and t <= line[k].stop:
            if line[k].at(t) == (tape, position):
                return
            old = line[k]
            before, after = list(old.part(old.start, t - 1)), list(old.part(t + 1, old.stop))
            line[k : k + 1] = before + after
            k += len(before) - 1
        if k < 0 or not line[k].follows(t, tape, position):
            line.insert(k + 1, _Stretch(t, t, tape, position))

    def reach(self, tape: Any) -> int:
        """The farthest position on a tape that any branch has come to."""
        lines = self._lines.values()
        return max((s.at(s.stop)[1] for line in lines for s in line if s.tape is tape), default=0)

    def swap(self, old: Any, new: Any, position: int) -> None:
        """Where it stood on the tape `old` at or before a position, it stands on `new`."""
        for line in self._lines.values():
            line[:] = [part for stretch in line for part in _swapped(stretch, old, new, position)]


def _swapped(stretch: _Stretch, old: Any, new: Any, position: int) -> Iterator[_Stretch]:
    if stretch.tape is not old:
        yield stretch
        return
    ahead = position - stretch.position
    last = stretch.start + ahead if stretch.pace or ahead < 0 else stretch.stop
    for part in stretch.part(stretch.start, last):
        yield replace(part, tape=new)
    yield from stretch.part(max(last + 1, stretch.start), stretch.stop)
