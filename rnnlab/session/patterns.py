"""Where chosen units are active together, and where else the same pattern occurs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnlab.cells.base import describe
from rnnlab.errors import RnnlabError
from rnnlab.session.wording import check_number
from rnnlab.trace import Trace

Unit = tuple[str, int] | tuple[str, int, int]
"""The name of an array, a unit of it, and a sign (−1: active when low)."""


@dataclass(frozen=True)
class Span:
    """The steps start + 1 … stop, so that `trace[span.slice]` is what happened in them.

    `strength` is the mean, over these steps and the chosen units, of the signed activity.
    """

    start: int
    stop: int
    strength: float

    @property
    def slice(self) -> slice:
        return slice(self.start, self.stop)

    def __len__(self) -> int:
        return self.stop - self.start

    def __repr__(self) -> str:
        return f"Span(steps {self.start + 1}–{self.stop}, strength {self.strength:.3g})"


@dataclass(frozen=True)
class Match:
    """A place like the pattern: recording number, steps, and the similarity (1: the same)."""

    recording: int
    start: int
    stop: int
    similarity: float

    @property
    def slice(self) -> slice:
        return slice(self.start, self.stop)

    def __repr__(self) -> str:
        place = f"recording {self.recording}, steps {self.start + 1}–{self.stop}"
        return f"Match({place}, similarity {self.similarity:.3f})"


def find(
    trace: Trace,
    units: Iterable[Unit] | Mapping[str, Sequence[int]],
    above: float = 0.5,
    at_least: int | None = None,
    min_steps: int = 1,
) -> list[Span]:
    """The spans in which chosen units are active together.

    A unit is active at a step if sign · value > above. A span is a longest stretch of steps at each
    of which at least `at_least` of the units are active. Time linear in the recording.

    Args:
        trace: a recording; of a batch, the first row is looked at.
        units: (name, unit) or (name, unit, −1) each; or a dict name → units.
        above: the threshold, in the unit's own scale.
        at_least: how many of the units; all if left out.
        min_steps: shorter spans are left out.

    Raises:
        RnnlabError: no units, a unit that is not there, an `at_least` that cannot be reached.

    Example:
        >>> h = np.array([[1, -1], [1, 1], [1, -1], [0, -1.0]])
        >>> find(Trace({"h": h}), [("h", 0), ("h", 1, -1)])
        [Span(steps 1–1, strength 1), Span(steps 3–3, strength 1)]
        >>> find(Trace({"h": h}), {"h": [0, 1]}, at_least=1)
        [Span(steps 1–3, strength 0.333)]
    """
    _check_trace("find", trace)
    check_number("find", "above", above)
    signed = _signed(trace, units)
    wanted = signed.shape[1] if at_least is None else at_least
    if not _is_whole(wanted) or not 1 <= wanted <= signed.shape[1]:
        raise RnnlabError(
            f"find: at_least must be between 1 and the number of units ({signed.shape[1]}), "
            f"not {at_least!r}."
        )
    if not _is_whole(min_steps):
        raise RnnlabError(f"find: min_steps must be a whole number, got {min_steps!r}.")
    active = (signed > above).sum(axis=1) >= wanted
    edges = np.flatnonzero(np.diff(np.concatenate([[False], active, [False]])))
    return [
        Span(int(start), int(stop), float(signed[start:stop].mean()))
        for start, stop in zip(edges[::2], edges[1::2], strict=True)
        if stop - start >= min_steps
    ]


def match(
    trace: Trace,
    span: Span | slice | tuple[int, int],
    recordings: Trace | Sequence[Trace] | None = None,
    *,
    names: str | Sequence[str] | None = None,
    units: Iterable[Unit] | Mapping[str, Sequence[int]] | None = None,
    top: int = 10,
) -> list[Match]:
    """The other places at which the pattern of a span occurs, the most similar first.

    The similarity of two stretches P, Q of L steps is 2 ⟨P, Q⟩ / (⟨P, P⟩ + ⟨Q, Q⟩), summed over
    steps and units: 1 if they are the same, 0 if unrelated, −1 if opposite; another scale lowers
    it. ⟨P, Q⟩ for all places is one correlation by FFT in blocks, ⟨Q, Q⟩ a running sum, so time is
    linear in the recording. Places do not overlap each other, nor the span itself, also where it is
    found again in a recording that shares its past. Stretches with a number that is not finite are
    left out; of complex numbers both parts count.

    Args:
        trace: the recording with the span.
        span: what `find` gave, or a slice of steps.
        recordings: where to look, one or several; in `trace` itself if left out.
        names: which arrays make the pattern; the states if left out.
        units: which units make it, as for `find`, instead of names.
        top: how many places at most.

    Example:
        >>> h = np.array([0, 1, 2, 1, 0, 0, 0, 1, 2, 1, 0, 0.0])[:, None]
        >>> match(Trace({"h": h}, initial={"h": [0.0]}), slice(1, 4), top=1)
        [Match(recording 0, steps 8–10, similarity 1.000)]
    """
    _check_trace("match", trace)
    start, stop = _bounds(span, len(trace))
    if stop <= start:
        raise RnnlabError(f"match: the span is empty ({start} to {stop}).")
    if units is None:
        names = [names] if isinstance(names, str) else list(names or trace.states or trace.names)
        columns: Any = lambda t: np.concatenate([_parts(t, name) for name in names], axis=1)  # noqa: E731
    else:
        chosen = _listed(units)
        columns = lambda t: _signed(t, chosen)  # noqa: E731
    pattern = columns(trace)[start:stop]
    if not np.isfinite(pattern).all():
        raise RnnlabError("match: the span holds numbers that are not finite.")
    if not _is_whole(top):
        raise RnnlabError(f"match: top must be a whole number, got {top!r}.")
    length = stop - start
    scored: list[tuple[float, int, int]] = []
    searched = trace if recordings is None else recordings
    places: Any = [searched] if isinstance(searched, Trace) else searched
    if not isinstance(places, Sequence) or not all(isinstance(t, Trace) for t in places):
        raise RnnlabError(f"match: recordings are Traces, one or several; got {recordings!r}.")
    for number, where in enumerate(places):
        rows = columns(where)
        if rows.shape[1] != pattern.shape[1]:
            raise RnnlabError(
                f"match: recording {number} has {rows.shape[1]} units, "
                f"the pattern has {pattern.shape[1]}."
            )
        scores = _similarity(rows, pattern)
        if _same_past(trace, where, stop):
            scores[max(0, start - length + 1) : stop] = -np.inf
        scored += _peaks(scores, length, top, number)
    scored.sort(key=lambda found: (-found[0], found[1], found[2]))
    return [Match(number, at, at + length, score) for score, number, at in scored[:top]]


def _check_trace(caller: str, trace: Any) -> None:
    if not isinstance(trace, Trace):
        raise RnnlabError(
            f"{caller}: the recording must be a Trace, as session.trace() gives it; got "
            f"{describe(trace)}."
        )


def _similarity(rows: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    """The similarity of the pattern and the stretch that begins at each step."""
    length = len(pattern)
    count = len(rows) - length + 1
    if count <= 0:
        return np.empty(0)
    broken = np.logical_not(np.isfinite(rows).all(axis=1))
    rows = np.where(broken[:, None], 0.0, rows)
    dot = np.zeros(count)
    size = 1 << int(np.ceil(np.log2(4 * length)))
    spectrum = np.conj(np.fft.rfft(pattern, size, axis=0))
    step = size - length + 1
    for at in range(0, count, step):
        part = np.fft.rfft(rows[at : at + size], size, axis=0)
        found = np.fft.irfft((part * spectrum).sum(axis=1), size)[:step]
        dot[at : at + step] = found[: count - at]
    squares = np.concatenate([[0.0], np.cumsum((rows**2).sum(axis=1))])
    own = squares[length:] - squares[:-length]
    total = (pattern**2).sum() + own
    scores = np.divide(2 * dot, total, out=np.zeros(count), where=total > 0)
    inside = np.concatenate([[0], np.cumsum(broken)])
    scores[inside[length:] > inside[:-length]] = -np.inf
    return scores


def _peaks(scores: np.ndarray, length: int, top: int, number: int) -> list[tuple[float, int, int]]:
    """The best places that do not overlap."""
    scores = scores.copy()
    found: list[tuple[float, int, int]] = []
    while len(found) < top and len(scores):
        at = int(scores.argmax())
        if not np.isfinite(scores[at]):
            break
        found.append((float(min(scores[at], 1.0)), number, at))
        scores[max(0, at - length + 1) : at + length] = -np.inf
    return found


def _same_past(one: Trace, two: Trace, stop: int) -> bool:
    """Whether two recordings are the same up to a step: then so is a span before it."""
    return one is two or (
        one.names == two.names
        and len(two) >= stop
        and all(_equal(one.initial[name], two.initial.get(name)) for name in one.initial)
        and all(_equal(one[name][:stop], two[name][:stop]) for name in one.names)
    )


def _equal(a: np.ndarray, b: np.ndarray | None) -> bool:
    return b is not None and a.shape == b.shape and np.array_equal(a, b)


def _listed(units: Any) -> list[Unit]:
    try:
        if isinstance(units, Mapping):
            units = [(name, unit) for name, chosen in units.items() for unit in chosen]
        chosen: list[Any] = [tuple(unit) for unit in units]
    except TypeError:
        chosen = [(units,)]
    if not chosen:
        raise RnnlabError(
            "find: no units were given. units=[(name, unit), …] or {name: [unit, …]} names them."
        )
    for unit in chosen:
        if not 2 <= len(unit) <= 3 or not isinstance(unit[0], str) or not _is_whole(unit[1]):
            raise RnnlabError(
                "find: units are (name, unit) or (name, unit, −1) each, or a dict name → units; "
                f"got {units!r}."
            )
        if unit[2:] not in ((), (1,), (-1,)):
            raise RnnlabError(f"find: the sign of a unit is 1 or −1, got {unit[2]!r}.")
    return chosen


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _signed(trace: Trace, units: Any) -> np.ndarray:
    """The chosen units side by side, `(T, units)`, those with a negative sign turned over."""
    columns = []
    for name, unit, *sign in _listed(units):
        rows = _rows(trace, name)
        if not -rows.shape[1] <= unit < rows.shape[1]:
            raise RnnlabError(
                f"find: {name} has units 0 to {rows.shape[1] - 1}; there is no {unit}."
            )
        columns.append(rows[:, unit] * (sign[0] if sign else 1))
    return np.stack(columns, axis=1)


def _parts(trace: Trace, name: str) -> np.ndarray:
    """The units of an array, of a batch those of its first row; real and imaginary parts apart."""
    rows = trace[name]
    rows = rows[:, None] if rows.ndim == 1 else rows
    while rows.ndim > 2:
        rows = rows[:, 0]
    if rows.dtype.kind == "c":
        rows = np.concatenate([rows.real, rows.imag], axis=1)
    return rows.astype(np.float64)


def _rows(trace: Trace, name: str) -> np.ndarray:
    if trace[name].dtype.kind == "c":
        raise RnnlabError(f"find: {name} is complex; there is no above and below.")
    return _parts(trace, name)


def _bounds(span: Any, steps: int) -> tuple[int, int]:
    pair: Any = (span.start, span.stop) if isinstance(span, Span) else span
    if isinstance(span, slice) and span.step in (None, 1):
        start, stop, _ = span.indices(steps)
        return start, stop
    whole = isinstance(pair, tuple) and len(pair) == 2 and all(map(_is_whole, pair))
    if not whole or not 0 <= pair[0] <= pair[1] <= steps:
        raise RnnlabError(
            "match: the span is what find gave, a slice of steps, or (start, stop) between 0 and "
            f"{steps}; got {span!r}."
        )
    return int(pair[0]), int(pair[1])
