"""A long recording in a real JupyterLab: all of it in view, any of it near, and what it costs."""

import re

import numpy as np
import pytest

pytestmark = pytest.mark.browser

STEPS, SPIKE = 200_000, 123_456
CELLS = (
    "import torch\nimport rnnlab as rl\ntorch.manual_seed(0)\n"
    "session = rl.Session(rl.RNN(2, 16))\n"
    f"xs = 0.1 * torch.randn({STEPS}, 2)\nxs[{SPIKE - 1}] = 9.0\n"
    "session.run(xs, progress=False);",
    "explorer = rl.explore(session)\nexplorer",
)
LEFT, RIGHT = 118, 62
COLUMN = """(canvas, [x, y, high]) => {
  const ratio = devicePixelRatio;
  return [...canvas.getContext("2d").getImageData(x * ratio, y * ratio, 1, high * ratio).data];
}"""


@pytest.fixture(scope="module")
def notebook(lab, browser):
    from rnnlab.bench.lab import NotebookPage, write_notebook

    write_notebook(lab.root / "long.ipynb", CELLS)
    page = NotebookPage(browser, lab, "long.ipynb")
    page.run_all()
    page.page.set_default_timeout(20_000)
    page.page.locator(".rnnlab[data-drawn]").wait_for()
    page.page.locator(".rnnlab").scroll_into_view_if_needed()
    yield page
    page.close()
    assert not page.errors


@pytest.fixture
def view(notebook):
    """The canvas, with the whole recording in view."""
    explorer = notebook.page.locator(".rnnlab")
    notebook.button("Whole", within=explorer).click()
    settled(notebook)
    return explorer.locator(".rl-view canvas").first


def settled(notebook):
    """Wait until the view waits for nothing more, and has drawn that."""
    notebook.frame()
    notebook.page.locator('.rnnlab[data-waiting="false"]').wait_for()
    notebook.frame()


def window(notebook):
    first, last = notebook.page.locator(".rnnlab").get_attribute("data-window").split(":")
    return int(first), int(last)


def where(notebook, view, row):
    """The horizontal position of a row in the picture."""
    first, last = window(notebook)
    plot = view.bounding_box()["width"] - LEFT - RIGHT
    return LEFT + int((row - first) * plot / (last - first))


def colors(view, x, y=150, high=100):
    return np.array(view.evaluate(COLUMN, [x, y, high]), np.uint8).reshape(-1, 4)


def readout(notebook, text):
    box = notebook.page.locator(".rl-readout")
    box.get_by_text(text).wait_for()
    return box.inner_text().replace("−", "-")


def extremes_at(page, view, x, row):
    """What is read of the first input in the column that has a row; the column is near x."""
    for d in (0, -1, 1, -2, 2):
        view.hover(position={"x": x + d, "y": 20})
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => done()))")
        said = page.locator(".rl-readout").inner_text().replace("−", "-")
        found = re.search(r"steps (\d+) – (\d+) · input x.* = (\S+) … (\S+)", said)
        if found and int(found[1]) <= row <= int(found[2]):
            return float(found[3]), float(found[4])
    raise AssertionError(f"step {row} is not read near {x}: {said}")


def test_all_of_it_is_in_view_and_one_step_of_many_is_seen(notebook, view):
    assert window(notebook) == (0, STEPS + 1)
    x = where(notebook, view, SPIKE)
    # the input is first: its band begins at 16 and has two units
    spike = [colors(view, x + d, 18, 4)[0].tolist() for d in (-1, 0, 1)]
    calm = colors(view, x - 20, 18, 4)[0].tolist()
    assert any(color != calm for color in spike)
    low, high = extremes_at(notebook.page, view, x, SPIKE)
    assert low < 0 < high == 9


def test_the_wheel_goes_in_to_single_steps_and_reads_them_exactly(notebook, view):
    x = where(notebook, view, SPIKE)
    view.focus()
    view.hover(position={"x": x, "y": 20})
    while notebook.page.locator(".rnnlab").evaluate(
        "(root) => root.dataset.window.split(':').reduce((a, b) => b - a) > 60"
    ):
        notebook.page.mouse.wheel(0, -400)
        notebook.frame()
    settled(notebook)
    first, last = window(notebook)
    assert last - first <= 60
    row = (first + last) // 2
    view.hover(position={"x": where(notebook, view, row) + 3, "y": 20})
    said = readout(notebook, re.compile(r"^step \d+ · input"))
    step, unit, value = re.search(r"step (\d+) · input x\[(\d)\] = (\S+)", said).groups()
    exact = notebook.execute(f"float(xs[{int(step) - 1}, {unit}])")
    assert float(value) == pytest.approx(float(exact), rel=1e-6)


