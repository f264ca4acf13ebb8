"""The inputs in a real JupyterLab: each kind by its names, tokens by the keyboard alone."""

import ast

import pytest

pytestmark = pytest.mark.browser

CELLS = (
    """import rnnlab as rl, torch
torch.manual_seed(0)
NAUGHTY = "<img src=x onerror=window.naughty=1>"
words = rl.Vocabulary([*rl.zoo.bank().card.vocabulary.tokens[:-1], NAUGHTY])
model = rl.zoo.bank()
tokens = rl.explore(rl.Session(model, words.encode)); tokens""",
    """small = rl.Chain(rl.LSTM(3, 8), rl.Dense(8, 2))
vector = rl.explore(small, input_names=["speed", "wind", "sun"]); vector""",
    "grid = rl.explore(rl.Chain(rl.RNN(40, 8), rl.Dense(8, 2))); grid",
)


@pytest.fixture(scope="module")
def notebook(lab, browser):
    from rnnlab.bench.lab import NotebookPage, write_notebook

    write_notebook(lab.root / "inputs.ipynb", CELLS)
    page = NotebookPage(browser, lab, "inputs.ipynb")
    page.run_all()
    page.page.set_default_timeout(20_000)
    yield page
    page.close()
    assert not page.errors


def explorer(notebook, number):
    found = notebook.page.locator(".rnnlab").nth(number)
    found.scroll_into_view_if_needed()
    return found


def at(view, t):
    """Wait until a view has drawn step t."""
    view.page.locator(f'.rnnlab[data-t="{t}"]').and_(view).wait_for()


def value(notebook, code):
    return ast.literal_eval(notebook.execute(code))


def last_input(notebook, name):
    return value(notebook, f"[round(v, 6) for v in {name}.session.trace()['x'][-1].tolist()]")


def test_tokens_by_the_keyboard_alone_from_two_texts_to_their_difference(notebook):
    view, keyboard = explorer(notebook, 0), notebook.page.keyboard
    view.get_by_role("combobox", name="Text to feed").focus()
    keyboard.type("the riv")
    view.get_by_role("option", name="river", exact=True).wait_for()
    keyboard.press("ArrowDown")
    keyboard.press("Enter")
    keyboard.type("bank was")
    keyboard.press("Enter")
    chips = view.get_by_role("list", name="Queue of tokens")
    chips.get_by_role("button", name="Remove was, token 4").wait_for()
    assert chips.locator("[aria-current=step]").inner_text().split() == ["the", "×"]

    view.get_by_role("button", name="Step", exact=True).focus()
    keyboard.press("n")  # run all
    at(view, 4)
    assert view.get_by_role("button", name="Step", exact=True).is_disabled()
    assert value(notebook, "tokens.session.trace().labels") == ("the", "river", "bank", "was")
    top = view.locator(".rl-outputs .rl-top").inner_text().split()[0]
    assert top == "steep"

    view.get_by_role("button", name="Reset", exact=True).focus()
    keyboard.press("r")
    at(view, 0)
    view.get_by_text("the same text again").wait_for()
    view.get_by_role("combobox", name="Text to feed").focus()
    keyboard.type("the investment bank was")
    keyboard.press("Enter")
    chips.get_by_role("button", name="Remove investment, token 2").wait_for()
    view.get_by_role("button", name="Step", exact=True).focus()
    keyboard.press("n")
    at(view, 4)
    assert view.locator(".rl-outputs .rl-top").inner_text().split()[0] == "closed"

    view.get_by_role("tab", name="Inspector", exact=True).focus()
    keyboard.press("ArrowRight")
    keyboard.press("ArrowRight")
    view.get_by_role("checkbox", name="main", exact=True).wait_for()
    for key in ("Tab", "Tab", "Space"):
        keyboard.press(key)
    view.get_by_role("img", name="Distance between run 2 and main, per layer and step").wait_for()

    view.get_by_role("button", name="Back", exact=True).focus()
    keyboard.press("b")
    at(view, 3)
    keyboard.press("a")  # the same again: "bank"
    at(view, 4)
    labels = value(notebook, "tokens.session.trace().labels")
    assert labels == ("the", "investment", "bank", "bank")
    cells = notebook.page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.content.widgets.map((cell) => cell.model.type)"
    )
    assert cells == ["code"] * len(CELLS), "JupyterLab has taken none of the keys"


def test_an_unknown_word_is_refused_and_can_be_mended(notebook):
    view = explorer(notebook, 0)
    notebook.button("Reset", within=view).click()
    at(view, 0)
    field = view.get_by_label("Text to feed")
    field.fill("the rivr")
    field.press("Enter")
    shown = view.get_by_role("alert")
    shown.wait_for()
    assert "'rivr' is not one of the 42 tokens. Near it: 'river'" in shown.inner_text()
    assert field.input_value() == "the rivr"
    field.fill("the river")
    notebook.button("Add", within=view).click()
    view.get_by_role("button", name="Remove river, token 2").click()
    view.get_by_text("next: the (1 of 1)").wait_for()
    assert shown.is_hidden()


