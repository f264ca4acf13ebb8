import numpy as np
import pytest
import torch

from rnnlab import RnnlabError
from rnnlab.widgets.feeds import QueueFeed, Recording, VectorFeed, recordings

ROWS = np.arange(1.0, 7.0).reshape(3, 2)


def queue(*sequences):
    examples = [Recording(f"r{i}", rows) for i, rows in enumerate(sequences or (ROWS,))]
    return QueueFeed(examples, [example.label for example in examples])


def test_a_vector_starts_at_zero_or_at_the_low_end_of_its_range():
    assert VectorFeed(["a", "b"], -1, 1).next().tolist() == [0, 0]
    assert VectorFeed(["a", "b"], 2, 3).next().tolist() == [2, 2]


def test_a_vector_keeps_what_was_set_and_refuses_another_size():
    feed = VectorFeed(["a", "b"], -1, 1)
    feed.set([0.25, -0.5])
    assert feed.next().tolist() == [0.25, -0.5] == feed.next().tolist()
    with pytest.raises(RnnlabError, match=r"^3 values for 2 inputs\.$"):
        feed.set([1, 2, 3])
    assert feed.next().tolist() == [0.25, -0.5]


def test_a_queue_gives_its_rows_in_order_and_says_when_it_is_empty():
    feed = queue()
    for position, row in enumerate(ROWS):
        assert feed.next().tolist() == row.tolist()
        feed.remember(("main", position + 1), position + 1)
    with pytest.raises(RnnlabError) as raised:
        feed.next()
    assert str(raised.value) == (
        "All 3 rows of r0 are fed. Press Reset, or choose another example."
    )


def test_a_queue_stands_where_it_stood_at_each_place_of_the_timeline():
    feed = queue()
    feed.remember(("main", 0), 0)
    feed.remember(("main", 1), 1)
    feed.remember(("main", 2), 2)
    feed.place(("main", 1))
    assert feed.next().tolist() == ROWS[1].tolist()
    feed.place(("main", 7))  # unknown: a step made in code does not move the queue
    assert feed.position == 1


def test_choosing_starts_at_the_first_row_of_the_other_recording():
    feed = queue(ROWS, -ROWS)
    feed.remember(("main", 2), 2)
    feed.choose(1)
    assert feed.next().tolist() == (-ROWS[0]).tolist()
    assert feed.describe()["chosen"] == 1
    with pytest.raises(RnnlabError, match=r"^There are examples 0 to 1, no 2\.$"):
        feed.choose(2)
    assert feed.chosen == 1


def test_a_picture_is_sent_between_zero_and_one():
    example = Recording("p", ROWS, "yes", np.array([[2.0, 4.0], [3.0, 2.0]]))
    shown = QueueFeed([example], ["p"]).describe()
    assert shown["picture"] == [[0, 1], [0.5, 0]]
    assert shown["target"] == "yes"


@pytest.mark.parametrize(
    ("xs", "shapes"),
    [
        (ROWS, [(3, 2)]),
        (torch.tensor(ROWS), [(3, 2)]),
        (np.stack([ROWS, ROWS]), [(3, 2), (3, 2)]),
        ([ROWS, ROWS[:1]], [(3, 2), (1, 2)]),
        ([1.0, 2.0, 3.0], [(3, 1)]),
        (np.array([1.0, 2.0]), [(2, 1)]),
        ([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [(3, 2)]),
    ],
)
def test_arrays_are_read_as_recordings(xs, shapes):
    found = recordings(xs)
    assert [example.xs.shape for example in found] == shapes
    first = np.asarray(xs[0] if isinstance(xs, list) else xs, dtype=float).ravel()[0]
    assert found[0].xs.ravel()[0] == first


def test_a_data_frame_is_read_row_by_row():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    assert recordings(frame)[0].xs.tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize("xs", ["words", [["a"]], np.zeros((2, 2, 2, 2)), [], np.zeros((0, 3))])
def test_what_is_not_rows_of_numbers_is_refused(xs):
    with pytest.raises(RnnlabError, match=r"^explore: (cannot read xs|xs must be rows)"):
        recordings(xs)
