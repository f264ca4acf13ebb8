"""Inputs that follow a curve in time: one made by a formula, or one drawn by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rnnlab.errors import RnnlabError
from rnnlab.widgets.feeds.base import Feed, Message
from rnnlab.widgets.feeds.vector import Features, number, whole

SHAPES = ("impulse", "step", "sine", "noise")
PREVIEW = 60
"""Steps that a preview shows at a time."""

LONGEST = 10_000
"""Steps that a drawn curve may have."""


@dataclass(frozen=True)
class Signal:
    """A curve in time, zero before its onset.

        impulse   A at the onset, and again every `period` steps if that is not 0
        step      A from the onset on
        sine      A sin(2π (n − onset) / period)
        noise     A ε_n, with ε_n ~ N(0, 1) drawn by the seed for each step

    n counts the steps from 1. Any step can be asked for, in any order.

    Example:
        >>> [Signal("impulse", onset=2, period=3).at(n) for n in range(1, 7)]
        [0.0, 1.0, 0.0, 0.0, 1.0, 0.0]
    """

    shape: str = "impulse"
    amplitude: float = 1.0
    period: float = 0.0
    onset: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise RnnlabError(f"The signal is one of {', '.join(SHAPES)}, not {self.shape!r}.")
        if self.period < 0 or (self.shape == "sine" and self.period == 0):
            least = "more than 0" if self.shape == "sine" else "0 or more"
            raise RnnlabError(f"The period of the {self.shape} must be {least} steps.")
        if self.onset < 1 or self.seed < 0:
            raise RnnlabError("The onset is step 1 or a later one, the seed 0 or more.")

    def at(self, n: int) -> float:
        """The value at step n."""
        since = n - self.onset
        if since < 0:
            return 0.0
        if self.shape == "sine":
            return self.amplitude * math.sin(2 * math.pi * since / self.period)
        if self.shape == "noise":
            return self.amplitude * float(np.random.default_rng((self.seed, n)).standard_normal())
        hit = self.shape == "step" or since == 0 or (self.period >= 1 and since % self.period < 1)
        return self.amplitude if hit else 0.0


class SignalFeed(Feed):
    """A signal without end on some of the features; the others rest."""

    kind = "signal"
    title = "Generator"

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.features = features
        self.signal = Signal(amplitude=features.high if features.high else features.low)
        self.chosen: tuple[int, ...] = (0,)
        self._shown = 0

    def next(self) -> tuple[np.ndarray, None]:
        return self.features.spread(self._value(self.position + 1), self.chosen), None

    def act(self, message: Message) -> bool:
        if "look" in message:
            self._shown = max(0, int(message["look"]) // PREVIEW * PREVIEW)
            return False
        old = self.signal
        shape = message.get("shape", old.shape)
        period = number(message.get("period", old.period), "The period")
        if shape == "sine" and shape != old.shape and not period:
            period = 12.0  # there is no sine of period 0: it begins with one that can be seen
        signal = replace(
            old,
            shape=shape,
            period=period,
            amplitude=number(message.get("amplitude", old.amplitude), "The amplitude"),
            onset=whole(message.get("onset", old.onset), "The onset"),
            seed=whole(message.get("seed", old.seed), "The seed"),
        )
        chosen = self.features.chosen(message.get("features", self.chosen))
        self.signal, self.chosen = signal, chosen
        return False

    def describe(self) -> dict[str, Any]:
        steps = range(self._shown + 1, self._shown + PREVIEW + 1)
        return {
            **self.features.describe(),
            "features": list(self.chosen),
            "shapes": list(SHAPES),
            "signal": vars(self.signal),
            "preview": {"from": self._shown, "values": [self._value(n) for n in steps]},
        }

    def _value(self, n: int) -> float:
        # where 0 lies outside the range of the inputs, the signal swings about where they rest
        return self.features.rest + self.signal.at(n)


class CurveFeed(Feed):
    """A curve drawn by hand on some of the features; the others rest."""

    kind = "curve"
    title = "Drawn curve"

    def __init__(self, features: Features, steps: int = 40) -> None:
        super().__init__()
        self.features = features
        self.points = [features.rest] * steps
        self.chosen: tuple[int, ...] = (0,)

    @property
    def count(self) -> int:
        return len(self.points)

    def next(self) -> tuple[np.ndarray, None]:
        if self.position >= len(self.points):
            raise RnnlabError(
                f"All {len(self.points)} steps of the curve are fed. Press Reset, or give it more "
                "steps."
            )
        return self.features.spread(self.points[self.position], self.chosen), None

    def act(self, message: Message) -> bool:
        chosen = self.features.chosen(message.get("features", self.chosen))
        points = [number(point, "A point") for point in message.get("points", self.points)]
        if not 1 <= len(points) <= LONGEST:
            raise RnnlabError(f"A curve has 1 to {LONGEST:,} steps, not {len(points):,}.")
        self.points, self.chosen = points, chosen
        return False

    def describe(self) -> dict[str, Any]:
        return {
            **self.features.describe(),
            "rest": self.features.rest,
            "features": list(self.chosen),
            "points": self.points,
        }
