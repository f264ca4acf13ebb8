"""One step of a model, and a whole sequence: outputs and states taken down."""

from __future__ import annotations

import cmath
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rnnlab.cells.base import Cell
from rnnlab.cells.held import Hold
from rnnlab.errors import RnnlabError
from rnnlab.fingerprint import Watch
from rnnlab.nested import State, map_leaves, named_leaves
from rnnlab.recur import AT_INIT, Recur, recurs
from rnnlab.session.aside import Aside
from rnnlab.session.columns import check_recordable
from rnnlab.session.commands import bits
from rnnlab.session.holds import holding
from rnnlab.session.inputs import as_input
from rnnlab.session.layout import (
    Layout,
    _own,
    is_settled,
    leaves_of,
    settled,
    surely_finite,
)
from rnnlab.session.timeline import Branch
from rnnlab.session.wording import not_finite, refused, short
from rnnlab.unroll import unroll

Holds = Sequence[tuple[Recur, Mapping[str, Hold]]]


class Stepper:
    """Takes the steps of a model for a Session; knows nothing of branches or commands.

    Attributes:
        model: the model; a bare cell is wrapped in a Recur.
        recurs: every Recur inside, with its path.
    """

    def __init__(
        self, model: Any, encode: Callable[..., Any] | None, allow_nonfinite: bool
    ) -> None:
        self.recurs = recurs(model)
        if not self.recurs and callable(getattr(model, "initial_state", None)):
            model = Recur(model)
            self.recurs = recurs(model)
        self.model = model
        if not self.recurs:
            raise RnnlabError(
                f"Session: {short(model)} has no state to step through. Give a Recur, a Chain "
                "with one inside, rl.adapt(model) of a torch.nn model, or Recur(cell, init) around "
                "a cell function of your own."
            )
        if not callable(model):
            raise RnnlabError(
                f"Session: {short(model)} cannot be called with an input. Give the layers as one "
                "model: rl.Chain(*layers), or an nn.Module of your own."
            )
        self.encode = encode
        self.allow_nonfinite = allow_nonfinite
        self.slots = [recur.__dict__ for _, recur in self.recurs]
        self.watch = Watch(model)
        self.aside = Aside(self.watch)
        self._known = self.watch.parts

    @property
    def _weights(self) -> list[Tensor]:
        self.watch.refresh()
        return self.watch.weights

    def refuse_replaced(self) -> None:
        """Raise if the model has other Recurs than those whose states are recorded."""
        self.watch.refresh()
        if self.watch.parts is self._known:
            return
        now, before = dict(recurs(self.model)), dict(self.recurs)
        for path in [*now, *before]:
            if now.get(path) is not before.get(path):
                what = "gone" if path not in now else "new" if path not in before else "another"
                raise RnnlabError(
                    f"Session: the model's layer {path!r} is {what} since the session was made, "
                    "which records the states of the layers that it found then. Make a new "
                    "Session(model), or put back what was there."
                )
        self._known = self.watch.parts

    # states

    def initial(self) -> list[State]:
        """Copies of the initial states as they are now."""
        return [map_leaves(_own, recur.init) for _, recur in self.recurs]

    def names(self, states: list[State]) -> list[State]:
        """The structure of the states with the name of each leaf in its place."""
        return [
            _named_like(path, recur, state)
            for (path, recur), state in zip(self.recurs, states, strict=True)
        ]

    def install(self, states: list[Any]) -> None:
        """Let the model's running states be these."""
        for number, slots in enumerate(self.slots):
            if slots["_state"] is not states[number]:
                self.recurs[number][1]._advance(states[number], None)

    def make_ready(self, states: list[Any]) -> list[Any]:
        """Install the states for a step whose result depends on them and the input alone.

        A Recur may take a step like its last one by a shorter way, which rounds differently; a
        session takes it always, also from where it has just gone.
        """
        self.refuse_replaced()
        for number, slots in enumerate(self.slots):
            state = states[number]
            if slots["_state"] is not state or slots["_fast"].state is not state:
                recur = self.recurs[number][1]
                if state is AT_INIT:
                    state = map_leaves(_own, recur.init)
                    states = [*states[:number], state, *states[number + 1 :]]
                if slots["_state"] is not state:
                    recur._advance(state, None)
                _prime(recur, state)
        return states

    def running(self) -> list[State]:
        """The model's running states, as they are."""
        return [slots["_state"] for slots in self.slots]

    def settle(self, xs: tuple[Any, ...]) -> list[State]:
        """Let the running states lie as those do that are put back, and none of them in an input.

        The short way of the library's cells gives such states of itself.
        """
        theirs = [x.untyped_storage().data_ptr() for x in xs if isinstance(x, Tensor)]

        def own(leaf: Any) -> Any:
            lent = isinstance(leaf, Tensor) and leaf.untyped_storage().data_ptr() in theirs
            return _own(leaf) if lent or not is_settled(leaf) else leaf

        for (_, recur), slots in zip(self.recurs, self.slots, strict=True):
            state = slots["_state"]
            if state is not AT_INIT and slots["_fast"].state is not state:
                before: list[Any] = []
                after: list[Any] = []
                settled = map_leaves(own, state)
                leaves_of(state, before, [])
                leaves_of(settled, after, [])
                if any(a is not b for a, b in zip(before, after, strict=True)):
                    recur._advance(settled, slots["_lead"])
        return self.running()

    def _keep_resets(self) -> None:
        """A Recur that the model has reset in the step stands at the initial state of now."""
        for _, recur in self.recurs:
            if recur.__dict__["_state"] is AT_INIT:
                recur._advance(map_leaves(_own, recur.init), None)

    def refuse_converted(self, begun: list[State], error: Exception) -> None:
        """Say so, if a step failed since the model is no longer of the type of the run's states."""
        names: list[Any] = []
        before: list[Any] = []
        leaves_of(self.names(begun), names, [])
        leaves_of(begun, before, [])
        after: list[Any] = []
        leaves_of([recur.init for _, recur in self.recurs], after, [])
        for name, was, now in zip(names, before, after, strict=True):
            if isinstance(was, Tensor) and _kind(was) != _kind(now):
                raise RnnlabError(
                    f"Session: the model was converted after this run had begun: {name} was "
                    f"{_kind(was)} then and would be {_kind(now)} now. Call reset() to start a new "
                    "run with the model as it is, or convert it back."
                ) from error

    def at_start(self, states: list[State]) -> list[Any]:
        """The same, with those that are the model's own initial state left to the model."""
        return [
            AT_INIT if _same(state, recur.init) else state
            for state, (_, recur) in zip(states, self.recurs, strict=True)
        ]

    def weights_now(self) -> dict[str, str]:
        """The fingerprint of the weights; taken anew when one of them is noticed to have changed.

        See `Watch` for what is noticed at every step, and what at the first after a command.
        """
        weights = self.watch.now()
        if self.watch.parts is not self._known:
            self.refuse_replaced()
        return weights

    # inputs

    def encoded(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """What the model is fed for what `step` was given."""
        if self.encode is not None:
            try:
                made = self.encode(*inputs)
            except RnnlabError:
                raise
            except Exception as error:
                raise refused("encode", error) from error
            made = self.as_inputs(made if isinstance(made, tuple) else (made,))
            return tuple(map(self._moved, made))
        return self.as_inputs(inputs)

    def _moved(self, x: Any) -> Any:
        """A tensor of `encode` where the weights are, and of their dtype, as arrays become."""
        like = self.like()
        if like is None or not isinstance(x, Tensor):
            return x
        return x.to(like.device, like.dtype if x.is_floating_point() else x.dtype)

    def like(self) -> Tensor | None:
        """A weight whose dtype and device inputs have."""
        return next((w for w in self._weights if w.is_floating_point()), None)

    def as_inputs(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """What the model is fed for what is encoded already."""
        return tuple([as_input(x, self.model, self.like) for x in inputs])

    # one step

    def step(
        self, xs: tuple[Any, ...], branch: Branch, holds: Holds
    ) -> tuple[Any, Layout, list[Any]]:
        """Take one step from the installed states: the output, and the rows to record."""
        with torch.no_grad():
            xs = tuple(map(settled, xs))
            self._check_inputs(xs)
            y = holding(holds, self.model, xs) if holds else self.model(*xs)
            self._keep_resets()
            leaves: list[Any] = [*xs]
            tokens: list[Any] = []
            for slots in self.slots:
                leaves_of(slots["_state"], leaves, tokens)
            leaves_of(y, leaves, tokens)
            layout = branch.layout
            if layout is None or not layout.fits(leaves, tokens):
                layout = self._new_layout(xs, leaves, tokens, y, branch)
            rows = layout.pack(leaves)
            if not self.allow_nonfinite:
                self._check_finite(layout, rows)
            y = y.clone() if type(y) is Tensor else map_leaves(_own, y)
            self.settle(xs)
            return y, layout, rows

    def _new_layout(
        self, xs: tuple[Any, ...], leaves: list[Any], tokens: list[Any], y: Any, branch: Branch
    ) -> Layout:
        states = self.running()
        named = self.names(states)
        names = [name for name, _ in named_leaves(xs[0] if len(xs) == 1 else xs, "x")]
        leaves_of(named, names, [])
        names += [name for name, _ in named_leaves(y, "y")]
        for name, leaf in zip(names, leaves, strict=True):
            check_recordable(leaf, name)
        layout = Layout(names, leaves, named, len(xs), tokens)
        if branch.layout is not None:
            raise branch.layout.refuse(branch.name, layout)
        return layout

    def _check_finite(self, layout: Layout, rows: list[Any]) -> None:
        name = layout.not_finite(rows)
        if name is not None:
            raise not_finite(f"the step gave {name}")

    def _check_inputs(self, xs: tuple[Any, ...]) -> None:
        """Before the model runs: it may keep what it is given, in a running mean for example."""
        if not (self.allow_nonfinite or all(map(_finite, xs))):
            raise not_finite("the input has")

    # many steps

    def whole(
        self, xs: Tensor, layout: Layout | None
    ) -> tuple[Any, Layout, list[Tensor], list[State]] | None:
        """A whole sequence by the fastest way; None if it has to be stepped.

        Returns the outputs, the layout of the rows (made here for the first of a branch), the rows
        to record and the last states.
        """
        from rnnlab.derive import run_states

        self.refuse_replaced()
        with torch.no_grad():
            if layout is None and any(not isinstance(leaf, Tensor) for leaf in self._leaves()):
                return None
            xs = settled(xs)
            self._check_inputs((xs,))
            ys, found = run_states(self.model, xs)
            given = {"x": xs, **found, "y": ys}
            if not isinstance(ys, Tensor):
                return None
            if layout is None:
                names: list[Any] = ["x"]
                named = self.names(self.running())
                leaves_of(named, names, [])
                last = [xs[-1], *self._leaves(), ys[-1]]
                layout = Layout([*names, "y"], last, named, 1, None)
            if set(layout.names) != set(given):
                return None
            leaves = [given[name] for name in layout.names]
            if any(
                _unlike(leaf, layout, name) for name, leaf in zip(layout.names, leaves, strict=True)
            ):
                return None
            rows = layout.pack_many(leaves)
            known = {id(leaf): leaf for leaf in leaves if leaf is not xs}
            if not (self.allow_nonfinite or all(map(surely_finite, known.values()))):
                self._check_finite(layout, rows)
            last = layout.states_of([row[-1] for row in rows])
        return ys, layout, rows, last

    def nothing(self, xs: Tensor) -> Any:
        """The outputs `(0, …)` for a sequence without a step."""
        with torch.no_grad():
            return unroll(self.model, xs)

    def _leaves(self) -> list[Any]:
        """The parts of the running states."""
        leaves: list[Any] = []
        leaves_of([recur.state for _, recur in self.recurs], leaves, [])
        return leaves


def _prime(recur: Recur, state: State) -> None:
    """Let a Recur take its next step as if it had come to `state` by stepping."""
    cell, fast = recur.cell, recur.__dict__["_fast"]
    if not isinstance(cell, Cell) or type(recur).forward is not Recur.forward:
        return
    leaves: list[Any] = []
    leaves_of(state, leaves, [])
    if not all(isinstance(leaf, Tensor) and leaf.dim() and leaf.is_cpu for leaf in leaves):
        return
    leads = {leaf.shape[:-1] for leaf in leaves}
    weight = next(cell.parameters(), None)
    if len(leads) == 1 and weight is not None:
        x = torch.empty(*leads.pop(), cell.input_size, dtype=weight.dtype)
        fast.passed(cell, state, x)


def _unlike(leaf: Any, layout: Layout, name: str) -> bool:
    slot = layout.slots[name]
    if not isinstance(leaf, Tensor):
        return True
    return leaf.dtype != slot.dtype or tuple(leaf.shape[1:]) != slot.shape


def _named_like(path: str, recur: Recur, state: State) -> State:
    names = iter([name for name, _ in named_leaves(state, top=recur._state_names)])
    return map_leaves(lambda _: f"{path}.{next(names)}" if path else next(names), state)


def _finite(x: Any) -> bool:
    if isinstance(x, Tensor):
        return surely_finite(x) or bool(torch.isfinite(x).all())
    return not isinstance(x, (float, complex)) or cmath.isfinite(x)


def _kind(value: Tensor) -> str:
    return f"{value.dtype} on {value.device}"


def _same(a: State, b: State) -> bool:
    first: list[Any] = []
    second: list[Any] = []
    ours: list[Any] = []
    theirs: list[Any] = []
    leaves_of(a, first, ours)
    leaves_of(b, second, theirs)
    return ours == theirs and all(_same_leaf(x, y) for x, y in zip(first, second, strict=True))


def _same_leaf(x: Any, y: Any) -> bool:
    if isinstance(x, Tensor) and isinstance(y, Tensor):
        alike = x.dtype == y.dtype and x.shape == y.shape and x.device == y.device
        return alike and bits(x) == bits(y)
    return type(x) is type(y) and bool(x == y or (x != x and y != y))  # NaN is NaN
