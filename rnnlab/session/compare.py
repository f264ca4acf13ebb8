"""Two branches, or two sessions, side by side: how far apart, through which units, for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnlab.errors import RnnlabError
from rnnlab.session.alignment import aligned
from rnnlab.session.session import Session
from rnnlab.session.wording import check_number
from rnnlab.trace import Trace


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` found.

    Attributes:
        a, b: what was compared.
        steps: `(n, 2)`: which step of a stands beside which step of b, counted from 1.
        gaps: name → `(n, units)`: |a − b| per unit; the largest over a batch.
        distance: name → `(n,)`: the root mean square of |a − b| over the units.
        left_out: name → why a state or output of one of them was not compared: the other has none
            of that name, or of another shape.
    """

    a: str
    b: str
    steps: np.ndarray
    gaps: Mapping[str, np.ndarray]
    distance: Mapping[str, np.ndarray]
    left_out: Mapping[str, str]

    def carriers(self, name: str, count: int = 5) -> list[tuple[int, float]]:
        """The units that carry the difference: (unit, its share of the squared distance).

        Steps at which a unit is not a number are left out.
        """
        squares = np.nansum(self._known(self.gaps, name).astype(float) ** 2, axis=0)
        total = squares.sum()
        order = np.argsort(-squares, kind="stable")[:count]
        return [(int(u), float(squares[u] / total) if total else 0.0) for u in order]

    def begins(self, name: str, above: float = 0.0) -> int | None:
        """The first aligned pair whose distance exceeds `above`: its position in `steps`.

        A distance that is not a number counts as one that does.
        """
        check_number("begins", "above", above)
        found = np.flatnonzero(~(self._known(self.distance, name) <= above))
        return int(found[0]) if len(found) else None

    def dies_out(self, name: str, share: float = 0.01) -> int | None:
        """The pair from which on the distance stays within `share` of its peak; None if never.

        A distance that is not a number has not died out.
        """
        check_number("dies_out", "share", share)
        distance = self._known(self.distance, name)
        large = np.flatnonzero(~(distance <= share * np.nanmax(distance, initial=0.0)))
        after = int(large[-1]) + 1 if len(large) else 0
        return after if after < len(distance) else None

    def _known(self, arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
        if name in self.left_out:
            raise RnnlabError(f"compare: {name} was not compared: {self.left_out[name]}.")
        if name not in arrays:
            raise RnnlabError(f"compare: no {name!r} was compared, but {', '.join(arrays)}.")
        return arrays[name]

    def __repr__(self) -> str:
        lines = [f"Comparison({self.a!r}, {self.b!r}: {len(self.steps)} steps side by side)"]
        for name, distance in self.distance.items():
            if not len(distance):
                continue
            unknown = int(np.isnan(distance).sum())
            if unknown == len(distance):
                lines.append(f"  {name}: not a number at any step")
                continue
            peak = int(np.nanargmax(distance))
            if not distance[peak] and not unknown:
                lines.append(f"  {name}: equal")
                continue
            units = ", ".join(f"{unit} ({share:.0%})" for unit, share in self.carriers(name, 3))
            end = self.dies_out(name)
            until = "to the end" if end is None else f"until step {self.steps[end][0]}"
            lines.append(
                f"  {name}: at most {distance[peak]:.3g}, at step {self.steps[peak][0]}; "
                f"units {units}; {until}"
                + (f"; not a number at {unknown} steps" if unknown else "")
            )
        lines += [f"  {name}: not compared, {why}" for name, why in self.left_out.items()]
        return "\n".join(lines)


def compare(session: Any, a: Any = None, b: Any = None, *, align: str = "step") -> Comparison:
    """Two recordings side by side, and the distance between them, step by step.

    Args:
        session: the Session whose branches `a` and `b` are; or the first of two things to compare.
        a: a branch; or, with `b` left out, what to compare `session` with.
        b: the other branch. Sessions (their current branch) and Traces can be given as well.
        align: "step": step t beside step t; "label": as many steps as possible, each beside one of
            the same label, in the same order (a longest common subsequence). Two texts of 5,000
            tokens with nothing in common take some hundredths of a second, of 50,000 seconds.

    Returns:
        A `Comparison`: arrays per state and output, in the order of the recording.

    Raises:
        RnnlabError: nothing of the same shape, no labels to align by, a branch that is not there.

    Example:
        >>> import rnnlab as rl
        >>> s = Session(rl.Recur(lambda h, x: (0.1 * h + x, h), 0.0))
        >>> ys = s.run([1, 1, 1, 1, 1, 1])
        >>> s.rewind(1)
        >>> ys = s.run([2, 1, 1, 1, 1])
        >>> compare(s, "main", "main@1")
        Comparison('main', 'main@1': 6 steps side by side)
          h: at most 1, at step 2; units 0 (100%); until step 5
          y: at most 1, at step 3; units 0 (100%); until step 6
    """
    pair = (session, a) if b is None else (a, b)
    known = session if isinstance(session, Session) else None
    (name_a, one), (name_b, two) = (_recording(known, what) for what in pair)
    names = dict.fromkeys(
        name for trace in (one, two) for name in trace if not _is_input(trace, name)
    )
    left_out = {
        name: f"{_told(one, name)} in {name_a!r}, {_told(two, name)} in {name_b!r}"
        for name in names
        if _told(one, name) != _told(two, name)
    }
    names = [name for name in names if name not in left_out]
    if not names:
        why = "; ".join(f"{name}: {text}" for name, text in left_out.items())
        raise RnnlabError(
            f"compare: {name_a!r} and {name_b!r} record nothing of the same shape"
            + (f" ({why})." if why else ".")
        )
    steps = _aligned(one, two, align)
    gaps = {}
    for name in names:
        gap = np.abs(_real(one[name])[steps[:, 0]] - _real(two[name])[steps[:, 1]])
        gap = gap[:, None] if gap.ndim == 1 else gap
        gaps[name] = gap.max(axis=tuple(range(1, gap.ndim - 1))) if gap.ndim > 2 else gap
    distance = {name: np.sqrt((gap**2).mean(axis=1)) for name, gap in gaps.items()}
    return Comparison(name_a, name_b, steps + 1, gaps, distance, left_out)


def _is_input(trace: Trace, name: str) -> bool:
    return name not in trace.initial and (name == "x" or name.startswith("x."))


def _told(trace: Trace, name: str) -> str:
    return f"{trace[name].shape[1:]} a step" if name in trace else "absent"


def _recording(session: Session | None, what: Any) -> tuple[str, Trace]:
    if isinstance(what, Trace):
        return repr(what), what
    if isinstance(what, Session):
        return what.branch_name, what.trace()
    if session is None or not isinstance(what, str):
        raise RnnlabError(f"compare: give branches of a session, Sessions or Traces, not {what!r}.")
    return what, session.trace(what)


def _aligned(one: Trace, two: Trace, align: str) -> np.ndarray:
    if align == "step":
        return np.repeat(np.arange(min(len(one), len(two)))[:, None], 2, axis=1)
    if align != "label":
        raise RnnlabError(f"compare: align must be 'step' or 'label', not {align!r}.")
    if one.labels is None or two.labels is None:
        raise RnnlabError("compare: there are no labels to align by; align='step' needs none.")
    return aligned(one.labels, two.labels)


def _real(rows: np.ndarray) -> np.ndarray:
    return rows.astype(np.float64) if rows.dtype.kind in "biuf" else rows
