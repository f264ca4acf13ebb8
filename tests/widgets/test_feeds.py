"""The feeds by themselves: what they give, what they refuse, and where they stand."""

import json
import random

import numpy as np
import pytest
import torch

from rnnlab import RnnlabError, Vocabulary
from rnnlab.widgets.feeds import (
    CurveFeed,
    Features,
    Inputs,
    Memory,
    QueueFeed,
    Recording,
    Signal,
    SignalFeed,
    TokenFeed,
    VectorFeed,
    recordings,
)

ROWS = np.arange(1.0, 7.0).reshape(3, 2)
AB = Features(("a", "b"), -1.0, 1.0)
WORDS = Vocabulary(["the", "river", "bank", "was", "<unk>", "ice cream"])


def queue(*sequences):
    return QueueFeed([Recording(f"r{i}", rows) for i, rows in enumerate(sequences or (ROWS,))])


def run(feed, count, branch="main", start=0):
    """Feed so many steps of a branch; returns what was fed."""
    fed = []
    for t in range(start + 1, start + count + 1):
        fed.append(feed.next())
        feed.passed((branch, t), True)
    return fed


def refused(text):
    return pytest.raises(RnnlabError, match=f"^{text}$")


# the contract


@pytest.mark.parametrize(
    "make",
    [
        lambda: VectorFeed(AB),
        queue,
        lambda: SignalFeed(AB),
        lambda: CurveFeed(AB),
        lambda: TokenFeed(WORDS, ["the river bank was"]),
    ],
)
def test_every_feed_gives_again_after_going_back_what_it_gave_before(make):
    feed = make()
    if isinstance(feed, TokenFeed):
        feed.act({"add": "the river bank"})
    if isinstance(feed, SignalFeed):
        feed.act({"shape": "noise", "seed": 3})
    feed.restart(("main", 0))
    fed = run(feed, 3)
    feed.stand(("main", 1))
    x, label = feed.next()
    np.testing.assert_array_equal(np.asarray(x), np.asarray(fed[1][0]))
    assert label == fed[1][1]
    feed.restart(("run 2", 0))
    np.testing.assert_array_equal(np.asarray(feed.next()[0]), np.asarray(fed[0][0]))
    assert feed.count is None or feed.count >= 3
    json.dumps(feed.describe(), allow_nan=False)


def test_a_step_that_another_feed_gave_leaves_the_position_where_it_was():
    rows, sliders = queue(), VectorFeed(AB)
    inputs = Inputs([rows, sliders])
    inputs.restart(("main", 0))
    inputs.next()
    inputs.passed(("main", 1), True)
    inputs.act({"from": 1})
    assert (inputs.current, inputs.left, inputs.describe()["source"]) == (sliders, None, 1)
    inputs.passed(("main", 2), True)
    inputs.act({"from": 0})
    assert (inputs.position, inputs.left) == (1, 2)
    inputs.passed(("main", 3), True)
    inputs.stand(("main", 2))
    assert inputs.next()[0].tolist() == ROWS[1].tolist()
    with refused("There are inputs 0 to 1, no 2."):
        inputs.act({"from": 2})


def test_a_model_of_numbers_is_given_numbers():
    inputs = Inputs([VectorFeed(Features(("a",), 0, 1))], numbers=True)
    assert inputs.next() == (0.0, None)
    assert isinstance(inputs.next()[0], float)


# the memory


def test_a_memory_knows_what_it_was_told_and_nothing_else():
    draw = random.Random(0)
    memory, known = Memory(), {}
    for _ in range(600):
        place = (draw.choice("ab"), draw.randrange(12))
        told = (draw.choice(("x", "y")), draw.randrange(3) + place[1])
        memory.note(place, *told)
        known[place] = told
        for t in range(12):
            for branch in "ab":
                assert memory.at((branch, t)) == known.get((branch, t))


def test_a_memory_of_a_long_run_is_short():
    memory = Memory()
    for t in range(5000):
        memory.note(("main", t), "tape", t)
    for t in range(5000, 9000):
        memory.note(("main", t), "tape", 4999)
    assert len(memory) == 2
    assert memory.at(("main", 4000)) == ("tape", 4000)
    assert memory.at(("main", 8999)) == ("tape", 4999)


