"""What a session keeps and looks at: counted in bytes, tensors and rows, not timed."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab.session import Session
from rnnlab.session.columns import PENDING, Column
from tests.helpers import filled

UNITS = 64


def held(session):
    """Bytes of all memory that the recorded arrays keep alive, also what they show no part of."""
    found = {}
    for branch in session._branches.values():
        for column in branch.columns:
            levels = [c for pair in column.pyramid.levels for c in pair] if column.pyramid else []
            for each in (column, *levels):
                for chunk in each._chunks:
                    root = chunk
                    while isinstance(root.base, np.ndarray):
                        root = root.base
                    found[root.__array_interface__["data"][0]] = root.nbytes
    return sum(found.values())


def numbers(session):
    """Bytes of the numbers that were recorded."""
    line = session._branch
    sizes = [int(np.prod(shape)) for shape in session.recorded().values()]
    return sum(sizes) * 4 * len(line)


@pytest.mark.parametrize("way", ["step", "run", "mixed"])
def test_memory_is_close_to_the_numbers(way):
    """At most 1.2 times, the tiles for views of any width included."""
    s = Session(rl.RNN(UNITS, UNITS))
    xs = filled(6000, UNITS, dtype=torch.float32)
    for start in range(0, 6000, 500):
        part = xs[start : start + 500]
        if way == "run" or (way == "mixed" and start % 1000):
            s.run(part)
        else:
            for x in part:
                s.step(x)
        s.tiles("h")
        s.read("y", max(0, start - 10), start)
    assert s.length() == 6000
    assert held(s) <= 1.2 * numbers(s)
    assert len(s._branch.columns[0]._chunks) < 40


@pytest.mark.parametrize("chunks", ["one", "many", "forked"])
def test_a_trace_holds_what_it_shows(chunks):
    """Of a packed column of four arrays each takes its own part, not the whole."""
    s = Session(rl.LSTM(UNITS, UNITS))
    xs = filled(3000, UNITS, dtype=torch.float32)
    for part in [xs] if chunks == "one" else xs.split(700):
        s.run(part, progress=False)
    if chunks == "forked":
        s.rewind(1500)
        s.run(xs[:1000], progress=False)
    trace = s.trace()
    roots = {}
    for name in trace.names:
        root = trace[name]
        while isinstance(root.base, np.ndarray):
            root = root.base
        roots[root.__array_interface__["data"][0]] = root.nbytes
    assert sum(roots.values()) <= 1.02 * numbers(s)
    assert (len(s._branch.columns[0]._chunks) == 1) == (chunks == "one" or chunks == "forked")
    parts = [
        s.read("c", start, min(start + 999, len(trace))) for start in range(0, len(trace), 999)
    ]
    np.testing.assert_array_equal(trace["c"], np.concatenate(parts))


def test_undo_gives_memory_back():
    s = Session(rl.RNN(UNITS, UNITS))
    s.run(filled(2000, UNITS, dtype=torch.float32))
    before = held(s)
    for seed in range(5):
        s.run(filled(2000, UNITS, seed=seed, dtype=torch.float32))
        s.undo()
    s._undone.clear()
    assert held(s) == before


@pytest.mark.parametrize("kind", [rl.LSTM, rl.GRUv3])
def test_steps_leave_nothing_behind_but_the_recording(kind):
    """With gradients on outside: no graph grows, and no tensor stays that was not there before."""
    s = Session(kind(4, UNITS))
    x = torch.ones(4)

    def tensors():
        """All there are, but for those whose memory the chunks of the recording are."""
        gc.collect()
        there = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
        return there - len(s._branch.columns[0]._chunks)

    for _ in range(PENDING + 5):
        y = s.step(x)
    before = tensors()
    for _ in range(4 * PENDING):  # so that as many rows are being gathered as before
        y = s.step(x)
        assert y.grad_fn is None
    assert all(value.grad_fn is None for value in rl.states(s.model).values())
    assert tensors() == before
    assert torch.is_grad_enabled()


def test_going_somewhere_looks_at_one_row(monkeypatch):
    s = Session(rl.Chain(rl.LSTM(2, 3), rl.GRU(3, 4)))
    s.run(filled(9000, 2, dtype=torch.float32))
    looked = []
    row = Column.row
    monkeypatch.setattr(Column, "row", lambda c, at: looked.append(at) or row(c, at))
    monkeypatch.setattr(Column, "read", lambda *_: pytest.fail("a whole stretch was read"))
    for t in (5, 8999, 4000):
        looked.clear()
        s.rewind(t)
        assert looked == [t - 1] * len(s._branch.columns)
    s.checkout("main", 17)
    s.branch("other")
    s.back(10)
    s.forward(10)
    assert s.t == 17


@pytest.mark.parametrize("kind", [rl.RNN, rl.LSTM, rl.GRU, rl.GRUv3])
def test_the_short_way_leaves_modes_alone(kind):
    """Steps in inference mode, with gradients on and with none, in any order, are the same."""
    xs = filled(12, 3, dtype=torch.float32)
    s = Session(kind(3, 4))
    for number, x in enumerate(xs):
        mode = (torch.inference_mode, torch.no_grad, torch.enable_grad)[number % 3]
        with mode():
            before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
            s.step(x)
            assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before
    want = s.trace()["h"].tobytes()
    s.reset()
    for x in xs:
        s.step(x)
    assert s.trace()["h"].tobytes() == want
