"""A recorded array that grows a row at a time, cheaply, and keeps what it holds in chunks."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnlab.errors import RnnlabError

PENDING = 256
"""Rows kept as they came before they are copied into an array together."""

FAN = 15
"""So many chunks of about one size, or smaller, are joined with the next of that size."""

MERGED = 1 << 23
"""Chunks of more bytes than this are left alone."""


class Column:
    """Rows of one shape: tensors or numbers. Appending costs a list append.

    Rows are gathered and then moved to the CPU and into numpy many at a time, so that recording
    costs little per step and a GPU is not waited for at every one.

    Example:
        >>> column = Column()
        >>> for value in (1.0, 2.0, 4.0):
        ...     column.append(torch.tensor([value, -value]))
        >>> column.read(1, 3).tolist(), column.row(2)
        ([[2.0, -2.0], [4.0, -4.0]], tensor([ 4., -4.]))
    """

    def __init__(self, like: Any = None) -> None:
        self._chunks: list[np.ndarray] = []
        self._starts: list[int] = []
        self._stored = 0
        self.pending: list[Any] = []
        self.like = like
        self.pyramid: Any = None  # what `tiles` keeps about the rows
        self.blanks: Any = None  # memory for rows to come

    def __len__(self) -> int:
        return self._stored + len(self.pending)

    @property
    def nbytes(self) -> int:
        """Bytes held in arrays (rows still gathered are not counted)."""
        extra = self.pyramid.nbytes if self.pyramid is not None else 0
        return sum(chunk.nbytes for chunk in self._chunks) + extra

    def append(self, value: Any) -> None:
        """Add a row. A tensor is kept, not copied: the caller must not change it in place."""
        if not isinstance(value, Tensor):
            check_recordable(value)
            if self.pending and type(value) is not type(self.pending[-1]):
                self.flush()  # 1 and 1.0 are kept apart, each in an array of its kind
        if self.like is None:
            self.like = value
        self.pending.append(value)
        if len(self.pending) >= PENDING:
            self.flush()

    def extend(self, rows: Tensor) -> None:
        """Add many rows at once; the tensor `(n, …)` must not be changed afterwards."""
        if not len(rows):
            return
        if self.like is None:
            self.like = rows[0]
        self.flush()
        self._store(as_numpy(rows))

    def cut(self, length: int) -> list[np.ndarray]:
        """Forget all rows from `length` on, and return them for `paste`."""
        self.flush()
        if self.pyramid is not None:
            self.pyramid.cut(length)
        starts, chunks, cut = self._starts[:], self._chunks[:], []
        while chunks and starts[-1] + len(chunks[-1]) > length:
            keep = max(0, length - starts[-1])
            cut.append(chunks[-1][keep:])
            if keep:
                chunks[-1] = chunks[-1][:keep]
                break
            chunks.pop()
            starts.pop()
        stored = min(self._stored, length)
        self._starts, self._chunks, self._stored = starts, chunks, stored
        return cut[::-1]

    def keep(self) -> tuple[list[int], list[np.ndarray], int]:
        """All rows as they are now, for `put`: nothing is copied, for these are never changed."""
        self.flush()
        return self._starts, self._chunks, self._stored

    def put(self, kept: tuple[list[int], list[np.ndarray], int]) -> None:
        """Let the rows be those that `keep` gave."""
        self.pyramid, self.pending[:] = None, ()
        self._starts, self._chunks, self._stored = kept

    def paste(self, pieces: list[np.ndarray]) -> None:
        """Put rows that `cut` returned, or that were saved, at the end."""
        self.flush()
        for rows in pieces:
            self._store(rows)

    def pieces(self) -> list[np.ndarray]:
        """Everything, in as many arrays as there are kinds of numbers."""
        self.flush()
        found: list[list[np.ndarray]] = []
        for chunk in self._chunks:
            if found and found[-1][0].dtype == chunk.dtype:
                found[-1].append(chunk)
            else:
                found.append([chunk])
        return [np.concatenate(parts) if len(parts) > 1 else parts[0] for parts in found]

    def read(self, start: int, stop: int, units: slice | None = None) -> np.ndarray:
        """Rows start … stop as one array, or a part of the last axis of each.

        Rows that lie in one chunk are the recording itself, not a copy; of others just what is
        asked for is copied.
        """
        self.flush()
        part_of = (...,) if units is None else (..., units)
        first = max(0, bisect_right(self._starts, start) - 1)
        parts: list[np.ndarray] = []
        for begin, chunk in zip(self._starts[first:], self._chunks[first:], strict=True):
            if begin >= stop:
                break
            part = chunk[max(0, start - begin) : stop - begin][part_of]
            if len(part):
                parts.append(part)
        rows = parts[0].view() if len(parts) == 1 else None
        if rows is None:
            rows = np.concatenate(parts) if parts else self._empty()[part_of]
        rows.flags.writeable = False
        return rows

    def take(self, rows: np.ndarray, units: slice | None = None) -> np.ndarray:
        """Many single rows, or a part of the last axis of each: `(…, units)` for rows `(…)`."""
        self.flush()
        part = (...,) if units is None else (..., units)
        where = np.searchsorted(self._starts, rows.ravel(), side="right") - 1
        chunks = np.unique(where)
        if len(chunks) == 1:
            return self._chunks[chunks[0]][part][rows - self._starts[chunks[0]]]
        taken = np.empty(
            (rows.size, *self._chunks[0][part].shape[1:]),
            np.result_type(*(self._chunks[at] for at in chunks)),
        )
        for at in chunks:
            here = np.flatnonzero(where == at)
            taken[here] = self._chunks[at][part][rows.flat[here] - self._starts[at]]
        return taken.reshape(*rows.shape, *taken.shape[1:])

    def row(self, index: int) -> Any:
        """One row as it was given: a tensor of the same dtype on the same device, or a number."""
        if index >= self._stored:
            return self.pending[index - self._stored]
        at = bisect_right(self._starts, index) - 1
        value = self._chunks[at][index - self._starts[at]]
        like = self.like
        if isinstance(like, Tensor):
            return torch.tensor(value).to(device=like.device, dtype=like.dtype)
        return value if isinstance(like, np.generic) else value.item()

    def _empty(self) -> np.ndarray:
        if isinstance(self.like, Tensor):
            return as_numpy(torch.empty((0, *self.like.shape), dtype=self.like.dtype))
        return np.empty((0,), np.float64)

    def flush(self) -> None:
        """Copy the rows that are kept as they came into an array."""
        if not self.pending:
            return
        if isinstance(self.like, Tensor):
            rows = as_numpy(torch.stack(self.pending))
        else:
            rows = np.asarray(self.pending)
        self._store(rows, self.pending)

    def _store(self, rows: np.ndarray, moved: list[Any] | None = None) -> None:
        """Add an array, and empty the list whose rows it holds."""
        moved = [] if moved is None else moved
        if not len(rows):
            return
        starts, chunks, stored = [*self._starts, self._stored], [*self._chunks, rows], len(rows)
        # like the digits of a number to the base 16: few chunks, every row copied a few times only,
        # no spare memory
        count, last = 0, _digit(rows)
        for chunk in reversed(chunks):
            if chunk.nbytes > MERGED or chunk.dtype != rows.dtype or _digit(chunk) > last:
                break
            count += 1
        if count > FAN:
            chunks[-count:] = [np.concatenate(chunks[-count:])]
            del starts[1 - count :]
        # no call from here on, where an interrupt could come in between
        self._starts, self._chunks, self._stored = starts, chunks, self._stored + stored
        moved[:] = ()


def _digit(chunk: np.ndarray) -> int:
    """The position of a chunk's size as a number to the base 16."""
    return (len(chunk).bit_length() - 1) // 4


def recordable(value: Any) -> bool:
    """Whether `value` is a tensor or a number that numpy can hold exactly."""
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isinstance(value, (Tensor, float, complex, np.number, np.bool_))


def check_recordable(value: Any, name: str = "it") -> None:
    """Raise unless `value` can be a row."""
    if not recordable(value):
        raise RnnlabError(
            f"Session: {name} is {value!r}, which is not a number to be recorded. Tensors are, "
            "floats, complex numbers, and whole numbers of up to 64 bits."
        )


def as_numpy(value: Any) -> np.ndarray:
    """A CPU array; bfloat16, which numpy has not, becomes float32, which holds it exactly."""
    if not isinstance(value, Tensor):
        return np.asarray(value)
    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
