"""What lasts: the page that needs nothing but a file, and the still in a saved notebook."""

import json
import re

import numpy as np
import pytest

pytestmark = pytest.mark.browser

NASTY = "<img src=x onerror=alert(1)>"
COLUMN = """(canvas, [x, y, high]) => {
  const ratio = devicePixelRatio;
  return [...canvas.getContext("2d").getImageData(x * ratio, y * ratio, 1, high * ratio).data];
}"""


@pytest.fixture
def offline(browser):
    """Open files in a browser without a network; every request they make is kept."""
    context = browser.browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    requests, errors = [], []

    def open_(path):
        page = context.new_page()
        page.set_default_timeout(20000)
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: errors.append(dialog.message))
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else 0)
        page.goto(path.as_uri())
        page.locator(".rnnlab[data-drawn]").wait_for()
        return page

    yield open_
    context.close()
    assert errors == []
    assert [url for url in requests if not url.startswith(("file:", "blob:", "data:"))] == []


def explorer_of(steps, hidden=8, names=("a", NASTY, "c")):
    import torch

    import rnnlab as rl

    torch.manual_seed(0)
    model = rl.Chain(rl.LSTM(3, hidden), rl.Dense(hidden, 2))
    explorer = rl.explore(model, input_names=names)
    explorer.session.run(torch.randn(steps, 3), progress=False)
    return explorer


def column(page, x, y, high):
    canvas = page.locator(".rl-view canvas").first
    return np.array(canvas.evaluate(COLUMN, [x, y, high]), np.uint8).reshape(-1, 4)


def at_step(page, t):
    page.locator(f'.rnnlab[data-t="{t}"]').wait_for()
    page.evaluate("() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))")


def test_the_page_works_from_a_file_without_any_request(offline, tmp_path):
    explorer = explorer_of(12)
    explorer.session.branch("other")
    explorer.session.back(6)
    explorer.session.step([9.0, 9.0, 9.0])
    fork = explorer.session.branch_name
    page = offline(explorer.to_html(tmp_path / "page.html", branches=["other"]))
    bar = page.get_by_role("toolbar", name="Time")
    said = bar.locator("output")
    assert said.inner_text() == f"step 7 of 7 · branch {fork}"
    for name in ("Step", "Reset", "Run"):
        assert not page.get_by_role("button", name=name, exact=True).is_visible()

    slider = bar.get_by_role("slider", name="Time")
    last = column(page, 118 + 7 * 44 + 10, 90, 160)
    slider.fill("3")
    at_step(page, 3)
    assert said.inner_text() == f"step 3 of 7 · branch {fork}"
    veiled = column(page, 118 + 7 * 44 + 10, 90, 160)
    assert (veiled != last).any(), "what lies ahead is set back"
    bar.get_by_role("button", name="Forward").click()
    at_step(page, 4)

    page.locator(".rl-view canvas").first.hover(position={"x": 118 + 4 * 44 + 10, "y": 130})
    readout = page.locator(".rl-readout")
    readout.get_by_text("step 4 · 0.h").wait_for()
    unit, value = re.search(r"0\.h\[(\d+)\] = (\S+)", readout.inner_text()).groups()
    exact = explorer.session.trace()["0.h"][3][int(unit)]
    assert float(value.replace("−", "-")) == pytest.approx(exact, rel=1e-6)

    page.locator(".rl-view canvas").first.hover(position={"x": 118 + 60, "y": 16 + 20})
    readout.get_by_text(f"step 1 · input x[{NASTY}]").wait_for()

    bar.get_by_label("Branch", exact=True).select_option("other")
    page.locator('.rnnlab[data-length="12"]').wait_for()
    assert said.inner_text() == "step 4 of 12 · branch other"
    bar.get_by_label("Steps per second").select_option("30")
    bar.get_by_role("button", name="Play").click()
    at_step(page, 12)
    page.locator(".rl-view canvas").first.focus()
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keys and mouse").get_by_text("Double-click").wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    at_step(page, 11)


