"""The plain recurrent cell (Elman 1990)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rnnlab.cells.base import (
    Activation,
    AdditiveCell,
    activation_name,
    for_kernel,
    glorot_uniform,
    identity,
    named_activation,
)
from rnnlab.cells.cuda import fused_step, run, sequence_arguments
from rnnlab.cells.fast import FastStep, Run, in_inference
from rnnlab.cells.in_place import in_place, rnn_in_place

_STEPS = {torch.tanh: torch.rnn_tanh_cell, torch.relu: torch.rnn_relu_cell}
_MODES = {torch.tanh: "RNN_TANH", torch.relu: "RNN_RELU"}
_KERNELS = {torch.tanh: torch.rnn_tanh, torch.relu: torch.rnn_relu}


class _FastRNNStep(FastStep):
    blocks = 1

    @classmethod
    def suits(cls, cell: Any) -> bool:
        return cell.activation in _STEPS  # these give new memory

    def make(self, cell: Any, temporary: Callable[[int], Tensor]) -> Run:
        a = temporary(1)
        act, of_both = cell.activation, self.of_both(a)

        def run(h: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
            of_both(x, h)
            h = act(a)
            return h, h

        return run


class RNNCell(AdditiveCell):
    r"""The plain recurrent cell.

        h' = act(W_ih x + W_hh h + b),    y = h'

    x: input, `(I,)` or `(B, I)`. h: state, `(H,)` or `(B, H)`. y: output, like h'.
    Parameters: `weight_ih (H, I)`, `weight_hh (H, H)`, `bias (H,)` or None, `h0 (H,)`.
    `gates` gives the pre-activation `a` = W_ih x + W_hh h + b, and the new state `h`.

    Args:
        input_size: I, features of the input.
        hidden_size: H, units of the state.
        activation: a name ("tanh", "relu", "sigmoid", "identity", …) or a function.
        bias: whether there is a bias.
        train_init: whether the initial state h0 is trained (else it is a buffer).

    Raises:
        RnnlabError: a size below 1 or an unknown activation (at construction); an input or state
            of the wrong shape, dtype or device (at the call).

    Source: Elman 1990, as in Flux.jl 0.10.4. One bias where torch.nn.RNNCell has two; weights are
    Glorot-uniform and the bias zero (Flux 0.10.4 drew the bias at random, later releases did not).

    Example:
        >>> import torch
        >>> cell = RNNCell(10, 5)
        >>> cell
        RNNCell(10, 5, tanh)
        >>> h, y = cell(cell.initial_state(), torch.ones(3, 10))
        >>> h.shape, y is h
        (torch.Size([3, 5]), True)
    """

    gate_names = ("a",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        activation: str | Activation = "tanh",
        *,
        bias: bool = True,
        train_init: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        factory = {"device": device, "dtype": dtype}
        self.activation = named_activation(activation, type(self).__name__)
        self.has_kernel = self.activation in _KERNELS
        self.weight_ih = glorot_uniform(hidden_size, input_size, **factory)
        self.weight_hh = glorot_uniform(hidden_size, hidden_size, **factory)
        self.bias = nn.Parameter(torch.zeros(hidden_size, **factory)) if bias else None
        self.add_initial_state(train_init, **factory)

    def project(self, x: Tensor) -> Tensor:
        return linear(x, self.weight_ih, self.bias)

    def combine(self, state: Tensor, u: Tensor, v: Tensor) -> dict[str, Tensor]:
        a = u + v
        return {"a": a, "h": self.activation(a)}

    @in_inference(_FastRNNStep)
    def step(self, state: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        fused = _STEPS.get(self.activation)
        if fused is None or not fused_step(x):
            return self.update(state, self.project(x))
        if x.dim() == 1:
            h = fused(
                x.unsqueeze(0), state.unsqueeze(0), self.weight_ih, self.weight_hh, self.bias
            ).squeeze(0)
        else:
            state = state.expand(x.shape[0], -1)
            h = fused(x, state, self.weight_ih, self.weight_hh, self.bias)
        return h, h

    def kernel(self, state: Tensor, xs: Tensor) -> tuple[Tensor, Tensor]:
        if in_place(xs, self.weight_ih, self.weight_hh, self.bias):
            return rnn_in_place(state, self.project(xs), self.weight_hh, self.activation)
        h = for_kernel(state, xs.shape[1])
        arguments = sequence_arguments(self, _MODES[self.activation])
        ys, h = run(_KERNELS[self.activation], xs, h, arguments)
        return h.select(0, 0), ys

    def describe_arguments(self) -> list[str]:
        sizes, rest = super().describe_arguments()[:2], super().describe_arguments()[2:]
        name = [] if self.activation is identity else [activation_name(self.activation)]
        return sizes + name + rest
