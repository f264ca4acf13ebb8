"""Every cell of the library, listed once: the contract tests and the benchmark walk this list."""

from __future__ import annotations

from rnnlab.cells.base import Cell
from rnnlab.cells.gru import GRUCell, GRUv3Cell
from rnnlab.cells.lstm import LSTMCell
from rnnlab.cells.rnn import RNNCell

CELLS: tuple[type[Cell], ...] = (
    RNNCell,
    LSTMCell,
    GRUCell,
    GRUv3Cell,
)
"""All cell classes; each can be built as `cell(input_size, hidden_size)`."""
