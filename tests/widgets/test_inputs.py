"""The inputs of an explorer, as the page drives them: messages in, steps and traits out."""

import asyncio

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab.widgets import insight

XS = np.linspace(-1, 1, 36).reshape(12, 3)
TEXT = ["the", "river", "<b>bank</b>", "was", "steep"]


def model():
    torch.manual_seed(0)
    return rl.Chain(rl.LSTM(3, 8), rl.Dense(8, 2))


def reader(words, one_hot=False):
    torch.manual_seed(0)
    first = [] if one_hot else [torch.nn.Embedding(len(words), 3)]
    return rl.Chain(*first, rl.LSTM(len(words) if one_hot else 3, 4), rl.Dense(4, len(words)))


def press_all(page, *messages):
    for message in messages:
        page.press(message.pop("action", "feed"), **message)
        assert page.explorer.error == ""


@pytest.fixture
def words():
    return rl.Vocabulary(TEXT)


@pytest.fixture
def reading(open_page, words):
    return open_page(lambda: rl.explore(reader(words), vocabulary=words))


# switching


def test_every_model_of_vectors_has_sliders_a_generator_and_a_curve(open_page):
    page = open_page(lambda: rl.explore(model(), XS))
    assert page.explorer.feed["sources"] == ["Recording", "Sliders", "Generator", "Drawn curve"]
    page.press("step")
    press_all(
        page,
        {"from": 1},
        {"input": 0, "value": 1},
        {"input": 1, "value": 2},
        {"input": 2, "value": 3},
        {"action": "step"},
        {"from": 2},
        {"shape": "step", "amplitude": 0.5, "features": [0, 2]},
        {"action": "step"},
        {"from": 3},
        {"points": [0.25, 0.75], "features": [1]},
        {"action": "step"},
        {"from": 0},
        {"action": "step"},
    )
    fed = page.explorer.session.trace()["x"]
    wanted = [XS[0], [1, 2, 3], [0.5, 0, 0.5], [0, 0.25, 0], XS[1]]
    np.testing.assert_allclose(fed, np.float32(wanted), rtol=1e-6)


def test_going_back_goes_back_in_whatever_was_fed_from(open_page):
    page = open_page(lambda: rl.explore(model()))
    press_all(page, {"from": 2}, {"points": [0.1, 0.2, 0.3, 0.4]})
    for action in ("step", "step", "step", "back", "back", "step"):
        page.press(action)
    np.testing.assert_allclose(page.explorer.session.trace()["x"][:, 0], [0.1, 0.2], rtol=1e-6)
    assert page.rows[-1]["place"]["position"] == 2
    page.press("reset")
    assert page.explorer.session.t == page.rows[-1]["place"]["position"] == 0


def test_a_run_stops_at_the_end_of_the_curve(open_page):
    page = open_page(lambda: rl.explore(model()))
    press_all(page, {"from": 2}, {"points": [0.1, 0.2, 0.3]})

    async def run():
        page.press("run", steps=50)
        while page.explorer.session.t < 3 or page.explorer.running:
            await asyncio.sleep(0)

    asyncio.run(run())
    assert page.explorer.error == ""
    page.press("step")
    assert page.explorer.error.startswith("All 3 steps of the curve are fed.")


def test_a_refusal_is_shown_and_nothing_changes(open_page):
    page = open_page(lambda: rl.explore(model()))
    before = page.explorer.feed
    page.press("feed", input=1, value="x")
    assert page.explorer.error == "Input x[1] must be a number, not 'x'."
    assert page.explorer.feed == before


def test_the_columns_of_a_data_frame_name_the_inputs_and_its_index_the_steps(open_page):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"speed": [1.0, 2], "wind": [3.0, 4], "sun": [0.0, 1]}, ["mo", "tu"])
    page = open_page(lambda: rl.explore(model(), frame))
    page.press("step")
    assert page.explorer.lanes[0]["labels"] == ("speed", "wind", "sun")
    assert page.rows[-1]["labels"] == ["mo"]
    press_all(page, {"from": 1})
    assert page.explorer.feed["names"] == ["speed", "wind", "sun"]


# the same again


