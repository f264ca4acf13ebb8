"""The tree of branches by itself: who lends what to whom."""

import pytest
import torch

from rnnlab.errors import RnnlabError
from rnnlab.session import Session
from tests.session.helpers import accumulator


def tree():
    """main has 6 steps; a leaves it after step 4, b leaves a after step 2, c goes on from b."""
    session = Session(accumulator())
    session.run(
        [1, 1, 1, 1, 1, 1],
    )
    session.rewind(4)
    session.branch("a")
    session.run([10, 10, 10])
    session.rewind(2)
    session.branch("b")
    session.run([100, 100, 100])
    session.branch("c")
    session.run([1000])
    return session


def test_lines_share_their_past():
    session = tree()
    rows = {name: session.trace(name)["h"].tolist() for name in session.branches}
    assert rows == {
        "main": [1, 2, 3, 4, 5, 6],
        "a": [1, 2, 3, 4, 14, 24, 34],
        "b": [1, 2, 102, 202, 302],
        "c": [1, 2, 102, 202, 302, 1302],
    }


@pytest.mark.parametrize("name", ["main", "a", "b", "c"])
def test_every_range_of_every_line(name):
    session = tree()
    whole = session.trace(name)["h"].tolist()
    for start in range(len(whole) + 1):
        for stop in range(start, len(whole) + 1):
            assert session.read("h", start, stop, name).tolist() == whole[start:stop]


@pytest.mark.parametrize("name", ["main", "a", "b", "c"])
def test_every_place_of_every_line(name):
    session = tree()
    whole = [0.0, *session.trace(name)["h"].tolist()]
    for t, h in enumerate(whole):
        session.checkout(name, t)
        assert session.states() == {"h": h}


def test_labels_follow_the_line():
    session = Session(accumulator())
    for text in "abc":
        session.step(1, label=text)
    session.rewind(1)
    session.step(1)
    session.step(1, label="z")
    assert session.trace().labels == ("a", "", "z")
    assert session.trace("main").labels == ("a", "b", "c")


def test_shared_is_symmetric_and_counts_common_steps():
    session = tree()
    rows = {name: session.trace(name)["h"].tolist() for name in session.branches}
    for a in rows:
        for b in rows:
            common = session.shared(a, b)
            assert common == session.shared(b, a)
            assert rows[a][:common] == rows[b][:common]
    assert session.shared("a", "b") == 2
    assert session.shared("a", "main") == 4


def test_a_line_without_steps_of_its_own_reads_its_past():
    session = Session(accumulator())
    session.run([1, 2, 3])
    session.rewind(2)
    session.branch("b")
    assert session.trace()["h"].tolist() == [1, 3]
    assert session.recorded() == {"x": (), "h": (), "y": ()}


def test_a_fork_must_record_what_its_past_records():
    session = Session(accumulator())
    session.run([1, 2, 3])
    session.rewind(2)
    with pytest.raises(RnnlabError, match=r"records x with a number; this step gave shape \(2,\)"):
        session.step(torch.ones(2))
    assert session.branches == ("main",)


@pytest.mark.parametrize("name", ["main", "a", "b", "c"])
def test_labels_and_inputs_of_every_range_of_every_line(name):
    session = tree()
    for branch in session.branches:
        session.checkout(branch)
        session.step(7, label=branch)
    whole = list(session.trace(name).labels)
    for start in range(len(whole) + 1):
        for stop in range(start, len(whole) + 1):
            found = [label or "" for label in session.labels(start, stop, name)]
            assert found == whole[start:stop]
    fed = [session.fed(t, name) for t in range(1, session.length(name) + 1)]
    assert fed == [(x,) for x in session.trace(name)["x"].tolist()]
    with pytest.raises(RnnlabError, match=f"there are steps 1 to {len(whole)} on '{name}', no 0"):
        session.fed(0, name)
    with pytest.raises(RnnlabError, match="not 0 to 99"):
        session.labels(0, 99, name)
