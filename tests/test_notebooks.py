"""The notebooks as they are stored: nbval compares outputs, these tests see to it that there are
outputs to compare and that nothing of the machine that made them is left in."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

IGNORED = "nbval-ignore-output"
WIDGET = "application/vnd.jupyter.widget-view+json"
# Paths of a home or of a temporary folder, and memory addresses.
MACHINE = re.compile(
    r"(?<![\w.])/(?:home|root|tmp|usr|opt|mnt|work|private|Users|var)/"
    r"|[A-Z]:\\|ipykernel_\d+|\b0x[0-9a-fA-F]{6,}"
)


def code_cells(notebook: dict) -> Iterator[tuple[str, dict]]:
    """The code cells with something in them, each with its name in a report."""
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code" and source(cell).strip():
            yield f"cell {number} ({source(cell).splitlines()[0][:40]})", cell


def source(cell: dict) -> str:
    return "".join(cell["source"])


def tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def prints(code: str) -> bool:
    """Whether the code calls print when it runs, outside functions and classes."""
    try:
        todo: list[ast.AST] = [ast.parse(code)]
    except SyntaxError:  # IPython's magics
        return re.search(r"^print\(", code, re.MULTILINE) is not None
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print":
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            todo.extend(ast.iter_child_nodes(node))
    return False


def strings(value: Any) -> Iterator[str]:
    """Every text inside a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for child in value.values():
            yield from strings(child)
    elif isinstance(value, list):
        for child in value:
            yield from strings(child)


def compared(notebook: dict) -> list[str]:
    """nbval compares a cell only if it was stored executed and nothing switches that off."""
    found = []
    for name, cell in code_cells(notebook):
        if IGNORED in tags(cell):
            if cell["outputs"]:
                found.append(f"{name} is tagged {IGNORED} and stored with an output")
            continue
        if cell["execution_count"] is None:
            found.append(f"{name} is stored without an execution count")
        if prints(source(cell)) and not cell["outputs"]:
            found.append(f"{name} prints and is stored without an output")
        if source(cell).rstrip().endswith(";"):
            # nbval runs cells outside the history, where IPython does not look at the semicolon.
            found.append(f"{name} ends in ';', which nbval does not honour: write _ = …")
        if any(WIDGET in output.get("data", ()) for output in cell["outputs"]):
            found.append(f"{name} shows a widget, which nbval skips: tag it {IGNORED}")
    return found


def switches(notebook: dict) -> list[str]:
    """Ways round the comparison other than the one tag that the tests know."""
    found = []
    for name, cell in code_cells(notebook):
        if "nbval-skip" in tags(cell):
            found.append(f"{name} is tagged nbval-skip")
        if re.search(r"#\s*(NBVAL_|PYTEST_VALIDATE_)", source(cell)):
            found.append(f"{name} has a comment for nbval; use a tag")
    return found


def in_order(notebook: dict) -> list[str]:
    """Executed once, from top to bottom."""
    counts = [cell["execution_count"] for _, cell in code_cells(notebook)]
    done = [count for count in counts if count is not None]
    return [] if done == sorted(set(done)) else [f"executed in the order {done}"]


def of_no_machine(notebook: dict) -> list[str]:
    return [
        f"{name} has {match[0]!r} in its output"
        for name, cell in code_cells(notebook)
        for text in strings(cell["outputs"])
        if (match := MACHINE.search(text))
    ]


def metadata(notebook: dict) -> list[str]:
    found = []
    if (kernel := notebook["metadata"].get("kernelspec", {}).get("name")) != "python3":
        found.append(f"the kernel is {kernel!r}, not 'python3'")
    if "widgets" in notebook["metadata"]:
        found.append("widget state is stored")
    return found


def opening(notebook: dict) -> list[str]:
    first = notebook["cells"][0] if notebook["cells"] else {"cell_type": None, "source": ""}
    if first["cell_type"] != "markdown" or "objectives" not in source(first).lower():
        return ["the first cell is not a text with the objectives"]
    return []