def test_a_memory_lays_in_another_tape_up_to_a_position():
    memory, old, new = Memory(), ("a", "b"), ("a", "c")
    for t in range(6):
        memory.note(("main", t), old, t)
    memory.note(("main", 6), old, 5)
    memory.swap(old, new, 2)
    tapes = [memory.at(("main", t)) for t in range(7)]
    assert tapes == [(new, 0), (new, 1), (new, 2), (old, 3), (old, 4), (old, 5), (old, 5)]


# a vector


def test_a_vector_starts_at_zero_or_at_the_low_end_of_its_range():
    assert VectorFeed(AB).next()[0].tolist() == [0, 0]
    assert VectorFeed(Features(("a", "b"), 2, 3)).next()[0].tolist() == [2, 2]


def test_a_vector_keeps_what_was_set_and_refuses_what_is_no_vector():
    feed = VectorFeed(AB)
    feed.act({"input": 0, "value": 0.25})
    feed.act({"input": 1, "value": -7.5})  # typed: also outside of the range of the slider
    assert feed.next()[0].tolist() == [0.25, -7.5] == feed.next()[0].tolist()
    with refused("There are inputs 0 to 1, no 2."):
        feed.act({"input": 2, "value": 3})
    with refused("Input b must be a number, not None."):
        feed.act({"input": 1, "value": None})
    assert feed.next()[0].tolist() == [0.25, -7.5]


def test_many_features_make_a_grid():
    assert VectorFeed(Features(("f",) * 16, 0, 1)).title == "Sliders"
    assert VectorFeed(Features(("f",) * 17, 0, 1)).title == "Grid"


# a queue


def test_a_queue_gives_its_rows_in_order_and_says_when_it_is_empty():
    feed = queue()
    feed.restart(("main", 0))
    assert [x.tolist() for x, _ in run(feed, 3)] == ROWS.tolist()
    with refused(r"All 3 rows of r0 are fed\. Press Reset, or choose another example\."):
        feed.next()


def test_a_queue_stands_where_it_stood_at_each_place_of_the_timeline():
    feed = queue()
    feed.restart(("main", 0))
    run(feed, 2)
    feed.stand(("main", 1))
    assert feed.next()[0].tolist() == ROWS[1].tolist()
    feed.stand(("main", 7))  # unknown: a step made in code does not move the queue
    assert feed.position == 1


def test_choosing_starts_at_the_first_row_of_the_other_recording():
    feed = queue(ROWS, -ROWS)
    feed.restart(("main", 0))
    run(feed, 2)
    assert feed.act({"example": 1}) is True, "another example begins a new run"
    assert feed.next()[0].tolist() == (-ROWS[0]).tolist()
    assert feed.describe()["chosen"] == 1
    with refused("There are examples 0 to 1, no 2."):
        feed.act({"example": 2})
    assert feed.describe()["chosen"] == 1


def test_going_back_past_a_change_of_recording_goes_back_to_the_other_one():
    feed = queue(ROWS, -ROWS)
    feed.restart(("main", 0))
    feed.act({"fresh": False})
    run(feed, 2)
    assert feed.act({"example": 1}) is False
    run(feed, 1, start=2)
    feed.stand(("main", 1))
    assert feed.next()[0].tolist() == ROWS[1].tolist()
    feed.stand(("main", 3))
    assert feed.next()[0].tolist() == (-ROWS[1]).tolist()


def test_a_picture_is_sent_between_zero_and_one():
    example = Recording("p", ROWS, "yes", np.array([[2.0, 4.0], [3.0, 2.0]]))
    shown = QueueFeed([example]).describe()
    assert shown["picture"] == [[0, 1], [0.5, 0]]
    assert shown["target"] == "yes"


# signals


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        (Signal("impulse", 2.0, onset=2), [0, 2, 0, 0, 0, 0]),
        (Signal("impulse", 2.0, period=3, onset=2), [0, 2, 0, 0, 2, 0]),
        (Signal("step", -1.5, onset=3), [0, 0, -1.5, -1.5, -1.5, -1.5]),
        (Signal("sine", 2.0, period=4, onset=2), [0, 0, 2, 0, -2, 0]),
    ],
)
def test_signals_are_their_formulas(signal, expected):
    assert [signal.at(n) for n in range(1, 7)] == pytest.approx(expected, abs=1e-12)


