"""rnnlab: build, feed and understand recurrent neural networks.

A *cell* is a function `h, y = cell(h, x)`; `Recur` keeps its state between calls; `reset` puts it
back; `explore` shows it in JupyterLab, step by step.
"""

import importlib
from typing import Any

from rnnlab.adapters import adapt
from rnnlab.cells import (
    AdditiveCell,
    AntisymmetricRNNCell,
    Cell,
    CfCCell,
    CoRNNCell,
    GatedAntisymmetricRNNCell,
    GRUCell,
    GRUv3Cell,
    IndRNNCell,
    JANETCell,
    LeakyRNNCell,
    LEMCell,
    LightRUCell,
    LSTMCell,
    LTCCell,
    MGUCell,
    MinGRUCell,
    MinLSTMCell,
    PeepholeLSTMCell,
    RNNCell,
    UGRNNCell,
    identity,
)
from rnnlab.derive import derive
from rnnlab.errors import RnnlabError
from rnnlab.functional import as_cell
from rnnlab.graphs import graphed
from rnnlab.layers import (
    GRU,
    JANET,
    LEM,
    LSTM,
    LTC,
    MGU,
    RNN,
    UGRNN,
    AntisymmetricRNN,
    Bidirectional,
    CfC,
    Chain,
    CoRNN,
    Dense,
    GatedAntisymmetricRNN,
    GRUv3,
    IndRNN,
    LeakyRNN,
    LightRU,
    MinGRU,
    MinLSTM,
    PeepholeLSTM,
    Stacked,
)
from rnnlab.recur import Recur, detach, load_states, reset, states
from rnnlab.session import Features, Session, Vocabulary, compare, find, match, replay
from rnnlab.trace import Trace
from rnnlab.unroll import unroll

_LAZY = {
    "Explorer": "rnnlab.widgets",
    "analysis": "rnnlab.analysis",
    "explore": "rnnlab.widgets",
    "load": "rnnlab.files",
    "save": "rnnlab.files",
    "plots": "rnnlab.plots",
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
    "JANET",
    "LEM",
    "LSTM",
    "LTC",
    "MGU",
    "RNN",
    "UGRNN",
    "AdditiveCell",
    "AntisymmetricRNN",
    "AntisymmetricRNNCell",
    "Bidirectional",
    "Cell",
    "CfC",
    "CfCCell",
    "Chain",
    "CoRNN",
    "CoRNNCell",
    "Dense",
    "Features",
    "GRUCell",
    "GRUv3",
    "GRUv3Cell",
    "GatedAntisymmetricRNN",
    "GatedAntisymmetricRNNCell",
    "IndRNN",
    "IndRNNCell",
    "JANETCell",
    "LEMCell",
    "LSTMCell",
    "LTCCell",
    "LeakyRNN",
    "LeakyRNNCell",
    "LightRU",
    "LightRUCell",
    "MGUCell",
    "MinGRU",
    "MinGRUCell",
    "MinLSTM",
    "MinLSTMCell",
    "PeepholeLSTM",
    "PeepholeLSTMCell",
    "RNNCell",
    "Recur",
    "RnnlabError",
    "Session",
    "Stacked",
    "Trace",
    "UGRNNCell",
    "Vocabulary",
    "adapt",
    "as_cell",
    "compare",
    "derive",
    "detach",
    "find",
    "graphed",
    "identity",
    "load_states",
    "match",
    "replay",
    "reset",
    "states",
    "unroll",
]
