"""Who is told when a session changes."""

from __future__ import annotations

import sys
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
        self._subscribers: list[Callable[[Moved], None]] = []

    def subscribe(self, callback: Callable[[Moved], None]) -> Callable[[], None]:
        """Call `callback` after every change; returns a function that ends it.

        An exception in a callback is reported on standard error and breaks neither the step nor
        the other subscribers.
        """
        if not callable(callback):
            raise RnnlabError(
                f"Session: subscribe takes a function of what moved, got {describe(callback)}."
            )
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    def _tell(self, start: int | None = None) -> None:
        if not self._subscribers:
            return
        moved = Moved(self._branch.name, self._t, self._t if start is None else start, self._t)
        for callback in tuple(self._subscribers):
            try:
                callback(moved)
            except Exception as error:
                sys.excepthook(type(error), error, error.__traceback__)