def test_noise_belongs_to_its_seed_and_step_whatever_was_asked_before():
    noise = Signal("noise", 0.5, seed=3)
    forwards = [noise.at(n) for n in range(1, 2001)]
    backwards = [noise.at(n) for n in range(2000, 0, -1)]
    assert forwards == backwards[::-1]
    assert forwards != [Signal("noise", 0.5, seed=4).at(n) for n in range(1, 2001)]
    assert np.mean(forwards) == pytest.approx(0, abs=0.05)
    assert np.std(forwards) == pytest.approx(0.5, rel=0.05)


def test_a_signal_feeds_the_chosen_features_and_the_others_rest():
    feed = SignalFeed(Features(("a", "b", "c"), 0.2, 1.0))
    feed.act({"shape": "step", "amplitude": "0.5", "onset": 2, "features": [2, 0]})
    feed.restart(("main", 0))
    fed = [x.tolist() for x, _ in run(feed, 2)]
    assert fed == [[0.2, 0.2, 0.2], pytest.approx([0.7, 0.2, 0.7])]


def test_a_preview_shows_what_will_be_fed_and_can_look_further():
    feed = SignalFeed(AB)
    feed.act({"shape": "sine", "period": 7, "features": [1]})
    feed.restart(("main", 0))
    shown = feed.describe()["preview"]
    fed = run(feed, 70)
    assert shown["from"] == 0
    assert shown["values"] == [x[1] for x, _ in fed[:60]]
    feed.act({"look": 65})
    again = feed.describe()["preview"]
    assert (again["from"], again["values"][:10]) == (60, [x[1] for x, _ in fed[60:]])


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"shape": "saw"}, "The signal is one of impulse, step, sine, noise, not 'saw'."),
        ({"shape": "sine", "period": 0}, ""),
        ({"period": -1}, "The period of the impulse must be 0 or more steps."),
        ({"amplitude": ""}, "The amplitude must be a number, not ''."),
        ({"onset": "2.5"}, "The onset must be a whole number, not '2.5'."),
        ({"seed": 0.5}, "The seed must be a whole number, not 0.5."),
        ({"onset": 0}, "The onset is step 1 or a later one, the seed 0 or more."),
        ({"features": []}, r"Choose at least one of the inputs 0 to 1, not \[\]."),
        ({"features": [2]}, r"Choose at least one of the inputs 0 to 1, not \[2\]."),
    ],
)
def test_a_signal_that_cannot_be_is_refused_and_nothing_changes(message, text):
    feed = SignalFeed(AB)
    before = feed.describe()
    if not text:  # there is none of period 0, so one is proposed
        feed.act(message)
        assert feed.signal.period == 12
        with refused("The period of the sine must be more than 0 steps."):
            feed.act({"period": 0})
        return
    with refused(text):
        feed.act(message)
    assert feed.describe() == before


def test_a_drawn_curve_is_fed_point_by_point():
    feed = CurveFeed(AB, steps=4)
    feed.act({"points": [0.5, -0.5, 0.25], "features": [1]})
    feed.restart(("main", 0))
    assert [x.tolist() for x, _ in run(feed, 3)] == [[0, 0.5], [0, -0.5], [0, 0.25]]
    with refused(r"All 3 steps of the curve are fed\. Press Reset, or give it more steps\."):
        feed.next()
    for points, text in (
        ([1, "x"], "A point must be a number, not 'x'."),
        ([], "A curve has 1 to 10,000 steps, not 0."),
    ):
        with refused(text):
            feed.act({"points": points})
    assert feed.describe()["points"] == [0.5, -0.5, 0.25]


# tokens


def tokens(feed):
    return " ".join(feed.tape), feed.position


def test_text_is_queued_token_by_token_and_labels_its_steps():
    feed = TokenFeed(WORDS, encode=WORDS.encode)
    feed.restart(("main", 0))
    with refused("There is no token to feed: type words of the vocabulary."):
        feed.next()
    feed.act({"add": " the  river "})
    feed.act({"add": "bank"})
    fed = run(feed, 2)
    assert [label for _, label in fed] == ["the", "river"]
    assert [int(x) for x, _ in fed] == [0, 1]
    assert tokens(feed) == ("the river bank", 2)


def test_what_is_a_token_of_the_vocabulary_stays_whole():
    feed = TokenFeed(WORDS)
    feed.act({"add": "the <unk> was"})
    feed.act({"add": " ice cream was "})
    assert feed.tape == ("the", "<unk>", "was", "ice cream", "was")
    letters = TokenFeed(Vocabulary("ab c"))
    letters.act({"add": "a b"})
    assert letters.tape == ("a", " ", "b")


