"""The independently recurrent network: each unit feeds back to itself alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnnlab.cells.base import Activation, named_activation
from rnnlab.cells.parameters import StackedCell


class IndRNNCell(StackedCell):
    r"""The independently recurrent cell: a vector in place of the recurrent matrix.

        h' = act(W x + u∘h + b),    y = h'

    x: input, `(I,)` or `(B, I)`. h: state, `(H,)` or `(B, H)`. y: output, like h'.
    Parameters: `weight_ih (H, I)` = W, `weight_hh (H,)` = u, `bias (H,)` or None, `h0 (H,)`.
    `gates` gives the pre-activation `a` = W x + u∘h + b, and the new state `h`.

    Args:
        input_size: I, features of the input.
        hidden_size: H, units of the state.
        activation: a name ("relu", "tanh", "sigmoid", …) or a function.
        bias: whether there is a bias.
        train_init: whether the initial state h0 is trained (else it is a buffer).

    Raises:
        RnnlabError: a size below 1 or an unknown activation (at construction); an input or state
            of the wrong shape, dtype or device (at the call).

    Source: Li, Li, Cook, Zhu & Gao 2018, Independently recurrent neural network (IndRNN). u is
    drawn uniformly from [0, 1]; the paper fits this range to the length of the sequences. It also
    bounds |u| by γ^(1/T), γ the growth allowed over T steps, while training: clamp `weight_hh`
    after each step of the optimiser if gradients explode. W is Glorot-uniform, the bias zero.

    Example:
        >>> import torch
        >>> cell = IndRNNCell(10, 5, activation="tanh")
        >>> cell
        IndRNNCell(10, 5, activation=tanh)
        >>> h, y = cell(cell.initial_state(), torch.ones(3, 10))
        >>> h.shape, y is h
        (torch.Size([3, 5]), True)
    """

    blocks = ("a",)
    recurrent_blocks = ()
    gate_names = ("a",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        activation: str | Activation = "relu",
        bias: bool = True,
        train_init: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, bias=bias, train_init=train_init, device=device, dtype=dtype
        )
        self.activation = named_activation(activation, "IndRNNCell")
        self.weight_hh = nn.Parameter(torch.rand(hidden_size, device=device, dtype=dtype))

    def equation(self, state: Tensor, u: Tensor) -> dict[str, Tensor]:
        a = u + self.weight_hh * state
        return {"a": a, "h": self.activation(a)}
