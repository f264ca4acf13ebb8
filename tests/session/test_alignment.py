"""A longest common subsequence, against the table that defines it."""

import numpy as np
import pytest

from rnnlab.session import alignment
from rnnlab.session.alignment import aligned

pytest.importorskip("hypothesis", reason="hypothesis is in rnnlab[test]")
from hypothesis import given, settings
from hypothesis import strategies as st

TEXT = st.text("abc", max_size=12)


def longest(a, b):
    """The length by the textbook's table."""
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            best = max(table[i, j + 1], table[i + 1, j])
            table[i + 1, j + 1] = table[i, j] + 1 if x == y else best
    return table[-1, -1]


@pytest.mark.parametrize("kept", [alignment.KEPT, 20, 0], ids=["rows", "some", "halves"])
def test_it_is_a_longest_one(kept):
    @settings(deadline=None)
    @given(TEXT, TEXT)
    def check(a, b):
        pairs = aligned(a, b)
        assert pairs.shape == (longest(a, b), 2)
        assert all(a[i] == b[j] for i, j in pairs)
        assert (np.diff(pairs, axis=0) > 0).all()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alignment, "KEPT", kept)
        check()


@pytest.mark.parametrize("alphabet", [2, 5_000], ids=["letters", "words"])
def test_long_texts_with_little_in_common(alphabet):
    """By the product of the lengths these would take minutes, or gigabytes."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(alphabet, size=(2, 5_000)).tolist()
    pairs = aligned(a, b)
    assert len(pairs) > (3_900 if alphabet == 2 else 60)
    assert all(a[i] == b[j] for i, j in pairs)


def test_rows_are_not_all_kept(monkeypatch):
    """All of them would be 4,000 × 4,000 bits, 2 MB."""
    import tracemalloc

    monkeypatch.setattr(alignment, "KEPT", 1 << 20)
    a = [str(n) for n in range(4_000)]
    tracemalloc.start()
    try:
        assert len(aligned(a, a[::-1])) == 1
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 1.6e6
