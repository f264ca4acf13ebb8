"""The long short-term memory cell (Hochreiter & Schmidhuber 1997, with a forget gate)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rnnlab.cells import onednn
from rnnlab.cells.base import AdditiveCell, for_kernel, glorot_uniform
from rnnlab.cells.cuda import fused_step, run, second_bias, sequence_arguments
from rnnlab.cells.fast import FastStep, Run, in_inference

LSTMState = tuple[Tensor, Tensor]


class _FastLSTMStep(FastStep):
    blocks = 4

    def make(self, cell: Any, temporary: Callable[[int], Tensor]) -> Run:
        sums, tanh_g = temporary(4), temporary(1)
        i, f, g, o = sums.chunk(4, dim=-1)
        of_both = self.of_both(sums)

        def run(state: LSTMState, x: Tensor) -> tuple[LSTMState, Tensor]:
            of_both(x, state[0])
            torch.tanh(g, out=tanh_g)
            sums.sigmoid_()
            c = torch.mul(f, state[1]).addcmul_(i, tanh_g)
            h = torch.tanh(c).mul_(o)
            return (h, c), h

        return run


class LSTMCell(AdditiveCell):
    r"""The LSTM cell with a forget gate and no peepholes.

        i = σ(W_i x + U_i h + b_i)          input gate
        f = σ(W_f x + U_f h + b_f)          forget gate
        g = tanh(W_g x + U_g h + b_g)       candidate
        o = σ(W_o x + U_o h + b_o)          output gate
        c' = f∘c + i∘g,    h' = o∘tanh(c'),    y = h'

    x: input, `(I,)` or `(B, I)`. State: the tuple (h, c), each `(H,)` or `(B, H)`. y: like h'.
    Parameters: `weight_ih (4H, I)` = W, `weight_hh (4H, H)` = U, `bias (4H,)` or None, in blocks
    i, f, g, o; `h0 (H,)`, `c0 (H,)`.

    Args:
        input_size: I, features of the input.
        hidden_size: H, units of the state.
        bias: whether there is a bias.
        train_init: whether the initial state (h0, c0) is trained (else it is a buffer).

    Raises:
        RnnlabError: a size below 1 (at construction); an input or state of the wrong shape,
            structure, dtype or device (at the call).

    Source: Hochreiter & Schmidhuber 1997; forget gate: Gers, Schmidhuber & Cummins 2000. One bias
    where torch.nn.LSTMCell has two. The bias is zero but for the forget block, which is 1
    (Jozefowicz, Zaremba & Sutskever 2015).

    Example:
        >>> import torch
        >>> cell = LSTMCell(10, 15)
        >>> (h, c), y = cell(cell.initial_state(), torch.ones(3, 10))
        >>> h.shape, c.shape, y is h
        (torch.Size([3, 15]), torch.Size([3, 15]), True)
        >>> list(cell.gates((h, c), torch.ones(3, 10)))
        ['i', 'f', 'g', 'o', 'h', 'c']
    """

    state_names = ("h", "c")
    gate_names = ("i", "f", "g", "o")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        train_init: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        factory = {"device": device, "dtype": dtype}
        self.weight_ih = glorot_uniform(4 * hidden_size, input_size, **factory)
        self.weight_hh = glorot_uniform(4 * hidden_size, hidden_size, **factory)
        self.bias = nn.Parameter(torch.zeros(4 * hidden_size, **factory)) if bias else None
        if self.bias is not None:
            with torch.no_grad():
                self.bias[hidden_size : 2 * hidden_size] = 1
        self.add_initial_state(train_init, **factory)

    def project(self, x: Tensor) -> Tensor:
        return linear(x, self.weight_ih, self.bias)

    def combine(self, state: LSTMState, u: Tensor, v: Tensor) -> dict[str, Tensor]:
        i, f, g, o = (u + v).chunk(4, dim=-1)
        i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
        c = f * state[1] + i * g
        return {"i": i, "f": f, "g": g, "o": o, "h": o * torch.tanh(c), "c": c}

    @in_inference(_FastLSTMStep)
    def step(self, state: LSTMState, x: Tensor) -> tuple[LSTMState, Tensor]:
        if not fused_step(x):
            return self.update(state, self.project(x))
        h, c = state
        weights = self.weight_ih, self.weight_hh, self.bias, second_bias(self.bias)
        if x.dim() == 1:
            h, c = torch.lstm_cell(x.unsqueeze(0), (h.unsqueeze(0), c.unsqueeze(0)), *weights)
            h, c = h.squeeze(0), c.squeeze(0)
        else:
            n = x.shape[0]
            h, c = torch.lstm_cell(x, (h.expand(n, -1), c.expand(n, -1)), *weights)
        return (h, c), h

    has_kernel = True

    def kernel(self, state: LSTMState, xs: Tensor) -> tuple[LSTMState, Tensor]:
        arguments = sequence_arguments(self, "LSTM")
        if onednn.takes(xs, arguments[0]):
            return onednn.lstm(state, xs, arguments[0])
        h, c = for_kernel(state[0], xs.shape[1]), for_kernel(state[1], xs.shape[1])
        ys, h, c = run(onednn.torch_lstm, xs, (h, c), arguments)
        return (h.select(0, 0), c.select(0, 0)), ys