def test_what_was_seen_is_not_asked_for_again(notebook, view):
    for key in ("+",) * 12:
        view.press(key)
        notebook.frame()
    settled(notebook)
    for turn in (1, 2):  # the first may bring neighbours
        before, sent = colors(view, 400), notebook.traffic()["sent"]
        for pixels in (60, 60, 60, -60, -60, -60):
            notebook.page.mouse.wheel(pixels, 0)
            notebook.frame()
        settled(notebook)
        if turn == 2:
            assert notebook.traffic()["sent"] == sent
    assert (colors(view, 400) == before).mean() > 0.9


def test_a_step_long_ago_is_gone_back_to_and_shown_like_any_other(notebook, view):
    view.focus()  # before, as focusing may scroll the view from under the pointer
    view.hover(position={"x": where(notebook, view, 50_000), "y": 20})
    step = int(re.search(r"steps (\d+)", readout(notebook, "steps")).group(1))
    view.press("g")
    notebook.page.wait_for_function(
        "(most) => document.querySelector('.rnnlab').dataset.t <= most", arg=step + 400
    )
    settled(notebook)
    t = int(notebook.execute("session.t"))
    assert abs(t - 50_000) < 400
    notebook.page.locator(".rl-outputs li").first.wait_for()
    assert f"after step {t}" in notebook.page.locator(".rl-outputs h4").inner_text()
    texts = notebook.page.locator(".rl-outputs li > :last-child").all_inner_texts()
    shown = {text.replace("−", "-") for text in texts}
    largest = notebook.execute(f"f\"{{session.read('y', {t - 1}, {t})[0].max():.2f}}\"").strip("'")
    assert largest in shown
    notebook.execute(f"session.rewind({STEPS})")


def test_selected_units_are_drawn_as_bands(notebook, view):
    notebook.execute("explorer.selection = {'units': [['h', 5]], 'step': None, 'span': None}")
    lines = notebook.page.locator(".rl-view canvas").nth(1)
    lines.wait_for()
    notebook.frame()
    column = colors(lines, 300, 12, 120)
    assert len(np.unique(column, axis=0)) > 2
    notebook.execute("explorer.selection = {'units': [], 'step': None, 'span': None}")


def test_twenty_quick_clicks_are_twenty_steps_and_a_long_run_can_be_stopped(notebook, view):
    notebook.execute("session.reset()")
    explorer = notebook.page.locator(".rnnlab")
    notebook.page.locator('.rnnlab[data-t="0"]').wait_for()
    notebook.button("Step", within=explorer).evaluate(
        "(button) => { for (let k = 0; k < 20; k++) button.click(); }"
    )
    notebook.page.locator('.rnnlab[data-t="20"]').wait_for()
    assert notebook.execute("session.t, session.length()") == "(20, 20)"
    explorer.get_by_label("Number of steps to run").fill("1000000")
    notebook.button("Run", within=explorer).click()
    stop = notebook.button("Stop", within=explorer)
    stop.wait_for()
    explorer.get_by_role("progressbar", name="Progress of the run").wait_for()
    notebook.page.wait_for_function("() => document.querySelector('.rnnlab').dataset.t > 200")
    stop.click()  # the kernel hears it in the middle of the run
    notebook.button("Run", within=explorer).wait_for()
    t = int(notebook.execute("session.t"))
    assert 200 < t < 1_000_000
    notebook.page.locator(f'.rnnlab[data-t="{t}"]').wait_for()
    notebook.execute("session.checkout(session.branches[0])")


def test_the_page_of_it_has_all_of_it_too(notebook, browser, tmp_path):
    notebook.execute(f"explorer.to_html({str(tmp_path / 'long.html')!r})")
    assert (tmp_path / "long.html").stat().st_size < 6_000_000
    context = browser.browser.new_context(offline=True)
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((tmp_path / "long.html").as_uri())
    page.locator(".rnnlab[data-drawn]").wait_for()
    said = page.locator("#note").inner_text()
    assert f"Of the {STEPS} steps" in said
    assert "least and the largest value" in said
    page.get_by_role("button", name="Whole", exact=True).click()
    page.locator(f'.rnnlab[data-window="0:{STEPS + 1}"][data-waiting="false"]').wait_for()
    canvas = page.locator(".rl-view canvas").first
    plot = canvas.bounding_box()["width"] - LEFT - RIGHT
    x = LEFT + int(SPIKE * plot / (STEPS + 1))
    assert extremes_at(page, canvas, x, SPIKE)[1] == pytest.approx(9, abs=0.1)
    context.close()
    assert errors == []
