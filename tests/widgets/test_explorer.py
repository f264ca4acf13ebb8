import asyncio
import json
import re
import time

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab.widgets import insight, wire
from rnnlab.widgets.module import PARTS, STATIC, module, style

XS = np.linspace(-1, 1, 36).reshape(12, 3)


def model():
    torch.manual_seed(0)
    return rl.Chain(rl.LSTM(3, 8), rl.Dense(8, 2))


@pytest.fixture
def page(open_page):
    return open_page(lambda: rl.explore(model(), XS))


def table(message, width):
    return message["rows"].reshape(-1, width)


def test_every_button_is_a_command_to_the_session(page):
    session = page.explorer.session
    page.press("step")
    page.press("step")
    assert (session.t, session.length()) == (2, 2)
    page.press("back")
    assert session.t == 1
    page.press("forward")
    assert session.t == 2
    page.press("reset")
    assert (session.t, session.branches) == (0, ("main", "run 2"))


def test_twenty_clicks_are_twenty_steps_in_order(open_page):
    xs = np.arange(60.0).reshape(20, 3) / 60
    page = open_page(lambda: rl.explore(model(), xs))
    for _ in range(20):
        page.press("step")
    np.testing.assert_array_equal(page.explorer.session.trace()["x"], xs.astype(np.float32))


def test_the_page_is_told_exactly_the_numbers_of_the_trace(page):
    page.press("snapshot")
    for _ in range(4):
        page.press("step")
    lanes = page.explorer.lanes
    assert [lane["name"] for lane in lanes] == ["x", "0.h", "0.c", "y"]
    width = sum(lane["units"] for lane in lanes)
    known = np.empty((0, width), np.float32)
    for message in page.rows:
        known = np.concatenate([known[: message["start"]], table(message, width)])
    trace = page.explorer.session.trace()
    for lane in lanes:
        shown = known[:, lane["from"] : lane["from"] + lane["units"]]
        np.testing.assert_array_equal(shown[1:], trace[lane["name"]])
        if lane["role"] == "state":
            np.testing.assert_array_equal(shown[0], trace.initial[lane["name"]])
        else:
            assert np.isnan(shown[0]).all()


def test_a_step_sends_its_own_row_and_nothing_else_whatever_the_history(page):
    page.press("snapshot")
    sizes = []
    for _ in range(12):
        page.explorer._wire._sent_at = 0  # a frame has passed
        before = len(page.sent)
        page.press("step")
        sizes.append(page.size(since=before))
    assert set(sizes) == {4 * (3 + 8 + 8 + 2)}
    assert [m["seq"] for m in page.rows] == list(range(1, 14))


def test_changes_within_a_frame_are_one_message(page, monkeypatch):
    async def burst():
        page.press("snapshot")
        for x in XS:
            page.explorer.session.step(x)
        assert len(page.rows) == 1
        monkeypatch.setattr(wire, "FRAME", 0.01)
        page.explorer._wire._timer.cancel()
        page.explorer._wire._timer = None
        page.explorer._wire._sent_at = time.monotonic()
        page.explorer._wire.moved()  # the frame is not over: a timer sends what is due
        assert len(page.rows) == 1
        await asyncio.sleep(0.1)

    monkeypatch.setattr(wire, "FRAME", 60)
    asyncio.run(burst())
    assert len(page.rows) == 2
    last = page.rows[-1]
    assert (last["start"], last["place"]["t"], last["rows"].size) == (1, 12, 12 * 21)


def test_a_fork_sends_what_differs_and_a_new_run_starts_over(page):
    page.press("snapshot")
    for _ in range(5):
        page.press("step")
    page.press("back")
    page.press("back")
    page.press("step")
    fork = page.rows[-1]
    place = {"branch": "main@3", "t": 4, "length": 4, "position": 4, "undo": True, "redo": False}
    assert fork["place"] == place
    assert fork["start"] == 3
    page.press("reset")
    assert page.rows[-1]["whole"] is True
    assert page.rows[-1]["place"]["length"] == 0