def test_same_again_feeds_the_last_input_and_leaves_the_queue_where_it_is(open_page):
    page = open_page(lambda: rl.explore(model(), XS))
    page.press("again")
    assert page.explorer.error == "Explorer: nothing is fed yet that could be fed again."
    for action in ("step", "step", "again", "again", "step"):
        page.press(action)
    assert page.explorer.error == ""
    fed = page.explorer.session.trace()["x"]
    np.testing.assert_array_equal(fed, np.float32([XS[0], XS[1], XS[1], XS[1], XS[2]]))
    page.press("back")
    page.press("back")
    page.press("step")
    np.testing.assert_array_equal(page.explorer.session.trace()["x"][-1], np.float32(XS[2]))


def test_same_again_with_tokens(reading):
    press_all(reading, {"add": "the river"}, {"action": "step"}, {"action": "again"})
    session = reading.explorer.session
    assert session.trace().labels == ("the", "the")
    assert session.trace()["x"].tolist() == [0, 0]
    assert reading.rows[-1]["place"]["position"] == 1


# tokens


def test_tokens_are_fed_and_label_the_steps_on_the_page(reading):
    press_all(reading, {"add": "the <b>bank</b> was"}, {"action": "snapshot"})
    for _ in range(3):
        reading.press("step")
    assert reading.explorer.session.trace().labels == ("the", "<b>bank</b>", "was")
    sent = [label for message in reading.rows[-3:] for label in message["labels"]]
    assert sent == ["the", "<b>bank</b>", "was"]
    reading.press("snapshot")
    assert reading.rows[-1]["labels"] == ["the", "<b>bank</b>", "was"]
    assert reading.explorer.feed["kind"] == "tokens"
    assert reading.explorer.words == TEXT


def test_outputs_are_probabilities_of_the_tokens(reading):
    press_all(reading, {"add": "the"}, {"action": "step"}, {"action": "snapshot"})
    lane = reading.explorer.lanes[-1]
    assert (lane["title"], lane["labels"]) == ("p(y)", tuple(TEXT))
    y = torch.tensor(reading.explorer.session.trace()["y"][-1])
    np.testing.assert_allclose(reading.rows[-1]["rows"][-5:], y.softmax(-1), rtol=1e-5)


def test_token_numbers_are_no_picture_but_one_hot_vectors_are(open_page, words):
    page = open_page(lambda: rl.explore(reader(words), vocabulary=words))
    assert [lane["name"] for lane in page.explorer.lanes] == ["1.h", "1.c", "y"]
    hot = rl.Vocabulary(TEXT, one_hot=True)
    page = open_page(lambda: rl.explore(reader(hot, one_hot=True), vocabulary=hot))
    assert [lane["name"] for lane in page.explorer.lanes] == ["x", "0.h", "0.c", "y"]
    assert page.explorer.lanes[0]["labels"] == tuple(TEXT)
    press_all(page, {"add": "river"}, {"action": "step"})
    assert page.explorer.session.trace()["x"].tolist() == [[0, 1, 0, 0, 0]]


def test_a_session_that_encodes_by_a_vocabulary_is_fed_its_tokens(open_page, words):
    session = rl.Session(reader(words), words.encode)
    session.step("the")
    page = open_page(lambda: rl.explore(session, "river was"))
    press_all(page, {"add": "river"}, {"action": "step"})
    assert session.trace().labels == ("the", "river")
    assert session.trace()["x"].tolist() == [0, 1]
    assert page.explorer.feed["texts"] == ["river was"]


def test_an_unknown_token_is_refused(reading):
    press_all(reading, {"add": "the"})
    before = reading.explorer.feed
    reading.press("feed", add="the moon")
    assert "'moon' is not one of the 5 tokens" in reading.explorer.error
    assert reading.explorer.feed == before


def test_two_texts_are_two_runs_that_can_be_compared(reading):
    press_all(reading, {"add": "the river was"})
    for _ in range(3):
        reading.press("step")
    press_all(reading, {"action": "reset"}, {"add": "the steep was"})
    for _ in range(3):
        reading.press("step")
    session = reading.explorer.session
    assert {b: session.trace(b).labels for b in session.branches} == {
        "main": ("the", "river", "was"),
        "run 2": ("the", "steep", "was"),
    }
    press_all(
        reading,
        {"action": "compare", "branch": "main", "on": True},
        {"action": "checkout", "branch": "main"},
    )
    assert reading.explorer.feed["tokens"] == ["the", "river", "was"]


