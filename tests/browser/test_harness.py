"""The harness itself, on the smallest widget there is: a button that counts in a label."""

import pytest

from tests.browser.conftest import MISSING, chromium_or_reason

pytestmark = pytest.mark.browser

IMPORTS = "import ipywidgets\nfrom IPython.display import display"
COUNTER = """
clicks = 0
button, label = ipywidgets.Button(description="Count"), ipywidgets.Label("clicked 0 times")
def count(_):
    global clicks
    clicks += 1
    label.value = f"clicked {clicks} times"
button.on_click(count)
display(button, label)
"""


def test_a_click_reaches_the_kernel_and_its_answer_the_page(open_notebook):
    notebook = open_notebook(IMPORTS, COUNTER)
    notebook.run_all()
    assert notebook.execute("clicks") == "0"
    for n in (1, 2):
        notebook.reset_traffic()
        notebook.button("Count").click()
        notebook.cell(1).get_by_text(f"clicked {n} times").wait_for()
        assert notebook.execute("clicks") == str(n)
        traffic = notebook.traffic()
        assert traffic["sentBytes"] > 0
        assert traffic["receivedBytes"] > 0


def test_a_question_waits_for_what_the_page_held_back(open_notebook):
    slow = """import time
number = ipywidgets.IntText(0, description="Number")
number.observe(lambda _: time.sleep(0.5), "value")
number"""
    notebook = open_notebook(IMPORTS, slow)
    notebook.run_all()
    field = notebook.page.get_by_role("spinbutton", name="Number")
    field.focus()
    for _ in range(3):  # from the second on, the page waits for the kernel's answer to the first
        field.press("ArrowUp")
    assert notebook.execute("number.value") == "3"


def test_a_failing_cell_and_a_failing_call_are_reported(open_notebook):
    notebook = open_notebook("1 / 0")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        notebook.run_all()
    with pytest.raises(AssertionError, match="NameError"):
        notebook.execute("no_such_name")


def test_a_restart_forgets_and_a_reload_does_not(open_notebook):
    notebook = open_notebook("x = 1")
    notebook.run_all()
    notebook.open()
    assert notebook.execute("x") == "1"
    notebook.restart_kernel()
    assert notebook.execute("'x' in globals()") == "False"


def test_themes_and_pictures(open_notebook, tmp_path):
    notebook = open_notebook(IMPORTS, COUNTER)
    notebook.run_all()
    outputs = notebook.cell(1).locator(".jp-Cell-outputArea")
    pictures = {}
    for theme, is_light in (("dark", "false"), ("light", "true")):
        notebook.theme(theme)
        assert notebook.page.locator("body").get_attribute("data-jp-theme-light") == is_light
        path = tmp_path / f"{theme}.png"
        pictures[theme] = notebook.screenshot(outputs, path)
        assert path.read_bytes() == pictures[theme]
        assert pictures[theme].startswith(b"\x89PNG")
    assert pictures["dark"] != pictures["light"]


def test_the_end_of_a_test_ends_its_kernel(lab, open_notebook):
    notebook = open_notebook("x = 1")
    assert len(lab.get("/api/kernels")) == 1
    notebook.close()
    assert lab.get("/api/kernels") == []
    open_notebook("x = 2")  # the fixture closes the pages that it opened, also after this one


def test_without_chromium_it_skips_but_fails_on_the_build_machine():
    assert chromium_or_reason("/somewhere/chromium", in_ci=True) == "/somewhere/chromium"
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        chromium_or_reason(None, in_ci=False)
    with pytest.raises(pytest.fail.Exception, match="set CHROMIUM"):
        chromium_or_reason(None, in_ci=True)
    assert "Chromium" in MISSING
