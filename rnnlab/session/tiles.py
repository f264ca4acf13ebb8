"""Long recordings in few numbers: the least and the largest value of each unit, bucket by bucket.

A view of a million steps is as wide as a screen: a column of pixels stands for a thousand steps,
and shows how far each unit went in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from rnnlab.errors import RnnlabError
from rnnlab.session.columns import Column, as_numpy
from rnnlab.session.timeline import Branch

FACTOR = 16
"""So many rows of one level of a pyramid make one of the next."""

PIECE = 4096
"""Rows that are condensed at a time."""


class Pyramid:
    """The extremes of blocks of 16, 256, 4096, … rows of a column.

    It is formed when it is first asked for, then grows with the column. Only blocks whose rows are
    all there are held, so a row more never changes what is held, and to forget rows is to forget
    blocks. NaN is passed over; a block of nothing else is NaN. It takes 2/15 of the column's bytes.

    Example:
        >>> column = Column()
        >>> column.paste([np.arange(40.0)])
        >>> pyramid = Pyramid()
        >>> pyramid.grow(column)
        >>> [(low.read(0, 2).tolist(), high.read(0, 2).tolist()) for low, high in pyramid.levels]
        [([0.0, 16.0], [15.0, 31.0])]
    """

    def __init__(self) -> None:
        self.levels: list[tuple[Column, Column]] = []

    @property
    def nbytes(self) -> int:
        return sum(low.nbytes + high.nbytes for low, high in self.levels)

    def cut(self, length: int) -> None:
        """Forget the blocks that are not complete in a column of `length` rows."""
        for low, high in self.levels:
            length //= FACTOR
            low.cut(length)
            high.cut(length)

    def grow(self, column: Column) -> None:
        """Take in the rows that the column has got since."""
        below, number = (column, column), 0
        while len(below[0]) >= FACTOR:
            if number == len(self.levels):
                self.levels.append((Column(), Column()))
            above = self.levels[number]
            for source, target, extreme in zip(below, above, (np.fmin, np.fmax), strict=True):
                _condense(source, target, extreme)
            below, number = above, number + 1


def _condense(source: Column, target: Column, extreme: np.ufunc) -> None:
    stop = len(source) // FACTOR
    while len(target) < stop:
        first, last = len(target), min(stop, len(target) + PIECE // FACTOR)
        rows = source.read(first * FACTOR, last * FACTOR)
        blocks = rows.reshape(last - first, FACTOR, *rows.shape[1:])
        target.paste([extreme.reduce(blocks, axis=1)])


class _Found:
    """The extremes of `count` buckets, as far as they are known."""

    def __init__(self, count: int) -> None:
        self._seen = np.zeros(count, bool)
        self._ends: list[np.ndarray] = []

    def add(self, buckets: np.ndarray, lows: np.ndarray, highs: np.ndarray) -> None:
        """Take in what was found in some of the buckets."""
        given = (lows, highs)
        if not self._ends:
            shape = (len(self._seen), *lows.shape[1:])
            self._ends = [np.zeros(shape, rows.dtype) for rows in given]
        seen = self._seen[buckets]
        for end, rows, extreme in zip((0, 1), given, (np.fmin, np.fmax), strict=True):
            known = self._ends[end]
            if known.dtype != rows.dtype:  # whole numbers up to a step, fractions after it
                known = self._ends[end] = known.astype(np.result_type(known, rows))
            if seen.any():
                rows = rows.copy()
                rows[seen] = extreme(known[buckets[seen]], rows[seen])
            known[buckets] = rows
        self._seen[buckets] = True

    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the largest values; every bucket must be known."""
        return self._ends[0], self._ends[1]


