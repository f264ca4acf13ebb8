"""The explorer in a real JupyterLab: what a person clicks reaches the kernel and the pixels."""

import re
import shutil

import numpy as np
import pytest

pytestmark = pytest.mark.browser

# pixels are picked in the page: a whole picture as JSON takes half a minute
COLUMN = """(canvas, [left, right, step, fraction]) => {
  const ratio = devicePixelRatio;
  const plot = canvas.clientWidth - left - right;
  const x = Math.round((left + (step + fraction) * Math.min(44, plot / 10)) * ratio);
  return [...canvas.getContext("2d").getImageData(x, 150 * ratio, 1, 180 * ratio).data];
}"""
BRIGHTNESS = """(canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let sum = 0;
  for (let i = 0; i < data.length; i += 4) sum += data[i] + data[i + 1] + data[i + 2];
  return sum / (0.75 * data.length);
}"""


@pytest.fixture(scope="module")
def notebook(lab, browser, root):
    """The first notebook, run once for all tests here: starting a kernel takes the time."""
    from rnnlab.bench.lab import NotebookPage

    name = "00_start_here.ipynb"
    shutil.copy(root / "notebooks" / name, lab.root / name)
    page = NotebookPage(browser, lab, name)
    page.run_all()
    page.page.set_default_timeout(20_000)
    yield page
    page.close()
    assert not page.errors


@pytest.fixture
def start_here(notebook):
    """The notebook and the explorer in it, at the start of a new run of the first image."""
    explorer = notebook.page.locator(".rnnlab").first
    explorer.scroll_into_view_if_needed()
    explorer.get_by_label("Example", exact=True).select_option("0")
    notebook.execute("session.reset(); explorer.speed = 2.0")
    wait(notebook, 0)
    return notebook, explorer


def wait(notebook, t):
    """Wait until the view has drawn step t."""
    notebook.page.locator(f'.rnnlab[data-t="{t}"]').first.wait_for()
    notebook.frame()


def column(explorer, t):
    """The pixels drawn for step t across the lane of h, as RGBA."""
    canvas = explorer.locator(".rl-view canvas").first
    return np.array(canvas.evaluate(COLUMN, [118, 62, t, 0.3]), np.uint8).reshape(-1, 4)


def test_step_back_and_reset_move_the_kernel_and_the_pixels(start_here):
    notebook, explorer = start_here
    assert notebook.execute("session.t") == "0"
    empty = column(explorer, 1)

    notebook.button("Step", within=explorer).click()
    wait(notebook, 1)
    assert notebook.execute("session.t, session.length()") == "(1, 1)"
    one = column(explorer, 1)
    assert (one != empty).any(), "the first step draws its column"
    assert len(np.unique(one, axis=0)) > 10, "with a colour for each unit"
    state = notebook.execute(
        "rl.states(model)['0.h'].tolist() == session.trace()['0.h'][0].tolist()"
    )
    assert state == "True"

    notebook.button("Step", within=explorer).click()
    wait(notebook, 2)
    assert (column(explorer, 2) != column(explorer, 1)).any()

    notebook.button("Back", within=explorer).click()
    wait(notebook, 1)
    assert notebook.execute("session.t, session.length()") == "(1, 2)"
    assert (
        notebook.execute(
            "bool((rl.states(model)['0.c'].numpy() == session.trace()['0.c'][0]).all())"
        )
        == "True"
    )
    notebook.button("Forward", within=explorer).click()
    wait(notebook, 2)

    notebook.button("Reset", within=explorer).click()
    wait(notebook, 0)
    assert notebook.execute("session.t") == "0"
    assert notebook.execute("model[0].state[0] is model[0].cell.h0") == "True"
    assert (column(explorer, 1) == empty).all(), "the columns are gone"


def test_run_and_play_read_the_whole_picture(start_here):
    notebook, explorer = start_here
    notebook.button("Run", within=explorer).click()
    wait(notebook, 8)
    assert explorer.get_by_role("button", name="Step", exact=True).is_disabled()
    top = explorer.locator(".rl-outputs .rl-top").inner_text().split()
    said = notebook.execute(
        "p = torch.tensor(session.trace()['y'][-1]).softmax(-1); f'{p.argmax()} {p.max():.2f}'"
    )
    assert " ".join(top) == said.strip("'")

    notebook.button("Next example", within=explorer).click()
    wait(notebook, 0)
    explorer.get_by_label("Steps per second").select_option("30")
    notebook.button("Play", within=explorer).click()
    wait(notebook, 8)
    notebook.button("Play", within=explorer).wait_for()
    assert notebook.execute("session.t") == "8"


def test_hover_shows_the_exact_value(start_here):
    notebook, explorer = start_here
    notebook.button("Step", within=explorer).click()
    wait(notebook, 1)
    canvas = explorer.locator(".rl-view canvas").first
    canvas.hover(position={"x": 118 + 60, "y": 200})
    readout = explorer.locator(".rl-readout")
    readout.get_by_text("0.h").wait_for()
    unit, value = re.search(r"step 1 · 0\.h\[(\d+)\] = (\S+)", readout.inner_text()).groups()
    exact = notebook.execute(f"float(session.trace()['0.h'][0][{unit}])")
    assert float(value.replace("−", "-")) == pytest.approx(float(exact), rel=1e-6)


