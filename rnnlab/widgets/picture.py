"""The state view as a picture, drawn without a browser: what stateview.js draws, in Python."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnlab.errors import RnnlabError
from rnnlab.widgets.drawing import MARKS, STYLES, Page, Theme
from rnnlab.widgets.lanes import Lane, values

if TYPE_CHECKING:
    from rnnlab.widgets.explorer import Explorer

# Lengths in points, which `scale` turns into pixels.
GUTTER, SCALE, GAP, AXIS, HEAD = 118, 62, 22, 28, 34
NARROWEST, WIDEST = 280, 8000
CHUNK = 8192
"""Rows that are read at once: a picture of a long run needs no more memory than one of a short."""


def nice_limit(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, … (and 0.5, 0.2, …) that is not below `value`."""
    if not value > 0 or not math.isfinite(value):
        return 1.0
    decade = 10.0 ** math.floor(math.log10(value))
    return next(m * decade for m in (1, 2, 5, 10, 20) if m * decade >= value * 0.999999)


def to_png(
    explorer: Explorer,
    *,
    width: int = 900,
    theme: Theme = "light",
    scale: float = 1.0,
    span: tuple[int, int] | None = None,
) -> bytes:
    """The state view of an explorer's current branch as the bytes of a PNG file.

    Where a column is narrower than a pixel, each pixel shows the value of largest magnitude among
    the steps that fall on it, so that no spike is lost.

    Args:
        explorer: the explorer.
        width: in points; at scale 1 a point is a pixel.
        theme: "light" or "dark".
        scale: pixels per point: 2 is as sharp as a screen of high resolution.
        span: the first and the last row to draw, row 0 being the initial state; left out, all.

    Raises:
        RnnlabError: an unknown theme, a width below 280, a span outside the recording.
    """
    length = explorer.session.length()
    if not isinstance(theme, str) or theme not in STYLES:
        raise RnnlabError(f"to_png: theme must be 'light' or 'dark', not {theme!r}.")
    sizes = isinstance(width, Real) and isinstance(scale, Real)
    if not (sizes and NARROWEST <= width <= WIDEST and 0 < scale <= 8):
        raise RnnlabError(
            f"to_png: width must lie between {NARROWEST} and {WIDEST}, scale above 0 and up to 8; "
            f"got width={width!r}, scale={scale!r}."
        )
    given: Any = (0, length) if span is None else span
    ends: list[Any] = list(given) if isinstance(given, Iterable) else []
    whole = len(ends) == 2 and all(isinstance(end, Integral) for end in ends)
    if not whole or not 0 <= ends[0] <= ends[1] <= length:
        raise RnnlabError(
            f"to_png: span must be the first and the last of the rows 0 to {length} (row 0 is the "
            f"initial state), as (0, {length}); got {span!r}."
        )
    return draw(explorer, width, (int(ends[0]), int(ends[1])), theme, scale).png()


