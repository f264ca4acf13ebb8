"""The light recurrent unit: one gate, and a candidate that does not see the state."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from rnnlab.cells.base import AdditiveCell
from rnnlab.cells.parameters import StackedCell


class LightRUCell(StackedCell, AdditiveCell):
    r"""The light recurrent unit.

        f = σ(W_f x + U_f h + b_f)              forget gate
        n = tanh(W_n x)                         candidate
        h' = (1 − f)∘h + f∘n,    y = h'

    x: input, `(I,)` or `(B, I)`. h: state, `(H,)` or `(B, H)`. y: output, like h'.
    Parameters: `weight_ih (2H, I)` = W in blocks f, n; `weight_hh (H, H)` = U_f; `bias (H,)` = b_f
    or None; `h0 (H,)`.

    Args:
        input_size: I, features of the input.
        hidden_size: H, units of the state.
        bias: whether the gate has a bias (the candidate has none).
        train_init: whether the initial state h0 is trained (else it is a buffer).

    Raises:
        RnnlabError: a size below 1 (at construction); an input or state of the wrong shape,
            dtype or device (at the call).

    Source: Ye et al. 2024, Light recurrent unit: towards an interpretable recurrent neural network
    for modeling long-range dependency (Electronics 13, 3204), n for their h̃; known as LightRU to
    tell it from the linear recurrent unit. Not the light gated recurrent unit of Ravanelli et al.
    2018 (Li-GRU), which has a recurrent candidate, relu and batch normalisation. Weights are
    Glorot-uniform, the bias zero.

    Example:
        >>> import torch
        >>> cell = LightRUCell(10, 5)
        >>> h, y = cell(cell.initial_state(), torch.ones(3, 10))
        >>> h.shape, list(cell.gates(h, torch.ones(3, 10)))
        (torch.Size([3, 5]), ['f', 'n', 'h'])
    """

    blocks = ("f", "n")
    recurrent_blocks = ("f",)
    gate_names = ("f", "n")

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
            input_size, hidden_size, bias=False, train_init=train_init, device=device, dtype=dtype
        )
        if bias:
            self.bias = nn.Parameter(torch.zeros(hidden_size, device=device, dtype=dtype))

    def project(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else pad(self.bias, (0, self.hidden_size))
        return linear(x, self.weight_ih, bias)

    def combine(self, state: Tensor, u: Tensor, v: Tensor) -> dict[str, Tensor]:
        u_f, u_n = u.chunk(2, dim=-1)
        f, n = torch.sigmoid(u_f + v), torch.tanh(u_n)
        return {"f": f, "n": n, "h": (1 - f) * state + f * n}