def test_tokens_are_text_never_markup(notebook):
    view = explorer(notebook, 0)
    notebook.button("Reset", within=view).click()
    at(view, 0)
    view.get_by_label("Text to feed").fill("<img")
    view.get_by_role("option", name="<img src=x onerror=window.naughty=1>").click()
    notebook.button("Add", within=view).click()
    view.locator(".rl-chip").filter(has_text="<img").first.wait_for()
    notebook.button("Run", within=view).click()
    view.get_by_role("group", name="The text, token by token").get_by_text("<img").wait_for()
    assert notebook.page.evaluate("() => window.naughty ?? null") is None
    assert notebook.page.locator(".rnnlab img").count() == 0


def test_the_text_is_coloured_by_a_gate_and_leads_to_its_steps(notebook):
    view = explorer(notebook, 0)
    view.get_by_label("New run with").select_option("the river bank was")
    at(view, 0)
    notebook.button("Run", within=view).click()
    at(view, 4)
    text = view.get_by_role("group", name="The text, token by token")
    river = text.get_by_role("button").nth(1)
    view.get_by_label("Unit that colours the tokens").fill("5")
    view.get_by_label("Unit that colours the tokens").press("Enter")
    state = value(notebook, "float(tokens.session.trace()['1.h'][1, 5])")
    notebook.page.wait_for_function(
        "() => document.querySelectorAll('.rl-text button')[1].title.includes('1.h[5]')"
    )
    assert float(river.get_attribute("title").split("= ")[1].replace("−", "-")) == pytest.approx(
        state, rel=1e-3
    )
    view.get_by_label("Tokens coloured by").select_option("1.f")
    view.get_by_role("button", name="river, step 2 · 1.f[5] = 0.").wait_for()
    gate = value(
        notebook, "float(rl.derive(tokens.session.model, tokens.session.trace())['1.f'][1, 5])"
    )
    assert float(river.get_attribute("title").split("= ")[1]) == pytest.approx(gate, rel=1e-3)
    assert river.evaluate("(node) => node.style.background").startswith("rgb")
    view.get_by_role("tab", name="Inspector", exact=True).click()
    river.click()
    view.get_by_role("heading", name="At step 2").wait_for()
    assert value(notebook, "tokens.selection['step']") == 2
    notebook.page.keyboard.press("ArrowRight")
    notebook.page.keyboard.press("Enter")
    view.get_by_role("heading", name="At step 3").wait_for()


def test_sliders_and_exact_numbers(notebook):
    view = explorer(notebook, 1)
    view.get_by_label("wind", exact=True).fill("0.25")
    view.get_by_label("sun, exactly").fill("-3.125")
    view.get_by_label("sun, exactly").press("Enter")
    notebook.button("Step", within=view).click()
    at(view, 1)
    assert last_input(notebook, "vector") == [0, 0.25, -3.125]


def test_a_generator_and_a_typed_curve(notebook):
    view = explorer(notebook, 1)
    view.get_by_label("Input from").select_option("Generator")
    view.get_by_label("Signal").select_option("step")
    view.get_by_label("Amplitude").fill("0.5")
    view.get_by_label("Features").select_option(["speed", "sun"])
    view.get_by_role("img", name="The step, steps 1 to 60").wait_for()
    t = value(notebook, "vector.session.t")
    notebook.button("Step", within=view).click()
    at(view, t + 1)
    assert last_input(notebook, "vector") == [0.5, 0, 0.5]
    view.get_by_label("Input from").select_option("Drawn curve")
    values = view.get_by_label("Values of the curve")
    values.fill("0.1, -0.2 0.3")
    values.press("Enter")
    view.get_by_role("img", name="The curve: 3 steps from -0.2 to 0.3").wait_for()
    t = value(notebook, "vector.session.t")
    notebook.button("Run", within=view).click()
    at(view, t + 3)
    xs = value(notebook, "vector.session.trace()['x'][-3:, 0].round(6).tolist()")
    assert xs == pytest.approx([0.1, -0.2, 0.3])


def test_a_curve_drawn_with_the_mouse(notebook):
    view, mouse = explorer(notebook, 1), notebook.page.mouse
    view.get_by_label("Input from").select_option("Drawn curve")
    view.get_by_label("Steps of the curve").fill("20")
    view.get_by_label("Steps of the curve").press("Enter")
    canvas = view.get_by_role("img", name="The curve: 20 steps")
    canvas.wait_for()
    box = canvas.bounding_box()
    mouse.move(box["x"] + 60, box["y"] + 1)
    mouse.down()
    mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 1, steps=3)
    mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.45 * box["height"], steps=3)
    mouse.up()
    view.get_by_role("img", name="The curve: 20 steps from 0 to 1").wait_for()
    points = value(notebook, "vector._inputs.current.points")
    assert len(points) == 20
    assert points[3:7] == [1, 1, 1, 1]
    assert points[8:15] == sorted(points[8:15], reverse=True)


def test_a_grid_is_set_by_dragging_typing_and_keys(notebook):
    view, page = explorer(notebook, 2), notebook.page
    cell = view.get_by_label("x[10]", exact=True)
    box = cell.bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + 10, box["y"] - 30, steps=4)
    page.mouse.up()
    page.keyboard.press("ArrowRight")
    page.keyboard.type("-0.75")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    notebook.button("Step", within=view).click()
    at(view, 1)
    fed = last_input(notebook, "grid")
    assert fed[10:13] == pytest.approx([0.5, -0.75, -0.2])
    assert [v for v in fed[:10] + fed[13:] if v] == []
