"""A recorded array that grows a row at a time, cheaply, and keeps what it holds in chunks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnlab.errors import RnnlabError

PENDING = 256
"""Rows kept as they came before they are copied into an array together."""

MERGED = 4096
"""Chunks longer than this are left alone."""


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

    def __init__(self) -> None:
        self._chunks: list[np.ndarray] = []
        self._starts: list[int] = []
        self._stored = 0
        self._pending: list[Any] = []
        self._like: Any = None

    def __len__(self) -> int:
        return self._stored + len(self._pending)

    @property
    def nbytes(self) -> int:
        """Bytes held in arrays (rows still gathered are not counted)."""
        return sum(chunk.nbytes for chunk in self._chunks)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row; () for numbers."""
        return tuple(self._like.shape) if isinstance(self._like, Tensor) else ()

    def fits(self, value: Any) -> bool:
        """Whether `value` can be the next row."""
        if self._like is None:
            return True
        if isinstance(self._like, Tensor):
            return isinstance(value, Tensor) and value.shape == self._like.shape
        return not isinstance(value, Tensor)

    def describe(self) -> str:
        like = self._like
        return f"shape {tuple(like.shape)}" if isinstance(like, Tensor) else "a number"

    def append(self, value: Any) -> None:
        """Add a row. A tensor is kept, not copied: the caller must not change it in place."""
        if self._like is None:
            self._like = value
        self._pending.append(value)
        if len(self._pending) >= PENDING:
            self._flush()

    def extend(self, rows: Tensor) -> None:
        """Add many rows at once; the tensor `(n, …)` must not be changed afterwards."""
        if not len(rows):
            return
        if self._like is None:
            self._like = rows[0]
        self._flush()
        self._store(as_numpy(rows))

    def truncate(self, length: int) -> None:
        """Forget all rows from `length` on."""
        while len(self) > length and self._pending:
            self._pending.pop()
        while self._chunks and self._starts[-1] >= length:
            self._chunks.pop()
            self._starts.pop()
        if self._stored > length:
            self._chunks[-1] = self._chunks[-1][: length - self._starts[-1]]
            self._stored = length

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows start … stop as one array."""
        self._flush()
        parts = [
            chunk[max(0, start - first) : stop - first]
            for first, chunk in zip(self._starts, self._chunks, strict=True)
            if first < stop and first + len(chunk) > start
        ]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else self._empty()

    def row(self, index: int) -> Any:
        """One row as it was given: a tensor of the same dtype on the same device, or a number."""
        if index >= self._stored:
            return self._pending[index - self._stored]
        at = np.searchsorted(self._starts, index, side="right") - 1
        value = self._chunks[at][index - self._starts[at]]
        like = self._like
        if isinstance(like, Tensor):
            return torch.tensor(value).to(device=like.device, dtype=like.dtype)
        return value.item()

    def _empty(self) -> np.ndarray:
        like = self._like
        return np.empty((0, *(like.shape if isinstance(like, Tensor) else ())), np.float32)

    def _flush(self) -> None:
        if not self._pending:
            return
        if isinstance(self._like, Tensor):
            rows = as_numpy(torch.stack(self._pending))
        else:
            rows = np.asarray(self._pending)
            if rows.dtype == object:
                raise RnnlabError(f"cannot record {self._pending[-1]!r}: it is not a number.")
        self._store(rows)
        self._pending = []

    def _store(self, rows: np.ndarray) -> None:
        self._starts.append(self._stored)
        self._chunks.append(rows)
        self._stored += len(rows)
        # small chunks are merged while the left one is not larger, so their sizes fall from left
        # to right like the digits of a number: few chunks, little copying, no spare memory
        while (
            len(self._chunks) > 1
            and len(self._chunks[-2]) <= len(self._chunks[-1]) <= MERGED
            and self._chunks[-2].dtype == self._chunks[-1].dtype
        ):
            last = self._chunks.pop()
            self._starts.pop()
            self._chunks[-1] = np.concatenate([self._chunks[-1], last])


def as_numpy(value: Any) -> np.ndarray:
    """A CPU array; bfloat16, which numpy has not, becomes float32, which holds it exactly."""
    if not isinstance(value, Tensor):
        return np.asarray(value)
    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