def test_a_snapshot_is_bounded_however_long_the_history(open_page):
    page = open_page(lambda: rl.explore(rl.RNN(1, 2)))
    page.explorer.session.run(torch.zeros(6000, 1))
    page.press("snapshot")
    assert page.rows[-1]["whole"] is True
    assert page.rows[-1]["start"] == 6001 - 4096
    assert page.rows[-1]["rows"].size == 4096 * 5


def test_a_step_made_in_a_cell_reaches_the_page(page):
    page.press("snapshot")
    page.explorer._wire._sent_at = 0
    page.explorer.session.step([1.0, 2.0, 3.0])
    assert page.rows[-1]["rows"][:3].tolist() == [1, 2, 3]


def test_bad_input_is_shown_and_changes_nothing(page, monkeypatch):
    monkeypatch.setattr(page.explorer._inputs, "next", lambda: (np.ones(5), None))
    page.press("step")
    assert page.explorer.error == "LSTMCell(3, 8): x has 5 features, expected 3; x.shape = (5,)"
    assert page.explorer.session.t == 0
    page.press("reset")
    assert page.explorer.error == ""


def test_an_exception_in_a_handler_is_shown_not_swallowed(page, monkeypatch):
    monkeypatch.setattr(page.explorer.session, "back", lambda: 1 / 0)
    page.press("back")
    assert page.explorer.error == "ZeroDivisionError: division by zero"
    assert page.sent[-1]["kind"] == "answer"


def test_an_unknown_action_is_an_error(page):
    page.press("explode")
    assert page.explorer.error == "Explorer: unknown action 'explode'."


def test_run_goes_on_to_the_end_of_the_recording_and_lets_the_kernel_breathe(page):
    ticks = 0

    async def run():
        nonlocal ticks
        page.press("run", steps=100)
        while page.explorer.session.t < 12:
            ticks += 1
            await asyncio.sleep(0)

    asyncio.run(run())
    assert page.explorer.session.t == 12
    assert page.explorer.error == ""


def test_play_steps_until_paused(page):
    async def play():
        page.explorer.speed = 200
        page.press("play")
        await asyncio.sleep(0)
        assert page.explorer.playing
        while page.explorer.session.t < 3:
            await asyncio.sleep(0.005)
        page.press("pause")
        assert not page.explorer.playing
        stopped = page.explorer.session.t
        await asyncio.sleep(0.05)
        return stopped

    assert asyncio.run(play()) == page.explorer.session.t < 12


def test_play_or_a_long_run_asked_for_twice_within_a_round_trip_stops(page):
    async def twice(action, **detail):
        page.press(action, **detail)
        page.press(action, **detail)
        await asyncio.sleep(0.02)
        assert (page.explorer.playing, page.explorer.running) == (False, False)

    asyncio.run(twice("play"))
    asyncio.run(twice("run", steps=10))
    assert page.explorer.session.t == 0

    async def other():  # what was stopped says nothing about what began after it
        page.press("run", steps=10)
        await asyncio.sleep(0)
        page.press("play")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert page.explorer.playing
        page.press("pause")

    asyncio.run(other())


def test_play_stops_by_itself_at_the_end(page):
    async def play():
        page.explorer.speed = 1000
        page.press("play")
        await asyncio.sleep(0)
        while page.explorer.playing:
            await asyncio.sleep(0.005)

    asyncio.run(play())
    assert page.explorer.session.t == 12
    assert page.explorer.error == ""


def test_sliders_feed_their_vector(open_page):
    page = open_page(lambda: rl.explore(model(), input_names=["a", "b", "c"]))
    assert page.explorer.feed["names"] == ["a", "b", "c"]
    for place, value in enumerate([0.5, -0.25, 1]):
        page.press("feed", input=place, value=value)
    page.press("step")
    page.press("step")
    assert page.explorer.session.trace()["x"].tolist() == [[0.5, -0.25, 1]] * 2


