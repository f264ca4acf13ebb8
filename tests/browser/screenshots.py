"""Make the README's pictures of the explorer: `python -m tests.browser.screenshots`.

Opens the first notebook in a real JupyterLab, feeds an image, and writes the explorer in both
themes to notebooks/img/.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from rnnlab.bench.lab import Browser, Lab, NotebookPage

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "notebooks" / "img"


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Browser(viewport={"width": 1400, "height": 1500}) as browser,
        Lab(Path(folder)) as lab,
    ):
        notebook = "00_start_here.ipynb"
        shutil.copy(ROOT / "notebooks" / notebook, folder)
        page = NotebookPage(browser, lab, notebook)
        page.run_all()
        explorer = page.page.locator(".rnnlab").first
        explorer.scroll_into_view_if_needed()
        page.button("Run", within=explorer).click()
        page.page.locator('.rnnlab[data-t="8"]').first.wait_for()
        for _ in range(2):
            page.button("Back", within=explorer).click()
        page.page.locator('.rnnlab[data-t="6"]').first.wait_for()
        page.execute("explorer.selection = {'units': [['0.h', 17], ['0.c', 23]], 'step': None}")
        explorer.get_by_text("keeps").first.wait_for()
        for theme in ("dark", "light"):
            page.theme(theme)
            page.page.wait_for_timeout(300)
            explorer.locator(".rl-view canvas").first.hover(position={"x": 280, "y": 200})
            path = PICTURES / f"explorer-{theme}.png"
            page.screenshot(explorer, path)
            print(path.relative_to(ROOT))
        page.close()


if __name__ == "__main__":
    main()
