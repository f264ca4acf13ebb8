"""minGRU and minLSTM: gates that do not see the state (Feng et al. 2024)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rnnlab.cells.parameters import StackedCell


class _MinimalCell(StackedCell):
    """What both share: no recurrent weights, and a candidate that may be kept positive."""

    recurrent_blocks = ()

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        positive: bool = False,
        bias: bool = True,
        train_init: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, bias=bias, train_init=train_init, device=device, dtype=dtype
        )
        self.positive = bool(positive)

    def candidate(self, a: Tensor) -> Tensor:
        """The candidate n from W_n x + b_n; it grows with it."""
        return torch.where(a >= 0, a + 0.5, torch.sigmoid(a)) if self.positive else a


class MinGRUCell(_MinimalCell):
    r"""minGRU: a GRU whose gate and candidate depend on the input alone.

        z = σ(W_z x + b_z)                      update gate
        n = W_n x + b_n                         candidate
        h' = (1 − z)∘h + z∘n,    y = h'

    With `positive=True` the candidate is n = g(W_n x + b_n), where g(a) = a + 0.5 for a ≥ 0 and
    σ(a) below: the version that the paper trains in log-space.

    x: input, `(I,)` or `(B, I)`. h: state, `(H,)` or `(B, H)`. y: output, like h'.
    Parameters: `weight_ih (2H, I)` = W, `bias (2H,)` or None, in blocks z, n; `h0 (H,)`.

    Args:
        input_size: I, features of the input.
        hidden_size: H, units of the state.
        positive: whether g is applied to the candidate.
        bias: whether there is a bias.
        train_init: whether the initial state h0 is trained (else it is a buffer).

    Raises:
        RnnlabError: a size below 1 (at construction); an input or state of the wrong shape,
            dtype or device (at the call).

    Source: Feng, Tung, Ahmed, Bengio & Hajimirsadeghi 2024, Were RNNs all we needed?
    (arXiv 2410.01201), sequential form, n for their h̃; g from its appendix. z weighs the candidate,
    not the old state as in GRUCell. h0 is the state itself (zero at first), not passed through g.
    Weights are Glorot-uniform, the bias zero.

    Example:
        >>> import torch
        >>> cell = MinGRUCell(10, 5, positive=True)
        >>> cell
        MinGRUCell(10, 5, positive=True)
        >>> h, y = cell(cell.initial_state(), -torch.ones(3, 10))
        >>> h.shape, bool((h > 0).all())
        (torch.Size([3, 5]), True)
    """

    blocks = ("z", "n")
    gate_names = ("z", "n")

    def equation(self, state: Tensor, u: Tensor) -> dict[str, Tensor]:
        u_z, u_n = u.chunk(2, dim=-1)
        z, n = torch.sigmoid(u_z), self.candidate(u_n)
        return {"z": z, "n": n, "h": (1 - z) * state + z * n}


class MinLSTMCell(_MinimalCell):
    r"""minLSTM: an LSTM whose gates and candidate depend on the input alone.

        f̃ = σ(W_f x + b_f),    ĩ = σ(W_i x + b_i)
        f = f̃ / (f̃ + ĩ)                         forget gate, normalised
        i = ĩ / (f̃ + ĩ)                         input gate, normalised
        n = W_n x + b_n                         candidate
        h' = f∘h + i∘n,    y = h'

    With `positive=True` the candidate is n = g(W_n x + b_n), where g(a) = a + 0.5 for a ≥ 0 and
    σ(a) below: the version that the paper trains in log-space.

    x: input, `(I,)` or `(B, I)`. h: state, `(H,)` or `(B, H)`. y: output, like h'.
    Parameters: `weight_ih (3H, I)` = W, `bias (3H,)` or None, in blocks f, i, n; `h0 (H,)`.

    Args:
        input_size: I, features of the input.
        hidden_size: H, units of the state.
        positive: whether g is applied to the candidate.
        bias: whether there is a bias.
        train_init: whether the initial state h0 is trained (else it is a buffer).

    Raises:
        RnnlabError: a size below 1 (at construction); an input or state of the wrong shape,
            dtype or device (at the call).

    Source: Feng, Tung, Ahmed, Bengio & Hajimirsadeghi 2024, Were RNNs all we needed?
    (arXiv 2410.01201), sequential form with length-independent scaling; our f̃, ĩ, f, i, n are
    their f, i, f′, i′, h̃; g from its appendix. h0 is the state itself (zero at first), not passed
    through g. Weights are Glorot-uniform, the bias zero.

    Example:
        >>> import torch
        >>> cell = MinLSTMCell(10, 5)
        >>> h, y = cell(cell.initial_state(), torch.ones(3, 10))
        >>> gates = cell.gates(h, torch.ones(3, 10))
        >>> list(gates), torch.allclose(gates["f"] + gates["i"], torch.ones(5))
        (['f', 'i', 'n', 'h'], True)
    """

    blocks = ("f", "i", "n")
    gate_names = ("f", "i", "n")

    def equation(self, state: Tensor, u: Tensor) -> dict[str, Tensor]:
        u_f, u_i, u_n = u.chunk(3, dim=-1)
        odds = logsigmoid(u_f) - logsigmoid(u_i)  # log(f̃/ĩ): both may underflow, this cannot
        f, i, n = torch.sigmoid(odds), torch.sigmoid(-odds), self.candidate(u_n)
        return {"f": f, "i": i, "n": n, "h": f * state + i * n}
