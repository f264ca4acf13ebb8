"""Layers: RNN, LSTM, GRU, … (a Recur around the cell of that name), Chain and Dense."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, linear

from rnnlab import cells
from rnnlab.cells import GRUCell, GRUv3Cell, LSTMCell, RNNCell, identity
from rnnlab.cells.base import (
    Activation,
    Cell,
    activation_name,
    check_sizes,
    converted,
    describe,
    glorot_uniform,
    named_activation,
)
from rnnlab.errors import RnnlabError
from rnnlab.recur import Recur, atomic, recurs


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


def _layer(cell: type[Cell]) -> Callable[..., Recur]:
    """The layer of a cell: a function that wraps a new cell in a Recur."""
    name = cell.__name__.removesuffix("Cell")

    def layer(input_size: int, hidden_size: int, **options: Any) -> Recur:
        return Recur(cell(input_size, hidden_size, **options))

    layer.__name__ = layer.__qualname__ = name
    layer.__doc__ = f"""`Recur({cell.__name__}(input_size, hidden_size))`; options as for the cell.

    Example:
        >>> {name}(10, 5).cell.hidden_size
        5
    """
    return layer


LeakyRNN = _layer(cells.LeakyRNNCell)
IndRNN = _layer(cells.IndRNNCell)
PeepholeLSTM = _layer(cells.PeepholeLSTMCell)
MGU = _layer(cells.MGUCell)
UGRNN = _layer(cells.UGRNNCell)
JANET = _layer(cells.JANETCell)
LightRU = _layer(cells.LightRUCell)
MinGRU = _layer(cells.MinGRUCell)
MinLSTM = _layer(cells.MinLSTMCell)
CoRNN = _layer(cells.CoRNNCell)
LEM = _layer(cells.LEMCell)
AntisymmetricRNN = _layer(cells.AntisymmetricRNNCell)
GatedAntisymmetricRNN = _layer(cells.GatedAntisymmetricRNNCell)
LTC = _layer(cells.LTCCell)
CfC = _layer(cells.CfCCell)


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
        if x.dtype != self.weight.dtype and not converted(x, self.weight):
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
            for position, layer in enumerate(rest):
                y = layer(self.between(position, y))
        return y

    def between(self, position: int, y: Any) -> Any:
        """What the output of one layer becomes before the next layer has it: itself."""
        return y

    def __getitem__(self, index: int | slice) -> Any:  # type: ignore[override]
        if isinstance(index, slice):
            part = self._empty()
            for name, layer in list(self.named_children())[index]:
                part.add_module(name, layer)
            return part
        return super().__getitem__(index)

    def _empty(self) -> Chain:
        return Chain()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._shown())})"

    def _shown(self) -> list[str]:
        return [f"{name}={m!r}" if not name.isdigit() else repr(m) for name, m in self._named()]

    def _named(self) -> list[tuple[str, nn.Module]]:
        return [(name, module) for name, module in self._modules.items() if module is not None]


class Stacked(Chain):
    r"""Recurrent layers on top of each other, with dropout between them.

    Args:
        layers: Recurs, Bidirectionals, or other modules with a Recur inside, called in this order.
        dropout: p, the probability with which each feature that one layer hands to the next is
            zeroed, the others being scaled by 1/(1 − p); drawn anew at every step. Only in
            training mode, and not after the last layer.

    States are named as in a Chain: "0.h", "1.h", …

    Raises:
        RnnlabError: no layer, a layer without a state, sizes that do not fit each other, or a
            dropout outside 0 ≤ p < 1 (all at construction).

    Source: as the `dropout` of torch.nn.LSTM (Zaremba, Sutskever & Vinyals 2014).

    Example:
        >>> m = Stacked(LSTM(8, 16), LSTM(16, 16), dropout=0.1)
        >>> m
        Stacked(Recur(LSTMCell(8, 16)), Recur(LSTMCell(16, 16)), dropout=0.1)
        >>> m(torch.ones(3, 8)).shape
        torch.Size([3, 16])
    """

    def __init__(self, *layers: Any, dropout: float = 0.0) -> None:
        if not layers:
            raise RnnlabError("Stacked: there is no layer. Stacked(LSTM(8, 16), …) has one.")
        number = isinstance(dropout, (int, float)) and not isinstance(dropout, bool)
        if not number or not 0 <= dropout < 1:
            raise RnnlabError(f"Stacked: dropout must be a number 0 ≤ p < 1, got {dropout!r}.")
        super().__init__(*layers)
        self.dropout = dropout
        size = None
        for name, layer in self._named():
            if not recurs(layer):
                raise RnnlabError(
                    f"Stacked: layer {name}, {layer!r}, has no state. "
                    "Chain takes layers with and without."
                )
            takes, gives = _sizes(layer)
            if size is not None and takes is not None and takes != size:
                raise RnnlabError(
                    f"Stacked: layer {name}, {layer!r}, takes {takes} features, "
                    f"and the layer before it gives {size}."
                )
            size = gives

    def between(self, position: int, y: Any) -> Any:
        return dropout(y, self.dropout) if self.training and self.dropout else y

    def _empty(self) -> Chain:
        part = Stacked.__new__(Stacked)
        nn.Sequential.__init__(part)
        part.dropout = self.dropout
        part.training = self.training
        return part

    def _shown(self) -> list[str]:
        return super()._shown() + ([f"dropout={self.dropout}"] if self.dropout else [])


class Bidirectional(nn.Module):
    r"""Two recurrent models, one reading from the start, the other from the end.

        y_t = [y→_t, y←_t]

    y→ is `unroll(forward, xs)`, y← is `unroll(backward, xs, reverse=True)`; their features are
    concatenated. The second reads from the end of the sequence, so there is no single step: use
    `unroll(model, xs)`.

    Args:
        forward: a Recur, or any model with a Recur inside.
        backward: another one, which shares no Recur with the first.

    The states are called "forward_layer.h", "backward_layer.h", … After `unroll` they are those
    after the last step that each half processed; the next `unroll` goes on from there, unless
    `reset` comes before. With `reset_at`, each half is put back before it processes the step.

    Raises:
        RnnlabError: a half without a state, or halves that share one (at construction); a call
            with a single step.

    Source: Schuster & Paliwal 1997.

    Example:
        >>> import rnnlab as rl
        >>> m = Bidirectional(LSTM(3, 4), LSTM(3, 4))
        >>> m
        Bidirectional(Recur(LSTMCell(3, 4)), Recur(LSTMCell(3, 4)))
        >>> rl.unroll(m, torch.ones(7, 2, 3)).shape
        torch.Size([7, 2, 8])
    """

    def __init__(self, forward: Any, backward: Any) -> None:
        super().__init__()
        inside: list[set[int]] = []
        for half in (forward, backward):
            if not isinstance(half, nn.Module) or not recurs(half):
                raise RnnlabError(
                    f"Bidirectional: each half must have a state, as LSTM(3, 4) has; "
                    f"got {half if isinstance(half, nn.Module) else describe(half)}."
                )
            inside.append({id(recur) for _, recur in recurs(half)})
        if inside[0] & inside[1]:
            raise RnnlabError(
                f"Bidirectional: both halves use the same Recur in {forward!r}; they read in "
                "different directions and need a state each. copy.deepcopy(layer) makes another."
            )
        self.forward_layer = forward
        self.backward_layer = backward

    def forward(self, *xs: Any) -> Any:
        raise RnnlabError(
            f"{self!r}: cannot take a single step, because its second half starts at the end of "
            "the sequence. Give it the whole sequence: unroll(model, xs)."
        )

    def __repr__(self) -> str:
        return f"Bidirectional({self.forward_layer!r}, {self.backward_layer!r})"


def _sizes(layer: Any) -> tuple[int | None, int | None]:
    """How many features a recurrent layer takes and gives, where that is known."""
    if isinstance(layer, Recur) and isinstance(layer.cell, Cell):
        return layer.cell.input_size, layer.cell.hidden_size
    if isinstance(layer, Bidirectional):
        ahead, back = _sizes(layer.forward_layer), _sizes(layer.backward_layer)
        known = ahead[1] is not None and back[1] is not None
        return ahead[0] or back[0], ahead[1] + back[1] if known else None  # type: ignore[operator]
    if isinstance(layer, Stacked):
        return _sizes(layer[0])[0], _sizes(layer[-1])[1]
    return None, None
