"""The contract of a feed: where the explorer's next input comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from rnnlab.widgets.feeds.memory import Memory, Place

Message = dict[str, Any]


class Feed(ABC):
    """Gives inputs one after another, and stands where it stood at each place of the timeline.

    Whoever goes back a step has that input to feed again. A subclass gives the inputs, hears what
    the page says, and tells the page what to show.

    Attributes:
        kind: the part of the page that shows it.
        title: what a person chooses it by.
        position: how many of its inputs were fed on the way to the current place.
        tape: what the position counts on; another one may lie in at another place.
    """

    kind: ClassVar[str]
    title: str
    position: int = 0
    tape: Any = None

    def __init__(self) -> None:
        self._memory = Memory()
        self._place: Place | None = None

    @property
    def count(self) -> int | None:
        """How many inputs there are in all; None: without end."""
        return None

    @abstractmethod
    def next(self) -> tuple[Any, str | None]:
        """The input that comes next, and the label of its step.

        Raises:
            RnnlabError: all are fed.
        """

    @abstractmethod
    def act(self, message: Message) -> bool:
        """Do what the page says; returns whether that asks for a new run.

        Raises:
            RnnlabError: it cannot be done; nothing has changed then.
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What the page shows of it, as JSON can hold it."""

    # the timeline

    def passed(self, place: Place, given: bool) -> None:
        """A step led to this place; `given` if its input was the next one of this feed."""
        self.position += given
        self._mark(place)

    def stand(self, place: Place) -> bool:
        """The session went to this place; returns whether another tape lies in now."""
        self._place = place
        before = self.tape
        self.tape, self.position = self._memory.at(place) or (self.tape, self.position)
        return self.tape is not before

    def restart(self, place: Place) -> None:
        """A new run begins at this place."""
        self.position = 0
        self._mark(place)

    def copy(self, source: Place, to: Place) -> None:
        """What was fed on the way to `source` was fed again on the way to `to`."""
        known = self._memory.at(source)
        if known is not None:
            self._memory.note(to, *known)

    def _mark(self, place: Place | None) -> None:
        self._place = place
        if place is not None:
            self._memory.note(place, self.tape, self.position)
