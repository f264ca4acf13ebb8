"""The tabs of the explorer in a real JupyterLab: by name, by keys alone, without a network."""

import re
from urllib.parse import urlparse

import pytest

pytestmark = pytest.mark.browser

NASTY = "<img src=x onerror=alert(1)>"
# two units h' = tanh(2h + x): nine fixed points at x = 0, one at x = 1
CELLS = (
    "import torch\nimport rnnlab as rl\n"
    "model = rl.RNN(1, 2)\n"
    "with torch.no_grad():\n"
    "    model.cell.weight_hh.copy_(2 * torch.eye(2))\n"
    "    model.cell.weight_ih.copy_(torch.tensor([[1.0], [1.0]]))\n"
    "    model.cell.bias.zero_()",
    "xs = torch.tensor([[0.3], [-0.8], [0.1], [1.0], [0.2], [-0.4]])\n"
    f"explorer = rl.explore(model, xs.repeat(6, 1), input_names=[{NASTY!r}], input_range=(-1, 1))\n"
    "session = explorer.session\n"
    "explorer",
)
TABS = ["Inspector", "Trajectory", "Compare", "Memory", "Dynamics"]


@pytest.fixture(scope="module")
def notebook(lab, browser):
    """One notebook for all tests here, with what the page asked for from elsewhere."""
    from rnnlab.bench.lab import NotebookPage, write_notebook

    elsewhere, dialogs = [], []

    def sift(route):
        host = urlparse(route.request.url).hostname
        if host in ("127.0.0.1", "localhost", None):
            return route.continue_()
        elsewhere.append(route.request.url)
        return route.abort()

    browser.context.route("**/*", sift)
    write_notebook(lab.root / "tabs.ipynb", CELLS)
    page = NotebookPage(browser, lab, "tabs.ipynb")
    page.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.run_all()
    page.page.set_default_timeout(20_000)
    yield page
    page.close()
    browser.context.unroute("**/*")
    assert not page.errors
    assert not dialogs, "text that comes from data was taken for HTML"
    assert not elsewhere, "the page asked another machine for something"


@pytest.fixture
def explorer(notebook):
    """The explorer after six steps of a new run, nothing selected, the first tab open."""
    notebook.execute(
        "explorer._player.stop(); session.reset()\n"
        "session.run(xs, progress=False)\n"
        "session.poke('h', 0, 0.3); session.run(xs, progress=False)\n"
        "explorer._inputs.restart(explorer._place); explorer.compared = []\n"
        "explorer.selection = {'units': [], 'step': None, 'span': None}"
    )
    found = notebook.page.locator(".rnnlab").first
    found.scroll_into_view_if_needed()
    notebook.page.locator('.rnnlab[data-t="12"]').first.wait_for()
    open_tab(found, "Inspector")
    return found


def open_tab(explorer, name):
    explorer.get_by_role("tab", name=name, exact=True).click()
    return explorer.get_by_role("tabpanel", name=name, exact=True)


def focused(page):
    return page.evaluate(
        """() => { const e = document.activeElement;
          return e.ariaLabel ?? e.closest("label")?.textContent ?? e.textContent; }"""
    )


def test_every_control_of_the_transport_has_its_name_and_its_key(explorer):
    keys = {"Reset": "R", "Back": "B", "Forward": "F", "Step": "S", "Run": "N", "Play": "P"}
    keys |= {"Branch": "K", "Undo": "U", "Redo": "Y", "Save": "W", "Export": "E"}
    for name, key in keys.items():
        button = explorer.get_by_role("button", name=name, exact=True)
        title = button.get_attribute("title")
        assert title.startswith(f"{name} (key {key})")
        assert title.endswith(")") is button.is_enabled(), "a reason stands there when it rests"
        assert button.evaluate("(b) => b.ariaKeyShortcuts") == key
    fields = {"Number of steps to run": "M", "Steps per second": "V", "Current branch": "C"}
    for name, key in (fields | {"Name of the new branch": "T"}).items():
        field = explorer.get_by_label(name, exact=True)
        assert field.get_attribute("title") == f"{name} (key {key})"
        assert field.evaluate("(b) => b.ariaKeyShortcuts") == key
    assert explorer.get_by_label("Order of units", exact=True).is_visible()


