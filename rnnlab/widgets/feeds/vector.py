"""A vector held by sliders."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnnlab.errors import RnnlabError
from rnnlab.widgets.feeds.base import Feed, Message


class Features(NamedTuple):
    """The input features: their names, and the range in which they are set by hand."""

    names: tuple[str, ...]
    low: float
    high: float

    @property
    def rest(self) -> float:
        """The value of a feature that nobody has set: 0 if the range has it, else its low end."""
        return 0.0 if self.low <= 0 <= self.high else self.low

    def describe(self) -> dict[str, Any]:
        return {"names": list(self.names), "low": self.low, "high": self.high}

    def chosen(self, wanted: Any) -> tuple[int, ...]:
        """Numbers of features, checked and in order."""
        found = tuple(sorted({int(number) for number in wanted}))
        if not found or not 0 <= found[0] <= found[-1] < len(self.names):
            raise RnnlabError(
                f"Choose at least one of the inputs 0 to {len(self.names) - 1}, not {list(wanted)}."
            )
        return found

    def spread(self, value: float, chosen: Sequence[int]) -> np.ndarray:
        """An input `(I,)` in which the chosen features have a value and the others rest."""
        x = np.full(len(self.names), self.rest)
        x[list(chosen)] = value
        return x


def number(value: Any, what: str) -> float:
    """A finite number that the page sent.

    Raises:
        RnnlabError: it is none.
    """
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise RnnlabError(f"{what} must be a number, not {value!r}.")
    return found


def whole(value: Any, what: str) -> int:
    """A whole number that the page sent.

    Raises:
        RnnlabError: it is none.
    """
    found = number(value, what)
    if not found.is_integer():
        raise RnnlabError(f"{what} must be a whole number, not {value!r}.")
    return int(found)


SLIDERS = 16
"""Features that have a slider each; more than these are set in a grid."""


class VectorFeed(Feed):
    """A vector set by hand: fed again and again until it is changed."""

    kind = "vector"

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.title = "Sliders" if len(features.names) <= SLIDERS else "Grid"
        self.features = features
        self.values = [features.rest] * len(features.names)

    def next(self) -> tuple[np.ndarray, None]:
        return np.asarray(self.values, dtype=float), None

    def act(self, message: Message) -> bool:
        # one at a time: a page that sends what it believes of the others would undo what it has
        # not heard of yet
        place, names = int(message["input"]), self.features.names
        if not 0 <= place < len(names):
            raise RnnlabError(f"There are inputs 0 to {len(names) - 1}, no {place}.")
        value = number(message["value"], f"Input {names[place]}")
        self.values = [*self.values[:place], value, *self.values[place + 1 :]]
        return False

    def describe(self) -> dict[str, Any]:
        return {**self.features.describe(), "values": self.values, "grid": self.title == "Grid"}
