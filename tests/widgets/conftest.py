"""A stand-in for the kernel's side of the wire: what a widget sends is kept in a list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("anywidget", reason='needs the lab extra: pip install -e ".[lab]"')


class Page:
    """What a page would have received from one explorer, and a way to press its buttons."""

    def __init__(self, explorer: Any, log: list[dict[str, Any]]) -> None:
        self.explorer = explorer
        self._log = log
        self._next = 0

    def press(self, action: str, **detail: Any) -> None:
        """Send what a click sends."""
        self._next += 1
        content = {"id": self._next, "action": action, **detail}
        message = {"content": {"data": {"method": "custom", "content": content}}, "buffers": []}
        self.explorer.comm.handle_msg(message)

    def set(self, **state: Any) -> None:
        """Set traits as a view does."""
        data = {"method": "update", "state": state, "buffer_paths": []}
        self.explorer.comm.handle_msg({"content": {"data": data}, "buffers": []})

    @property
    def states(self) -> list[dict[str, Any]]:
        """The traits that the page was told, message by message."""
        return [
            m["data"]["state"]
            for m in self._log
            if m["data"].get("method") == "update" and m["comm"] == self.explorer.comm.comm_id
        ]

    @property
    def sent(self) -> list[dict[str, Any]]:
        """The custom messages so far: content, with the rows of numbers where there are any."""
        return [
            {**m["data"]["content"], "rows": rows(m), "buffers": m["buffers"] or []}
            for m in self._log
            if m["data"].get("method") == "custom" and m["comm"] == self.explorer.comm.comm_id
        ]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [message for message in self.sent if message["kind"] == "rows"]

    def size(self, since: int = 0) -> int:
        """Bytes of numbers sent with the custom messages from number `since` on."""
        return sum(message["rows"].nbytes for message in self.sent[since:])


def rows(message: dict[str, Any]) -> np.ndarray:
    buffers = message["buffers"] or [b""]
    return np.frombuffer(buffers[0], np.float32)


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], Page]]:
    """Show an explorer on a page that is made of nothing but its messages."""
    import comm
    from comm.base_comm import BaseComm

    log: list[dict[str, Any]] = []

    class RecordedComm(BaseComm):
        def publish_msg(self, msg_type: str, data: Any = None, **more: Any) -> None:  # type: ignore[override]
            sent = {"type": msg_type, "comm": self.comm_id, "data": data or {}}
            log.append({**sent, "buffers": more.get("buffers")})

    monkeypatch.setattr(comm, "create_comm", RecordedComm)
    made: list[Any] = []

    def open_(make: Callable[[], Any]) -> Page:
        explorer = make()
        made.append(explorer)
        return Page(explorer, log)

    yield open_
    for explorer in made:
        explorer.close()
