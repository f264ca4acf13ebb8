"""What the page of `rnnlab app` shows: the explorer of the model that the command line named."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from rnnlab import zoo
from rnnlab.errors import RnnlabError
from rnnlab.widgets.explorer import Explorer
from rnnlab.widgets.opening import explore
from rnnlab.widgets.server import FOLDER, MODEL


def model_from(name: str) -> Any:
    """A model of the zoo by its name, or what `path.py:function` returns, called without arguments.

    Raises:
        RnnlabError: there is no such model, file or function.

    Example:
        >>> model_from("digits")
        Chain(Recur(LSTMCell(8, 32)), Dense(32, 10))
    """
    path, colon, function = name.rpartition(":")
    if not colon or not path.endswith(".py"):
        make = getattr(zoo, name, None) if name in zoo.__all__ and name.islower() else None
        if make is None:
            known = ", ".join(sorted(model for model in zoo.__all__ if model.islower()))
            raise RnnlabError(
                f"rnnlab app: no model {name!r}. Name one of the zoo ({known}) or a function of "
                "yours that returns one, as path.py:function."
            )
        return make()
    file = Path(path).absolute()
    if not file.is_file():
        raise RnnlabError(f"rnnlab app: there is no file {file}.")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent))  # as `python path.py` does: it finds its neighbours
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    make = getattr(module, function, None)
    if not callable(make):
        raise RnnlabError(f"rnnlab app: {file} has no function {function!r}.")
    return make()


def app() -> Explorer | None:
    """The explorer that the page shows; if that fails, it prints why, for the page to show."""
    os.chdir(os.environ.get(FOLDER, os.curdir))
    name = os.environ.get(MODEL, "digits")
    try:
        found = model_from(name)
        return found if isinstance(found, Explorer) else explore(found)
    except RnnlabError as error:
        print(error)
    except Exception as error:  # of the user's file; Voilà itself shows no tracebacks
        print(f"rnnlab app: {name} failed with {type(error).__name__}: {error}")
    return None
