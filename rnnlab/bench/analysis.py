"""What the analyses take, in seconds, beside the limit that each has to keep."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from rnnlab.analysis import fixed_points, lyapunov
from rnnlab.bench.timing import Clock, Row, undisturbed
from rnnlab.cells import RNNCell


def analysis(settings: Any) -> Iterator[Row]:
    """All fixed points of h' = tanh(2h) in a few units, and a full Lyapunov spectrum.

    Nothing else finds all the points, so there is no peer to time: the limits are plain seconds.
    """
    for units, limit in ((1, 3.0),) if settings.quick else ((3, 3.0), (5, 20.0)):
        cell, want = uncoupled(units), 3**units
        yield within(
            f"fixed_points, {units} units: all {want} points",
            limit,
            lambda cell=cell: len(fixed_points(cell, progress=False).points),
            want,
            rounds=settings.few,
        )
    units, steps = (8, 16) if settings.quick else (300, 300)
    cell, xs = RNNCell(1, units), np.zeros((steps, 1))
    yield within(
        f"lyapunov, all {units} exponents, {steps} steps",
        20.0,
        lambda: len(lyapunov(cell, xs, progress=False).exponents),
        units,
        rounds=3,
    )


def uncoupled(units: int) -> RNNCell:
    """h' = tanh(2h), each unit for itself: 3^units fixed points."""
    cell = RNNCell(1, units)
    with torch.no_grad():
        cell.weight_hh.copy_(2 * torch.eye(units))
    return cell


def within(what: str, limit: float, run: Callable[[], int], want: int, *, rounds: int) -> Row:
    """The time of a call as a share of its limit; missed if it does not give what is wanted.

    Example:
        >>> row = within("a sum", 1.0, lambda: sum([1, 2]), 3, rounds=3)
        >>> row.reached, within("a wrong one", 1.0, lambda: 4, 3, rounds=3).reached
        (True, False)
    """
    clock = Clock(None)
    right = run() == want
    with undisturbed():
        times = [clock.time(run, 1) for _ in range(max(2, rounds))]
    shares = [seconds / limit if right else float("inf") for seconds in times]
    low, _, high = statistics.quantiles(shares, n=4) if right else shares[:1] * 3
    return Row(
        "Analyses, beside the limit in seconds",
        what,
        f"at most {limit:g} s",
        ours=1e6 * statistics.median(times),
        theirs=1e6 * limit,
        ratio=statistics.median(shares),
        low=low,
        high=high,
        target=1.0,
    )