def _look(
    found: _Found,
    column: Column,
    buckets: np.ndarray,
    starts: np.ndarray,
    stops: np.ndarray,
    units: slice | None,
) -> None:
    """Find the extremes of the rows start … stop of a column, a range for each of these buckets.

    From a level of the pyramid fewer than 2 · 16 rows a range are looked at: those before its first
    and after its last whole block. The blocks between are left to the next level.
    """
    if column.pyramid is None:
        column.pyramid = Pyramid()
    column.pyramid.grow(column)
    levels = [(column, column), *column.pyramid.levels]
    for low, high in levels:
        first, last = -(-starts // FACTOR), stops // FACTOR
        whole = (first < last) & (int((stops - starts).max()) > FACTOR)
        for begin, end in (
            (starts, np.where(whole, first * FACTOR, stops)),
            (np.where(whole, last * FACTOR, stops), stops),
        ):
            some = np.flatnonzero(begin < end)
            if len(some):
                order = some[np.argsort(begin[some] - end[some], kind="stable")]
                found.add(buckets[order], *_extremes(low, high, begin[order], end[order], units))
        if not whole.any():
            return
        buckets, starts, stops = buckets[whole], first[whole], last[whole]


def _extremes(
    low: Column, high: Column, begin: np.ndarray, end: np.ndarray, units: slice | None
) -> tuple[np.ndarray, np.ndarray]:
    """Those of the rows begin … end for each of some short ranges, the longest first."""
    widths = end - begin
    counts = [int(np.count_nonzero(widths > at)) for at in range(int(widths[0]))]
    rows = np.concatenate([begin[:count] + at for at, count in enumerate(counts)])
    taken = low.take(rows, units)
    both = (taken, taken if high is low else high.take(rows, units))
    ends = (both[0][: len(begin)].copy(), both[1][: len(begin)].copy())
    at = len(begin)
    for count in counts[1:]:
        for known, more, extreme in zip(ends, both, (np.fmin, np.fmax), strict=True):
            extreme(known[:count], more[at : at + count], out=known[:count])
        at += count
    return ends


def _sources(line: Branch, name: str, start: int, stop: int) -> Iterator[tuple[int, int, Any]]:
    """Where the rows start … stop of a line lie: (start, stop, the branch that has them).

    A row that an edit replaced comes by itself: (t − 1, t, its value).
    """
    edited: dict[int, Any] = {}
    for branch, end in line.lineage():
        if branch.edits and branch.fork > 0:
            values = branch.entry_values()
            if name in values:
                edited.setdefault(branch.fork - 1, values[name])
        first, last = max(start, branch.fork), min(stop, end)
        for at in sorted(at for at in edited if first <= at < last):
            if first < at:
                yield first, at, branch
            yield at, at + 1, as_numpy(edited[at])
            first = at + 1
        if first < last:
            yield first, last, branch


def tiles(
    line: Branch, name: str, start: int, stop: int, buckets: int
) -> tuple[np.ndarray, np.ndarray]:
    """The extremes of a recorded array of a line; see `Session.tiles`."""
    assert line.layout is not None
    slot = line.layout.slots[name]
    if slot.dtype is not None and slot.dtype.is_complex:
        raise RnnlabError(f"Session: {name} holds complex numbers; they have no least or largest.")
    count = min(buckets, stop - start)
    if not count:
        empty = line.read(name, start, start)
        return empty, empty
    edges = start + (stop - start) * np.arange(count + 1) // count
    found, every = _Found(count), np.arange(count)
    for first, last, source in _sources(line, name, start, stop):
        lows, highs = np.clip(edges[:-1], first, last), np.clip(edges[1:], first, last)
        hit = lows < highs
        if isinstance(source, Branch):
            units = None if slot.whole else slice(slot.start, slot.stop)
            fork = source.fork
            column = source.columns[slot.column]
            _look(found, column, every[hit], lows[hit] - fork, highs[hit] - fork, units)
        else:
            found.add(every[hit], source[None], source[None])
    return found.ends()


def extremes(column: Column, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The extremes of a column's rows between neighbouring edges, with the column's pyramid.

    Example:
        >>> column = Column()
        >>> column.paste([np.arange(40.0)])
        >>> [ends.tolist() for ends in extremes(column, np.array([0, 32, 40]))]
        [[0.0, 32.0], [31.0, 39.0]]
    """
    found, every = _Found(len(edges) - 1), np.arange(len(edges) - 1)
    _look(found, column, every, edges[:-1], edges[1:], None)
    return found.ends()
