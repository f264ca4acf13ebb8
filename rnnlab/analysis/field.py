"""A function of vectors, evaluated and differentiated for many at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import jacrev, vmap

from rnnlab.errors import RnnlabError

CHUNK = 1 << 21
"""How many numbers of a batch of Jacobians are formed at a time."""

Map = Callable[[Tensor], Tensor]


class Field:
    """A function of one vector, `(n,) → (m,)`, evaluated and differentiated for many at once.

    Args:
        fn: the function.
        direct: whether `fn` takes `(B, n)` as it is; otherwise it is vectorised by torch.func, and
            where that is impossible (Python that looks at the data) called row by row.
        beat: called before every piece of work; may raise to stop it.
    """

    def __init__(
        self, fn: Map, direct: bool = False, beat: Callable[[], object] = lambda: None
    ) -> None:
        self.fn = fn
        self.direct = direct
        self.beat = beat
        self.rowwise = False

    def __call__(self, rows: Tensor) -> Tensor:
        """fn of every row: `(B, n) → (B, m)`."""
        self.beat()
        if self.direct:
            return self.fn(rows)
        return self._each(self.fn, rows)

    def jacobian(self, rows: Tensor) -> Tensor:
        """∂fn/∂s of every row: `(B, m, n)`."""
        return self.both(rows)[1]

    def both(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """fn and ∂fn/∂s of every row: `(B, m)` and `(B, m, n)`."""
        if not len(rows):
            return rows, rows.new_zeros(0, rows.shape[1], rows.shape[1])
        size = max(1, CHUNK // max(1, rows.shape[1] ** 2))
        parts = [self._both(part) for part in rows.split(size)]
        values, slopes = (torch.cat(side) for side in zip(*parts, strict=True))
        return values, slopes

    def _both(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        if not self.direct:
            return self(rows), self._each(jacrev(self.fn), rows)
        self.beat()

        def total(s: Tensor) -> tuple[Tensor, Tensor]:
            y = self.fn(s)
            return y.sum(dim=0), y

        # no row enters another's value: the gradient of the sum has each row's own
        slopes, values = jacrev(total, has_aux=True)(rows)
        return values, slopes.transpose(0, 1)

    def _each(self, fn: Callable[[Tensor], Any], rows: Tensor) -> Tensor:
        self.beat()
        if not self.rowwise:
            try:
                return vmap(fn)(rows)
            except RnnlabError:
                raise
            except RuntimeError:
                self.rowwise = True
        found = []
        for row in rows:
            self.beat()
            found.append(fn(row))
        return torch.stack(found)
