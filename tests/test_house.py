"""The house: every module lies on a layer and imports only from the layers below it.

DESIGN: errors and the helpers for nested states at the bottom, then the cells, what makes them
stateful, the engine and the analysis, and on top what a person sees. Imports are read from the
source, those inside functions included.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "rnnlab"

LAYERS = {
    "errors": 0,
    "nested": 0,
    "archive": 1,
    "cells": 1,
    "trace": 1,
    "fingerprint": 1,
    "by_unit": 2,
    "carried": 2,
    "recur": 2,
    "files": 2,
    "graphs": 2,
    "layers": 2,
    "reach": 2,
    "unfused": 1,
    "functional": 2,
    "derive": 2,
    "scan": 2,
    "sweep": 2,
    "unroll": 2,
    "adapters": 2,
    "session": 3,
    "analysis": 3,
    "zoo": 3,
    "plots": 3,
    "widgets": 4,
    "cli": 4,
    "bench": 4,
}
HERE = "rnnlab"  # rnnlab/__init__.py, which re-exports and may import everything

# Who may import what from outside. Where nothing is said, torch, numpy and tqdm are free.
ONLY_IN = {
    "plotly": {"plots"},
    "anywidget": {"widgets"},
    "ipywidgets": {"widgets"},
    "traitlets": {"widgets"},
    "PIL": {"widgets"},
    "IPython": {"widgets", "cli"},
    "jupyterlab": {"widgets", "cli"},
    "jupyter_server": {"widgets", "cli"},
    "tornado": {"widgets"},
    "voila": {"widgets"},
    "playwright": {"bench"},
    "nbformat": {"bench"},
    "torch": set(LAYERS) - {"errors", "archive", "trace", "plots", "cli"},
    "numpy": set(LAYERS) - {"errors", "cli"},
    "safetensors": set(LAYERS) - {"errors", "cli"},
    "tqdm": set(LAYERS) - {"errors", "cli"},
    "sklearn": set(LAYERS),
    "pandas": set(LAYERS),
    "xarray": set(LAYERS),
}
# These may be absent or are slow to load: imported inside the functions that use them.
ON_USE = {"sklearn", "pandas", "xarray"}
OPTIONAL = ON_USE | {"plotly", "anywidget", "ipywidgets", "traitlets", "IPython", "jupyterlab"}
OPTIONAL |= {"jupyter_server", "PIL", "tornado", "voila", "playwright", "nbformat"}


@dataclass(frozen=True)
class Import:
    """`name`, a module, imported by the file `file` of the unit `unit` (cells, recur, ...)."""

    file: str
    unit: str
    name: str
    inside_function: bool

    @property
    def top(self) -> str:
        return self.name.split(".")[0]

    @property
    def target(self) -> str:
        """The unit that `name`, a module of rnnlab, belongs to."""
        return [*self.name.split("."), HERE][1]


def unit_of(path: Path, package: Path) -> str:
    first = path.relative_to(package).parts[0]
    return HERE if first == "__init__.py" else first.removesuffix(".py")


def imports(package: Path) -> Iterator[Import]:
    """Every import of every file below `package`, relative ones resolved."""
    units = {unit_of(path, package) for path in package.rglob("*.py")}
    for path in sorted(package.rglob("*.py")):
        file = path.relative_to(package).as_posix()
        # The package that `from . import x` means in this file.
        home = ["rnnlab", *path.relative_to(package).parts[:-1]]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
        inside = {
            id(node)
            for function in ast.walk(tree)
            if isinstance(function, functions)
            for node in ast.walk(function)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                parts = home[: len(home) - node.level + 1] if node.level else []
                base = ".".join([*parts, *([node.module] if node.module else [])])
                # `from rnnlab import recur` means rnnlab.recur; `from rnnlab import RNN` does not.
                names = [
                    f"{base}.{alias.name}" if base == "rnnlab" and alias.name in units else base
                    for alias in node.names
                ]
            else:
                continue
            for name in dict.fromkeys(names):
                yield Import(file, unit_of(path, package), name, id(node) in inside)


def unplaced(package: Path) -> set[str]:
    """The modules that no layer names."""
    return {unit_of(path, package) for path in package.rglob("*.py")} - {*LAYERS, HERE}


def wrong_layer(package: Path) -> list[str]:
    """Imports from a higher layer, or from `rnnlab` itself, which imports everything."""
    return [
        f"{i.file} (layer {LAYERS[i.unit]}) imports {i.name}"
        for i in imports(package)
        if i.top == "rnnlab"
        and i.unit in LAYERS
        and i.target != i.unit
        and LAYERS.get(i.target, 99) > LAYERS[i.unit]
    ]


def circles(package: Path) -> list[str]:
    """Units that need each other."""
    needs: dict[str, set[str]] = {}
    for i in imports(package):
        if i.top == "rnnlab" and i.unit != HERE and i.target not in (i.unit, HERE):
            needs.setdefault(i.unit, set()).add(i.target)
    while leaves := {unit for unit in needs if not needs[unit] & needs.keys()}:
        needs = {unit: needs[unit] for unit in needs.keys() - leaves}
    return sorted(needs)


def foreign(package: Path) -> list[str]:
    """Imports from outside that do not belong where they are."""
    found = []
    for i in imports(package):
        if i.top == "rnnlab" or i.top in sys.stdlib_module_names:
            continue
        if i.unit not in ONLY_IN.get(i.top, ()):
            found.append(f"{i.file} imports {i.name}")
        elif i.top in ON_USE and not i.inside_function:
            found.append(f"{i.file} imports {i.name} outside a function")
    return found


def test_every_module_has_a_layer():
    assert unplaced(PACKAGE) == set(), "place each new module in LAYERS"


def test_imports_go_down():
    assert wrong_layer(PACKAGE) == []


def test_no_circles():
    assert circles(PACKAGE) == []


def test_foreign_libraries_stay_in_their_rooms():
    assert foreign(PACKAGE) == []


def test_plots_know_no_session():
    assert [i for i in imports(PACKAGE) if i.unit == "plots" and i.target == "session"] == []


class TestTheGuards:
    """Each guard finds what it is there for."""

    @pytest.fixture
    def house(self, tmp_path):
        def build(**files: str) -> Path:
            package = tmp_path / "rnnlab"
            for name, source in {"__init__": "", **files}.items():
                path = package / f"{name.replace('__in__', '/')}.py"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(source)
            return package

        return build

    def test_unplaced(self, house):
        assert unplaced(house(recur="", helpers="", cells__in__rnn="")) == {"helpers"}

    @pytest.mark.parametrize(
        "source",
        [
            "import rnnlab.session",
            "from rnnlab.session import Session",
            "from rnnlab import session",
            "from rnnlab.session.tree import Branch",
            "def f():\n    from rnnlab.session import Session",
            "def f():\n    from rnnlab import Session",
            "import rnnlab as rl",
        ],
    )
    def test_upwards(self, house, source):
        assert len(wrong_layer(house(recur=source, session__in__tree=""))) == 1

    def test_upwards_relative(self, house):
        package = house(cells__in__rnn="from ..recur import Recur\nfrom . import base", recur="")
        assert wrong_layer(package) == ["cells/rnn.py (layer 1) imports rnnlab.recur"]

    def test_downwards_is_fine(self, house):
        files = {"cells": "from rnnlab import errors", "errors": ""}
        package = house(recur="from rnnlab.cells import X", **files)
        assert wrong_layer(package) == []

    def test_circles(self, house):
        down = "from rnnlab.recur import x"
        assert circles(house(layers=down, recur="def f(): import rnnlab.layers", cells="")) == [
            "layers",
            "recur",
        ]
        assert circles(house(layers=down, recur="", unroll="import rnnlab.layers")) == []

    @pytest.mark.parametrize(
        ("unit", "source"),
        [
            ("session", "import plotly.graph_objects as go"),
            ("analysis", "def f():\n    import plotly"),
            ("widgets", "import plotly"),
            ("plots", "import torch"),
            ("trace", "from torch import Tensor"),
            ("session", "from IPython.display import display"),
            ("zoo", "import anywidget"),
            ("trace", "import pandas"),
            ("recur", "import matplotlib"),
        ],
    )
    def test_foreign(self, house, unit, source):
        assert len(foreign(house(**{unit: source}))) == 1

    def test_foreign_in_its_room(self, house):
        assert foreign(house(plots="import plotly", trace="def f(): import pandas")) == []


def test_import_rnnlab_loads_no_optional_library():
    code = f"import sys, rnnlab; print(*sorted(sys.modules.keys() & {OPTIONAL | {'hypothesis'}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def modules() -> list[str]:
    """The names of all modules of the package, found without importing them."""

    def below(folder: Path, name: str) -> Iterator[str]:
        yield name
        for module in pkgutil.iter_modules([str(folder)]):
            if module.ispkg:
                yield from below(folder / module.name, f"{name}.{module.name}")
            else:
                yield f"{name}.{module.name}"

    return list(below(PACKAGE, "rnnlab"))


@pytest.mark.parametrize("name", modules())
def test_doctests(name, tmp_path, monkeypatch, in_ci):
    """The examples in the docstrings do what they say."""
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        missing = next((m for m in OPTIONAL if m in f"{error.name} {error}"), None)
        if missing is None or in_ci:
            raise
        pytest.skip(f"{name} needs {missing}: install rnnlab[lab]")
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    for example in doctest.DocTestFinder().find(module, name):
        runner.run(example, out=report.append)
    assert runner.failures == 0, "".join(report)


def test_the_examples_exist():
    """The line above would be green with no example at all."""
    sources = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    assert any(">>> " in source for source in sources)
