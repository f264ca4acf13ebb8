"""Layers: RNN, LSTM, GRU, … (a Recur around the cell of that name), Chain and Dense."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rnnlab.cells import GRUCell, GRUv3Cell, LSTMCell, RNNCell, identity
from rnnlab.cells.base import (
    Activation,
    activation_name,
    check_sizes,
    describe,
    glorot_uniform,
    named_activation,
)
from rnnlab.errors import RnnlabError
from rnnlab.recur import Recur, atomic


def RNN(
    input_size: int, hidden_size: int, activation: str | Activation = "tanh", **options: Any
) -> Recur:
    """`Recur(RNNCell(input_size, hidden_size, activation))`; options as for RNNCell.

    Example:
        >>> RNN(10, 5)
        Recur(RNNCell(10, 5, tanh))
    """
    return Recur(RNNCell(input_size, hidden_size, activation, **options))


def LSTM(input_size: int, hidden_size: int, **options: Any) -> Recur:
    """`Recur(LSTMCell(input_size, hidden_size))`; options as for LSTMCell.

    Example:
        >>> LSTM(10, 15)
        Recur(LSTMCell(10, 15))
    """
    return Recur(LSTMCell(input_size, hidden_size, **options))


def GRU(input_size: int, hidden_size: int, **options: Any) -> Recur:
    """`Recur(GRUCell(input_size, hidden_size))`; options as for GRUCell.

    Example:
        >>> GRU(10, 5)
        Recur(GRUCell(10, 5))
    """
    return Recur(GRUCell(input_size, hidden_size, **options))


def GRUv3(input_size: int, hidden_size: int, **options: Any) -> Recur:
    """`Recur(GRUv3Cell(input_size, hidden_size))`; options as for GRUv3Cell.

    Example:
        >>> GRUv3(10, 5)
        Recur(GRUv3Cell(10, 5))
    """
    return Recur(GRUv3Cell(input_size, hidden_size, **options))


class Dense(nn.Module):
    r"""A fully connected layer: y = act(W x + b).

    x: `(…, I)`. y: `(…, O)`. Parameters: `weight (O, I)`, Glorot-uniform; `bias (O,)`, zero, or
    None.

    Args:
        input_size: I, features of the input.
        output_size: O, features of the output.
        activation: a name ("identity", "relu", "tanh", …) or a function.
        bias: whether there is a bias.

    Raises:
        RnnlabError: a size below 1 or an unknown activation (at construction); an input with
            another number of features or another dtype (at the call).

    Source: Flux.jl 0.10.4, `Dense`.

    Example:
        >>> Dense(15, 5, torch.relu)
        Dense(15, 5, relu)
        >>> Dense(15, 5)(torch.ones(3, 15)).shape
        torch.Size([3, 5])
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        activation: str | Activation = "identity",
        *,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        check_sizes("Dense", input_size=input_size, output_size=output_size)
        self.input_size = input_size
        self.output_size = output_size
        self.activation = named_activation(activation, "Dense")
        self.weight = glorot_uniform(output_size, input_size, device=device, dtype=dtype)
        zeros = torch.zeros(output_size, device=device, dtype=dtype)
        self.bias = nn.Parameter(zeros) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        if not isinstance(x, Tensor):
            raise RnnlabError(f"{self!r}: x must be a torch tensor, got {describe(x)}.")
        if x.dim() == 0 or x.shape[-1] != self.input_size:
            raise RnnlabError(
                f"{self!r}: x has {x.shape[-1] if x.dim() else 'no'} features, "
                f"expected {self.input_size}; x.shape = {tuple(x.shape)}"
            )
        if x.dtype != self.weight.dtype:
            raise RnnlabError(
                f"{self!r}: x is {x.dtype} and the weights are {self.weight.dtype}. "
                f"x.to({self.weight.dtype}) converts the input."
            )
        return self.activation(linear(x, self.weight, self.bias))

    def __repr__(self) -> str:
        shown = [str(self.input_size), str(self.output_size)]
        if self.activation is not identity:
            shown.append(activation_name(self.activation))
        if self.bias is None:
            shown.append("bias=False")
        return f"Dense({', '.join(shown)})"


class Apply(nn.Module):
    """A plain function as a layer of a Chain.

    Example:
        >>> Apply(torch.relu)
        relu
    """

    def __init__(self, fn: Callable[[Any], Any]) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Any) -> Any:
        return self.fn(x)

    def __repr__(self) -> str:
        return activation_name(self.fn)


class Chain(nn.Sequential):
    """Layers called one after the other; works with and without state.

    Args:
        layers: modules or plain functions, called in this order.
        named: the same with names of your own, which then stand in the names of the states.

    A call either succeeds as a whole or leaves every state inside as it was.

    Example:
        >>> m = Chain(LSTM(10, 15), Dense(15, 5))
        >>> m
        Chain(Recur(LSTMCell(10, 15)), Dense(15, 5))
        >>> m(torch.ones(10)).shape
        torch.Size([5])
        >>> Chain(read=LSTM(10, 15), say=Dense(15, 5))
        Chain(read=Recur(LSTMCell(10, 15)), say=Dense(15, 5))
    """

    def __init__(self, *layers: Any, **named: Any) -> None:
        super().__init__()
        numbered = {str(position): layer for position, layer in enumerate(layers)}
        for name, layer in {**numbered, **named}.items():
            if not callable(layer):
                raise RnnlabError(
                    f"Chain: layer {name} must be a module or a function, got {describe(layer)}."
                )
            self.add_module(name, layer if isinstance(layer, nn.Module) else Apply(layer))

    def forward(self, *xs: Any) -> Any:  # type: ignore[override]
        if not len(self):
            return xs[0] if len(xs) == 1 else xs
        with atomic():
            first, *rest = self
            y = first(*xs)
            for layer in rest:
                y = layer(y)
        return y

    def __getitem__(self, index: int | slice) -> Any:  # type: ignore[override]
        if isinstance(index, slice):
            part = Chain()
            for name, layer in list(self.named_children())[index]:
                part.add_module(name, layer)
            return part
        return super().__getitem__(index)

    def __repr__(self) -> str:
        shown = (f"{name}={m!r}" if not name.isdigit() else repr(m) for name, m in self._named())
        return f"Chain({', '.join(shown)})"

    def _named(self) -> list[tuple[str, nn.Module]]:
        return [(name, module) for name, module in self._modules.items() if module is not None]
