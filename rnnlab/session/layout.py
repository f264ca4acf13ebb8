"""What one step leaves behind, and how it is packed: one small tensor a step, not one per name."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnlab.errors import RnnlabError
from rnnlab.nested import State, children, fill, is_branch, map_leaves
from rnnlab.session.columns import Column, check_recordable

ALIGNED = 64
"""Bytes: torch gives new memory at multiples of this."""

HIGHEST = -1 if sys.byteorder == "little" else 0
"""Which byte of a number has its sign and the upper bits of its exponent."""


def leaves_of(tree: State, leaves: list[Any], tokens: list[Any]) -> None:
    """Append the leaves of `tree`; `tokens` tells the structure that they came from."""
    if isinstance(tree, Tensor) or not is_branch(tree):
        leaves.append(tree)
        return
    kind = type(tree)
    if kind is tuple:
        tokens.append(len(tree))
        parts: Any = tree
    else:
        tokens.append((kind, tuple(key for key, _ in children(tree))))
        parts = tree.values() if isinstance(tree, dict) else tree
    for part in parts:
        leaves_of(part, leaves, tokens)


@dataclass(frozen=True)
class Slot:
    """Where one recorded array lies: its column, and which of the column's last axis is its."""

    column: int
    start: int
    stop: int
    shape: tuple[int, ...]
    dtype: torch.dtype | None

    def describe(self) -> str:
        if self.dtype is None:
            return "a number"
        return f"shape {self.shape} {str(self.dtype).removeprefix('torch.')}"

    @property
    def whole(self) -> bool:
        """Whether it is a number: the column holds nothing else, and has no axis of units."""
        return not self.shape


class Layout:
    """The names, shapes and places of what every step of a run records.

    Leaves come in the order inputs, states, outputs. Tensors of one dtype, device and batch are
    packed side by side into one row of one column, so that recording a step is one copy.

    Args:
        names: the name of each leaf.
        leaves: the leaves of the first step.
        states: the structure of the states, with names in place of leaves.
        inputs: how many of the leaves are inputs.
        tokens: what `leaves_of` told about the structure; None if the next step is to tell.
    """

    def __init__(
        self,
        names: Sequence[str],
        leaves: Sequence[Any],
        states: list[State],
        inputs: int,
        tokens: list[Any] | None,
    ) -> None:
        for name, leaf in zip(names, leaves, strict=True):
            check_recordable(leaf, name)
        _refuse_twice(names)
        self.names = tuple(names)
        self.states = states
        self.inputs = inputs
        self._tokens = tokens
        self.slots: dict[str, Slot] = {}
        self._groups: list[list[int]] = []
        self._shapes = [leaf.shape if isinstance(leaf, Tensor) else None for leaf in leaves]
        self._dtypes = [leaf.dtype if isinstance(leaf, Tensor) else None for leaf in leaves]
        known: dict[Any, int] = {}
        widths: list[int] = []
        for place, (name, leaf) in enumerate(zip(names, leaves, strict=True)):
            packed = isinstance(leaf, Tensor) and leaf.dim() > 0
            key = (leaf.dtype, leaf.device, leaf.shape[:-1]) if packed else place
            if key not in known:
                known[key] = len(widths)
                widths.append(0)
                self._groups.append([])
            column = known[key]
            self._groups[column].append(place)
            width = leaf.shape[-1] if packed else 0
            shape = tuple(leaf.shape) if isinstance(leaf, Tensor) else ()
            start, stop = widths[column], widths[column] + width
            self.slots[name] = Slot(column, start, stop, shape, self._dtypes[place])
            widths[column] = stop

        self._one = len(widths) == 1 and len(leaves) > 1
        self._device = leaves[0].device if isinstance(leaves[0], Tensor) else torch.device("cpu")

    def columns(self) -> list[Column]:
        """Fresh columns for a branch."""
        return [Column() for _ in self._groups]

    def fits(self, leaves: list[Any], tokens: list[Any] | None) -> bool:
        """Whether a step's leaves are what this layout is for.

        In a simple layout their order tells the structure: `tokens` may be None.
        """
        if tokens is None:
            tokens = self._tokens
        elif self._tokens is None:
            self._tokens = tokens
        try:
            return (
                [leaf.shape for leaf in leaves] == self._shapes
                and [leaf.dtype for leaf in leaves] == self._dtypes
                and tokens == self._tokens
            )
        except AttributeError:  # numbers among them
            return tokens == self._tokens and self._shapes == [
                leaf.shape if isinstance(leaf, Tensor) else None for leaf in leaves
            ]

    def refuse(self, branch: str, other: Layout) -> RnnlabError:
        """The error for a step that is laid out like `other`."""
        for name, slot in self.slots.items():
            given = other.slots.get(name)
            if self.names == other.names and given and given.describe() != slot.describe():
                return RnnlabError(
                    f"Session: branch {branch!r} records {name} with {slot.describe()}; this "
                    f"step gave {given.describe()}. Call reset() to start a new run."
                )
        return RnnlabError(
            f"Session: branch {branch!r} records {', '.join(self.names)}; this step gave "
            f"{', '.join(other.names)}. Call reset() to start a new run."
        )

    def pack(self, leaves: list[Any]) -> list[Any]:
        """One row per column, sharing no memory with the leaves."""
        if self._one:
            return [torch.cat(leaves, -1)]
        return [
            torch.cat([leaves[i] for i in group], -1) if len(group) > 1 else _own(leaves[group[0]])
            for group in self._groups
        ]

    @property
    def simple(self) -> bool:
        """Whether a step is one row of one column: an input, flat states, an output, all alike."""
        outputs = self.names[self.inputs :][-1:]
        flat = all(isinstance(token, int) for token in self._tokens or [None])
        flat = flat or self._tokens == []
        nested = any(is_branch(part) for state in self.states if is_branch(state) for part in state)
        return self._one and self.inputs == 1 and outputs == ("y",) and flat and not nested

    def blanks(self, count: int) -> Blanks | None:
        """Rows that steps of a simple layout are packed into; None if they are not for numpy."""
        slot = self.slots[self.names[0]]
        if self._device.type != "cpu" or slot.dtype not in (torch.float32, torch.float64):
            return None
        width = sum(shape[-1] for shape in self._shapes if shape is not None)
        return Blanks(count, (*slot.shape[:-1], width), slot.dtype)

    def pack_many(self, leaves: list[Tensor]) -> list[Tensor]:
        """The same for leaves with time in front."""
        return [
            torch.cat([leaves[i] for i in group], -1)
            if len(group) > 1
            else leaves[group[0]].clone()
            for group in self._groups
        ]

    def not_finite(self, rows: list[Any]) -> str | None:
        """The name of the first array that holds NaN or an infinity; rows may be many."""
        for row in rows:
            if not surely_finite(row):
                break
        else:
            return None
        for name, slot in self.slots.items():
            value = rows[slot.column]
            if isinstance(value, Tensor):
                part = value if slot.whole else value[..., slot.start : slot.stop]
                good = bool(torch.isfinite(part).all())
            else:
                good = bool(np.isfinite(value))
            if not good:
                return name
        return None

    def take(self, name: str, row: Any) -> Any:
        """The leaf called `name` out of a row of its column; a copy."""
        slot = self.slots[name]
        if slot.dtype is None:
            return row
        return (row if slot.whole else row[..., slot.start : slot.stop]).clone()

    def states_of(self, rows: Sequence[Any]) -> list[State]:
        """The states, in their structure, out of one row per column."""
        return [
            map_leaves(lambda name: self.take(name, rows[self.slots[name].column]), state)
            for state in self.states
        ]

    @property
    def input_names(self) -> tuple[str, ...]:
        return self.names[: self.inputs]

    @property
    def output_names(self) -> tuple[str, ...]:
        return self.names[self.inputs + sum(len(_names(state)) for state in self.states) :]


