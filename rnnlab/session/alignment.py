"""Which elements of two sequences stand side by side: a longest common subsequence.

L(i, j), the length of one of the first i elements of a and the first j of b, grows by 0 or 1 from
j − 1 to j. A whole row of L is therefore one bit for each element of b (0 where it grows), and the
next row follows from it by an addition, a subtraction and two logical operations on whole numbers
of so many bits (Hyyrö, Bit-parallel LCS-length computation revisited, 2004): 64 cells of the table
in one operation of the processor. Where the rows would need much memory, a is cut in two halves and
b where the lengths of both add up to the most (Hirschberg 1975), which keeps two rows alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from functools import lru_cache

import numpy as np

KEPT = 1 << 28
"""Bits of rows that are kept at a time: 32 MiB."""


def aligned(a: Sequence[Hashable], b: Sequence[Hashable]) -> np.ndarray:
    """The positions of a longest common subsequence in a and in b, `(n, 2)`, counted from 0.

    What the beginnings and the ends have in common takes no time but to look at it. What lies
    between takes time by the product of its lengths, divided by 64, and memory by their sum.

    Example:
        >>> aligned("river bank", "over the bank").tolist()[:3]
        [[2, 1], [3, 2], [4, 3]]
    """
    start = _alike(a, b)
    end = _alike(a[start:][::-1], b[start:][::-1])
    between = _between(a[start : len(a) - end], b[start : len(b) - end])
    pairs = [(k, k) for k in range(start)]
    pairs += [(i + start, j + start) for i, j in between]
    pairs += [(len(a) - k, len(b) - k) for k in range(end, 0, -1)]
    return np.array(pairs, dtype=int).reshape(-1, 2)


def _alike(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """How many elements from the beginning are the same."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((at for at, (x, y) in pairs if x != y), min(len(a), len(b)))


def _between(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[tuple[int, int]]:
    if not a or not b:
        return []
    if len(a) == 1 or len(a) * len(b) <= KEPT:
        return _walk(a, b)
    half = len(a) // 2
    before = _lengths(a[:half], b)
    after = _lengths(a[half:][::-1], b[::-1])[::-1]
    cut = int((before + after).argmax())
    right = _between(a[half:], b[cut:])
    return _between(a[:half], b[:cut]) + [(i + half, j + cut) for i, j in right]


def _walk(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[tuple[int, int]]:
    """The pairs, found from the end backwards along the rows."""
    rows = list(_rows(a, b))
    i, j = len(a), len(b)
    pairs = []
    while i and j:
        if a[i - 1] == b[j - 1]:
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif rows[i] >> (j - 1) & 1:  # L(i, j) = L(i, j − 1)
            j -= 1
        else:
            i -= 1
    return pairs[::-1]


def _lengths(a: Sequence[Hashable], b: Sequence[Hashable]) -> np.ndarray:
    """L(len(a), j) for j from 0 to len(b)."""
    (last,) = deque(_rows(a, b), maxlen=1)
    held = np.frombuffer(last.to_bytes(len(b) // 8 + 1, "little"), np.uint8)
    grows = 1 - np.unpackbits(held, bitorder="little")[: len(b)].astype(int)
    return np.concatenate([[0], np.cumsum(grows)])


def _rows(a: Sequence[Hashable], b: Sequence[Hashable]) -> Iterator[int]:
    """For i from 0 to len(a): bit j − 1 is 0 where L(i, j) = L(i, j − 1) + 1."""
    places: dict[Hashable, list[int]] = {}
    for j, element in enumerate(b):
        places.setdefault(element, []).append(j)

    @lru_cache(256)  # of more kinds of elements, most are rare and soon made
    def equal(element: Hashable) -> int:
        marks = bytearray(len(b) // 8 + 1)
        for j in places.get(element, ()):
            marks[j >> 3] |= 1 << (j & 7)
        return int.from_bytes(marks, "little")

    row = full = (1 << len(b)) - 1
    yield row
    for element in a:
        found = row & equal(element)
        row = ((row + found) | (row - found)) & full
        yield row
