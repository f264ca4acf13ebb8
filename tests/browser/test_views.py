"""Several branches, what is not finite, spans and steps by keyboard, in a real JupyterLab."""

import re

import pytest

pytestmark = pytest.mark.browser

EVIL = "\u202eevil"
CELLS = (
    "import torch\nimport rnnlab as rl\ntorch.manual_seed(0)\n"
    "model = rl.Chain(rl.LSTM(2, 4), rl.Dense(4, 2))\n"
    "xs = torch.rand(12, 2)",
    "session = rl.Session(model, allow_nonfinite=True)\n"
    "explorer = rl.explore(session, xs, output_names=['yes', 'investment bankers of the world'])\n"
    "session.run(xs, progress=False)\n"
    f"for name, t in (('river', 2), ('bank', 4), ({EVIL!r}, 6)):\n"
    "    session.checkout('main'); session.rewind(t); session.branch(name)\n"
    "    session.run(torch.randn(12 - t, 2), progress=False)\n"
    "session.checkout('main'); session.rewind(8); session.branch('lost')\n"
    "bad = xs[8:].clone(); bad[1, 0] = float('nan')\n"
    "session.run(bad, progress=False); session.checkout('main')\n"
    "explorer",
)
# of what is drawn only in the second picture, the best contrast to the ground in every column
CONTRASTS = """([canvas, before]) => {
  const linear = (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = (d, i) =>
    0.2126 * linear(d[i]) + 0.7152 * linear(d[i + 1]) + 0.0722 * linear(d[i + 2]) + 0.05;
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const ground = light(data, 0);
  const best = [];
  for (let x = 120; x < width - 70; x++) {
    let most = 0;
    for (let y = 14; y < 132; y++) {
      const i = 4 * (y * width + x);
      if ([0, 1, 2].every((k) => data[i + k] === before[i + k])) continue;
      const [p, q] = [light(data, i), ground];
      most = Math.max(most, Math.max(p, q) / Math.min(p, q));
    }
    if (most) best.push(most);
  }
  return best;
}"""
PIXELS = """(canvas) => window.__before =
  canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data"""


@pytest.fixture(scope="module")
def notebook(lab, browser):
    from rnnlab.bench.lab import NotebookPage, write_notebook

    write_notebook(lab.root / "views.ipynb", CELLS)
    page = NotebookPage(browser, lab, "views.ipynb")
    page.run_all()
    page.page.set_default_timeout(20_000)
    yield page
    page.close()
    assert not page.errors


@pytest.fixture
def explorer(notebook):
    notebook.execute(
        "session.checkout('main'); session.rewind(12); explorer.compared = []\n"
        "explorer.selection = {'units': [], 'step': None, 'span': None}"
    )
    found = notebook.page.locator(".rnnlab").first
    found.scroll_into_view_if_needed()
    found.locator(".rl-status").filter(has_text="step 12 of 12 · branch main").wait_for()
    found.get_by_role("tab", name="Inspector", exact=True).click()
    return found


def compare(notebook, explorer, names):
    panel = explorer.get_by_role("tabpanel", name="Compare", exact=True)
    explorer.get_by_role("tab", name="Compare", exact=True).click()
    boxes = [panel.get_by_label(name, exact=True).element_handle() for name in names]
    # quicker than any answer: all of them must count
    notebook.page.evaluate("(boxes) => boxes.forEach((box) => box.checked || box.click())", boxes)
    notebook.frame()
    return panel


def test_every_branch_compared_has_its_lines_curves_carriers_and_path(notebook, explorer):
    notebook.execute("explorer.selection = {'units': [['0.h', 1]]}")
    panel = compare(notebook, explorer, ["river", "bank", "⟨202E⟩evil"])
    explorer.locator("canvas[aria-label$='behind, thin: river, bank, ⟨202E⟩evil']").wait_for()
    explorer.locator(
        "canvas[aria-label^='Distance between main and river, bank, ⟨202E⟩evil']"
    ).wait_for()
    for sign, name in (("▲", "river"), ("■", "bank"), ("◆", "⟨202E⟩evil")):
        panel.get_by_text(f"At step 12 the difference from {sign} {name} is carried by").wait_for()
    assert panel.get_by_role("button", name=re.compile(r"^0\.[hc]\[\d\] [+−]")).count() == 15
    explorer.get_by_role("tab", name="Trajectory", exact=True).click()
    explorer.get_by_text("dashed: ▲ river, ■ bank, ◆ ⟨202E⟩evil.").wait_for()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_lines_of_other_branches_stand_out_from_the_ground(notebook, explorer, theme):
    notebook.theme(theme)
    canvas = explorer.locator("canvas[aria-label^='Over time']")
    try:
        for unit in (0, 1):  # two colours
            notebook.execute(
                f"explorer.compared = []; explorer.selection = {{'units': [['0.c', {unit}]]}}"
            )
            canvas.wait_for()
            notebook.page.wait_for_timeout(200)
            notebook.frame()
            canvas.evaluate(PIXELS)
            notebook.execute("explorer.compared = ['bank']")
            explorer.locator("canvas[aria-label$='behind, thin: bank']").wait_for()
            notebook.frame()
            best = notebook.page.evaluate_handle("() => window.__before")
            found = notebook.page.evaluate(CONTRASTS, [canvas.element_handle(), best])
            assert len(found) > 100
            assert sum(c >= 3 for c in found) > 0.75 * len(found), "but where a dash ends"
    finally:
        notebook.theme("light")


