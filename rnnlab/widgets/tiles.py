"""Long histories for the page: the least and the largest value of each unit, bucket by bucket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rnnlab.errors import RnnlabError
from rnnlab.session import Session
from rnnlab.session.columns import Column
from rnnlab.session.tiles import extremes
from rnnlab.widgets.lanes import Lane, flat_rows, values

BUCKETS = 256
"""Buckets of a tile. A tile of level k has 256 · 2^k steps, and begins at a multiple of them."""

DEEPEST = 32
"""Levels there are: so many that 256 · 2^k steps are more than anybody records."""


class Tiles:
    """Answers for the tiles of a session, as the lanes show it.

    What a lane shows for the outputs (probabilities for scores) has extremes of its own: the
    largest probability is not at the largest score. So decoded rows are condensed once, in pieces,
    and what was found is kept, as the session keeps that of what it records.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._decoded: dict[tuple[str, Lane], _Decoded] = {}

    def moved(self) -> None:
        """The session changed: rows that are gone are forgotten, others may take their place."""
        for key in list(self._decoded):
            if key[0] in self._session.branches:
                self._decoded[key].shorten()
            else:
                del self._decoded[key]

    def tile(
        self, lanes: Sequence[Lane], level: int, index: int, branch: str | None = None
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """A tile of a branch: lows and highs `(n, units)`, and the step after its last.

        Raises:
            RnnlabError: there is no such level or tile.
        """
        length = self._session.length(branch)
        start = index * BUCKETS << level if 0 <= level < DEEPEST else -1
        if not 0 <= start < length:
            raise RnnlabError(
                f"Explorer: there is no tile {index} of level {level} in {length} steps."
            )
        size, stop = 1 << level, min(start + (BUCKETS << level), length)
        if size == 1:
            rows = values(self._session, lanes, start + 1, stop + 1, branch)
            return rows, rows, stop
        edges = np.append(np.arange(start, stop, size), stop)
        shape = (len(edges) - 1, sum(lane.units for lane in lanes))
        found = np.full((2, *shape), np.nan, np.float32)
        for lane in lanes:
            ends = self._ends(lane, edges, branch)
            if ends is not None:
                found[:, :, lane.offset : lane.offset + lane.units] = ends
        return found[0], found[1], stop

    def _ends(
        self, lane: Lane, edges: np.ndarray, branch: str | None
    ) -> tuple[np.ndarray, np.ndarray] | None:
        session = self._session
        name = branch or session.branch_name
        if lane.name not in session.recorded(name):
            return None
        if lane.decode is not None:
            if (name, lane) not in self._decoded:
                self._decoded[name, lane] = _Decoded(session, lane, name)
            return extremes(self._decoded[name, lane], edges)
        # whole buckets, and the begun one at the end of the recording
        start, stop = int(edges[0]), int(edges[-1])
        whole = (stop - start) // int(edges[1] - start)
        parts = []
        if int(edges[whole]) > start:
            parts.append(session.tiles(lane.name, start, int(edges[whole]), whole, name))
        if int(edges[whole]) < stop:
            parts.append(session.tiles(lane.name, int(edges[whole]), stop, 1, name))
        lows, highs = (
            np.concatenate([flat_rows(p, lane.row) for p in ends])
            for ends in zip(*parts, strict=True)
        )
        return lows, highs


class _Decoded(Column):
    """What a lane shows for the recorded outputs of a branch: nothing but its extremes is kept."""

    def __init__(self, session: Session, lane: Lane, branch: str) -> None:
        super().__init__()
        self._session = session
        self._lane = replace(lane, offset=0)
        self._branch = branch

    def __len__(self) -> int:
        return self._session.length(self._branch)

    def read(self, start: int, stop: int, units: slice | None = None) -> np.ndarray:
        rows = values(self._session, [self._lane], start + 1, stop + 1, self._branch)
        return rows if units is None else rows[..., units]

    def take(self, rows: np.ndarray, units: slice | None = None) -> np.ndarray:
        # tiles begin at whole blocks: what is looked at row by row lies close together
        first = int(rows.min())
        return self.read(first, int(rows.max()) + 1)[rows - first]

    def shorten(self) -> None:
        """Forget what was found in rows that are gone."""
        if self.pyramid is not None:
            self.pyramid.cut(len(self))
