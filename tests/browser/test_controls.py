"""The controls of the explorer in a real JupyterLab: their keys, what they refuse and say."""

import re

import pytest

pytestmark = pytest.mark.browser

CELLS = (
    "import torch\nimport rnnlab as rl\n"
    "explorer = rl.explore(rl.Chain(rl.LSTM(3, 4), rl.Dense(4, 2)), input_names='abc')\n"
    "session = explorer.session\n"
    "explorer",
    "recorded = rl.explore(rl.RNN(2, 3), torch.rand(3, 2))\nrecorded",
)
# where everything stands in the explorer, frame by frame, as long as `window.watching`
WATCH = """() => {
  const root = document.querySelector(".rnnlab");
  window.watching = true;
  window.layouts = new Set();
  const look = () => {
    const { top } = root.getBoundingClientRect();
    const places = [...root.querySelectorAll("[role=toolbar] button, .rl-view canvas")]
      .filter((node) => node.offsetWidth)
      .map((node) => [node.offsetLeft, node.getBoundingClientRect().top - top].map(Math.round));
    window.layouts.add(JSON.stringify(places));
    if (window.watching) requestAnimationFrame(look);
  };
  look();
}"""


@pytest.fixture(scope="module")
def notebook(lab, browser):
    from rnnlab.bench.lab import NotebookPage, write_notebook

    write_notebook(lab.root / "controls.ipynb", CELLS)
    page = NotebookPage(browser, lab, "controls.ipynb")
    page.run_all()
    page.page.set_default_timeout(20_000)
    yield page
    kinds = page.page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.content.widgets.map((cell) => cell.model.type)"
    )
    page.close()
    assert kinds == ["code"] * len(CELLS), "JupyterLab has taken none of the keys"
    assert not page.errors


@pytest.fixture
def explorer(notebook):
    """The first explorer in a new run."""
    notebook.execute("explorer._player.stop(); session.step(torch.zeros(3)); session.reset()")
    found = notebook.page.locator(".rnnlab").first
    found.scroll_into_view_if_needed()
    at(notebook, 0)
    return found


def at(notebook, t):
    notebook.page.locator(f'.rnnlab[data-t="{t}"]').first.wait_for()
    notebook.frame()


def button(explorer, name):
    return explorer.get_by_role("button", name=name, exact=True)


def focused(page):
    return page.evaluate(
        "() => document.activeElement.ariaLabel ?? document.activeElement.textContent"
    )


def alert(explorer, text):
    return explorer.get_by_role("alert").filter(has_text=text)


FIELDS = {
    "m": "Number of steps to run",
    "v": "Steps per second",
    "c": "Current branch",
    "t": "Name of the new branch",
}


def test_keys_lead_to_the_fields_and_what_is_typed_there_is_no_key(notebook, explorer):
    keyboard = notebook.page.keyboard
    explorer.get_by_role("tabpanel", name="Inspector", exact=True).focus()
    for key, name in FIELDS.items():
        keyboard.press(key)
        assert focused(notebook.page) == name
        keyboard.press("s")  # a letter in a field, or of an entry of a list
        keyboard.press("Escape")
        assert focused(notebook.page) == "Transport"
    assert explorer.get_by_label("Name of the new branch", exact=True).input_value() == "s"
    explorer.get_by_label("Number of steps to run", exact=True).fill("10")
    assert notebook.execute("session.t") == "0"
    button(explorer, "Reset").focus()
    keyboard.press("s")
    at(notebook, 1)
    explorer.get_by_label("Name of the new branch", exact=True).fill("")


def test_the_help_lists_every_key_and_no_key_acts_behind_it(notebook, explorer):
    page = notebook.page
    shortcuts = "(nodes) => nodes.map((node) => [node.ariaKeyShortcuts, node.title])"
    bound = [
        (key, title)
        for key, title in explorer.locator("[role=toolbar] *").evaluate_all(shortcuts)
        if key
    ]
    keys = [key for key, _ in bound]
    assert len(set(keys)) == len(keys) == 17
    assert all(f"(key {key})" in title for key, title in bound)

    button(explorer, "Step").focus()
    page.keyboard.press("?")
    dialog = explorer.get_by_role("dialog", name="Keys and mouse")
    dialog.wait_for()
    assert sorted(dialog.locator("dl").first.locator("dt").all_inner_texts()) == sorted(keys)
    assert "Double-click" in dialog.inner_text()
    page.keyboard.press("s")
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert focused(page) == "Step"
    assert notebook.execute("session.t") == "0"
    button(explorer, "Keys and mouse").click()
    dialog.get_by_role("button", name="Close", exact=True).click()
    dialog.wait_for(state="hidden")


def test_undo_and_redo_rest_while_there_is_nothing_to_take_back(notebook, explorer):
    keyboard = notebook.page.keyboard
    notebook.execute("while session.can_undo: session.undo()")
    undo, redo = button(explorer, "Undo"), button(explorer, "Redo")
    explorer.locator("button[title='Undo (key U): nothing to undo']").wait_for()
    assert undo.is_disabled()
    notebook.execute("session.step(torch.zeros(3))")
    explorer.locator("button[title='Undo (key U)']").wait_for()
    assert redo.get_attribute("title") == "Redo (key Y): nothing to redo"
    assert redo.is_disabled()
    button(explorer, "Reset").focus()
    keyboard.press("y")
    keyboard.press("u")
    at(notebook, 0)
    explorer.locator("button[title='Redo (key Y)']").wait_for()
    assert redo.is_enabled()
    assert undo.is_disabled()
    keyboard.press("u")
    keyboard.press("y")
    at(notebook, 1)
    assert notebook.execute("explorer.error") == "''"


