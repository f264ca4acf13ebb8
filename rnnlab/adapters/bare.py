"""torch's own layers and cells, as cells of ours on the same Parameters."""

from __future__ import annotations

from typing import Any

from torch import nn

from rnnlab.cells.base import Cell
from rnnlab.cells.torch_cells import (
    TorchGRUCell,
    TorchLSTMCell,
    TorchProjectedLSTMCell,
    TorchRNNCell,
)
from rnnlab.layers import Chain, Stacked
from rnnlab.recur import Recur

TORCH_LAYERS = (nn.RNN, nn.LSTM, nn.GRU)
TORCH_CELLS = (nn.RNNCell, nn.LSTMCell, nn.GRUCell)
CELL_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def plain(module: nn.Module) -> bool:
    """Whether the weights of a layer or cell of torch are its Parameters, not computed.

    Example:
        >>> normed = nn.utils.parametrizations.weight_norm(nn.GRU(1, 1), "weight_hh_l0")
        >>> plain(nn.GRU(1, 1)), plain(normed)
        (True, False)
    """
    weights = getattr(module, "_flat_weights", None) or [getattr(module, n) for n in CELL_WEIGHTS]
    own = {id(weight) for weight in module._parameters.values()}
    return all(id(weight) in own for weight in weights)


def hooked(module: Any) -> bool:
    """Whether hooks stand around the calls of a module, which may change what it takes and gives.

    Example:
        >>> layer = nn.GRU(1, 1)
        >>> handle = layer.register_forward_hook(print)
        >>> hooked(layer), hooked(nn.GRU(1, 1)), hooked(abs)
        (True, False, False)
    """
    slots = vars(module) if isinstance(module, nn.Module) else {}
    return bool(slots.get("_forward_hooks") or slots.get("_forward_pre_hooks"))


def from_layer(layer: Any, number: int) -> Cell:
    """Our cell on the Parameters of one layer of an nn.RNN, LSTM or GRU."""
    names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if layer.bias else [])]
    weights = {name: getattr(layer, f"{name}_l{number}") for name in names}
    if isinstance(layer, nn.GRU):
        return TorchGRUCell(**weights)
    if isinstance(layer, nn.RNN):
        return TorchRNNCell(**weights, activation=layer.nonlinearity)
    if layer.proj_size:
        return TorchProjectedLSTMCell(**weights, weight_hr=getattr(layer, f"weight_hr_l{number}"))
    return TorchLSTMCell(**weights)


def from_cell(cell: Any) -> Cell:
    """Our cell on the Parameters of an nn.RNNCell, LSTMCell or GRUCell."""
    weights: dict[str, Any] = {name: getattr(cell, name) for name in CELL_WEIGHTS}
    if isinstance(cell, nn.RNNCell):
        return TorchRNNCell(**weights, activation=cell.nonlinearity)
    return (TorchGRUCell if isinstance(cell, nn.GRUCell) else TorchLSTMCell)(**weights)


def chain(layer: Any) -> Chain:
    """One Recur per layer of an nn.RNN, LSTM or GRU."""
    layers = [Recur(from_layer(layer, number)) for number in range(layer.num_layers)]
    if layer.dropout and len(layers) > 1:
        return Stacked(*layers, dropout=layer.dropout)
    return Chain(*layers)