def test_a_step_made_in_code_appears_and_the_status_says_where(start_here):
    notebook, explorer = start_here
    notebook.execute("session.step(example.xs[0]); session.branch('mine'); None")
    wait(notebook, 1)
    assert explorer.locator(".rl-status").inner_text() == "step 1 of 1 · branch mine"


def test_keys_work_without_the_mouse(start_here):
    notebook, explorer = start_here
    notebook.button("Step", within=explorer).focus()
    for key, t in (("s", 1), ("s", 2), ("b", 1), ("f", 2), ("r", 0), ("n", 8)):
        notebook.page.keyboard.press(key)
        wait(notebook, t)
    assert notebook.execute("session.t") == "8"


def test_errors_are_shown_in_the_view(start_here):
    notebook, explorer = start_here
    notebook.execute("feed = explorer._inputs.current; feed._read = (0, feed.rows[:, :5])")
    notebook.button("Step", within=explorer).click()
    shown = explorer.get_by_role("alert")
    shown.wait_for()
    assert shown.inner_text() == "LSTMCell(8, 32): x has 5 features, expected 8; x.shape = (5,)"
    assert notebook.execute("session.t") == "0"
    explorer.get_by_label("Example", exact=True).select_option("1")
    shown.wait_for(state="hidden")


def test_both_themes_are_drawn_in_their_own_colours(start_here):
    notebook, explorer = start_here
    notebook.button("Run", within=explorer).click()
    wait(notebook, 8)
    mean = {}
    for theme in ("light", "dark"):
        notebook.theme(theme)
        notebook.page.wait_for_timeout(200)
        mean[theme] = explorer.locator(".rl-view canvas").first.evaluate(BRIGHTNESS)
    notebook.theme("light")
    assert mean["light"] > 150 > 90 > mean["dark"]


def test_the_view_is_back_after_a_reload(start_here):
    notebook, explorer = start_here
    notebook.button("Run", within=explorer).click()
    wait(notebook, 8)
    drawn = column(explorer, 3)
    notebook.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    notebook.page.wait_for_timeout(500)
    notebook.open()
    wait(notebook, 8)
    again = notebook.page.locator(".rnnlab").first
    assert (column(again, 3) == drawn).all()
    notebook.button("Back", within=again).click()
    wait(notebook, 7)
    assert notebook.execute("session.t") == "7"


def test_a_unit_is_selected_inspected_and_poked_by_hand(start_here):
    notebook, explorer = start_here
    notebook.button("Run", within=explorer).click()
    wait(notebook, 8)
    canvas = explorer.locator(".rl-view canvas").first
    canvas.click(position={"x": 118 + 150, "y": 200})
    number = explorer.get_by_label(re.compile(r"^0\.h\[\d+\]: set to$"))
    number.wait_for()
    name, unit, step = (
        notebook.execute("(lambda s: (*s['units'][0], s['step']))(explorer.selection)")
        .strip("()")
        .split(", ")
    )
    assert name == "'0.h'"
    explorer.get_by_text(
        re.compile(r"^keeps \d+ % of c a step: τ")
    ).wait_for()  # its gates are there
    number.fill("0.9")
    number.press("Enter")
    explorer.locator(".rl-status").filter(has_text=f"0.h[{unit}]=0.9").wait_for()
    poked = notebook.execute(f"float(session.trace()['0.h'][{int(step) - 1}][{unit}])")
    assert float(poked) == pytest.approx(0.9, abs=1e-7)
    assert notebook.execute("session.t, session.length('main') >= 0") == "(8, True)"
    hold = explorer.get_by_role("button", name=f"0.h[{unit}]: hold")
    number.fill("0")
    hold.press("Enter")
    explorer.locator(".rl-status").filter(has_text=f"0.h[{unit}]=0 held").wait_for()
    assert hold.evaluate("(node) => node === document.activeElement"), "the next key goes on here"
    last = notebook.execute(f"bool(session.trace()['0.h'][{int(step) - 1}:, {unit}].any())")
    assert last == "False"
    notebook.execute("explorer.selection = {**explorer.selection, 'step': 8}")
    explorer.get_by_text(f"Held in this step: 0.h[{unit}]=0.").wait_for()
    explorer.get_by_role("tab", name="Compare", exact=True).click()
    explorer.locator("canvas[aria-label^='Distance between']").wait_for()
    explorer.get_by_role("tab", name="Inspector", exact=True).click()
    notebook.execute("explorer.selection = {'units': [], 'step': None, 'span': None}")
    number.wait_for(state="detached")


def test_two_displays_of_one_explorer_stay_in_step(start_here):
    notebook, _ = start_here
    notebook.page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.content.activeCellIndex = 3"
    )
    notebook.page.evaluate(
        """async () => {
          const panel = window.jupyterapp.shell.currentWidget;
          panel.content.activeCell.model.sharedModel.setSource("explorer");
          await window.jupyterapp.commands.execute("notebook:run-cell");
        }"""
    )
    both = notebook.page.locator(".rnnlab")
    both.nth(1).wait_for()
    notebook.button("Step", within=both.nth(1)).click()
    for number in range(2):
        notebook.page.wait_for_function(
            "(n) => document.querySelectorAll('.rnnlab')[n].dataset.t === '1'", arg=number
        )
    assert notebook.execute("session.t") == "1"
