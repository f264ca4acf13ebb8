"""Every cell of the library, listed once: the contract tests and the benchmark walk this list."""

from __future__ import annotations

from rnnlab.cells.antisymmetric import AntisymmetricRNNCell, GatedAntisymmetricRNNCell
from rnnlab.cells.base import Cell
from rnnlab.cells.cornn import CoRNNCell
from rnnlab.cells.gru import GRUCell, GRUv3Cell
from rnnlab.cells.indrnn import IndRNNCell
from rnnlab.cells.janet import JANETCell
from rnnlab.cells.leaky import LeakyRNNCell
from rnnlab.cells.lem import LEMCell
from rnnlab.cells.lightru import LightRUCell
from rnnlab.cells.liquid import CfCCell, LTCCell
from rnnlab.cells.lstm import LSTMCell
from rnnlab.cells.mgu import MGUCell
from rnnlab.cells.minimal import MinGRUCell, MinLSTMCell
from rnnlab.cells.peephole import PeepholeLSTMCell
from rnnlab.cells.rnn import RNNCell
from rnnlab.cells.ugrnn import UGRNNCell

CELLS: tuple[type[Cell], ...] = (
    RNNCell,
    LSTMCell,
    GRUCell,
    GRUv3Cell,
    LeakyRNNCell,
    IndRNNCell,
    PeepholeLSTMCell,
    MGUCell,
    UGRNNCell,
    JANETCell,
    LightRUCell,
    MinGRUCell,
    MinLSTMCell,
    CoRNNCell,
    LEMCell,
    AntisymmetricRNNCell,
    GatedAntisymmetricRNNCell,
    LTCCell,
    CfCCell,
)
"""All cell classes; each can be built as `cell(input_size, hidden_size)`."""
