"""The feeds of an explorer, one of them chosen: "Input from"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnlab.errors import RnnlabError
from rnnlab.widgets.feeds.base import Feed, Message
from rnnlab.widgets.feeds.memory import Place


class Inputs:
    """Several feeds of which one gives the next input. All of them know where the session stands.

    Args:
        feeds: the feeds; the first is chosen.
        numbers: whether the model takes a number where a feed has a vector of one.
    """

    def __init__(self, feeds: Sequence[Feed], *, numbers: bool = False) -> None:
        self.feeds = tuple(feeds)
        self.current = self.feeds[0]
        self._numbers = numbers

    @property
    def position(self) -> int:
        """How many inputs of the chosen feed were fed on the way to the current place."""
        return self.current.position

    @property
    def left(self) -> int | None:
        """How many inputs are still to be fed; None: without end."""
        count = self.current.count
        return None if count is None else max(0, count - self.current.position)

    def next(self) -> tuple[Any, str | None]:
        """The input that comes next, and its label."""
        x, label = self.current.next()
        return (x.item() if self._numbers and np.shape(x) == (1,) else x), label

    def act(self, message: Message) -> bool:
        """Do what the page says; returns whether that asks for a new run."""
        if "from" not in message:
            return self.current.act(message)
        number = int(message["from"])
        if not 0 <= number < len(self.feeds):
            raise RnnlabError(f"There are inputs 0 to {len(self.feeds) - 1}, no {number}.")
        self.current = self.feeds[number]
        return False

    def describe(self) -> dict[str, Any]:
        """What the page shows."""
        return {
            "kind": self.current.kind,
            "count": self.current.count,
            "sources": [feed.title for feed in self.feeds],
            "source": self.feeds.index(self.current),
            **self.current.describe(),
        }

    def passed(self, place: Place, given: bool) -> None:
        """A step led to this place; `given` if its input was the next one of the chosen feed."""
        for feed in self.feeds:
            feed.passed(place, given and feed is self.current)

    def stand(self, place: Place) -> bool:
        """The session went to this place; returns whether the page has something else to show."""
        moved = [feed.stand(place) for feed in self.feeds]  # all of them are to know
        return any(moved)

    def restart(self, place: Place) -> None:
        """A new run begins at this place."""
        for feed in self.feeds:
            feed.restart(place)

    def copy(self, source: Place, to: Place) -> None:
        """What was fed on the way to `source` was fed again on the way to `to`."""
        for feed in self.feeds:
            feed.copy(source, to)