GUARDS = [compared, switches, in_order, of_no_machine, metadata, opening]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.__name__)
def test_notebook(path: Path, guard: Callable[[dict], list[str]]):
    assert guard(json.loads(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_format(path: Path):
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_pictures_and_links_lead_somewhere(path: Path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            for link in re.findall(r"\]\(([^)#\s]+)", source(cell)):
                assert "://" in link or (FOLDER / link).exists(), link


def test_the_first_two_are_there():
    assert {"00_start_here.ipynb", "01_recurrence.ipynb"} <= {path.name for path in NOTEBOOKS}


def test_numbered_without_gaps():
    for number, path in enumerate(NOTEBOOKS):
        assert re.fullmatch(rf"{number:02}_[a-z0-9_]+\.ipynb", path.name), path.name


class TestTheGuards:
    """Each guard finds what it is there for."""

    @staticmethod
    def notebook(*cells: dict, **more: Any) -> dict:
        text = {"cell_type": "markdown", "metadata": {}, "source": ["# One\n", "**Objectives**"]}
        kernel = {"kernelspec": {"name": "python3"}}
        return {"cells": [text, *cells], "metadata": {**kernel, **more}}

    @staticmethod
    def cell(code: str, count: int | None = 1, output: str | dict = "", *tags: str) -> dict:
        stream = {"output_type": "stream", "name": "stdout", "text": [output]}
        outputs = [] if not output else [stream if isinstance(output, str) else output]
        return {
            "cell_type": "code",
            "execution_count": count,
            "metadata": {"tags": list(tags)},
            "outputs": outputs,
            "source": [code],
        }

    def test_a_good_notebook(self):
        good = self.notebook(
            self.cell("print(1)", 1, "1"),
            self.cell("rl.explore(model)", None, "", IGNORED),
            self.cell("def f():\n    print(1)", 3),
            self.cell("", None),
        )
        assert [problem for guard in GUARDS for problem in guard(good)] == []

    @pytest.mark.parametrize(
        ("guard", "cell", "problem"),
        [
            (compared, ("x", None), "without an execution count"),
            (compared, ("for i in a:\n    print(i)", 1), "prints and is stored without"),
            (compared, ("%time x\nprint(x)", 1), "prints and is stored without"),
            (compared, ("torch.manual_seed(0);", 1), "ends in ';'"),
            (compared, ("x", None, "old", IGNORED), "stored with an output"),
            (compared, ("w", 1, {"data": {WIDGET: {}}}), "shows a widget"),
            (switches, ("x", 1, "1", "nbval-skip"), "nbval-skip"),
            (switches, ("# NBVAL_IGNORE_OUTPUT\nx", 1, "1"), "comment for nbval"),
            (of_no_machine, ("x", 1, "<T object at 0x7f0012345678>"), "0x7f"),
            (of_no_machine, ("x", 1, {"data": {"text/html": ["in /home/me/x.py"]}}), "/home/"),
            (of_no_machine, ("x", 1, {"traceback": ["ipykernel_12/3.py"]}), "ipykernel_12"),
        ],
    )
    def test_cells(self, guard, cell, problem):
        (found,) = guard(self.notebook(self.cell(*cell)))
        assert problem in found

    def test_order(self):
        assert in_order(self.notebook(self.cell("a", 2), self.cell("b", 1)))
        assert in_order(self.notebook(self.cell("a", 1), self.cell("b", 1)))

    def test_metadata(self):
        assert metadata(self.notebook(widgets={})) == ["widget state is stored"]
        assert metadata(self.notebook(kernelspec={"name": "venv"}))

    def test_opening(self):
        notebook = self.notebook(self.cell("a"))
        notebook["cells"].reverse()
        assert opening(notebook)
        assert opening({"cells": []})