def test_a_refused_name_stays_in_its_field_and_enter_makes_a_branch(notebook, explorer):
    name = explorer.get_by_label("Name of the new branch", exact=True)
    name.fill("main")
    name.press("Enter")
    alert(explorer, "there is a branch 'main' already").wait_for()
    explorer.locator("[type=text][aria-invalid=true]").wait_for()
    assert name.input_value() == "main"
    assert name.get_attribute("aria-invalid") == "true"
    name.press_sequentially(" road")
    assert name.get_attribute("aria-invalid") is None
    name.press("Enter")
    explorer.locator(".rl-status").filter(has_text="branch main road").wait_for()
    notebook.page.wait_for_function(
        "() => document.querySelector('[aria-label=\"Name of the new branch\"]').value === ''"
    )


@pytest.mark.parametrize("wrong", ["-5", "2.5", "", "1000001"])
def test_what_is_no_number_of_steps_runs_nothing(notebook, explorer, wrong):
    count = explorer.get_by_label("Number of steps to run", exact=True)
    count.fill(wrong)
    button(explorer, "Run").click()
    alert(explorer, "A whole number from 1 to 1000000, please.").wait_for()
    assert count.get_attribute("aria-invalid") == "true"
    assert focused(notebook.page) == "Number of steps to run"
    assert notebook.execute("session.t, explorer.running") == "(0, False)"
    count.fill("4")
    count.press("Enter")
    at(notebook, 4)
    assert count.get_attribute("aria-invalid") is None
    assert alert(explorer, "A whole number").count() == 0


def test_a_number_that_an_input_does_not_take_is_not_sent(notebook, explorer):
    source = explorer.get_by_label("Input from")
    source.select_option("Generator")
    onset = explorer.get_by_label("Onset")
    onset.fill("2.5")
    onset.press("Tab")
    alert(explorer, "A whole number, 1 or more, please.").wait_for()
    button(explorer, "Step").click()
    at(notebook, 1)
    assert onset.input_value() == "2.5", "a step does not take away what is to be mended"
    assert notebook.execute("explorer.feed['signal']['onset']") == "1"
    onset.fill("3")
    onset.press("Enter")
    alert(explorer, "A whole number").wait_for(state="detached")

    source.select_option("Drawn curve")
    steps, values = explorer.get_by_label("Steps of the curve"), explorer.get_by_label("Values of")
    steps.fill("0")
    steps.press("Enter")
    alert(explorer, "A whole number from 1 to 10000, please.").wait_for()
    values.fill("0.5 x")
    values.press("Enter")
    alert(explorer, "“x” is no number.").wait_for()
    assert notebook.execute("len(explorer.feed['points']), explorer.error") == "(40, '')"
    values.fill("0.5 0.25")
    values.press("Enter")
    alert(explorer, "no number").wait_for(state="detached")
    explorer.get_by_text("next: step 1 of 2").wait_for()

    source.select_option("Sliders")
    number = explorer.get_by_label("b, exactly")
    number.fill("")
    number.press("Tab")
    alert(explorer, "A number, please.").wait_for()
    explorer.get_by_label("b", exact=True).fill("0.5")
    alert(explorer, "A number, please.").wait_for(state="detached")
    notebook.page.wait_for_function(
        "() => document.querySelector('[aria-label=\"b, exactly\"]').value === '0.5'"
    )


def test_what_is_used_up_says_why_nothing_goes_on(notebook):
    page = notebook.page
    view = page.locator(".rnnlab").nth(1)
    view.scroll_into_view_if_needed()
    button(view, "Run").click()
    view.get_by_text("all 3 rows are fed: press Reset").wait_for()
    for name, key in (("Step", "S"), ("Run", "N"), ("Play", "P")):
        shown = button(view, name)
        assert shown.is_disabled()
        assert (
            shown.get_attribute("title") == f"{name} (key {key}): all 3 rows are fed: press Reset"
        )
    button(view, "Reset").focus()
    page.keyboard.press("r")
    view.get_by_text("next: row 1 of 3").wait_for()
    button(view, "Step").focus()
    for _ in range(3):
        page.keyboard.press("Space")
    view.get_by_text("all 3 rows are fed: press Reset").wait_for()
    page.keyboard.press("Space")  # on a button that rests: nothing, and it is still our key
    page.keyboard.press("r")
    view.get_by_text("next: row 1 of 3").wait_for()
    assert button(view, "Step").get_attribute("title") == "Step (key S)"
    assert button(view, "Back").get_attribute("title") == "Back (key B): this is the start"


@pytest.mark.parametrize("width", [600, 970])
def test_nothing_moves_while_it_runs(notebook, explorer, width):
    page = notebook.page
    explorer.evaluate("(root, width) => { root.style.width = `${width}px`; }", width)
    explorer.get_by_label("Number of steps to run", exact=True).fill("1200")
    page.wait_for_timeout(100)
    notebook.frame()
    page.evaluate(WATCH)
    button(explorer, "Run").click()
    button(explorer, "Stop").wait_for()
    bar = explorer.get_by_role("progressbar", name="Progress of the run")
    bar.wait_for()
    at(notebook, 1200)
    bar.wait_for(state="hidden")
    layouts = page.evaluate("() => { window.watching = false; return [...window.layouts]; }")
    explorer.evaluate("(root) => { root.style.width = ''; }")
    # what there is of it at a time: the whole width, and no scroll bar of the page
    assert len(layouts) == 1, layouts
    assert re.search(r"\d", layouts[0])
