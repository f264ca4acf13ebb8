"""Tiles: bucket by bucket what numpy finds in the rows themselves, whatever the history was."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab.session import Session, columns
from rnnlab.session.columns import Column
from rnnlab.session.tiles import Pyramid
from tests.session.helpers import I, inputs, make

pytest.importorskip("hypothesis", reason="hypothesis is in rnnlab[test]")
from hypothesis import given, settings
from hypothesis import strategies as st


def want(rows, buckets):
    """The definition, bucket by bucket."""
    count = min(buckets, len(rows))
    edges = [i * len(rows) // count for i in range(count + 1)] if count else []
    parts = [rows[a:b] for a, b in pairwise(edges)]
    lows = [np.fmin.reduce(part, axis=0) for part in parts]
    highs = [np.fmax.reduce(part, axis=0) for part in parts]
    return np.array(lows).reshape(-1, *rows.shape[1:]), np.array(highs).reshape(-1, *rows.shape[1:])


def check(session, name, start, stop, buckets, branch=None):
    rows = session.read(name, start, stop, branch)
    got = session.tiles(name, start, stop, buckets, branch)
    for ours, theirs in zip(got, want(rows, buckets), strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == rows.dtype
        np.testing.assert_array_equal(ours, theirs)


def long(steps, seed=0):
    """A session that records x, h and y in one column; its h wanders."""
    s = Session(rl.Recur(lambda h, x: (h + x, 2 * h), torch.zeros(2)))
    s.run(0.1 * torch.randn(steps, 2, generator=torch.Generator().manual_seed(seed)))
    return s


@pytest.fixture(scope="module")
def session():
    return long(9000)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_window(session, data):
    start = data.draw(st.integers(0, 9000))
    stop = data.draw(st.integers(start, 9000))
    buckets = data.draw(st.sampled_from([1, 2, 3, 7, 30, 256, 1000, 20_000]))
    check(session, data.draw(st.sampled_from(["x", "h", "y"])), start, stop, buckets)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_history(data):
    """Steps, runs, cuts by undo, forks and edits between questions: never a stale answer."""
    with pytest.MonkeyPatch.context() as small:
        small.setattr(columns, "PENDING", 8)
        small.setattr(columns, "MERGED", 256)
        s = Session(make("lstm"))
        for number in range(data.draw(st.integers(2, 12))):
            match data.draw(st.sampled_from(["run", "step", "undo", "redo", "rewind", "poke"])):
                case "run":
                    s.run(torch.stack(inputs(data.draw(st.integers(1, 80)), seed=number)))
                case "step":
                    for x in inputs(data.draw(st.integers(1, 20)), seed=number):
                        s.step(x)
                case "undo" if len(s.log):
                    s.undo()
                case "redo" if s._undone:
                    s.redo()
                case "rewind":
                    s.rewind(data.draw(st.integers(0, s.length())))
                case "poke":
                    s.poke("h", 1, float(number))
            for branch in s.branches:
                for name in s.recorded(branch):
                    start = data.draw(st.integers(0, s.length(branch)))
                    check(s, name, start, s.length(branch), data.draw(st.integers(1, 9)), branch)


def test_what_was_undone_is_forgotten():
    s = long(40)
    s.run(torch.ones(40, 2))
    check(s, "h", 0, 80, 2)
    s.undo()
    s.run(-torch.ones(40, 2))
    check(s, "h", 0, 80, 2)


def test_nan_is_passed_over():
    s = Session(rl.Recur(lambda h, x: (x, x), torch.zeros(2)), allow_nonfinite=True)
    rows = torch.arange(80.0).reshape(40, 2)
    rows[:20, 1] = torch.nan
    rows[25] = torch.inf
    s.run(rows)
    lows, highs = s.tiles("h", buckets=2)
    assert lows.tolist()[1] == [40, 41]
    assert highs.tolist()[1] == [torch.inf, torch.inf]
    np.testing.assert_array_equal(lows[0], [0, np.nan])
    np.testing.assert_array_equal(highs[0], [38, np.nan])


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool]
)
def test_every_kind_of_number(dtype):
    s = Session(rl.Recur(lambda h, x: (x, x), torch.zeros(3, dtype=dtype)))
    s.run((torch.arange(300).reshape(100, 3) % 50 - 25).to(dtype))
    check(s, "h", 3, 100, 4)
    check(s, "h", 50, 60, 100)


def test_numbers_without_units_and_batches():
    s = Session(rl.Recur(lambda h, x: (h + x, h), 0))
    s.run([1, -3, 2, 0.5] * 20)  # whole numbers first, then fractions
    check(s, "h", 0, 80, 7)
    batched = Session(rl.LSTM(I, 4))
    batched.run(torch.randn(70, 2, I, generator=torch.Generator().manual_seed(1)))
    check(batched, "c", 1, 70, 3)
    assert batched.tiles("c", buckets=3)[0].shape == (3, 2, 4)


def test_only_what_is_new_is_looked_at(monkeypatch):
    """One more step costs the rows of one block, not the recording."""
    s = long(5000)
    s.tiles("h")
    looked = []
    read, take = Column.read, Column.take

    def counted_read(column, start, stop):
        looked.append(stop - start)
        return read(column, start, stop)

    def counted_take(column, rows, units=None):
        looked.append(rows.size)
        return take(column, rows, units)

    monkeypatch.setattr(Column, "read", counted_read)
    monkeypatch.setattr(Column, "take", counted_take)
    for x in torch.ones(16, 2):
        s.step(x)
    s.tiles("h", 0, s.length(), 10)
    assert sum(looked) < 10 * 3 * 2 * 2 * 16


def test_what_is_kept_is_small():
    s = long(20_000)
    rows = s._branch.columns[0].nbytes
    s.tiles("h")
    assert 0 < s._branch.columns[0].nbytes - rows < rows / 7


def test_a_branch_costs_only_its_own_rows():
    s = long(4000)
    s.tiles("h")
    kept = s._branch.columns[0].nbytes
    s.rewind(2000)
    s.run(torch.zeros(64, 2))
    check(s, "h", 0, 2064, 50)
    assert s._branches["main"].columns[0].nbytes == kept


def test_refused():
    s = Session(rl.RNN(2, 3))
    with pytest.raises(rl.RnnlabError, match="'h' is not recorded; there is: nothing yet"):
        s.tiles("h")
    s.run(torch.ones(4, 2))
    assert s.tiles("h", 2, 2)[0].shape == (0, 3)
    for buckets in (0, 1.5, True):
        with pytest.raises(rl.RnnlabError, match=r"must be a whole number|at least one bucket"):
            s.tiles("h", buckets=buckets)
    with pytest.raises(rl.RnnlabError, match="steps 0 to 4 on 'main', not 1 to 9"):
        s.tiles("h", 1, 9)
    spin = Session(rl.Recur(lambda h, x: (h * 1j, h), torch.ones(1, dtype=torch.complex64)))
    spin.step(torch.ones(1))
    with pytest.raises(rl.RnnlabError, match="complex"):
        spin.tiles("h")


def test_a_pyramid_follows_cuts():
    column, pyramid = Column(), Pyramid()
    column.pyramid = pyramid
    column.paste([np.arange(600.0)])
    pyramid.grow(column)
    assert [len(low) for low, _ in pyramid.levels] == [37, 2]
    cut = column.cut(500)
    assert [len(low) for low, _ in pyramid.levels] == [31, 1]
    column.paste([-rows for rows in cut])
    pyramid.grow(column)
    assert pyramid.levels[0][0].read(31, 32).tolist() == [-511.0]
