"""The LSTM whose gates see the cell state (Gers & Schmidhuber 2000)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnnlab.cells.base import AdditiveCell
from rnnlab.cells.parameters import StackedCell

LSTMState = tuple[Tensor, Tensor]


class PeepholeLSTMCell(StackedCell, AdditiveCell):
    r"""The LSTM cell with peepholes: each gate also sees the cell state of its own unit.

        i = σ(W_i x + U_i h + p_i∘c + b_i)          input gate
        f = σ(W_f x + U_f h + p_f∘c + b_f)          forget gate
        g = tanh(W_g x + U_g h + b_g)               candidate
        c' = f∘c + i∘g
        o = σ(W_o x + U_o h + p_o∘c' + b_o)         output gate: it sees the new c
        h' = o∘tanh(c'),    y = h'

    x: input, `(I,)` or `(B, I)`. State: the tuple (h, c), each `(H,)` or `(B, H)`. y: like h'.
    Parameters: `weight_ih (4H, I)` = W, `weight_hh (4H, H)` = U, `bias (4H,)` or None, in blocks
    i, f, g, o; `weight_peephole (3H,)` = p in blocks i, f, o; `h0 (H,)`, `c0 (H,)`.

    Args:
        input_size: I, features of the input.
        hidden_size: H, units of the state.
        bias: whether there is a bias.
        train_init: whether the initial state (h0, c0) is trained (else it is a buffer).

    Raises:
        RnnlabError: a size below 1 (at construction); an input or state of the wrong shape,
            structure, dtype or device (at the call).

    Source: Gers & Schmidhuber 2000, Recurrent nets that time and count; Gers, Schraudolph &
    Schmidhuber 2002, Learning precise timing with LSTM recurrent networks. Both squashing
    functions are tanh, as in Graves 2013 (Generating sequences with recurrent neural networks),
    where Gers et al. have scaled logistic functions or none. W and U are Glorot-uniform; p starts
    at zero, so that the cell starts as an LSTMCell; the bias is zero but for the forget block,
    which is 1.

    Example:
        >>> import torch
        >>> cell = PeepholeLSTMCell(10, 15)
        >>> (h, c), y = cell(cell.initial_state(), torch.ones(3, 10))
        >>> h.shape, c.shape, y is h
        (torch.Size([3, 15]), torch.Size([3, 15]), True)
        >>> list(cell.gates((h, c), torch.ones(3, 10)))
        ['i', 'f', 'g', 'o', 'h', 'c']
    """

    blocks = ("i", "f", "g", "o")
    open_blocks = ("f",)
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
        super().__init__(
            input_size, hidden_size, bias=bias, train_init=train_init, device=device, dtype=dtype
        )
        zero = torch.zeros(3 * hidden_size, device=device, dtype=dtype)
        self.weight_peephole = nn.Parameter(zero)

    def combine(self, state: LSTMState, u: Tensor, v: Tensor) -> dict[str, Tensor]:
        c = state[1]
        p_i, p_f, p_o = self.weight_peephole.chunk(3)
        a_i, a_f, a_g, a_o = (u + v).chunk(4, dim=-1)
        i = torch.sigmoid(a_i + p_i * c)
        f = torch.sigmoid(a_f + p_f * c)
        g = torch.tanh(a_g)
        c = f * c + i * g
        o = torch.sigmoid(a_o + p_o * c)
        return {"i": i, "f": f, "g": g, "o": o, "h": o * torch.tanh(c), "c": c}
