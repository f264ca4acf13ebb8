"""Recurrent cells: the maths, one family a file. Each is a pure function `h', y = cell(h, x)`."""

from rnnlab.cells.antisymmetric import AntisymmetricRNNCell, GatedAntisymmetricRNNCell
from rnnlab.cells.base import AdditiveCell, Cell, identity
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

__all__ = [
    "AdditiveCell",
    "AntisymmetricRNNCell",
    "Cell",
    "CfCCell",
    "CoRNNCell",
    "GRUCell",
    "GRUv3Cell",
    "GatedAntisymmetricRNNCell",
    "IndRNNCell",
    "JANETCell",
    "LEMCell",
    "LSTMCell",
    "LTCCell",
    "LeakyRNNCell",
    "LightRUCell",
    "MGUCell",
    "MinGRUCell",
    "MinLSTMCell",
    "PeepholeLSTMCell",
    "RNNCell",
    "UGRNNCell",
    "identity",
]
