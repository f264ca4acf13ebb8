"""What a live view is sent: only what is new, at most one message a frame, numbered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from rnnlab.session import Moved, Session
from rnnlab.widgets.lanes import Lane, values
from rnnlab.widgets.tiles import BUCKETS, Tiles

FRAME = 0.016
"""Seconds between two messages at the least: one frame of the page."""

MESSAGE_BYTES = 1_000_000
"""What a message brings at the most: of more news than that, a snapshot is sent."""

SNAPSHOT_ROWS = 4096
SNAPSHOT_BYTES = 120_000
"""What a snapshot holds at the most: the newest rows. Opening does not grow with the history; what
is older, the page asks for when it is looked at.
"""


@dataclass(frozen=True)
class _Seen:
    """What the page holds: so many rows of a branch, laid out in these lanes."""

    branch: str
    rows: int
    lanes: list[Lane]


class Wire:
    """Keeps the page's copy of the current branch up to date.

    `send(message, buffers)` brings a message to the page; `place()` says where the session stands.
    The page holds rows 0 … n of one branch, row 0 being the initial state; a message cuts them at
    `start` and appends what it brings. A snapshot brings the newest rows and row 0, and says how
    many of the rows sent before are `kept` as they were; the rows between come as tiles.
    """

    def __init__(
        self,
        session: Session,
        send: Callable[[dict[str, Any], list[bytes]], None],
        place: Callable[[], dict[str, Any]],
        lanes: Callable[[], list[Lane]],
    ) -> None:
        self._session = session
        self._send = send
        self._place = place
        self._lanes = lanes
        self.tiles = Tiles(session)
        self._held = False
        self._sequence = 0
        self._sent_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._seen: _Seen | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Several changes that the page is to see as one."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            self.moved()

    def moved(self, _: Moved | None = None) -> None:
        """Something changed: tell the page now, or with what follows within this frame."""
        seen, session = self._seen, self._session
        self.tiles.moved()
        if seen is not None and seen.branch in session.branches:
            # an undo may have taken rows back, and a step have put others there since
            rows = min(seen.rows, session.length(seen.branch) + 1)
            self._seen = replace(seen, rows=rows)
        if self._held:
            return
        wait = self._sent_at + FRAME - time.monotonic()
        if wait <= 0:
            self.flush()
        elif self._timer is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:  # no kernel: nobody would call back
                self.flush()
            else:
                self._timer = loop.call_later(wait, self.flush)

    def flush(self) -> None:
        """Send what the page has not seen yet."""
        self._cancel()
        lanes = self._lanes()
        start = self._unseen(lanes)
        width = max(1, sum(lane.units for lane in lanes))
        most = min(SNAPSHOT_ROWS, MESSAGE_BYTES // (4 * width))
        if start is None or self._session.length() + 1 - start > most:
            self.snapshot()
        else:
            self._ship(lanes, start, whole=False)

    def snapshot(self) -> None:
        """Send the newest rows of the branch, whatever the page has."""
        self._cancel()
        lanes = self._lanes()
        self._ship(lanes, self._newest(lanes), whole=True)

    def other(self, branch: str) -> None:
        """Send the newest rows of another branch, to be compared with the current one."""
        lanes = self._lanes()
        start, stop = self._newest(lanes, branch), self._session.length(branch) + 1
        rows = values(self._session, lanes, start, stop, branch)
        place = {"branch": branch, "t": stop - 1, "length": stop - 1}
        message = {"kind": "other", "start": start, "width": rows.shape[1], "place": place}
        self._send(message, [rows.tobytes(), *self._first(lanes, start, branch)])

    def tile(self, message: dict[str, Any]) -> None:
        """Answer for a piece of the history; see `rnnlab.widgets.tiles`.

        The page is told first what it has not seen yet: so a tile is of the recording that the
        page knows, and what changes later changes the tile with it.
        """
        lanes = self._lanes()
        if self._timer is not None or (self._seen and self._seen.lanes != lanes):
            self.flush()
        level, index = int(message["level"]), int(message["index"])
        branch = str(message.get("branch") or "") or None
        lows, highs, stop = self.tiles.tile(lanes, level, index, branch)
        about = {"id": message.get("id"), "level": level, "index": index, "stop": stop + 1}
        parts = [lows] if lows is highs else [lows, highs]
        if level == 0:
            labels = self._session.labels(index * BUCKETS, stop, branch)
            about |= {"labels": labels} if any(labels) else {}
        self._send({"kind": "tile", **about}, [part.tobytes() for part in parts])

    def close(self) -> None:
        """Send nothing more."""
        self._cancel()

    def _unseen(self, lanes: list[Lane]) -> int | None:
        """The first row that the page lacks or has differently; None if it has nothing to keep."""
        if self._seen is None or self._seen.lanes != lanes:
            return None
        seen, branch = self._seen, self._session.branch_name
        if seen.branch == branch and self._session.length():
            return min(seen.rows, self._session.length() + 1)
        if seen.branch in self._session.branches:
            return min(seen.rows, self._session.shared(seen.branch, branch)) or None
        return None

    def _newest(self, lanes: list[Lane], branch: str | None = None) -> int:
        """The first of the rows that a snapshot of a branch brings."""
        width = max(1, sum(lane.units for lane in lanes))
        rows = max(1, min(SNAPSHOT_ROWS, SNAPSHOT_BYTES // (4 * width)))
        return max(0, self._session.length(branch) + 1 - rows)

    def _first(self, lanes: list[Lane], start: int, branch: str | None = None) -> list[bytes]:
        """Row 0, which is in no tile, to go with rows that do not begin there."""
        return [values(self._session, lanes, 0, 1, branch).tobytes()] if start else []

    def _ship(self, lanes: list[Lane], start: int, *, whole: bool) -> None:
        stop = self._session.length() + 1
        rows = values(self._session, lanes, start, stop)
        message = {"kind": "rows", "start": start, "place": self._place()}
        buffers = [rows.tobytes()] if rows.size else []
        if whole:
            message |= {"whole": True, "width": rows.shape[1], "kept": self._unseen(lanes) or 0}
            buffers += self._first(lanes, start)
        self._seen = _Seen(self._session.branch_name, stop, lanes)
        self._sequence += 1
        self._sent_at = time.monotonic()
        labels = self._session.labels(max(start - 1, 0), stop - 1)
        if any(labels):
            message["labels"] = labels
        self._send({**message, "seq": self._sequence}, buffers)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
