"""Session: a recurrent model under a stepping engine that records, rewinds and branches."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnnlab.cells.base import describe
from rnnlab.errors import RnnlabError
from rnnlab.fingerprint import fingerprint, weights
from rnnlab.nested import State, fill, map_leaves, named_leaves
from rnnlab.recur import AT_INIT, Recur, recurs
from rnnlab.session.columns import as_numpy
from rnnlab.session.timeline import Branch
from rnnlab.trace import Trace


@dataclass(frozen=True)
class Moved:
    """What subscribers are told: the session stands at step `t` of `branch`.

    Steps `start + 1 … stop` of that branch are new; none are if `start == stop`.
    """

    branch: str
    t: int
    start: int
    stop: int


class Session:
    """Feeds a recurrent model step by step, records everything, and can go back.

    The session drives the model itself: the model's running states are those of the session's
    place on the timeline. Steps run without gradients. The timeline is a tree: stepping from the
    past forks a branch, `reset` starts a new run, and nothing recorded is ever overwritten.

    Args:
        model: a Recur, a Chain, any `nn.Module` with Recurs inside, or a cell of the library.
        encode: turns what `step` is given into the model's input; left out, arrays and lists
            become tensors of the model's dtype and device.
        decode: turns the model's output into what is shown for it: a dict label → number.
        allow_nonfinite: accept steps that take or produce NaN or infinity.

    Attributes:
        model: the model.
        t: how many steps of the current branch lie before the current place.
        branches: the names of all branches, oldest first.

    Raises:
        RnnlabError: a model without state (at construction). From a step: an input that the model
            refuses, any exception inside the model (as its cause), or a result that is not finite.
            The session then stands exactly where it stood.

    Example:
        >>> import rnnlab as rl
        >>> s = Session(rl.Recur(lambda h, x: (h + x, 2 * h), 0.0))
        >>> s.step(2), s.step(3), s.t
        (0.0, 4.0, 2)
        >>> s.back()
        >>> s.step(10)  # from the past: the recorded future is kept, a branch is forked
        4.0
        >>> s.branches, s.branch_name
        (('main', 'main@1'), 'main@1')
        >>> s.trace()["h"].tolist(), s.trace("main")["h"].tolist()
        ([2.0, 12.0], [2.0, 5.0])
    """

    def __init__(
        self,
        model: Any,
        encode: Callable[..., Any] | None = None,
        decode: Callable[[Any], Any] | None = None,
        *,
        allow_nonfinite: bool = False,
    ) -> None:
        if not recurs(model) and callable(getattr(model, "initial_state", None)):
            model = Recur(model)
        self._recurs = [recur for _, recur in recurs(model)]
        self._paths = [path for path, _ in recurs(model)]
        if not self._recurs:
            raise RnnlabError(
                f"Session: {_short(model)} has no state to step through. Give a Recur, a Chain "
                "with one inside, or Recur(cell, init) around a cell function of your own."
            )
        self.model = model
        self.encode = encode
        self.decode = decode
        self.allow_nonfinite = allow_nonfinite
        self._lock = threading.RLock()
        self._subscribers: list[Callable[[Moved], None]] = []
        self._weights = list(weights(model).values())
        self._versions: list[int] = []
        self._fingerprint: dict[str, str] = {}
        self._branches: dict[str, Branch] = {}
        self._begin("main")

    # where we are

    @property
    def t(self) -> int:
        return self._t

    @property
    def branch_name(self) -> str:
        """The name of the current branch."""
        return self._branch.name

    @property
    def branches(self) -> tuple[str, ...]:
        return tuple(self._branches)

    @property
    def origin(self) -> str:
        """The branch on which the current step was recorded: this one, or one that it forked from.

        At a fork, and at t = 0, it is the branch that lends the place.
        """
        lineage = list(self._branch.lineage())
        return next((b.name for b, stop in lineage if b.fork < self._t <= stop), lineage[-1][0].name)

    def shared(self, a: str, b: str) -> int:
        """How many steps two branches have in common."""
        ours = {branch.name: stop for branch, stop in self._find(a).lineage()}
        theirs = self._find(b).lineage()
        common = (min(stop, ours[c.name]) for c, stop in theirs if c.name in ours)
        return max(common, default=0)

    def length(self, branch: str | None = None) -> int:
        """Steps recorded on a branch (the current one if none is named), shared past included."""
        return len(self._find(branch))

    def __repr__(self) -> str:
        place = f"step {self.t} of {self.length()}, branch {self.branch_name!r}"
        return f"Session({_short(self.model)}, {place})"

    def states(self) -> dict[str, Any]:
        """The states at the current place, by name."""
        found: dict[str, Any] = {}
        for path, recur, state in zip(self._paths, self._recurs, self._states, strict=True):
            found |= _named(path, recur, recur.init if state is AT_INIT else state)
        return found

    def trace(self, branch: str | None = None) -> Trace:
        """The recording of a whole branch (the current one if none is named)."""
        with self._lock:
            line = self._find(branch)
            length = len(line)
            names = line.recorded()
            arrays = {name: line.read(name, 0, length) for name in names}
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
                weights=line.all_weights(),
            )

    def recorded(self, branch: str | None = None) -> dict[str, tuple[int, ...]]:
        """What a branch records: name → shape of one row. Empty before the first step."""
        return {name: column.shape for name, column in self._find(branch).recorded().items()}

    def initial(self, branch: str | None = None) -> dict[str, np.ndarray]:
        """The states before the first step of a branch's run, by name."""
        entry = self._find(branch).root.entry
        found: dict[str, np.ndarray] = {}
        for path, recur, state in zip(self._paths, self._recurs, entry, strict=True):
            leaves = _named(path, recur, state).items()
            found |= {name: as_numpy(leaf) for name, leaf in leaves}
        return found

    def read(
        self, name: str, start: int = 0, stop: int | None = None, branch: str | None = None
    ) -> np.ndarray:
        """Rows of one recorded array for the steps start + 1 … stop, without touching the rest."""
        with self._lock:
            line = self._find(branch)
            if name not in line.recorded():
                known = ", ".join(line.recorded()) or "nothing yet"
                raise RnnlabError(f"Session: {name!r} is not recorded; there is: {known}.")
            return line.read(name, start, len(line) if stop is None else stop)

    # feeding

    def step(self, *inputs: Any, label: str | None = None) -> Any:
        """Feed one input, record what came of it, and return the model's output.

        From the past of a branch this forks a new one, which becomes the current branch.
        """
        with self._lock:
            y = self._step(inputs, label)
            self._tell(self._t - 1, self._t)
            return y

    def run(self, xs: Iterable[Any]) -> Any:
        """Feed a sequence; returns the outputs, one tensor `(T, …)` for a tensor, else a list.

        If one element is refused, the session stands where it stood before the first.
        """
        with self._lock:
            branch, t, known = self._branch, self._t, dict(self._branches)
            length, ys = len(branch), []
            try:
                for x in xs:
                    ys.append(self._step((x,), None))
            except BaseException:
                branch.truncate(length)
                self._branches = known
                self._enter(branch, t)
                raise
            self._tell(t, t + len(ys))
            whole = isinstance(xs, (Tensor, np.ndarray)) and ys and isinstance(ys[0], Tensor)
            return torch.stack(ys) if whole else ys

    def _step(self, inputs: tuple[Any, ...], label: str | None) -> Any:
        if self.encode is not None:
            if label is None and len(inputs) == 1 and isinstance(inputs[0], (str, int)):
                label = str(inputs[0])
            try:
                encoded = self.encode(*inputs)
            except Exception as error:
                raise _refused("encode", error) from error
            inputs = encoded if isinstance(encoded, tuple) else (encoded,)
        xs = tuple(self._as_input(x) for x in inputs)
        self._install()
        try:
            with torch.no_grad():
                y = map_leaves(_own, self.model(*xs))
            after = [recur.__dict__["_state"] for recur in self._recurs]
            row = self._row(xs, after, y)
            if not self.allow_nonfinite:
                self._check_finite(row)
            branch = self._branch
            if self._t < len(branch):
                branch = self._fork(self._unused(f"{branch.root.name}@{self._t}"))
            self._mark_weights(branch)
            branch.append(row, self._layout(after), label)
        except RnnlabError:
            self._install()
            raise
        except Exception as error:
            self._install()
            raise _refused(_short(self.model), error) from error
        except BaseException:
            self._install()
            raise
        self._branches[branch.name] = branch
        self._branch = branch
        self._states = after
        self._t += 1
        return map_leaves(_own, y)

    def _as_input(self, x: Any) -> Any:
        if isinstance(x, Tensor):
            return x.detach().clone()
        tokens = isinstance(self.model, nn.Sequential) and isinstance(self.model[0], nn.Embedding)
        if isinstance(x, (int, float)) and not isinstance(x, bool) and not tokens:
            return x
        array = np.asarray(x) if not isinstance(x, (str, bytes)) else None
        if array is None or array.dtype.kind not in "fiub":
            raise RnnlabError(
                f"Session: cannot turn {describe(x)} into an input. Give a tensor, an array or a "
                "list of numbers, or make the session with an encode function."
            )
        like = next((w for w in self._weights if w.is_floating_point()), None)
        dtype = torch.get_default_dtype() if like is None else like.dtype
        integers = tokens and array.dtype.kind in "iu"
        device = None if like is None else like.device
        return torch.tensor(array, dtype=torch.int64 if integers else dtype, device=device)

    def _row(self, xs: tuple[Any, ...], after: list[State], y: Any) -> dict[str, Any]:
        row = dict(named_leaves(xs[0] if len(xs) == 1 else xs, "x"))
        for path, recur, state in zip(self._paths, self._recurs, after, strict=True):
            row |= _named(path, recur, state)
        row |= named_leaves(y, "y")
        return row

    def _layout(self, after: list[State]) -> list[State]:
        return [
            fill(state, iter(_named(path, recur, state)))
            for path, recur, state in zip(self._paths, self._recurs, after, strict=True)
        ]

    def _check_finite(self, row: dict[str, Any]) -> None:
        for name, value in row.items():
            if not bool(torch.isfinite(torch.as_tensor(value)).all()):
                what = "the input has" if name.startswith("x") else f"the step gave {name}"
                raise RnnlabError(
                    f"Session: {what} values that are not finite (NaN or infinity). Nothing was "
                    "recorded. Session(model, allow_nonfinite=True) accepts them."
                )

    def _mark_weights(self, branch: Branch) -> None:
        """Note the weights' fingerprint where a branch begins and where they have changed."""
        now = [weight._version for weight in self._weights]
        if now != self._versions:
            self._versions = now
            self._fingerprint = fingerprint(self.model)
        last = next((b.weights[-1][1] for b, _ in branch.lineage() if b.weights), None)
        if last is not self._fingerprint:
            branch.weights.append((len(branch), self._fingerprint))

    # moving

    def reset(self) -> None:
        """Put the states back to the initial ones and start a new run at t = 0.

        The old run stays, as a branch; a run without a step yet is simply begun again.
        """
        with self._lock:
            branch = self._branch
            blank = branch.parent is None and len(branch) == 0
            self._begin(branch.name if blank else self._unused("run 2", "run {}"))
            self._tell()

    def rewind(self, t: int) -> None:
        """Go to the place after step t of the current branch; every state is put back exactly."""
        with self._lock:
            self._go(self._branch, t)

    def back(self, steps: int = 1) -> None:
        """Go back along the current branch."""
        self._shift(-steps)

    def forward(self, steps: int = 1) -> None:
        """Go forward along the recorded steps of the current branch."""
        self._shift(steps)

    def branch(self, name: str) -> None:
        """Start a branch here, under a name of your own, and go on in it."""
        with self._lock:
            if not isinstance(name, str) or not name.strip():
                raise RnnlabError(f"Session: a branch needs a name, got {name!r}.")
            if name in self._branches:
                raise RnnlabError(
                    f"Session: there is a branch {name!r} already; checkout({name!r}) goes to it."
                )
            self._branch = self._branches[name] = self._fork(name)
            self._tell()

    def checkout(self, name: str, t: int | None = None) -> None:
        """Go to a branch: to its end, or to the place after its step t."""
        with self._lock:
            branch = self._find(name)
            self._go(branch, len(branch) if t is None else t)

    def _shift(self, steps: int) -> None:
        with self._lock:
            t = self._t + steps
            if not 0 <= t <= len(self._branch):
                where = "the start" if steps < 0 else "the last recorded step"
                raise RnnlabError(
                    f"Session: step {self._t} of {len(self._branch)} on {self.branch_name!r}: "
                    f"{abs(steps)} more would pass {where}."
                )
            self._go(self._branch, t)

    def _go(self, branch: Branch, t: int) -> None:
        if isinstance(t, bool) or not isinstance(t, (int, np.integer)):
            raise RnnlabError(f"Session: t must be a whole number of steps, got {t!r}.")
        if not 0 <= t <= len(branch):
            raise RnnlabError(
                f"Session: branch {branch.name!r} has steps 0 to {len(branch)}, there is no {t}."
            )
        self._enter(branch, int(t))
        self._tell()

    def _begin(self, name: str) -> None:
        """Enter a new run: its root holds the initial states as they are now."""
        entry = [map_leaves(_own, recur.init) for recur in self._recurs]
        self._branches[name] = Branch(name, entry, self._layout(entry))
        self._enter(self._branches[name], 0)

    def _fork(self, name: str) -> Branch:
        return Branch(
            name, self._branch.states(self._t), self._branch.layout, self._branch, self._t
        )

    def _enter(self, branch: Branch, t: int) -> None:
        states = branch.states(t)
        if t == 0:  # an untouched initial state is the model's own, not a copy of it
            states = [
                AT_INIT if _same(state, recur.init) else state
                for state, recur in zip(states, self._recurs, strict=True)
            ]
        self._branch, self._t, self._states = branch, t, states
        self._install()

    def _install(self) -> None:
        """Let the model's running states be those of the session's place."""
        for recur, state in zip(self._recurs, self._states, strict=True):
            if recur.__dict__["_state"] is not state:
                recur._advance(state, None)

    def _find(self, name: str | None) -> Branch:
        if name is None:
            return self._branch
        if name not in self._branches:
            raise RnnlabError(
                f"Session: no branch {name!r}. There are: {', '.join(self._branches)}."
            )
        return self._branches[name]

    def _unused(self, name: str, numbered: str | None = None) -> str:
        numbered = numbered or f"{name} ({{}})"
        count = 2
        while name in self._branches:
            name = numbered.format(count)
            count += 1
        return name

    # being watched

    def subscribe(self, callback: Callable[[Moved], None]) -> Callable[[], None]:
        """Call `callback` after every change; returns a function that ends it.

        An exception in a callback is reported on standard error and breaks neither the step nor
        the other subscribers.
        """
        self._subscribers.append(callback)

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    def _tell(self, start: int | None = None, stop: int | None = None) -> None:
        start = self._t if start is None else start
        moved = Moved(self.branch_name, self._t, start, start if stop is None else stop)
        for callback in tuple(self._subscribers):
            try:
                callback(moved)
            except Exception:
                sys.excepthook(*sys.exc_info())


def _named(path: str, recur: Recur, state: State) -> dict[str, Any]:
    prefix = f"{path}." if path else ""
    leaves = named_leaves(state, top=recur._state_names)
    return {f"{prefix}{name}": leaf for name, leaf in leaves}


def _own(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _same(a: State, b: State) -> bool:
    pairs = list(zip(named_leaves(a), named_leaves(b), strict=False))
    return all(
        type(x) is type(y) and x == y
        if not isinstance(x, Tensor)
        else isinstance(y, Tensor)
        and x.dtype == y.dtype
        and x.device == y.device
        and torch.equal(x, y)
        for (_, x), (_, y) in pairs
    )


def _refused(who: str, error: Exception) -> RnnlabError:
    return RnnlabError(
        f"Session: {who} failed with {type(error).__name__}: {error}. "
        "The session stands where it stood."
    )


def _short(model: Any) -> str:
    text = " ".join(repr(model).split())
    return text if len(text) <= 80 else f"{text[:77]}…"
