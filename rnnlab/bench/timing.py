"""Two ways of doing the same, timed in turns: the ratio is from neighbouring moments."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

BLOCK = 5e-4
"""Seconds that one way is repeated before the other has its turn: shorter than what disturbs."""


FINE = 1e-6
"""Seconds: a clock that counts in larger steps is not used."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        section: the heading it belongs under.
        what: what was timed.
        against: what it was timed against.
        ours, theirs: medians, in `unit` a call.
        ratio: the median of the ratios ours / theirs of all rounds.
        low, high: their quartiles.
        target: the ratio to reach, or None.
        unit: that of ours and theirs, the same in a whole section.
    """

    section: str
    what: str
    against: str
    ours: float
    theirs: float
    ratio: float
    low: float
    high: float
    target: float | None = None
    unit: str = "µs"

    @property
    def reached(self) -> bool | None:
        """Whether the ratio is at most the target; None without a target."""
        return None if self.target is None else self.ratio <= self.target


def compare(
    section: str,
    what: str,
    against: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    *,
    rounds: int,
    target: float | None = None,
    settle: Callable[[], object] | None = None,
) -> Row:
    """Time `ours` and `theirs` in turns, each first in every other round.

    Args:
        section, what, against, target: see `Row`.
        ours, theirs: one call each.
        rounds: how many pairs of blocks.
        settle: waits until a GPU has done its work. Then the time that passes is counted, else that
            in which the processor worked for this thread: others on the machine do not disturb it.

    Example:
        >>> row = compare("sums", "a sum", "another", lambda: sum([1]), lambda: sum([2]), rounds=3)
        >>> row.low <= row.ratio <= row.high, row.reached
        (True, None)
    """
    clock = Clock(settle)
    with undisturbed():
        for _ in range(3):
            ours()
            theirs()
        counts = [clock.calls(way) for way in (ours, theirs)]
        times: tuple[list[float], list[float]] = ([], [])
        for number in range(rounds):
            for turn in (0, 1) if number % 2 else (1, 0):
                times[turn].append(clock.time((ours, theirs)[turn], counts[turn]))
    ratios = [mine / other for mine, other in zip(*times, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if rounds > 1 else ratios * 3
    return Row(
        section,
        what,
        against,
        ours=1e6 * statistics.median(times[0]),
        theirs=1e6 * statistics.median(times[1]),
        ratio=middle,
        low=low,
        high=high,
        target=target,
    )


class Clock:
    """Times calls; see `compare` for `settle`."""

    def __init__(self, settle: Callable[[], object] | None) -> None:
        fine = time.get_clock_info("thread_time").resolution <= FINE
        self.now = time.thread_time if settle is None and fine else time.perf_counter
        self.settle = settle or (lambda: None)

    def time(self, way: Callable[[], object], count: int) -> float:
        """Seconds a call, over `count` calls."""
        start = self.now()
        for _ in range(count):
            way()
        self.settle()
        return (self.now() - start) / count

    def calls(self, way: Callable[[], object]) -> int:
        """How many calls fill a block."""
        once = min(self.time(way, 1) for _ in range(3))
        return max(1, round(BLOCK / once))


@contextmanager
def undisturbed() -> Iterator[None]:
    """One thread, and no garbage collection in between."""
    threads, collecting = torch.get_num_threads(), gc.isenabled()
    torch.set_num_threads(1)
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if collecting:
            gc.enable()