def draw(
    explorer: Explorer,
    width: int,
    span: tuple[int, int],
    theme: Theme = "light",
    scale: float = 1.0,
    tallest: int | None = None,
) -> Page:
    """The state view of the rows `span`, as `to_png` describes it.

    With `tallest`, no lane is higher: of the units that fall on a pixel it shows the largest.
    """
    session = explorer.session
    length, t = session.length(), session.t
    first, last = span
    lanes = [lane for lane in explorer._lanes() if lane.units]
    heights = [max(14, round(_row_height(lane.units) * lane.units)) for lane in lanes]
    heights = [min(height, tallest or height) for height in heights]
    tops = [HEAD + sum(heights[:k]) + GAP * k for k in range(len(lanes))]
    plot = width - GUTTER - SCALE
    column = min(44.0, plot / max(last + 1 - first, 10))
    pixels = max(1, min(last + 1 - first, round(plot * scale)))
    table, most = _reduced(explorer, lanes, first, last + 1, pixels)

    page = Page(width, HEAD + sum(heights) + GAP * len(lanes) - GAP + AXIS, theme, scale)
    place = f"step {t} of {length} · branch {session.branch_name}"
    odd = " · hatched: not finite" if np.isinf(table).any() else ""
    page.text(4, 13, f"rnnlab · {place}{odd}", "text", size=12)
    edges = first, last, column
    for lane, top, height in zip(lanes, tops, heights, strict=True):
        shown = table[:, lane.offset : lane.offset + lane.units]
        order = explorer.orders.get(lane.name)
        order = list(order) if order and len(order) == lane.units else list(range(lane.units))
        limit = lane.limit or nice_limit(most[lane.offset : lane.offset + lane.units].max())
        _lane(page, lane, top, height, plot, limit)
        wide, high = (last + 1 - first) * column, round(height * scale)
        page.cells(GUTTER, top, wide, height, _peaks(shown[:, order], high), lane.kind, limit)
        if first <= t < last:  # the recorded future is set back, as on the page
            page.veil(GUTTER + (t + 1 - first) * column, top, (last - t) * column, height)
        _names(page, lane, top, height, order)
        _selected(page, lane, top, height, order, explorer)
    _time(page, tops, heights, edges, t)
    if column >= 16:  # there is room for more than a letter
        start = max(first, 1)
        for row, label in enumerate(session.labels(start - 1, last), start):
            x = GUTTER + (row - first + 0.5) * column
            page.text(x, HEAD - 9, label or "", "text", "mm", room=column - 3)
    return page


def _row_height(units: int) -> float:
    return max(1.0, min(14.0 if units <= 12 else 16.0, 168 / units))


def _reduced(
    explorer: Explorer, lanes: Sequence[Lane], first: int, stop: int, pixels: int
) -> tuple[np.ndarray, np.ndarray]:
    """One row a pixel column, the value of largest magnitude in it; and each unit's magnitude.

    What is not finite is the largest, as ∞; NaN is what there is nothing of: the inputs and outputs
    before the first step.
    """
    rows = stop - first
    width = sum(lane.units for lane in lanes)
    table = np.full((pixels, width), np.nan, np.float32)
    bounds = np.arange(pixels + 1) * rows // pixels
    most = np.zeros(width)
    for a, b in _chunks(bounds):
        seen = values(explorer.session, lanes, first + bounds[a], first + bounds[b])
        finite = np.isfinite(seen)
        most = np.maximum(most, np.where(finite, np.abs(seen), 0).max(axis=0))
        seen = np.where(finite, seen, np.inf)
        if first + bounds[a] == 0:
            seen[0, ~finite[0]] = np.nan
        size = np.where(np.isnan(seen), -1, np.abs(seen))
        for pixel in range(a, b):
            low, high = bounds[pixel] - bounds[a], bounds[pixel + 1] - bounds[a]
            peak = size[low:high].argmax(axis=0)
            table[pixel] = np.take_along_axis(seen[low:high], peak[None], axis=0)[0]
    return table, most


def _peaks(rows: np.ndarray, pixels: int) -> np.ndarray:
    """Rows `(n, units)` with at most so many units: of those on a pixel the largest magnitude."""
    units = rows.shape[1]
    if units <= pixels:
        return rows
    bounds = np.arange(pixels + 1) * units // pixels
    size = np.where(np.isnan(rows), -1, np.abs(rows))
    at = [a + size[:, a:b].argmax(axis=1) for a, b in itertools.pairwise(bounds)]
    return np.take_along_axis(rows, np.stack(at, axis=1), axis=1)