def test_choosing_an_example_starts_a_new_run_unless_told_not_to(open_page):
    page = open_page(lambda: rl.explore(model(), np.stack([XS, 2 * XS])))
    page.press("step")
    page.press("feed", example=1)
    assert (page.explorer.session.t, page.explorer.feed["chosen"]) == (0, 1)
    page.press("step")
    page.press("feed", fresh=False)
    page.press("feed", example=0)
    page.press("step")
    assert page.explorer.session.t == 2
    trace = page.explorer.session.trace()
    np.testing.assert_array_equal(trace["x"], np.float32([2 * XS[0], XS[0]]))


def test_going_back_puts_the_queue_back_too(page):
    for _ in range(3):
        page.press("step")
    page.press("back")
    page.press("step")
    trace = page.explorer.session.trace()
    np.testing.assert_array_equal(trace["x"], XS[:3].astype(np.float32))
    assert page.explorer.session.branch_name == "main@2"


def test_probabilities_are_shown_for_scores(open_page):
    page = open_page(lambda: rl.explore(model(), XS, decode="softmax", output_names="ab"))
    page.press("snapshot")
    page.press("step")
    y = page.explorer.session.trace()["y"][-1]
    expected = np.exp(y) / np.exp(y).sum()
    np.testing.assert_allclose(page.rows[-1]["rows"][-2:], expected, rtol=1e-6)
    assert page.explorer.lanes[-1]["labels"] == ("a", "b")


