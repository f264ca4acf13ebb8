"""Recurrent cells: the maths, one family a file. Each is a pure function `h', y = cell(h, x)`."""

from rnnlab.cells.base import AdditiveCell, Cell, identity
from rnnlab.cells.gru import GRUCell, GRUv3Cell
from rnnlab.cells.lstm import LSTMCell
from rnnlab.cells.rnn import RNNCell

__all__ = ["AdditiveCell", "Cell", "GRUCell", "GRUv3Cell", "LSTMCell", "RNNCell", "identity"]