class Blanks:
    """Memory for the rows being gathered: what one is packed into need not be asked for.

    The row at a place is packed into the blank of that place, and the blanks are used again when
    the rows have been copied. A row that comes to nothing leaves no trace.

    Infinity and NaN are the numbers with all bits of the exponent set. Seven of these, and the
    sign, are the highest byte: where none is 127 or 255, all are finite and below 2^127 (2^1009 in
    float64). To look at one byte of each number costs less than a test of the numbers, and
    the interpreter's own copy of all bytes less than a function of numpy for these.

    Example:
        >>> blanks = Blanks(2, (3,), torch.float32)
        >>> blanks.pack(0, [torch.ones(1), torch.zeros(2)])
        tensor([1., 0., 0.])
        >>> blanks.pack(1, [torch.ones(1), torch.tensor([0.0, torch.inf])]) is None
        True
    """

    def __init__(self, count: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        with torch.inference_mode(False):
            rows = torch.empty(count, *shape, dtype=dtype)
        flat = rows.numpy().reshape(count, -1)
        self.rows = [
            (row, part.data.cast("B").tobytes)
            for row, part in zip(rows.unbind(0), flat, strict=True)
        ]
        size = rows.element_size()
        self.highest = slice(HIGHEST % size, None, size)

    def pack(self, place: int, leaves: list[Any]) -> Tensor | None:
        """The leaves side by side in the row of a place; None if one may not be finite."""
        row, content = self.rows[place]
        torch.cat(leaves, -1, out=row)
        high = content()[self.highest]
        return None if 127 in high or 255 in high else row


def _refuse_twice(names: Sequence[str]) -> None:
    """Raise if two arrays have one name: the one would be recorded over the other."""
    for name, count in Counter(names).items():
        if count > 1:
            raise RnnlabError(
                f"Session: two arrays of a step are both named {name!r}. x and y stand for what "
                "the model is given and gives: rename its layer, or the part of its output, that "
                "makes the second."
            )


def _own(value: Any) -> Any:
    """A copy in memory of its own, laid out as any new tensor is."""
    if not isinstance(value, Tensor):
        return value
    return value.detach().clone(memory_format=torch.contiguous_format)


def is_settled(value: Any) -> bool:
    """Whether a value lies in memory as a new tensor does.

    The last bit of a product can depend on where its factors lie: whether in one piece, and at an
    address that whole vectors can be read from. So that going back and doing the same again gives
    the same, a model is only ever fed values that lie alike: those that do not are copied.
    """
    return not isinstance(value, Tensor) or (
        value.is_contiguous() and not value.data_ptr() % ALIGNED
    )


def settled(value: Any) -> Any:
    """The value, in a copy if it does not lie in memory as a new tensor does."""
    return value if is_settled(value) else _own(value)


def surely_finite(row: Any) -> bool:
    """A cheap test that is never wrong when it says yes: NaN and infinity survive a sum of squares.

    Numbers so large that their squares overflow are left to the exact test.
    """
    if not isinstance(row, Tensor):
        return isinstance(row, int) or (isinstance(row, float) and math.isfinite(row))
    if not row.is_floating_point():
        return not row.is_complex()
    flat = row if row.dim() == 1 else row.reshape(-1)
    return math.isfinite(torch.dot(flat, flat).item())


def filled_like(structure: list[State], values: dict[str, Any]) -> list[State]:
    """States in a structure of names, with the values of these names."""
    return [fill(state, iter([values[name] for name in _names(state)])) for state in structure]


def _names(state: State) -> list[str]:
    names: list[Any] = []
    leaves_of(state, names, [])
    return names
