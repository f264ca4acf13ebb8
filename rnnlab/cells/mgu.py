"""The minimal gated unit: a GRU with one gate (Zhou et al. 2016)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnlab.cells.parameters import StackedCell


class MGUCell(StackedCell):
    r"""The minimal gated unit: one gate both resets and updates.

        f = σ(W_f x + U_f h + b_f)              forget gate
        n = tanh(W_n x + U_n (f∘h) + b_n)       candidate
        h' = (1 − f)∘h + f∘n,    y = h'

    x: input, `(I,)` or `(B, I)`. h: state, `(H,)` or `(B, H)`. y: output, like h'.
    Parameters: `weight_ih (2H, I)` = W, `weight_hh (2H, H)` = U, `bias (2H,)` or None, in blocks
    f, n; `h0 (H,)`.

    Args:
        input_size: I, features of the input.
        hidden_size: H, units of the state.
        bias: whether there is a bias.
        train_init: whether the initial state h0 is trained (else it is a buffer).

    Raises:
        RnnlabError: a size below 1 (at construction); an input or state of the wrong shape,
            dtype or device (at the call).

    Source: Zhou, Wu, Zhang & Zhou 2016, Minimal gated unit for recurrent neural networks; n is
    their h̃. f open (1) means: take the candidate. Some packages turn the last line around, so
    that f weighs the old state. Weights are Glorot-uniform, the bias zero.

    Example:
        >>> import torch
        >>> cell = MGUCell(10, 5)
        >>> h, y = cell(cell.initial_state(), torch.ones(3, 10))
        >>> h.shape, list(cell.gates(h, torch.ones(3, 10)))
        (torch.Size([3, 5]), ['f', 'n', 'h'])
    """

    blocks = ("f", "n")
    gate_names = ("f", "n")

    def equation(self, state: Tensor, u: Tensor) -> dict[str, Tensor]:
        u_f, u_n = u.chunk(2, dim=-1)
        weight_f, weight_n = self.weight_hh.chunk(2)
        f = torch.sigmoid(u_f + linear(state, weight_f))
        n = torch.tanh(u_n + linear(f * state, weight_n))
        return {"f": f, "n": n, "h": (1 - f) * state + f * n}