def test_of_a_batch_the_first_row_is_shown(open_page):
    page = open_page(lambda: rl.explore(rl.RNN(2, 3), input_names="ab"))
    page.explorer.session.step(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    page.press("snapshot")
    assert page.rows[-1]["rows"].reshape(2, -1)[1, :2].tolist() == [1, 2]


def test_a_function_cell_with_numbers_can_be_explored(open_page):
    page = open_page(
        lambda: rl.explore(rl.Recur(lambda h, x: (h + x, 2 * h), 0.0), [1.0, 2.0, 4.0])
    )
    for _ in range(3):
        page.press("step")
    assert page.explorer.error == ""
    assert page.explorer.session.trace()["h"].ravel().tolist() == [1, 3, 7]


def test_closing_ends_the_subscription(page):
    session = page.explorer.session
    page.explorer.close()
    before = len(page._log)
    session.step([0.0, 0.0, 0.0])
    assert len(page._log) == before


def test_the_printed_form_is_deterministic(page):
    assert repr(page.explorer) == (
        "Explorer(Session(Chain(Recur(LSTMCell(3, 8)), Dense(8, 2)), step 0 of 0, branch 'main'))"
    )


def test_the_module_is_self_contained():
    text = module()
    assert not re.search(r"^import ", text, re.MULTILINE)
    assert "http" not in text
    assert text.count("export default") == 1
    parts = [(STATIC / name).read_text(encoding="utf-8") for name in PARTS]
    top = re.compile(r"^(?:export )?(?:async )?(?:function|const|let|class) (\w+)", re.MULTILINE)
    names = [name for part in parts for name in top.findall(part)]
    assert len(names) == len(set(names)), "two parts define the same name"
    # Indentation and comments are dropped, which must not be able to change a string.
    others = [(STATIC / name).read_text(encoding="utf-8") for name in ("host.js", "unpack.js")]
    lines = [line for part in (*parts, *others) for line in part.splitlines()]
    assert not [line for line in lines if line.count("`") % 2]
    assert not [line for line in lines if re.search(r"""[^\s/].* // .*["'`]""", line)]


def test_the_style_is_the_sheet_without_what_only_people_read():
    sheet = re.sub(r"/\*.*?\*/", "", (STATIC / "explorer.css").read_text("utf-8"), flags=re.DOTALL)
    text = style()
    assert len(text) < 0.92 * len(sheet)
    assert re.sub(r"\s", "", text) == re.sub(r"\s", "", sheet)
    descendants = r"(?<=[\w\])]) (?=[.:\[*\w][^;{}]*\{)"  # a space in a selector has a meaning
    assert len(re.findall(descendants, text)) == len(re.findall(descendants, sheet)) > 100


def press_all(page, *actions):
    for action in actions:
        page.press(action)
    assert page.explorer.error == ""


def test_a_branch_gets_the_name_given_or_a_readable_one(page):
    page.press("step")
    page.press("branch", name="mine")
    page.press("branch", name="  ")
    assert page.explorer.branches == ["main", "mine", "branch 2"]
    page.press("checkout", branch="main")
    assert page.explorer.session.branch_name == "main"
    page.press("branch", name="mine")
    assert "mine" in page.explorer.error


def test_undo_and_redo(page):
    press_all(page, "step", "step", "undo")
    assert page.explorer.session.t == 1
    page.press("redo")
    assert page.explorer.session.t == 2


def test_the_page_knows_whether_there_is_anything_to_undo_or_redo(page):
    def told():
        place = page.rows[-1]["place"]
        return place["undo"], place["redo"]

    page.press("snapshot")
    assert told() == (False, False)
    for action, known in (
        ("step", (True, False)),
        ("undo", (False, True)),
        ("redo", (True, False)),
        ("branch", (True, False)),
        ("undo", (True, True)),
        ("step", (True, False)),
    ):
        page.explorer._wire._sent_at = 0  # a frame has passed
        press_all(page, action)
        assert told() == known, action


def test_what_was_done_before_a_session_was_saved_is_not_undone(open_page, tmp_path):
    session = rl.Session(model())
    session.step(XS[0])
    session.save(tmp_path / "a.npz")
    page = open_page(lambda: rl.explore(rl.Session.load(tmp_path / "a.npz", model())))
    page.press("snapshot")
    assert page.rows[-1]["place"]["undo"] is False
    press_all(page, "step")
    assert page.rows[-1]["place"]["undo"] is True


def test_all_that_a_step_sends_is_small_whatever_the_history(open_page):
    hidden = 256
    page = open_page(lambda: rl.explore(rl.RNN(3, hidden), input_names="abc"))
    page.explorer.session.run(torch.zeros(20_000, 3), progress=False)
    page.press("snapshot")
    for _ in range(3):
        page.explorer._wire._sent_at = 0  # a frame has passed
        before = len(page._log)
        page.press("step")
        sent = page._log[before:]
        size = sum(len(json.dumps(m["data"])) for m in sent)
        size += sum(len(buffer) for m in sent for buffer in m["buffers"] or ())
        units = 3 + hidden + hidden
        # an envelope of Jupyter's protocol around each message takes about 500 bytes
        assert 4 * units < size + 500 * len(sent) < 2000 + 8 * units


def test_a_row_taken_back_within_a_frame_is_not_kept(page, monkeypatch):
    press_all(page, "snapshot", "step", "step")
    monkeypatch.setattr(wire, "FRAME", 60)

    async def within_a_frame():
        page.press("undo")
        page.explorer.session.step([9.0, 9.0, 9.0])
        page.explorer._wire.flush()

    asyncio.run(within_a_frame())
    last = page.rows[-1]
    assert last["start"] == 2
    assert last["rows"][:3].tolist() == [9, 9, 9]


def test_a_poke_forks_feeds_again_what_followed_and_keeps_the_old_run(page):
    press_all(page, *["step"] * 6)
    page.press("poke", step=2, name="0.h", unit=3, value=0.75)
    session = page.explorer.session
    assert page.explorer.error == ""
    assert (session.t, session.branch_name) == (6, "main@2 0.h[3]=0.75")
    new, old = session.trace(), session.trace("main")
    np.testing.assert_array_equal(new["x"], old["x"])
    assert new["0.h"][1, 3] == 0.75 != old["0.h"][1, 3]
    assert not np.array_equal(new["0.h"][5], old["0.h"][5])
    assert page.explorer.compared == ["main"]
    other = [m for m in page.sent if m["kind"] == "other"][-1]
    np.testing.assert_array_equal(table(other, 21)[1:, 3:11], old["0.h"])
    page.press("step")
    np.testing.assert_array_equal(session.trace()["x"][6], XS[6].astype(np.float32))


def test_the_inspector_is_told_the_gates_of_the_step(page):
    press_all(page, *["step"] * 4)
    page.press("inspect", step=3)
    told = [m for m in page.sent if m["kind"] == "inspected"][-1]
    trace = page.explorer.session.trace()
    cell = page.explorer.session.model[0].cell
    state = torch.tensor(trace["0.h"][1]), torch.tensor(trace["0.c"][1])
    expected = cell.gates(state, torch.tensor(trace["x"][2]))
    kept = told["gates"]["0"].pop("kept")
    assert kept == {"values": told["gates"]["0"]["f"]["values"], "state": "c"}
    assert set(told["gates"]["0"]) == {"i", "f", "g", "o"}
    for gate, found in told["gates"]["0"].items():
        np.testing.assert_allclose(found["values"], expected[gate].detach(), atol=1e-6)
        assert found["sigmoid"] is (gate != "g")
        assert found["tanh"] is (gate == "g")
        assert found["means"].endswith("candidate" if gate == "g" else "gate")
    assert told["bounded"] == ["0.h"]
    page.press("inspect", step=9)
    assert [m for m in page.sent if m["kind"] == "inspected"][-1]["gates"] == {}


def test_gates_that_are_not_finite_are_told_as_nothing(open_page):
    session = rl.Session(rl.Chain(rl.LSTM(3, 2), rl.Dense(2, 2)), allow_nonfinite=True)
    page = open_page(lambda: rl.explore(session, XS))
    session.step([0.5, float("nan"), 0.1])
    page.press("inspect", step=1)
    (gates,) = [m for m in page.sent if m["kind"] == "inspected"][-1]["gates"].values()
    assert [gate["values"] for gate in gates.values()] == [[None, None]] * 5
    page.press("signal", name="0.f", unit=1)
    assert [m for m in page.sent if m["kind"] == "signal"][-1]["values"] == [None]


def test_the_inspector_is_told_which_step_was_set_by_hand(page):
    press_all(page, *["step"] * 4)
    page.press("poke", step=3, name="0.h", unit=1, value=0.5)
    for step in (2, 3, 4):
        page.press("inspect", step=step)
        told = [m for m in page.sent if m["kind"] == "inspected"][-1]
        assert told["edited"] is (step == 3)
    page.press("checkout", branch="main")
    page.press("inspect", step=3)
    assert not [m for m in page.sent if m["kind"] == "inspected"][-1]["edited"]


def test_a_unit_is_held_from_a_step_on_and_the_inspector_is_told(page):
    press_all(page, *["step"] * 4)
    page.press("hold", step=2, name="0.h", unit=1, value=0.25)
    session = page.explorer.session
    assert session.branch_name == "main@2 0.h[1]=0.25 held"
    assert page.explorer.compared == ["main"]
    assert (session.t, session.length()) == (4, 4), "what followed is fed again"
    page.press("step")
    assert session.trace()["0.h"][1:, 1].tolist() == [0.25] * 4
    told = []
    for step in (1, 2, 3, 5):
        page.press("inspect", step=step)
        message = [m for m in page.sent if m["kind"] == "inspected"][-1]
        told.append((message["edited"], message["held"]))
    held = ["0.h[1]=0.25"]
    assert told == [(False, []), (True, []), (False, held), (False, held)]


def test_a_hold_is_for_all_rows_of_a_batch(open_page):
    page = open_page(lambda: rl.explore(rl.RNN(1, 3)))
    page.explorer.session.run(torch.ones(2, 2, 1), progress=False)
    page.press("hold", step=1, name="h", unit=2, value=0.0)
    assert page.explorer.session.trace()["h"][:, :, 2].tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("by", ["first activity", "principal component", "time constant"])
def test_units_can_be_put_in_order(page, by):
    press_all(page, *["step"] * 8)
    page.press("order", by=by)
    assert page.explorer.error == ""
    assert page.explorer.ordered_by == by
    assert sorted(page.explorer.orders["0.h"]) == list(range(8))
    rows = page.explorer.session.trace()["0.h"]
    if by == "first activity":
        size = np.abs(rows)
        first = [np.flatnonzero(size[:, u] >= size[:, u].max() / 2)[0] for u in range(8)]
        assert [first[u] for u in page.explorer.orders["0.h"]] == sorted(first)
    page.press("order", by="index")
    assert page.explorer.orders == {}


def test_a_gru_is_ordered_by_what_its_update_gate_keeps(open_page):
    torch.manual_seed(0)
    page = open_page(lambda: rl.explore(rl.GRU(3, 6), XS))
    press_all(page, *["step"] * 8)
    page.press("order", by="time constant")
    session = page.explorer.session
    z = rl.derive(session.model, session.trace())["z"]
    assert page.explorer.orders == {"h": np.argsort(np.log(z).mean(axis=0)).tolist()}


@pytest.mark.parametrize(
    ("layer", "offered"), [(rl.RNN, False), (rl.LSTM, True), (rl.GRU, True), (rl.MGU, True)]
)
def test_an_order_by_time_constant_is_offered_where_gates_tell_one(layer, offered):
    explorer = rl.explore(rl.Chain(layer(3, 4), rl.Dense(4, 2)), XS)
    rest = ["index", "first activity", "principal component"]
    assert explorer.sorts == ([*rest, "time constant"] if offered else rest)


def test_an_order_says_what_it_needs(open_page):
    page = open_page(lambda: rl.explore(rl.RNN(3, 4), XS))
    page.press("order", by="first activity")
    assert page.explorer.error == (
        "Explorer: an order by first activity needs at least 2 recorded steps."
    )
    press_all(page, "step", "step")
    page.press("order", by="time constant")
    assert page.explorer.error == (
        "Explorer: no layer of this model has gates that say how much of its state it keeps."
    )
    assert page.explorer.ordered_by == "index"


def test_the_plane_is_the_principal_one_and_says_what_it_was_fitted_to(page):
    press_all(page, *["step"] * 8)
    page.press("plane", name="0.h")
    told = next(m for m in page.sent if m["kind"] == "plane")
    rows = page.explorer.session.trace()["0.h"].astype(float)
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    axes = np.array(told["axes"])
    np.testing.assert_allclose(np.abs(axes @ vectors[:, [-1, -2]]), np.eye(2), atol=1e-6)
    np.testing.assert_allclose(told["variance"], values[[-1, -2]] / values.sum(), rtol=1e-6)
    assert all(axis[np.abs(axis).argmax()] > 0 for axis in axes)
    assert told["fit"] == "steps 1 to 8 of main"


def test_a_plane_is_fitted_to_the_selected_span(page):
    press_all(page, *["step"] * 8)
    page.press("plane", name="0.h", span=[3, 7])
    told = [m for m in page.sent if m["kind"] == "plane"][-1]
    rows = page.explorer.session.trace()["0.h"][2:7]
    np.testing.assert_allclose(told["mean"], rows.mean(axis=0), rtol=1e-6)
    assert told["fit"] == "steps 3 to 7 of main"
    page.press("plane", name="0.h", span=[3, 4])
    assert page.explorer.error == "Explorer: a plane needs at least 3 recorded steps."


def test_a_search_within_the_initial_state_alone_finds_nothing(page):
    press_all(page, *["step"] * 3)
    page.press("find", units=[["0.h", 0]], above=-2.0, at_least=1, span=[0, 0])
    assert [m for m in page.sent if m["kind"] == "found"][-1]["count"] == 0


def test_save_and_export_write_files_and_say_where(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    press_all(page, "step", "step", "save", "save")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "rnnlab-session-2.npz",
        "rnnlab-session.npz",
    ]
    assert page.explorer.notice == (
        "Saved as rnnlab-session-2.npz. rl.Session.load('rnnlab-session-2.npz', model) "
        "opens it again."
    )
    again = rl.Session.load(tmp_path / "rnnlab-session.npz", page.explorer.session.model)
    np.testing.assert_array_equal(again.trace()["0.h"], page.explorer.session.trace()["0.h"])
    press_all(page, "export")
    assert page.explorer.notice == (
        "Exported as rnnlab-explorer.html: one page that works without a kernel."
    )
    assert (tmp_path / "rnnlab-explorer.html").read_text("utf-8").startswith("<!doctype html>")
    page.press("checkout", branch="nowhere")
    assert page.explorer.error
    assert page.explorer.notice == "", "what was done before is no answer to this"


def test_a_refused_value_leaves_the_session_where_it_is(page):
    press_all(page, "step", "step", "step", "step")
    for value in (1e300, float("nan")):
        page.press("poke", step=2, name="0.h", unit=0, value=value)
        assert page.explorer.error
        assert (page.explorer.session.t, page.explorer.session.length()) == (4, 4)


def test_a_state_that_is_a_number_is_set_too(open_page):
    page = open_page(
        lambda: rl.explore(rl.Recur(lambda h, x: (h + x, h * 2), 0.0), [1.0, 2.0, 4.0])
    )
    press_all(page, "step", "step")
    page.press("poke", step=1, name="h", unit=0, value=9.0)
    assert page.explorer.error == ""
    assert page.explorer.session.trace()["h"].tolist() == [9.0, 11.0]


def test_a_search_without_a_threshold_is_refused(page):
    press_all(page, "step")
    page.press("find", units=[["0.h", 0]], above=None, at_least=1)
    assert page.explorer.error.startswith("Explorer: to find where units are active, give a")


def test_steps_that_are_not_finite_do_not_keep_a_recording_from_its_page(tmp_path):
    session = rl.Session(rl.Chain(rl.RNN(1, 3), rl.Dense(3, 1)), allow_nonfinite=True)
    explorer = rl.explore(session)
    session.run(torch.tensor([[0.5], [1.0], [-1.0], [0.2]]), progress=False)
    session.step(torch.tensor([float("nan")]))
    found = insight.plane(session, "0.h")
    assert found["fit"] == "steps 1 to 5 of main, 1 that are not finite left out"
    assert np.isfinite(found["mean"]).all()
    assert sorted(insight.order(session, "principal component")["0.h"]) == [0, 1, 2]
    assert explorer.to_html(tmp_path / "page.html").stat().st_size


def test_what_cannot_be_saved_is_said_with_another_way(page, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.replace", full)
    page.press("step")
    page.press("save")
    assert page.explorer.error == (
        "Explorer: cannot write rnnlab-session.npz here: No space left on device. "
        "explorer.session.save(path) in a cell saves it elsewhere."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_long_run_shows_progress_and_can_be_stopped(open_page):
    page = open_page(lambda: rl.explore(model(), input_names="abc"))

    async def run():
        page.press("run", steps=100_000)
        await asyncio.sleep(0)
        while page.explorer.session.t < 50:
            await asyncio.sleep(0)
        assert page.explorer.running
        assert 0 < page.explorer.progress < 1
        page.press("pause")
        await asyncio.sleep(0)
        stopped = page.explorer.session.t
        await asyncio.sleep(0.05)
        return stopped

    assert asyncio.run(run()) == page.explorer.session.t < 100_000
    assert not page.explorer.running


def test_an_input_set_by_hand_goes_to_every_row_of_a_batch(open_page):
    session = rl.Session(model())
    session.run(torch.randn(2, 4, 3), progress=False)
    page = open_page(lambda: rl.explore(session))
    for place, value in enumerate([0.5, -0.25, 1]):
        page.press("feed", input=place, value=value)
    page.press("step")
    assert page.explorer.error == ""
    assert session.trace()["x"][-1].tolist() == [[0.5, -0.25, 1]] * 4


def test_a_cell_of_numbers_and_a_model_that_reads_token_numbers_need_nothing_else(open_page):
    page = open_page(lambda: rl.explore(rl.Recur(lambda h, x: (h + x, x), 0.0)))
    page.press("feed", input=0, value=0.5)
    page.press("step")
    page.press("step")
    assert page.explorer.session.states() == {"h": 1.0}

    page = open_page(lambda: rl.explore(rl.Recur(lambda h, x: (h + x, h), torch.tensor(0.0))))
    page.press("step")
    page.press("step")
    assert page.explorer.error == ""

    page = open_page(lambda: rl.explore(rl.Chain(torch.nn.Embedding(5, 3), rl.GRU(3, 2))))
    page.press("feed", add="3 1")
    page.press("step")
    page.press("step")
    assert page.explorer.session.trace()["x"].tolist() == [3, 1]
    page.press("feed", add="7")
    assert "'7' is not one of the 5 tokens" in page.explorer.error
