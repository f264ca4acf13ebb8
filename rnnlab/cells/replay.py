"""The steps of a cell one by one; without a gradient, from a record of the first of them.

A step of a recurrent cell is some twenty operations on a few hundred numbers: what takes the time
is the way to each operation. Recorded, every operation writes where it wrote before; slices and
views, and what depends on the weights alone, are done once for the whole sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode

from rnnlab.cells.base import Cell, Parts, as_parts, as_state

SHORTEST = 64
"""Fewer steps than this do not make up for the recording."""

LEAST_SAVED = 1
"""With fewer operations saved in a step it is not worth it."""

_by_name: dict[Any, Callable[..., Any] | None] = {}
"""For each operation a faster function with `out=`, found to give the same; None: there is none."""


class NotRecordable(Exception):  # noqa: N818, not an error: the step is then done as it is written
    """The update draws random numbers, changes something in place or looks at a value."""


def record(cell: Cell, parts: Parts, u: Tensor, steps: int) -> Record | None:
    """A record of `cell` for `steps` steps from u `(B, K)`, where there can be one and it pays."""
    if steps < SHORTEST or u.is_cuda or _get_current_dispatch_mode() is not None:
        return None
    try:
        made = Record(cell, parts, u)
    except NotRecordable:
        return None
    return made if made.saved >= LEAST_SAVED else None


def loop(step: Any, parts: Parts, u: Tensor) -> tuple[Parts, list[Parts], list[Tensor]]:
    """The steps one by one from u `(T, B, K)`: the last state, every state, every output."""
    state = as_state(parts)
    states, ys = [], []
    for u_t in u.unbind(0):
        state, y = step(state, u_t)
        states.append(as_parts(state))
        ys.append(y)
    return states[-1], states, ys


def all_states(cell: Cell, parts: Parts, u: Tensor) -> tuple[Parts, Parts, Tensor, int | None]:
    """The last state, every state, every output, and which part of the state that is."""
    recorded = record(cell, parts, u[0], len(u))
    if recorded is not None:
        return *recorded.run(parts, u), recorded.output
    last, states, outputs = loop(cell.stepper(), parts, u)
    stacks = tuple(torch.stack(column) for column in zip(*states, strict=True))
    output = next((p for p, part in enumerate(last) if part is outputs[-1]), None)
    return last, stacks, torch.stack(outputs) if output is None else stacks[output], output


class Record:
    """One update of `cell` for a batch, recorded; `run` repeats it.

    Example:
        >>> import rnnlab as rl
        >>> cell = rl.RNNCell(2, 3)
        >>> with torch.no_grad():
        ...     u = cell.project(torch.ones(5, 1, 2))
        ...     record = Record(cell, (torch.zeros(1, 3),), u[0])
        ...     (h,), (hs,), ys = record.run((torch.zeros(1, 3),), u)
        >>> hs.shape, ys is hs, torch.equal(h, ys[-1])
        (torch.Size([5, 1, 3]), True, True)
    """

    def __init__(self, cell: Cell, parts: Parts, u: Tensor) -> None:
        self.state = tuple(part.clone() for part in parts)
        self.u = u.clone()
        step = cell.stepper()
        with _Recorder((*self.state, self.u)) as seen:
            state, self.y = step(as_state(self.state), self.u)
        self.after = as_parts(state)
        given = {_place(value) for value in (*self.state, self.u)}
        for old, new in zip(self.state, self.after, strict=True):
            if old.shape != new.shape or old.dtype != new.dtype or _place(new) in given:
                raise NotRecordable
        self.kept = seen.kept
        self.operations = [
            _repeat(*operation) for operation in seen.needed_for((*self.after, self.y))
        ]
        self.output = next((p for p, part in enumerate(self.after) if part is self.y), None)
        """Which part of the state the output is; None if it is a value of its own."""
        fast = sum(isinstance(operation, partial) for operation in self.operations)
        moved = 1 + 2 * len(parts) + (self.output is None)
        self.saved = sum(map(len, seen.kept)) - (3 * len(self.operations) - 2 * fast) - moved
        """How many operations a step has less than when it is done as it is written."""

    def run(self, parts: Parts, u: Tensor, *, states: bool = True) -> tuple[Parts, Any, Tensor]:
        """The last state, every state `(T, B, H)` by parts, and every output, for u `(T, B, K)`."""
        steps = len(u)
        output = self.output
        stacks = [
            part.new_empty(steps, *part.shape) if states or p == output else None
            for p, part in enumerate(self.after)
        ]
        ys = self.y.new_empty(steps, *self.y.shape) if output is None else stacks[output]
        assert ys is not None
        for part, value in zip(self.state, parts, strict=True):
            part.copy_(value)
        moves = [(part.copy_, new) for part, new in zip(self.state, self.after, strict=True)]
        kept = [
            (stack.unbind(0), new)
            for stack, new in zip(stacks, self.after, strict=True)
            if stack is not None
        ]
        if output is None:
            kept.append((ys.unbind(0), self.y))
        operations, take_u = self.operations, self.u.copy_
        for t, u_t in enumerate(u.unbind(0)):
            take_u(u_t)
            for operation in operations:
                operation()
            for rows, value in kept:
                rows[t].copy_(value)
            for copy, value in moves:
                copy(value)
        return tuple(part.clone() for part in self.state), tuple(stacks), ys


class _Recorder(TorchDispatchMode):
    """Every operation whose result depends on the inputs, views apart."""

    def __init__(self, inputs: Iterable[Tensor]) -> None:
        super().__init__()
        self.live = {_place(value) for value in inputs}
        self.kept: list[Any] = []  # as long as these exist no place in memory is used twice
        self.operations: list[tuple[Any, Any, Any, tuple[Tensor, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        results = result if isinstance(result, (tuple, list)) else (result,)
        self.kept.append(results)
        if (
            any(type(value) not in (Tensor, Parameter) for value in _tensors((args, kwargs)))
            or func._schema.is_mutable
            or torch.Tag.nondeterministic_seeded in func.tags
            or not all(isinstance(value, Tensor) for value in results)
        ):
            raise NotRecordable
        if any(_place(value) in self.live for value in _tensors((args, kwargs))):
            places = [_place(value) for value in results]
            if not all(place in self.live for place in places):  # else a view
                self.live.update(places)
                self.operations.append((func, args, kwargs, tuple(results)))
        return result

    def needed_for(self, values: Iterable[Tensor]) -> list[Any]:
        """The operations without which `values` cannot be had."""
        needed, found = {_place(value) for value in values}, []
        for operation in reversed(self.operations):
            _, args, kwargs, results = operation
            if any(_place(value) in needed for value in results):
                needed.update(_place(value) for value in _tensors((args, kwargs)))
                found.append(operation)
        return found[::-1]


def _place(value: Tensor) -> int:
    return value.untyped_storage()._cdata


def _tensors(tree: Any) -> Iterable[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict):
        yield from _tensors(tuple(tree.values()))
    elif isinstance(tree, (tuple, list)):
        for part in tree:
            yield from _tensors(part)


def _repeat(func: Any, args: Any, kwargs: Any, results: tuple[Tensor, ...]) -> Callable[[], Any]:
    """A function that does the operation again, into the same results."""
    if len(results) == 1:
        out = results[0]
        if func is torch.ops.aten.rsub.Scalar and len(args) == 2:  # a number minus a tensor
            return partial(torch.sub, torch.tensor(args[1], dtype=out.dtype), args[0], out=out)
        if func not in _by_name:
            _by_name[func] = _faster(func, args, kwargs, out)
        faster = _by_name[func]
        if faster is not None:
            return partial(faster, *args, **kwargs, out=out)

    def once_more() -> None:
        values = func(*args, **kwargs)
        for old, new in zip(results, values if len(results) > 1 else (values,), strict=True):
            old.copy_(new)

    return once_more


def _not_negative(x: Tensor, *, out: Tensor) -> Tensor:
    return torch.clamp(x, min=0, out=out)


def _faster(func: Any, args: Any, kwargs: Any, out: Tensor) -> Callable[..., Any] | None:
    """torch's own function for an operation, if it takes `out=` and gives what stands in `out`."""
    name = func._schema.name.removeprefix("aten::")
    way = _not_negative if name == "relu" else getattr(torch, name, None)
    if way is None:
        return None
    before = out.clone()
    try:
        way(*args, **kwargs, out=out)
    except TypeError:
        return None
    same = torch.equal(out, before)
    out.copy_(before)
    return way if same else None