def test_where_a_branch_is_not_finite_is_said_and_marked(notebook, explorer):
    panel = compare(notebook, explorer, ["lost"])
    panel.get_by_text(
        "No distance where a state is not finite (NaN, ∞): lost at steps 10–12."
    ).wait_for()
    assert not panel.get_by_text("on their way").is_visible()
    panel.get_by_role("button", name=re.compile(r"^0\.h\[0\] \S+ against NaN$")).wait_for()
    legend = explorer.get_by_text("not finite (NaN, ∞)", exact=True)
    assert not legend.is_visible()
    notebook.execute("session.checkout('lost')")
    legend.wait_for()
    canvas = explorer.locator(".rl-view canvas").first
    column = min(44, (canvas.bounding_box()["width"] - 118 - 62) / 13)
    canvas.hover(position={"x": 118 + 10.5 * column, "y": 100})
    readout = explorer.locator(".rl-readout")
    readout.filter(has_text=re.compile(r"^step 10 · 0\.h\[\d\] = NaN$")).wait_for()
    assert explorer.locator(".rl-outputs li").first.inner_text().split() == ["yes", "NaN"]


def test_a_past_step_is_inspected_and_a_span_brushed_by_keys_alone(notebook, explorer):
    page = notebook.page
    canvas = explorer.locator(".rl-view canvas").first
    canvas.focus()

    def chosen(expected):
        """Wait until the kernel has heard of it: of changes in a row it is sent the last."""
        told = "explorer.selection['units'], explorer.selection['step'], explorer.selection['span']"
        for _ in range(20):
            found = notebook.execute(told)
            if found == expected:
                return
            page.wait_for_timeout(50)
        raise AssertionError(found)

    for key in [
        "ArrowLeft",
        "ArrowDown",
        "ArrowDown",
        "ArrowDown",
        "ArrowLeft",
        "ArrowLeft",
        "Enter",
    ]:
        page.keyboard.press(key)
    explorer.get_by_role("heading", name="At step 10").wait_for()
    chosen("([['0.h', 1]], 10, None)")
    assert notebook.execute("session.t") == "12", "to look is not to go back"
    for key in ["Shift+ArrowLeft"] * 3 + ["Shift+ArrowRight"]:
        page.keyboard.press(key)
    explorer.get_by_role("button", name="Span: steps 8–10 ✕").wait_for()
    chosen("([['0.h', 1]], 10, [8, 10])")

    explorer.get_by_text("Find where these units are active").click()
    assert explorer.get_by_label("within steps 8–10", exact=True).is_checked()
    explorer.get_by_label("Threshold", exact=True).fill("-2")
    explorer.get_by_role("button", name="Find", exact=True).click()
    explorer.get_by_text("1 span in which the unit is above -2 within steps 8–10:").wait_for()

    canvas.focus()
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")  # the cursor is at step 8
    explorer.get_by_role("heading", name="At step 8").wait_for()
    chosen("([['0.h', 1]], 8, None)")
    page.keyboard.press("g")
    page.locator('.rnnlab[data-t="8"]').first.wait_for()
    page.keyboard.press("Escape")
    explorer.get_by_text("Click a unit in the picture").wait_for()
    chosen("([], None, None)")


def test_the_inspector_names_gates_and_says_what_an_edit_leaves_as_it_was(notebook, explorer):
    notebook.execute("explorer.selection = {'units': [['0.h', 1]]}")
    panel = explorer.get_by_role("tabpanel", name="Inspector", exact=True)
    panel.get_by_text("i: input gate · f: forget gate · g: candidate · o: output gate").wait_for()
    assert panel.get_by_text("Set by hand").count() == 0
    number = panel.get_by_label("0.h[1]: set to", exact=True)
    number.fill("0.95")
    number.press("Enter")
    panel.get_by_text(
        "Set by hand after this step: outputs and gates are those from before"
    ).wait_for()
    panel.get_by_text("0.950 · saturated high").wait_for()


def test_a_picture_that_is_given_another_width_is_drawn_anew(notebook, explorer):
    view, canvas = explorer.locator(".rl-view"), explorer.locator(".rl-view canvas").first
    sharp = "(c) => c.width === Math.round(c.clientWidth * devicePixelRatio)"
    assert canvas.evaluate(sharp)
    view.evaluate("(view) => view.style.maxWidth = '400px'")  # the explorer itself stays as wide
    notebook.page.wait_for_function(sharp, arg=canvas.element_handle(), timeout=5000)
    view.evaluate("(view) => view.style.maxWidth = ''")
    notebook.page.wait_for_function(sharp, arg=canvas.element_handle(), timeout=5000)