def test_a_page_opens_without_a_complaint_whatever_the_inputs_came_from(offline, tmp_path):
    from rnnlab.widgets.actions import act

    explorer = explorer_of(3)
    act(explorer, {"action": "feed", "from": 1})  # a generator, and of its curve a later stretch
    act(explorer, {"action": "feed", "look": 60})
    page = offline(explorer.to_html(tmp_path / "page.html"))
    page.get_by_role("tab", name="Compare").click()
    page.get_by_text("This recording has one branch.").wait_for()
    assert page.locator(".rl-error").inner_text() == ""


def test_a_long_recording_is_rounded_and_says_so(offline, tmp_path):
    explorer = explorer_of(3000, hidden=24)
    page = offline(explorer.to_html(tmp_path / "long.html"))
    assert "rounded to 1/254" in page.locator("#note").inner_text()
    at_step(page, 3000)
    trace = explorer.session.trace()["0.c"]
    box = page.locator(".rl-view canvas").first.bounding_box()
    page.mouse.move(box["x"] + 118 + 20, box["y"] + 330)
    readout = page.locator(".rl-readout")
    readout.get_by_text("0.c").wait_for()
    found = re.search(r"step (\d+) · 0\.c\[(\d+)\] = (\S+)", readout.inner_text()).groups()
    row, unit, value = int(found[0]), int(found[1]), float(found[2].replace("−", "-"))
    assert value == pytest.approx(trace[row - 1][unit], abs=float(np.abs(trace).max()) / 253)
    slider = page.get_by_role("slider", name="Time", exact=True)
    slider.fill("1")
    at_step(page, 1)


CELLS = (
    "import torch\nimport rnnlab as rl\ntorch.manual_seed(0)\nmodel = rl.LSTM(2, 8);",
    "explorer = rl.explore(model, torch.randn(6, 2))\nexplorer",
)


def outputs(notebook):
    cells = json.loads((notebook.lab.root / notebook.notebook).read_text())["cells"]
    return cells[1]["outputs"]


def test_a_saved_notebook_shows_a_picture_of_the_last_state(open_notebook):
    notebook = open_notebook(*CELLS)
    notebook.run_all()
    page = notebook.page
    page.locator(".rnnlab[data-drawn]").wait_for()
    still = page.locator(".rnnlab-still img")
    assert still.count() == 1
    assert not still.is_visible(), "the live view is there"
    for t in (1, 2, 3):
        notebook.button("Step").click()
        page.locator(f'.rnnlab[data-t="{t}"]').wait_for()
    page.locator('.rnnlab-still img[alt*="step 3 of 3"]').wait_for(state="attached")
    assert not still.is_visible()
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_function(
        "() => !window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=10000
    )
    live, picture = outputs(notebook)
    assert "".join(live["data"]["text/plain"]) == (
        "Explorer(Session(Recur(LSTMCell(2, 8)), step 0 of 0, branch 'main'))"
    )
    assert "".join(picture["data"]["text/plain"]) == "step 3 of 3 · branch main"
    assert len(json.dumps(picture)) < 30_000

    notebook.open()  # loaded anew, the page still has the view, and keeps the picture up to date
    page.locator('.rnnlab[data-t="3"]').wait_for()
    assert not still.is_visible()
    notebook.button("Step").click()
    page.locator('.rnnlab[data-t="4"]').wait_for()
    page.locator('.rnnlab-still img[alt*="step 4 of 4"]').wait_for(state="attached")
    assert not still.is_visible()
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_function(
        "() => !window.jupyterapp.shell.currentWidget.context.model.dirty", timeout=10000
    )
    live, picture = outputs(notebook)
    assert "".join(picture["data"]["text/plain"]) == "step 4 of 4 · branch main"

    alert = page.get_by_role("alert").filter(has_text="Disconnected")
    assert alert.count() == 0
    notebook.restart_kernel()
    alert.wait_for()  # at once, not when something is clicked
    assert "run the cell again" in alert.inner_text()
    notebook.open()
    still.wait_for()
    assert still.evaluate("(img) => [img.naturalWidth, img.complete]") == [640, True]
    page.wait_for_timeout(3000)  # JupyterLab looks for the model for two seconds
    assert still.is_visible()
    assert not page.get_by_text("Error displaying widget").is_visible()

    notebook.run_all()
    page.locator(".rnnlab[data-drawn]").wait_for()
    assert page.locator(".rnnlab-still img").count() == 1
    assert not still.is_visible()