def test_the_tab_key_goes_through_all_and_arrows_along_the_tabs(notebook, explorer):
    page = notebook.page
    explorer.get_by_role("button", name="Reset", exact=True).focus()
    passed = []
    for _ in range(40):
        page.keyboard.press("Tab")
        passed.append(focused(page))
        if passed[-1] == "Inspector":
            break
    order = ["Back", "Step", "Run", "Play", "Current branch", "Branch", "Save", "Export"]
    assert [name for name in passed if name in order] == order
    assert passed[-2].startswith("State view: ")
    outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "the focus is seen"

    shown = explorer.locator("[role=tabpanel]:visible")
    keys = ["ArrowRight"] * 4 + ["ArrowRight", "ArrowLeft", "Home", "End"]
    tabs = [*TABS[1:], "Inspector", "Dynamics", "Inspector", "Dynamics"]
    for key, tab in zip(keys, tabs, strict=True):
        page.keyboard.press(key)
        assert focused(page) == tab
        assert shown.count() == 1
        named = explorer.get_by_role("tab", name=tab, exact=True)
        assert named.get_attribute("aria-selected") == "true"
        assert shown.get_attribute("id") == named.get_attribute("aria-controls")
    page.keyboard.press("Tab")  # one stop for all tabs, then the panel
    assert page.evaluate("() => document.activeElement.role") == "tabpanel"
    assert notebook.execute("session.t") == "12", "no key of a tab is one of the transport"


def test_keys_undo_redo_branch_play_and_save(notebook, explorer):
    page = notebook.page
    explorer.get_by_role("button", name="Reset", exact=True).focus()
    page.keyboard.press("s")
    page.locator('.rnnlab[data-t="13"]').first.wait_for()
    page.keyboard.press("u")
    page.locator('.rnnlab[data-t="12"]').first.wait_for()
    page.keyboard.press("y")
    page.locator('.rnnlab[data-t="13"]').first.wait_for()
    page.keyboard.press("k")
    status = explorer.locator(".rl-status")
    status.filter(has_text=re.compile(r"branch branch \d")).wait_for()
    page.keyboard.press("w")
    explorer.get_by_text("Saved as rnnlab-session").wait_for()
    page.keyboard.press("p")
    explorer.get_by_role("button", name="Pause", exact=True).wait_for()
    page.keyboard.press("p")
    explorer.get_by_role("button", name="Play", exact=True).wait_for()
    assert notebook.execute("explorer.playing") == "False"


def test_announcements_are_few_while_it_plays(notebook, explorer):
    page = notebook.page
    spoken = explorer.locator(".rl-spoken")
    spoken.filter(has_text="step 12 of 12").wait_for()
    spoken.evaluate(
        """(node) => { window.__said = [];
          new MutationObserver(() => window.__said.push(node.textContent))
            .observe(node, { childList: true }); }"""
    )
    notebook.execute("explorer.speed = 30.0")
    explorer.get_by_role("button", name="Play", exact=True).click()
    page.locator('.rnnlab[data-t="48"]').first.wait_for()
    spoken.filter(has_text="step 48 of 48").wait_for()
    said = page.evaluate("() => window.__said")
    assert len(said) <= 4, said
    assert said[-1].startswith("step 48 of 48 · branch ")


def test_memory_shows_which_inputs_are_left_and_a_click_selects_a_step(notebook, explorer):
    notebook.execute(
        "from rnnlab.widgets.actions import ACTIONS\n"
        "asked, remember = [], ACTIONS['memory']\n"
        "ACTIONS['memory'] = lambda e, m: (asked.append(m['step']), remember(e, m))"
    )
    strip = explorer.locator("canvas[aria-label^='How strongly']")
    explorer.get_by_role("button", name="Back", exact=True).click()
    notebook.page.locator('.rnnlab[data-t="11"]').first.wait_for()
    explorer.get_by_role("button", name="Forward", exact=True).click()
    notebook.page.locator('.rnnlab[data-t="12"]').first.wait_for()
    assert not strip.is_visible()
    assert notebook.execute("asked") == "[]", "what is not shown is not computed"
    panel = open_tab(explorer, "Memory")
    panel.get_by_text("On average").wait_for()
    strip.wait_for()
    assert notebook.execute("asked") == "[12]"
    panel.get_by_text("step 12 depends most on").wait_for()
    strongest = panel.get_by_role("button", name=re.compile(r"^step \d+: "))
    wanted = notebook.execute(
        "found = rl.analysis.memory(model, session.trace(), progress=False)\n"
        "int(found.state.argmax()) + 1"
    )
    assert strongest.first.inner_text().startswith(f"step {wanted}: ")
    strongest.first.click()
    notebook.frame()
    assert notebook.execute("explorer.selection['step']") == wanted
    column = min(44, (strip.bounding_box()["width"] - 118 - 62) / 13)
    strip.click(position={"x": 118 + 1.5 * column, "y": 60})
    notebook.page.wait_for_timeout(200)
    assert notebook.execute("explorer.selection['step']") == "1"
    panel.get_by_label("Dependence of").select_option(label="the whole output")
    panel.get_by_label("Scale of the bars").select_option("linear")
    explorer.locator("canvas[aria-label^='How strongly the whole output']").wait_for()