def _chunks(bounds: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of pixels that hold about CHUNK rows each."""
    start, pixels = 0, len(bounds) - 1
    while start < pixels:
        stop = int(np.searchsorted(bounds, bounds[start] + CHUNK, side="right")) - 1
        stop = min(max(stop, start + 1), pixels)
        yield start, stop
        start = stop


def _lane(page: Page, lane: Lane, top: int, height: int, plot: float, limit: float) -> None:
    """The frame of a lane, its title and its colour scale."""
    page.box(GUTTER, top, plot, height, fill="empty", outline="line")
    page.text(4, top + min(8, height / 2), lane.title, "text", size=12, room=76)
    if lane.units > 1 and height >= 26:
        page.text(4, top + 23, f"{lane.units} units", "faint", room=74)
    x = GUTTER + plot + 10
    signed = lane.kind == "signed"
    ramp = np.linspace(limit, -limit if signed else 0, 64, dtype=np.float32)
    page.cells(x, top, 8, height, ramp[None], lane.kind, limit)
    page.box(x, top, 8, height, outline="line")
    if height < 22:  # one line has room
        said = f"±{_format(limit)}" if signed else f"0–{_format(limit)}"
        page.text(x + 12, top + height / 2, said, "faint")
        return
    page.text(x + 12, top + 5, _format(limit), "faint")
    if height >= 40 and signed:
        page.text(x + 12, top + height / 2, "0", "faint")
    page.text(x + 12, top + height - 4, _format(-limit if signed else 0), "faint")


def _names(page: Page, lane: Lane, top: int, height: int, order: Sequence[int]) -> None:
    unit = height / lane.units
    beside = [(min(8, height / 2), lane.title, 12), (23, f"{lane.units} units", 11)]
    for slot in range(0, lane.units, max(1, math.ceil(12 / unit))):
        label = lane.labels[order[slot]] if lane.labels else str(order[slot])
        y = (slot + 0.5) * unit
        taken = [min(76, page.length(said, size)) for at, said, size in beside if abs(at - y) < 13]
        room = GUTTER - 12 - max([8 + wide for wide in taken], default=0)
        page.text(GUTTER - 8, top + y, label, "faint", "rm", room=room)


def _selected(
    page: Page, lane: Lane, top: int, height: int, order: list[int], explorer: Explorer
) -> None:
    for number, (name, unit) in enumerate(explorer.selection["units"]):
        if name == lane.name and unit in order:
            y = top + (order.index(unit) + 0.5) * height / lane.units
            page.triangle(GUTTER - 1, y, MARKS[number % len(MARKS)])


def _time(
    page: Page,
    tops: list[int],
    heights: list[int],
    edges: tuple[int, int, float],
    t: int,
) -> None:
    """The time axis, and the place on it."""
    first, last, column = edges
    bottom = tops[-1] + heights[-1] if tops else HEAD
    steps = sorted(m * 10**d for m in (1, 2, 5) for d in range(7))
    room = page.length(str(last)) + 8
    step = next((s for s in steps if s * column >= room + 12), 5_000_000)
    page.text(4, bottom + 12, "step", "faint")
    for row in range(math.ceil(first / step) * step, last + 1, step):
        if abs(row - t) * column >= room or not first <= t <= last:
            page.text(GUTTER + (row - first + 0.5) * column, bottom + 12, str(row), "faint", "mm")
    if not first <= t <= last or not tops:
        return
    x, wide = GUTTER + (t - first) * column, max(3.0, column)
    page.box(x, tops[0] - 3, wide, bottom - tops[0] + 3, outline="accent", thick=2)
    room = page.length(str(t)) + 8
    page.box(x + wide / 2 - room / 2, bottom + 5, room, 15, fill="accent")
    page.text(x + wide / 2, bottom + 12, str(t), "on_accent", "mm")


def _format(value: float) -> str:
    """Two significant digits, in powers of ten where they would be long."""
    if value and not 0.001 <= abs(value) < 1e4:
        digits, power = f"{value:.1e}".split("e")
        return f"{digits.removesuffix('.0')}e{int(power)}"
    return f"{value:.2g}" if abs(value) < 100 else f"{float(f'{value:.2g}'):.0f}"