def test_an_unknown_token_is_refused_and_nothing_is_queued():
    feed = TokenFeed(WORDS)
    feed.act({"add": "the"})
    with pytest.raises(RnnlabError) as raised:
        feed.act({"add": "river bnak"})
    assert str(raised.value).startswith(
        "Vocabulary: 'bnak' is not one of the 6 tokens. Near it: 'bank'."
    )
    with refused("Type at least one token of the vocabulary."):
        feed.act({"add": "  "})
    assert tokens(feed) == ("the", 0)


def test_tokens_are_taken_away_unless_they_are_fed():
    feed = TokenFeed(WORDS)
    feed.restart(("main", 0))
    feed.act({"add": "the river bank was"})
    run(feed, 1)
    feed.act({"remove": 2})
    assert tokens(feed) == ("the river was", 1)
    with refused("Token 1 is fed already, or not there."):
        feed.act({"remove": 0})
    feed.act({"clear": True})
    assert tokens(feed) == ("the", 1)


def test_a_new_run_has_the_same_text_until_another_is_typed():
    feed = TokenFeed(WORDS)
    feed.restart(("main", 0))
    feed.act({"add": "the river bank"})
    run(feed, 3)
    feed.restart(("run 2", 0))
    assert (tokens(feed), feed.describe()["carried"]) == (("the river bank", 0), True)
    feed.act({"add": "was"})
    assert (tokens(feed), feed.describe()["carried"]) == (("was", 0), False)
    feed.act({"add": "the"})
    assert tokens(feed) == ("was the", 0)
    assert feed.stand(("main", 0)) is True, "the old run keeps its text, from its start on"
    assert tokens(feed) == ("the river bank", 0)


def test_what_is_typed_in_the_past_leaves_what_was_recorded_after_it():
    feed = TokenFeed(WORDS)
    feed.restart(("main", 0))
    feed.act({"add": "the river bank"})
    run(feed, 3)
    feed.act({"add": "was was"})  # not fed yet: it is still to come
    feed.stand(("main", 1))
    feed.act({"add": "was"})
    assert tokens(feed) == ("the was was was", 1)
    feed.act({"remove": 2})
    feed.act({"remove": 2})
    run(feed, 1, branch="main@1", start=1)
    assert tokens(feed) == ("the was", 2)
    feed.act({"add": "the"})
    assert tokens(feed) == ("the was the", 2)
    feed.act({"remove": 2})
    feed.stand(("main", 3))
    assert tokens(feed) == ("the river bank was was", 3)
    feed.stand(("main", 0))
    assert tokens(feed) == ("the was", 0)
    feed.act({"add": "river"})
    assert tokens(feed) == ("river", 0), "from the start on another text"


def test_a_text_to_choose_begins_a_new_run_and_can_be_gone_on_with():
    feed = TokenFeed(WORDS, ["the river", "the bank was"])
    feed.restart(("main", 0))
    feed.act({"add": "was"})
    run(feed, 1)
    assert feed.act({"example": 1}) is True
    feed.restart(("run 2", 0))
    feed.act({"add": "was"})
    assert tokens(feed) == ("the bank was was", 0)
    with refused("There are texts 0 to 1, no 2."):
        feed.act({"example": 2})
    with refused(r"Tokens: cannot do \{'shout': 1\}\."):
        feed.act({"shout": 1})


# what the user gives


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
    found = recordings(frame)[0]
    assert found.xs.tolist() == [[1, 3], [2, 4]]
    assert (found.names, found.labels) == (("a", "b"), None)
    dated = QueueFeed(recordings(frame.set_axis(["mon", "tue"])))
    assert dated.next()[1] == "mon"


@pytest.mark.parametrize(
    "xs",
    [
        *("words", [["a"]], np.zeros((2, 2, 2, 2)), [], np.zeros((0, 3)), 5),
        *([[1.0, 2.0], [1.0]], [[1.0], 2.0], 1j * np.ones((3, 2)), [[1j, 2.0]]),
    ],
)
def test_what_is_not_rows_of_numbers_is_refused(xs):
    with pytest.raises(RnnlabError, match=r"^explore: (cannot read xs|xs must be rows)"):
        recordings(xs)
