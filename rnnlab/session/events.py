"""Who is told when a session changes."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from rnnlab.cells.base import describe
from rnnlab.errors import RnnlabError
from rnnlab.session.timeline import Branch


@dataclass(frozen=True)
class Moved:
    """What subscribers are told: the session stands at step `t` of `branch`.

    Steps `start + 1 … stop` of that branch are new; none are if `start == stop`.
    """

    branch: str
    t: int
    start: int
    stop: int


class Watched:
    """The side of a session that others listen to."""

    _branch: Branch
    _t: int

    def __init__(self) -> None:
        self._subscribers: dict[object, Callable[[Moved], None]] = {}
        self._untold: deque[Moved] = deque()
        self._telling = False

    def subscribe(self, callback: Callable[[Moved], None]) -> Callable[[], None]:
        """Call `callback` after every change; returns a function that ends it.

        A callback may give commands: all subscribers are told of them in order, once they have
        been told of what came before. An exception in a callback, `SystemExit` too, is reported on
        standard error and breaks neither the step nor the other subscribers.
        """
        if not callable(callback):
            raise RnnlabError(
                f"Session: subscribe takes a function of what moved, got {describe(callback)}."
            )
        key = object()  # a function may be subscribed twice
        self._subscribers[key] = callback

        def unsubscribe() -> None:
            self._subscribers.pop(key, None)

        return unsubscribe

    def _tell(self, start: int | None = None) -> None:
        if not self._subscribers:
            return
        moved = Moved(self._branch.name, self._t, self._t if start is None else start, self._t)
        self._untold.append(moved)
        if self._telling:  # a callback gave this command; whoever called it goes on with the queue
            return
        self._telling = True
        try:
            while self._untold:
                moved = self._untold.popleft()
                for key in tuple(self._subscribers):
                    callback = self._subscribers.get(key)
                    if callback is not None:
                        _call(callback, moved)
        finally:
            self._telling = False
            self._untold.clear()


def _call(callback: Callable[[Moved], None], moved: Moved) -> None:
    try:
        callback(moved)
    except (Exception, SystemExit) as error:
        sys.excepthook(type(error), error, error.__traceback__)