def test_fixed_points_appear_and_annihilate_as_the_input_is_moved(notebook, explorer):
    panel = open_tab(explorer, "Dynamics")
    slider = panel.get_by_role("slider", name="Value of the input")
    rows = panel.get_by_role("table").locator("tbody tr")
    panel.get_by_text("searched everywhere").wait_for()
    assert panel.get_by_label("Input to change").inner_text() == NASTY
    for value, count in ((0, 9), (1, 1), (0, 9)):
        slider.fill(str(value))
        panel.get_by_text(re.compile(f"^{count} fixed points? in 2 dimensions")).wait_for()
        assert rows.count() == count
    signs = "".join(text.split()[1] for text in rows.locator("td:first-child").all_inner_texts())
    assert sorted(signs) == sorted("●●●●◐◐◐◐○"), "told apart without colour"
    panel.get_by_role("button", name="As fed", exact=True).click()
    panel.get_by_text("Input of step 12.").wait_for()


def test_basins_respond_to_the_input_and_can_be_left_out(notebook, explorer):
    panel = open_tab(explorer, "Dynamics")
    slider = panel.get_by_role("slider", name="Value of the input")
    canvas = panel.locator("canvas")
    table = panel.get_by_role("table")
    pictures = []
    for value, said in ((0, "which of 4 ends"), (1, "all run to the same end")):
        slider.fill(str(value))
        panel.get_by_text(said).wait_for()
        assert "basins outlined" in canvas.get_attribute("aria-label")
        pictures.append(notebook.screenshot(canvas))
    assert table.locator("tbody td:last-child").all_inner_texts() == ["100 %"]
    box = panel.get_by_label("Basins", exact=True)
    box.uncheck()
    table.get_by_text("basin", exact=True).wait_for(state="detached")
    panel.get_by_text("1 fixed point in 2 dimensions").wait_for()
    assert "basins" not in canvas.get_attribute("aria-label")
    pictures.append(notebook.screenshot(canvas))
    assert len(set(pictures)) == 3
    box.check()
    panel.get_by_text("all run to the same end").wait_for()


def test_a_study_can_be_cancelled_and_the_kernel_hears_other_messages(notebook, explorer):
    notebook.execute(
        "import time\nfrom rnnlab.widgets.portrait import Portrait\n"
        "kept = Portrait.draw\n"
        "def draw(self, job, *rest, **wanted):\n"
        "    while True:\n"
        "        time.sleep(0.01); job.tell(0.25)\n"
        "Portrait.draw = draw"
    )
    try:
        panel = open_tab(explorer, "Dynamics")
        bar = panel.get_by_role("progressbar")
        bar.wait_for()
        notebook.page.wait_for_function(
            "(bar) => bar.value === 0.25", arg=bar.element_handle(), timeout=5000
        )
        explorer.get_by_role("button", name="Step", exact=True).click()
        notebook.page.locator('.rnnlab[data-t="13"]').first.wait_for()
        bar.wait_for()
        panel.get_by_role("button", name="Cancel", exact=True).click()
        panel.get_by_text("Stopped.").wait_for()
        threads = (
            "import threading\n[t.name for t in threading.enumerate() if 'dynamics' in t.name]"
        )
        notebook.page.wait_for_timeout(200)
        assert notebook.execute(threads) == "[]"
    finally:
        notebook.execute("Portrait.draw = kept")
    panel.get_by_role("button", name="Compute again", exact=True).click()
    panel.get_by_role("table").wait_for()


