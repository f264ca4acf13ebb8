"""Fixtures of the browser tests: one JupyterLab and one Chromium for all, a page for a test.

def test_it(open_notebook):
    notebook = open_notebook("import rnnlab as rl", "rl.explore(model)")
    notebook.run_all()
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rnnlab.bench.lab import Browser, Lab, NotebookPage

MISSING = "no Chromium: install it (Debian: apt-get install chromium) or set CHROMIUM to its path"


def chromium_or_reason(path: str | None, in_ci: bool) -> str:
    """Return `path`; without one the test is skipped, or fails on the build machine."""
    if path:
        return path
    if in_ci:
        pytest.fail(MISSING)
    pytest.skip(MISSING)


@pytest.fixture(scope="package")
def browser(in_ci: bool) -> Iterator[Browser]:
    from rnnlab.bench.lab import Browser, find_chromium

    with Browser(chromium_or_reason(find_chromium(), in_ci)) as browser:
        yield browser


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Lab]:
    """A JupyterLab in an empty folder; after `browser`, so that it never starts for a skip."""
    from rnnlab.bench.lab import Lab

    with Lab(tmp_path_factory.mktemp("notebooks")) as lab:
        yield lab


@pytest.fixture
def open_notebook(lab: Lab, browser: Browser) -> Iterator[Callable[..., NotebookPage]]:
    """Open a notebook made of code cells, or `path=`, a copy of a file.

    At the end of the test the kernels are ended, and an uncaught error in the page fails it.
    """
    from rnnlab.bench.lab import NotebookPage, write_notebook

    pages: list[NotebookPage] = []
    numbers = itertools.count()

    def open_(*cells: str, path: Path | None = None) -> NotebookPage:
        name = path.name if path else f"notebook-{next(numbers)}.ipynb"
        if path:
            (lab.root / name).write_bytes(path.read_bytes())
        else:
            write_notebook(lab.root / name, cells)
        pages.append(NotebookPage(browser, lab, name))
        return pages[-1]

    yield open_
    for page in pages:
        page.close()
    assert not [error for page in pages for error in page.errors]
