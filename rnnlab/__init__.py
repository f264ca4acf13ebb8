"""rnnlab: build, feed and understand recurrent neural networks.

A *cell* is a function `h, y = cell(h, x)`; `Recur` keeps its state between calls; `reset` puts it
back; `explore` shows it in JupyterLab, step by step.
"""

import importlib
from typing import Any

from rnnlab.cells import Cell, GRUCell, GRUv3Cell, LSTMCell, RNNCell, identity
from rnnlab.errors import RnnlabError
from rnnlab.layers import GRU, LSTM, RNN, Chain, Dense, GRUv3
from rnnlab.recur import Recur, detach, load_states, reset, states
from rnnlab.session import Session
from rnnlab.trace import Trace
from rnnlab.unroll import unroll

_LAZY = {
    "Explorer": "rnnlab.widgets",
    "explore": "rnnlab.widgets",
    "widgets": "rnnlab.widgets",
    "zoo": "rnnlab.zoo",
}


def __getattr__(name: str) -> Any:
    """Load what needs an extra, or is seldom needed, on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module 'rnnlab' has no attribute {name!r}")
    module = importlib.import_module(_LAZY[name])
    return module if _LAZY[name] == f"rnnlab.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


__version__ = "0.1.0"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Cell",
    "Chain",
    "Dense",
    "GRUCell",
    "GRUv3",
    "GRUv3Cell",
    "LSTMCell",
    "RNNCell",
    "Recur",
    "RnnlabError",
    "Session",
    "Trace",
    "detach",
    "identity",
    "load_states",
    "reset",
    "states",
    "unroll",
]
