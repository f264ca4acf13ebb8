"""axe-core on the explorer in JupyterLab, in both themes, with each of its tabs open."""

import pytest

pytestmark = pytest.mark.browser

CELLS = (
    "import torch\nimport rnnlab as rl\ntorch.manual_seed(0)\n"
    "model = rl.Chain(rl.LSTM(3, 4), rl.Dense(4, 3));",
    "explorer = rl.explore(model, torch.rand(12, 3), input_names='abc', output_names='xyz',\n"
    "                      decode='softmax')\n"
    "session = explorer.session\n"
    "session.run(torch.rand(8, 3), progress=False)\n"
    "explorer",
)
TABS = ("Inspector", "Trajectory", "Compare", "Memory", "Dynamics")


@pytest.fixture(scope="module")
def axe(in_ci):
    missing = "no axe-core: pip install axe-playwright-python"
    try:
        from axe_playwright_python.sync_playwright import Axe
    except ImportError:
        pytest.fail(missing) if in_ci else pytest.skip(missing)
    return Axe()


@pytest.fixture(scope="module")
def notebook(lab, browser, axe):
    from rnnlab.bench.lab import NotebookPage, write_notebook

    write_notebook(lab.root / "axe.ipynb", CELLS)
    page = NotebookPage(browser, lab, "axe.ipynb")
    page.run_all()
    page.page.set_default_timeout(20_000)
    yield page
    page.close()
    assert not page.errors


# of a text against the ground of the explorer, as WCAG has it
CONTRAST = """(node) => {
  const light = (css) => 0.05 + css.match(/[\\d.]+/g).slice(0, 3)
    .map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const [a, b] = [light(getComputedStyle(node).color),
    light(getComputedStyle(node.closest(".rnnlab")).backgroundColor)];
  return Math.max(a, b) / Math.min(a, b);
}"""


def findings(page, axe):
    """What axe-core calls serious or critical in the explorer, in words."""
    found = axe.run(page, context=".rnnlab").response["violations"]
    return [
        f"{rule['impact']}: {rule['help']}: {node['html']} ({node['failureSummary']})"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def test_axe_would_find_what_is_wrong(notebook, axe):
    page = notebook.page
    page.locator(".rnnlab[data-drawn]").wait_for()
    spoil = """() => {
      const bad = document.createElement("button");
      bad.id = "spoiled";
      document.querySelector(".rnnlab").append(bad);
    }"""
    page.evaluate(spoil)
    assert any("spoiled" in text for text in findings(page, axe))
    page.evaluate("() => document.getElementById('spoiled').remove()")


def test_every_tab_in_both_themes_is_free_of_serious_findings(notebook, axe):
    page = notebook.page
    explorer = page.locator(".rnnlab").first
    chosen = "[['0.h', 1], ['0.c', 2], ['y', 0]]"
    notebook.execute(
        f"explorer.selection = {{'units': {chosen}, 'step': 3, 'span': [2, 5]}}\n"
        "session.branch('other'); session.rewind(4); session.step(torch.rand(3))\n"
        "explorer.compared = ['other']"
    )
    explorer.locator("summary").click()
    found = []
    for theme in ("light", "dark"):
        notebook.theme(theme)
        explorer.get_by_label("Name of the new branch").fill("other")  # refused: there is one
        explorer.get_by_role("button", name="Branch", exact=True).click()
        error = explorer.locator(".rl-error:visible")
        error.wait_for()
        assert error.evaluate(CONTRAST) >= 4.5, theme
        for tab in TABS:
            explorer.get_by_role("tab", name=tab, exact=True).click()
            panel = explorer.get_by_role("tabpanel", name=tab, exact=True)
            panel.wait_for()
            if tab == "Memory":
                panel.get_by_text("On average").wait_for()
            if tab == "Dynamics":
                panel.get_by_role("table").wait_for()
            notebook.frame()
            found += [f"{theme}, {tab}: {text}" for text in findings(page, axe)]
    notebook.theme("light")
    assert not found, "\n".join(found)
