"""Long histories on the wire: pieces of them as least and largest values, asked for by number."""

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab.widgets import wire
from rnnlab.widgets.lanes import values

STEPS = 5000


def long_page(open_page, steps=STEPS, decode=None):
    torch.manual_seed(0)
    model = rl.Chain(rl.RNN(2, 6), rl.Dense(6, 3))
    page = open_page(lambda: rl.explore(model, torch.randn(5, 2), decode=decode))
    page.explorer.session.run(torch.randn(steps, 2), progress=False)
    return page


def tiles(page):
    found = [message for message in page.sent if message["kind"] == "tile"]
    return [(m, [np.frombuffer(b, np.float32) for b in m["buffers"]]) for m in found]


def expected(page, level, index, branch=None):
    """What a tile must hold, from the recording itself."""
    session, size = page.explorer.session, 1 << level
    start = index * 256 * size
    stop = min(start + 256 * size, session.length(branch))
    rows = values(session, page.explorer._lanes(), start + 1, stop + 1, branch)
    parts = [rows[i : i + size] for i in range(0, len(rows), size)]
    return np.array([p.min(0) for p in parts]), np.array([p.max(0) for p in parts]), stop


def check(page, level, index, branch=""):
    page.press("tile", level=level, index=index, branch=branch)
    message, ends = tiles(page)[-1]
    lows, highs, stop = expected(page, level, index, branch or None)
    assert (message["level"], message["index"], message["stop"]) == (level, index, stop + 1)
    assert len(ends) == (1 if level == 0 else 2)
    np.testing.assert_array_equal(ends[0].reshape(lows.shape), lows)
    np.testing.assert_array_equal(ends[-1].reshape(highs.shape), highs)


def centred(rows):
    return rows - rows.mean(-1, keepdims=True)


@pytest.mark.parametrize("decode", [None, "softmax", centred])
def test_tiles_hold_the_extremes_of_what_the_lanes_show(open_page, decode):
    page = long_page(open_page, decode=decode)
    for level, index in [(0, 0), (0, 19), (1, 0), (1, 9), (3, 0), (3, 2), (4, 1), (5, 0), (9, 0)]:
        check(page, level, index)


def test_a_tile_answers_its_own_request_and_a_wrong_one_is_refused_in_words(open_page):
    page = long_page(open_page, 300)
    page.press("tile", level=0, index=1)
    (tile, _), answer = tiles(page)[0], page.sent[-1]
    assert (tile["id"], answer["kind"], answer["id"]) == (1, "answer", 1)
    for level, index in [(0, 2), (0, -1), (-1, 0), (40, 0)]:
        page.press("tile", level=level, index=index)
        assert page.explorer.error == (
            f"Explorer: there is no tile {index} of level {level} in 300 steps."
        )
        assert page.sent[-1]["kind"] == "answer"
    assert len(tiles(page)) == 1


def test_a_tile_of_another_branch(open_page):
    page = long_page(open_page, 600)
    session = page.explorer.session
    session.branch("other")
    session.rewind(100)
    session.step(torch.ones(2))
    check(page, 1, 1, branch="other")
    check(page, 0, 0)


def test_rows_taken_back_are_not_remembered(open_page):
    page = long_page(open_page, 1000, decode="softmax")
    session = page.explorer.session
    check(page, 2, 0)
    session.run(torch.full((600, 2), 9.0), progress=False)
    check(page, 2, 1)
    session.undo()
    session.run(torch.full((700, 2), -9.0), progress=False)
    check(page, 2, 0)
    check(page, 2, 1)
    check(page, 5, 0)


def test_the_page_hears_of_a_change_before_it_gets_a_tile_of_it(open_page, monkeypatch):
    page = long_page(open_page, 1000)
    page.press("snapshot")
    monkeypatch.setattr(page.explorer._wire, "_timer", object())  # something waits to be sent
    monkeypatch.setattr(page.explorer._wire, "_cancel", lambda: None)
    before = len(page.sent)
    page.press("tile", level=1, index=0)
    assert [message["kind"] for message in page.sent[before:]] == ["rows", "tile", "answer"]


def test_a_snapshot_brings_the_newest_rows_row_0_and_what_is_kept(open_page):
    page = long_page(open_page, 9000)
    session, width = page.explorer.session, 11
    page.press("snapshot")
    message = page.rows[-1]
    newest = wire.SNAPSHOT_BYTES // (4 * width)
    assert message["start"] == 9001 - newest
    rows = values(session, page.explorer._lanes(), 0, 9001)
    np.testing.assert_array_equal(message["rows"].reshape(-1, width), rows[-newest:])
    first = np.frombuffer(message["buffers"][1], np.float32)
    np.testing.assert_array_equal(first, rows[0])
    session.run(torch.randn(8000, 2), progress=False)
    page.press("snapshot")
    whole = [m for m in page.rows if m.get("whole")]
    assert whole[-2]["kept"] == 9001, "of a burst: all that was there"
    session.rewind(500)
    session.run(torch.randn(8000, 2), progress=False)
    page.press("snapshot")
    assert [m["kept"] for m in page.rows if m.get("whole")][-2] == 500
    session.reset()
    page.press("snapshot")
    assert page.rows[-1]["kept"] <= 1


def test_far_from_the_end_the_snapshot_is_as_small(open_page):
    page = long_page(open_page, 9000)
    page.explorer.session.rewind(10)
    page.press("snapshot")
    assert page.rows[-1]["rows"].nbytes <= wire.SNAPSHOT_BYTES
    assert page.rows[-1]["place"]["t"] == 10


def test_much_news_of_wide_rows_is_a_snapshot(open_page):
    torch.manual_seed(0)
    page = open_page(lambda: rl.explore(rl.RNN(2, 500), torch.randn(5, 2)))
    page.press("step")
    page.explorer.session.run(torch.randn(900, 2), progress=False)
    assert page.rows[-1]["whole"]
    assert page.rows[-1]["rows"].nbytes <= wire.SNAPSHOT_BYTES
    page.explorer.session.run(torch.randn(100, 2), progress=False)
    assert not page.rows[-1].get("whole")


def test_a_tile_of_single_steps_brings_their_labels(open_page):
    words = rl.Vocabulary(["a", "b"], one_hot=True)
    torch.manual_seed(0)
    session = rl.Session(rl.GRU(2, 3), words.encode)
    session.run(["a", "b"] * 150, progress=False)
    page = open_page(lambda: rl.explore(session))
    for level, index in ((0, 1), (1, 0)):
        page.press("tile", level=level, index=index)
    (single, _), (double, _) = tiles(page)
    assert single["labels"] == ["a", "b"] * 22
    assert "labels" not in double
