"""Steps like the last one: what was looked at then need not be looked at again.

A step of a small cell costs what its calls cost. So what comes again and again, one more tensor at
the end of a branch, is taken by a function that has everything at hand: it looks whether all is as
it was, takes the step, and leaves the rest (`SLOW`, with nothing done) to the usual way, which
knows what to say. The function is gone as soon as the session goes anywhere else.

Around a kernel that has emptied the caches, every function that was not called just before costs
microseconds. So each of the two ways is one function without calls of ours in between, though they
end alike; and the two copies of a step, the row and the output, are made one after the other.

An interrupt (Ctrl-C) comes between a step and the next, or it undoes the one that it falls in:
Python lets it in where something is called or a loop goes round, so what changes the session is
put last, without either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rnnlab.recur import Recur, _journal
from rnnlab.session.columns import PENDING, Column
from rnnlab.session.history import Entry
from rnnlab.session.layout import ALIGNED, Layout, _own
from rnnlab.session.wording import refuse_transforms

if TYPE_CHECKING:
    from rnnlab.session.engine import Engine

SLOW = object()
"""What a lane gives for a step that it leaves to the usual way."""

Lane = Callable[[Any], Any]

_cat = torch.cat  # also for a copy of one: its code is at hand, that of clone is not
_address = Tensor.data_ptr
_in_one_piece = Tensor.is_contiguous
_grad = torch.is_grad_enabled
_set_grad = torch._C._set_grad_enabled
_without_autograd = getattr(torch._C, "_AutoDispatchBelowAutograd", lambda: None)
"""As long as its value lives, operations go past autograd's part of torch: less to call. It is not
for code of others, who may want a gradient."""


def open_lane(engine: Engine, entry: Entry) -> Lane | None:
    """The function for the steps from here on; None where every one has to be looked at."""
    branch, stepper = engine._branch, engine._stepper
    layout = branch.layout
    if layout is None or branch.holds or not layout.simple:
        return None
    if stepper.encode is not None or stepper.allow_nonfinite or not stepper.watch.counted:
        return None
    column = branch.columns[0]
    if column.blanks is None:
        column.blanks = layout.blanks(PENDING)
        if column.blanks is None:
            return None
    recur, state = stepper.recurs[0][1], engine._states[0]
    alone = stepper.model is recur and type(recur).__call__ is Recur.__call__
    if alone and recur.__dict__["_fast"].state is state:
        return _cell_lane(engine, entry, recur, column)
    return _model_lane(engine, entry, layout, column)


def _cell_lane(engine: Engine, entry: Entry, recur: Recur, column: Column) -> Lane:
    """For a Recur alone around a cell that has a short way of its own: no code but ours runs.

    That way has looked at x, gives what it gave before, and leaves the Recur as it was; so a step
    that comes to nothing has changed nothing.
    """
    branch, stepper = engine._branch, engine._stepper
    slots = recur.__dict__
    fast, state = slots["_fast"], engine._states[0]
    step, weights = fast.step, stepper.watch.marks()
    way = fast.free[-1] if fast.free else None  # it is another when a weight is another
    rows, pending = column.blanks.rows, column.pending
    vectors, highest = rows[0][0].dim() == 1, column.blanks.highest

    def take(x: Any) -> Any:
        nonlocal state
        if (
            type(x) is not Tensor
            or slots["_state"] is not state
            or fast.state is not state
            or engine._working
        ):
            return SLOW
        for weight, version in weights:
            if weight._version != version:
                return SLOW
        grad, past = _grad(), None
        try:
            engine._working = True
            if grad:
                _set_grad(False)
            past = _without_autograd()
            if _address(x) % ALIGNED or not _in_one_piece(x):
                x = _own(x)
            done = step(slots, state, (x,))
            if done is None or fast.free[-1] is not way:
                return SLOW
            after, y = done
            place = len(pending)
            if place == PENDING:
                column.flush()
                place = 0
            row, content = rows[place]
            leaves = (x, *after, y) if type(after) is tuple else (x, after, y)
            if vectors:  # no dimension to be looked at
                _cat(leaves, out=row)
            else:
                _cat(leaves, -1, out=row)
            y = _cat((y,))
            high = content()[highest]
            if 127 in high or 255 in high:  # perhaps not finite: see Blanks
                return SLOW
            if _journal.entries is not None:
                _journal.entries.append((recur, state, slots["_lead"]))
            pending[place:] = (row,)  # from here on no call: see above
            branch.count += 1
            slots["_state"] = state = after
            engine._states = [after]
            engine._t = t = engine._t + 1
            entry.after = (branch, t)
        except BaseException as error:
            past = None
            refuse_transforms()  # x has no address, which was asked for first
            try:
                engine._enter(branch, engine._t)
            finally:
                engine._enter(branch, engine._t)
            if isinstance(error, Exception):
                engine._explain(error)
            raise
        finally:
            past = None  # noqa: F841  (now, not when a traceback lets go of it)
            engine._working = False
            if grad:
                _set_grad(True)
        return y

    return take


def _model_lane(engine: Engine, entry: Entry, layout: Layout, column: Column) -> Lane:
    """For any model with one input and flat states, all alike: its step is looked at afterwards."""
    branch, stepper = engine._branch, engine._stepper
    model, parts, blanks, pending = stepper.model, stepper.slots, column.blanks, column.pending
    primed = [
        slots["_fast"].state is state for slots, state in zip(parts, engine._states, strict=True)
    ]

    def left(put_back: Callable[[], None]) -> Any:
        """Go back, and let the usual way say what it is."""
        put_back()
        engine._enter(branch, engine._t)
        return SLOW

    def take(x: Any) -> Any:
        if type(x) is not Tensor or x.requires_grad or engine._working:
            return SLOW
        for slots, state, fast in zip(parts, engine._states, primed):  # noqa: B905
            if slots["_state"] is not state or (fast and slots["_fast"].state is not state):
                return SLOW
        put_back, grad = stepper.aside.keep(), _grad()
        try:
            engine._working = True
            if grad:
                _set_grad(False)
            if _address(x) % ALIGNED or not _in_one_piece(x):
                x = _own(x)
            y = model(x)
            leaves = [x]
            for slots in parts:
                state = slots["_state"]
                if type(state) is tuple:
                    leaves += state
                else:
                    leaves.append(state)
            leaves.append(y)
            if not layout.fits(leaves, None):
                return left(put_back)
            after = stepper.settle((x,))
            place = len(pending)
            if place == PENDING:
                column.flush()
                place = 0
            row = blanks.pack(place, leaves)
            if row is None:
                return left(put_back)
            y = _cat((y,))
            weights = stepper.weights_now()
            if branch.marked is not weights:
                branch.mark(weights)
            pending[place:] = (row,)  # from here on no call: see above
            branch.count += 1
            engine._states = after
            engine._t = t = engine._t + 1
            entry.after = (branch, t)
        except BaseException as error:
            refuse_transforms()
            try:
                left(put_back)
            finally:
                left(put_back)
            if isinstance(error, Exception):
                engine._explain(error)
            raise
        finally:
            engine._working = False
            if grad:
                _set_grad(True)
        return y

    return take