def test_branches_are_compared_and_units_carry_the_difference(notebook, explorer):
    notebook.execute(
        f"session.branch({NASTY!r}); session.rewind(8); session.run(xs[:4], progress=False)"
    )
    panel = open_tab(explorer, "Compare")
    panel.get_by_label(NASTY, exact=True).check()
    strip = explorer.locator("canvas[aria-label^='Distance between']")
    strip.wait_for()
    panel.get_by_role("button", name=re.compile(r"^h\[\d\] [+−]")).first.click()
    notebook.frame()
    assert notebook.execute("len(explorer.selection['units'])") == "1"
    assert notebook.execute(f"explorer.compared == [{NASTY!r}]") == "True"
    open_tab(explorer, "Trajectory").get_by_text("dashed: ▲ " + NASTY).wait_for()
    assert explorer.locator("img").count() == 0
    assert not strip.is_visible()


def test_spans_of_activity_are_found_and_selected(notebook, explorer):
    notebook.execute("explorer.selection = {'units': [['h', 0], ['h', 1]], 'step': None}")
    panel = explorer.get_by_role("tabpanel", name="Inspector", exact=True)
    panel.get_by_text("Find where these units are active").click()
    threshold = panel.get_by_label("Threshold", exact=True)
    threshold.fill("0.2")
    threshold.press("Enter")
    spans = notebook.execute(
        "[(s.start + 1, s.stop) for s in rl.session.find(session.trace(), {'h': [0, 1]}, 0.2)]"
    )
    panel.get_by_text(re.compile(r"spans? in which all 2 units are above 0\.2:")).wait_for()
    chip = panel.get_by_role("button", name=re.compile("^steps? "))
    assert chip.count() == len(eval(spans)) > 0
    chip.first.click()
    notebook.frame()
    assert notebook.execute("tuple(explorer.selection['span'])") == str(eval(spans)[0])


def test_a_bar_moved_by_keys_sets_the_unit_in_a_branch(notebook, explorer):
    notebook.execute("explorer.selection = {'units': [['h', 1]], 'step': 4, 'span': None}")
    bar = explorer.get_by_role("slider", name="h[1]: drag to set")
    bar.focus()
    bar.press("End")
    explorer.locator(".rl-status").filter(has_text="h[1]=1").wait_for()
    assert notebook.execute("session.t, float(session.trace()['h'][3, 1])") == "(12, 1.0)"
    explorer.locator("canvas[aria-label*='behind, thin: ']").wait_for()
    assert notebook.execute("len(explorer.compared)") == "1"
    assert focused(notebook.page) == "h[1]: drag to set", "the next key goes on there"
    notebook.page.keyboard.press("Home")
    explorer.locator(".rl-status").filter(has_text="h[1]=-1").wait_for()


def test_a_value_that_is_no_number_is_not_passed_over_in_silence(notebook, explorer):
    notebook.execute("explorer.selection = {'units': [['h', 1]], 'step': 4, 'span': None}")
    field = explorer.get_by_role("spinbutton", name="h[1]: set to")
    field.fill("")
    field.press("Enter")
    said = explorer.get_by_text("A number, please.")
    said.wait_for()
    assert notebook.execute("session.t") == "12"
    explorer.get_by_role("button", name="Back", exact=True).click()
    said.wait_for(state="hidden")
    assert float(field.input_value()) == float(
        notebook.execute("float(f\"{session.trace()['h'][3, 1]:.4g}\")")
    )


def test_a_recorded_page_says_that_these_tabs_need_the_model(browser, tmp_path):
    import torch

    import rnnlab as rl

    made = rl.explore(rl.RNN(1, 2), torch.randn(6, 1))
    made.session.run(torch.randn(6, 1), progress=False)
    context = browser.browser.new_context(offline=True)
    try:
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.goto(made.to_html(tmp_path / "page.html").as_uri())
        explorer = page.locator(".rnnlab[data-drawn]")
        for name in ("Memory", "Dynamics"):
            panel = open_tab(explorer, name)
            panel.get_by_text("This page is a recording: this needs the model.").wait_for()
            assert not panel.get_by_role("progressbar").is_visible()
        open_tab(explorer, "Trajectory").get_by_text("The axes hold").wait_for()
        assert not explorer.get_by_role("alert").is_visible()
    finally:
        context.close()
