"""Reading a session: where it stands, what it recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnlab.errors import RnnlabError
from rnnlab.recur import AT_INIT
from rnnlab.session.columns import as_numpy
from rnnlab.session.commands import Edit
from rnnlab.session.editing import Editing, _by_name
from rnnlab.session.engine import whole
from rnnlab.session.layout import _own
from rnnlab.session.tiles import tiles
from rnnlab.session.timeline import Branch
from rnnlab.session.vocabulary import Vocabulary
from rnnlab.trace import Trace


class Reading(Editing):
    """The side of a Session that changes nothing."""

    decode: Callable[[Any], Any] | None

    @property
    def t(self) -> int:
        """How many steps of the current branch lie before the current place."""
        with self._lock:
            return self._t

    @property
    def branch_name(self) -> str:
        """The name of the current branch."""
        with self._lock:
            return self._branch.name

    @property
    def branches(self) -> tuple[str, ...]:
        """The names of all branches, oldest first."""
        with self._lock:
            return tuple(self._branches)

    @property
    def origin(self) -> str:
        """The branch on which the current step was recorded: this one, or one that it forked from.

        At a fork, and at t = 0, it is the branch that lends the place.
        """
        with self._lock:
            branch = self._branch
            while branch.parent is not None and branch.fork >= self._t:
                branch = branch.parent
            return branch.name

    @property
    def edits(self) -> dict[int, Edit]:
        """Every edit made so far by its number; `active_edits` are those of the current line."""
        with self._lock:
            return {edit.number: edit for edit in self._edits}

    @property
    def active_edits(self) -> tuple[int, ...]:
        """The numbers of the edits that are on in the current line."""
        with self._lock:
            return tuple(edit.number for edit in self._branch.all_edits())

    def parent(self, branch: str | None = None) -> tuple[str, int] | None:
        """The branch from which a branch was forked, and the step; None for a run of its own."""
        with self._lock:
            line = self._find(branch)
            return None if line.parent is None else (line.parent.name, line.fork)

    def shared(self, a: str, b: str) -> int:
        """How many steps two branches have in common; an edit made after the last is not seen."""
        with self._lock:
            ours = {id(branch): stop for branch, stop in self._find(a).lineage()}
            theirs = self._find(b).lineage()
            common = (min(stop, ours[id(c)]) for c, stop in theirs if id(c) in ours)
            return max(common, default=0)

    def length(self, branch: str | None = None) -> int:
        """Steps recorded on a branch (the current one if none is named), shared past included."""
        with self._lock:
            return len(self._find(branch))

    def states(self) -> dict[str, Any]:
        """The states at the current place, by name; copies."""
        with self._lock:
            states = [
                recur.init if state is AT_INIT else state
                for (_, recur), state in zip(self._stepper.recurs, self._states, strict=True)
            ]
            found = _by_name(self._stepper.names(states), states)
            return {name: _own(value) for name, value in found.items()}

    def recorded(self, branch: str | None = None) -> dict[str, tuple[int, ...]]:
        """What a branch records: name → shape of one row. Empty before the first step."""
        with self._lock:
            layout = self._find(branch).layout
            return {name: slot.shape for name, slot in layout.slots.items()} if layout else {}

    def initial(self, branch: str | None = None) -> dict[str, np.ndarray]:
        """The states before the first step of a branch's run, by name."""
        with self._lock:
            start = self._find(branch).start()
            found = {name: np.array(as_numpy(v)) for name, v in start.entry_values().items()}
        for value in found.values():
            value.flags.writeable = False
        return found

    def read(
        self, name: str, start: int = 0, stop: int | None = None, branch: str | None = None
    ) -> np.ndarray:
        """Rows of one recorded array for the steps start + 1 … stop, without touching the rest."""
        with self._lock:
            line, start, stop = self._between(name, start, stop, branch)
            return line.read(name, start, stop)

    def tiles(
        self,
        name: str,
        start: int = 0,
        stop: int | None = None,
        buckets: int = 1000,
        branch: str | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The least and the largest value of each unit in each of so many buckets of steps.

        Bucket i of n holds the steps start + 1 + ⌊i (stop − start) / n⌋ … start + ⌊(i + 1)
        (stop − start) / n⌋; n is `buckets`, or the number of steps if that is smaller. NaN is
        passed over; where there is nothing else, the result is NaN.

        The first call goes through the whole recording. What it keeps (about 2/15 of its bytes)
        grows with the recording, so that later calls look at some dozens of rows a bucket only.

        Args:
            name: a recorded array.
            start, stop: the steps start + 1 … stop, as for `read`.
            buckets: how many at most: the width of the view in pixels.
            branch: the branch; the current one if left out.

        Returns:
            Two arrays `(n, …)`, with the rest as in a row of `read`.

        Raises:
            RnnlabError: an array or steps that are not there, no bucket, complex numbers.

        Example:
            >>> import rnnlab as rl
            >>> s = rl.Session(rl.Recur(lambda h, x: (h + x, h), 0.0))
            >>> ys = s.run([1, 1, -3, 1, 1, 4])
            >>> lows, highs = s.tiles("h", buckets=2)
            >>> lows.tolist(), highs.tolist()
            ([-1.0, 0.0], [2.0, 5.0])
        """
        if whole("buckets", buckets) < 1:
            raise RnnlabError(f"Session: there must be at least one bucket, not {buckets!r}.")
        with self._lock:
            line, start, stop = self._between(name, start, stop, branch)
            return tiles(line, name, start, stop, int(buckets))

    def labels(
        self, start: int = 0, stop: int | None = None, branch: str | None = None
    ) -> list[str | None]:
        """The labels of the steps start + 1 … stop; None for a step without one."""
        with self._lock:
            line = self._find(branch)
            return line.labels_of(*self._steps(line, start, stop))

    def fed(self, step: int, branch: str | None = None) -> tuple[Any, ...]:
        """What a step was fed, exactly as the model was given it; copies.

        Example:
            >>> import rnnlab as rl
            >>> s = rl.Session(rl.Recur(lambda h, x: (h + x, h), 0.0))
            >>> ys = s.run([2, 3])
            >>> s.fed(2)
            (3,)
        """
        with self._lock:
            line = self._find(branch)
            step = whole("step", step)
            if not 1 <= step <= len(line):
                raise RnnlabError(
                    f"Session: there are steps 1 to {len(line)} on {line.name!r}, no {step}."
                )
            return line.inputs(step - 1)

    def _between(
        self, name: str, start: int, stop: int | None, branch: str | None
    ) -> tuple[Branch, int, int]:
        """The branch and its steps start + 1 … stop, if this array is recorded for them."""
        line = self._find(branch)
        if line.layout is None or name not in line.layout.names:
            known = ", ".join(line.layout.names) if line.layout else "nothing yet"
            raise RnnlabError(f"Session: {name!r} is not recorded; there is: {known}.")
        return line, *self._steps(line, start, stop)

    def _steps(self, line: Branch, start: int, stop: int | None) -> tuple[int, int]:
        """The steps start + 1 … stop of a branch, if these are recorded."""
        length = len(line)
        start = whole("start", start)
        stop = length if stop is None else whole("stop", stop)
        if not 0 <= start <= stop <= length:
            raise RnnlabError(
                f"Session: there are steps 0 to {length} on {line.name!r}, not {start} to {stop}."
            )
        return start, stop

    def trace(self, branch: str | None = None) -> Trace:
        """The recording of a whole branch (the current one if none is named)."""
        with self._lock:
            line = self._find(branch)
            names = line.layout.names if line.layout else ()
            arrays = {name: line.read(name, 0, len(line)) for name in names}
            initial: dict[str, np.ndarray] = {}
            for name, value in self.initial(line.name).items():
                rows = arrays.setdefault(name, np.empty((0, *value.shape), value.dtype))
                wider = len(line) and rows.ndim - 1 > value.ndim
                initial[name] = np.broadcast_to(value, rows.shape[1:]) if wider else value
            labels = line.all_labels()
            return Trace(
                arrays,
                initial=initial,
                labels=[label or "" for label in labels] if any(labels) else None,
                outputs=self._tokens(arrays.get("y")),
                weights=line.weight_marks(),
                edits=[edit.describe() for edit in line.all_edits()],
            )

    def _tokens(self, ys: np.ndarray | None) -> tuple[str, ...] | None:
        """What the units of the output stand for, where `decode` is a Vocabulary's."""
        owner = getattr(self.decode, "__self__", None)
        if not isinstance(owner, Vocabulary) or ys is None or ys.ndim < 2:
            return None
        return owner.tokens if ys.shape[-1] == len(owner) else None
