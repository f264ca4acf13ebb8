"""What may be set from Python and by a page: the selection, the branches, the row, the speed."""

import numpy as np
import pytest
import torch

import rnnlab as rl

XS = np.linspace(-1, 1, 36).reshape(12, 3)


def model():
    torch.manual_seed(0)
    return rl.Chain(rl.LSTM(3, 8), rl.Dense(8, 2))


@pytest.fixture
def page(open_page):
    return open_page(lambda: rl.explore(model(), XS))


def press_all(page, *actions):
    for action in actions:
        page.press(action)
    assert page.explorer.error == ""


def test_a_selection_is_checked_and_completed(page):
    explorer = page.explorer
    press_all(page, *["step"] * 5, "back")
    explorer.selection = {"units": [("0.h", np.int64(1))], "step": 2}
    kept = {"units": [["0.h", 1]], "step": 2, "span": None}
    assert explorer.selection == kept
    beyond = "must be a step number from 0 to 5, the last recorded one of this branch; got"
    for wrong, text in (
        ({"units": [["9.h", 1]]}, "cannot select a unit of '9.h': there are x, 0.h, 0.c, y."),
        ({"units": [["0.h", 99]]}, "no 99."),
        ({"units": ["0.h"]}, "a selected unit is [name, number], as ['0.h', 3], not '0.h'."),
        ({"units": [["0.h", 1.5]]}, "a selected unit is [name, number]"),
        ({"units": [[["0.h"], 1]]}, "a selected unit is [name, number]"),
        ({"step": -1}, f"step {beyond} -1."),
        ({"step": 6}, f"step {beyond} 6."),
        ({"span": [3]}, "span must be [first step, last step] or None, not [3]."),
        ({"span": [3, 6]}, f"an end of span {beyond} 6."),
        ({"unit": []}, "a selection has units, step and span, no 'unit'."),
        ({"units": 5}, "units must be a list of [name, number], not 5."),
        ({"step": True}, f"step {beyond} True."),
        (None, "a selection is a dict"),
    ):
        with pytest.raises(rl.RnnlabError, match="Explorer: ") as raised:
            explorer.selection = wrong
        assert text in str(raised.value)
        assert explorer.selection == kept
    explorer.selection = {"units": None, "span": [5, 2]}
    assert explorer.selection == {"units": [], "step": None, "span": [2, 5]}
    explorer.selection = {"units": [["0.h", 1], ["0.c", 0], ["0.h", 1]]}
    assert explorer.selection["units"] == [["0.h", 1], ["0.c", 0]]


@pytest.mark.parametrize(
    ("name", "wrong", "text"),
    [
        *(
            ("speed", value, f"speed must be a number of steps per second above 0, not {value!r}.")
            for value in (0, -3, float("nan"), float("inf"), "fast", None, True)
        ),
        ("row", 7, "there is no row 7; the batch has rows 0 to 3."),
        ("row", -1, "there is no row -1; the batch has rows 0 to 3."),
        ("row", 1.0, "there is no row 1.0; the batch has rows 0 to 3."),
        ("compared", ["zzz"], "compared: there is no branch 'zzz'; there are 'main', 'mine'."),
        ("compared", [3], "compared must be a list of names of branches, not [3]."),
        ("compared", 3, "compared must be a list of names of branches, not 3."),
    ],
)
def test_what_cannot_be_set_from_python_is_refused_and_the_old_value_stays(
    open_page, name, wrong, text
):
    session = rl.Session(model())
    page = open_page(lambda: rl.explore(session))
    session.run(torch.randn(2, 4, 3), progress=False)  # the page need not have heard of it
    session.branch("mine")
    page.explorer.speed, page.explorer.row, page.explorer.compared = 5, np.int64(3), "main"
    with pytest.raises(rl.RnnlabError) as raised:
        setattr(page.explorer, name, wrong)
    assert str(raised.value) == f"Explorer: {text}"
    found = page.explorer.speed, page.explorer.row, page.explorer.compared
    assert found == (5.0, 3, ["main"])


def test_without_a_batch_there_is_no_other_row(page):
    with pytest.raises(rl.RnnlabError, match=r"there is no row 1; without a batch it is 0\.$"):
        page.explorer.row = 1


def test_what_the_page_sets_of_what_is_gone_is_left_out(page):
    press_all(page, *["step"] * 5)
    page.set(speed=10, selection={"units": [["0.h", 1]], "step": 5, "span": [3, 5]})
    assert page.explorer.selection == {"units": [["0.h", 1]], "step": 5, "span": [3, 5]}
    page.explorer.session.undo()
    page.set(selection={"units": [["0.h", 1], ["0.h", 2], ["9.h", 0]], "step": 5, "span": [3, 5]})
    kept = {"units": [["0.h", 1], ["0.h", 2]], "step": None, "span": [3, 4]}
    assert page.explorer.selection == kept
    assert page.states[-1] == {"selection": kept}, "the page is told what it has instead"
    page.set(speed=0)
    assert page.explorer.speed == page.states[-1]["speed"] == 10
    assert page.explorer.error.startswith("Explorer: speed must be a number")


def test_a_branch_that_was_just_removed_is_no_error(page):
    press_all(page, "step", "branch", "back", "step")  # main, branch 2, branch 2@0
    page.explorer.compared = ["main", "branch 2"]
    press_all(page, "undo", "undo", "undo")
    assert page.explorer.branches == ["main"]
    assert page.explorer.compared == ["main"]
    page.press("compare", branch="branch 2", on=True)
    page.press("other", branch="branch 2")
    assert (page.explorer.error, page.explorer.compared) == ("", ["main"])


def test_ticks_that_come_in_quick_succession_all_count(page):
    """Each says what it changes: the page may not have heard yet of the one before."""
    press_all(page, "step", "branch", "back", "step")  # main, branch 2, branch 2@0
    page.press("compare", branch="main", on=True)
    page.press("compare", branch="branch 2", on=True)
    page.press("compare", branch="main", on=True)
    assert page.explorer.compared == ["branch 2", "main"]
    page.press("compare", branch="branch 2", on=False)
    page.press("compare", branch="branch 2", on=False)
    assert (page.explorer.error, page.explorer.compared) == ("", ["main"])