def test_texts_that_are_none_are_refused(words):
    with pytest.raises(rl.RnnlabError, match="is fed texts: xs must be a text or a list of texts"):
        rl.explore(reader(words), XS, vocabulary=words)


def test_the_bank_of_the_zoo_opens_with_its_texts(open_page):
    page = open_page(lambda: rl.explore(rl.zoo.bank()))
    assert page.explorer.feed["texts"][0] == "the river bank was"
    press_all(page, {"example": 0})
    for _ in range(4):
        page.press("step")
    assert page.explorer.error == ""
    p = page.rows[-1]["rows"][-42:]
    assert page.explorer.words[int(p.argmax())] == "steep"


# a batch


def test_another_row_of_a_batch_is_shown_inspected_and_poked(open_page):
    page = open_page(lambda: rl.explore(model()))
    session = page.explorer.session
    session.run(torch.linspace(-1, 1, 5 * 4 * 3).view(5, 4, 3))
    assert page.explorer.rows == 4
    page.press("snapshot")
    for row in (2, 0, 3):
        page.explorer.row = row
        table = page.rows[-1]["rows"].reshape(6, -1)
        np.testing.assert_array_equal(table[1:, :3], session.trace()["x"][:, row])
        np.testing.assert_array_equal(table[1:, 3:11], session.trace()["0.h"][:, row])
    page.press("inspect", step=2)
    told = [m for m in page.sent if m["kind"] == "inspected"][-1]["gates"]["0"]["f"]["values"]
    np.testing.assert_allclose(told, rl.derive(session.model, session.trace())["0.f"][1, 3])
    page.press("plane", name="0.h")
    mean = [m for m in page.sent if m["kind"] == "plane"][-1]["mean"]
    np.testing.assert_allclose(mean, session.trace()["0.h"][:, 3].mean(0), rtol=1e-5)
    before = session.trace()["0.h"][1]
    page.press("poke", step=2, name="0.h", unit=5, value=0.75)
    assert page.explorer.error == ""
    after = session.trace()["0.h"][1]
    changed = [(int(r), int(u)) for r, u in np.argwhere(after != before)]
    assert (changed, after[3, 5]) == ([(3, 5)], np.float32(0.75))


# the colour of the tokens


def test_gates_of_the_branch_are_derived_once_for_all_that_is_asked(reading, monkeypatch):
    calls = []
    derive = insight.derive
    monkeypatch.setattr(insight, "derive", lambda *a, **k: calls.append(1) or derive(*a, **k))
    press_all(reading, {"add": "the river was"})
    for _ in range(3):
        reading.press("step")
    assert reading.explorer.gates == ["1.i", "1.f", "1.g", "1.o"]
    assert not calls, "a step derives nothing"
    for name in ("1.f", "1.g", "1.f"):
        reading.press("signal", name=name, unit=2)
        told = [m for m in reading.sent if m["kind"] == "signal"][-1]
        session = reading.explorer.session
        expected = derive(session.model, session.trace())[name][:, 2]
        np.testing.assert_allclose(told["values"], expected, rtol=1e-5)
        assert (told["start"], told["length"], told["branch"]) == (1, 3, "main")
        assert told["sigmoid"] is (name == "1.f")
    assert len(calls) == 1
    press_all(reading, {"action": "undo"}, {"add": "steep"}, {"action": "feed", "remove": 2})
    reading.press("step")
    reading.press("signal", name="1.f", unit=2)
    assert len(calls) == 2, "another third step: what was derived is not it"


@pytest.mark.parametrize(
    ("name", "unit", "text"),
    [
        ("1.q", 0, "Explorer: there is no gate '1.q'."),
        ("1.f", 4, "Explorer: 1.f has units 0 to 3, no 4."),
    ],
)
def test_a_gate_that_is_not_there_is_refused(reading, name, unit, text):
    press_all(reading, {"add": "the"}, {"action": "step"})
    reading.press("signal", name=name, unit=unit)
    assert reading.explorer.error == text
