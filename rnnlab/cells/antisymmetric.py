"""Networks that stay at the edge of stability by an antisymmetric matrix (Chang et al. 2019)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnlab.cells.base import AdditiveCell
from rnnlab.cells.parameters import StackedCell, check_positive


class AntisymmetricRNNCell(StackedCell, AdditiveCell):
    r"""The antisymmetric recurrent cell, one Euler step of length ε.

        A = W − Wᵀ − γ 1                        eigenvalues −γ ± i ω
        n = tanh(A h + V x + b)
        h' = h + ε n,    y = h'

    x: input, `(I,)` or `(B, I)`. h: state, `(H,)` or `(B, H)`. y: output, like h'. ε is a
    dimensionless time. 1 is the identity matrix.
    Parameters: `weight_ih (H, I)` = V, `weight_hh (H, H)` = W, `bias (H,)` or None, `h0 (H,)`.

    Args:
        input_size: I, features of the input.
        hidden_size: H, units of the state.
        epsilon: ε > 0, length of a step.
        gamma: γ > 0, diffusion: it makes up for the growth of the Euler steps.
        bias: whether there is a bias.
        train_init: whether the initial state h0 is trained (else it is a buffer).

    Raises:
        RnnlabError: a size below 1, or epsilon or gamma not above 0 (at construction); an input
            or state of the wrong shape, dtype or device (at the call).

    Source: Chang, Chen, Haber & Chi 2019, AntisymmetricRNN: a dynamical system view on recurrent
    neural networks (arXiv 1902.09689). W is a full, Glorot-uniform matrix of which only W − Wᵀ
    matters; the paper stores the strictly upper triangle. ε and γ are tuned in the paper; the
    defaults are ours. The bias is zero.

    Example:
        >>> import torch
        >>> cell = AntisymmetricRNNCell(10, 5, gamma=0.01)
        >>> cell
        AntisymmetricRNNCell(10, 5, gamma=0.01)
        >>> h, y = cell(cell.initial_state(), torch.ones(3, 10))
        >>> growth = torch.linalg.eigvals(cell.recurrent_weight()).real
        >>> torch.allclose(growth, torch.tensor(-0.01), atol=1e-5)
        True
    """

    blocks = ("n",)
    gate_names = ("n",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        epsilon: float = 0.1,
        gamma: float = 0.1,
        bias: bool = True,
        train_init: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, bias=bias, train_init=train_init, device=device, dtype=dtype
        )
        check_positive(type(self).__name__, epsilon=epsilon, gamma=gamma)
        self.epsilon = epsilon
        self.gamma = gamma

    def recurrent_weight(self) -> Tensor:
        W = self.weight_hh
        return W - W.T - self.gamma * torch.eye(len(W), device=W.device, dtype=W.dtype)

    def combine(self, state: Tensor, u: Tensor, v: Tensor) -> dict[str, Tensor]:
        n = torch.tanh(u + v)
        return {"n": n, "h": state + self.epsilon * n}


class GatedAntisymmetricRNNCell(AntisymmetricRNNCell):
    r"""The antisymmetric recurrent cell with an input gate.

        A = W − Wᵀ − γ 1                        one matrix for both
        z = σ(A h + V_z x + b_z)                input gate
        n = tanh(A h + V_n x + b_n)             candidate
        h' = h + ε z∘n,    y = h'

    x: input, `(I,)` or `(B, I)`. h: state, `(H,)` or `(B, H)`. y: output, like h'. ε is a
    dimensionless time. 1 is the identity matrix.
    Parameters: `weight_ih (2H, I)` = V, `bias (2H,)` or None, in blocks z, n; `weight_hh (H, H)`
    = W; `h0 (H,)`.

    Args:
        input_size: I, features of the input.
        hidden_size: H, units of the state.
        epsilon: ε > 0, length of a step.
        gamma: γ > 0, diffusion.
        bias: whether there is a bias.
        train_init: whether the initial state h0 is trained (else it is a buffer).

    Raises:
        RnnlabError: a size below 1, or epsilon or gamma not above 0 (at construction); an input
            or state of the wrong shape, dtype or device (at the call).

    Source: Chang et al. 2019, as AntisymmetricRNNCell, whose differences hold here too; n stands
    for their second factor. The bias is zero but for the gate, which starts open with 1.

    Example:
        >>> import torch
        >>> cell = GatedAntisymmetricRNNCell(10, 5)
        >>> h, y = cell(cell.initial_state(), torch.ones(3, 10))
        >>> h.shape, list(cell.gates(h, torch.ones(3, 10)))
        (torch.Size([3, 5]), ['z', 'n', 'h'])
    """

    blocks = ("z", "n")
    recurrent_blocks = ("n",)
    open_blocks = ("z",)
    gate_names = ("z", "n")

    def combine(self, state: Tensor, u: Tensor, v: Tensor) -> dict[str, Tensor]:
        u_z, u_n = u.chunk(2, dim=-1)
        z, n = torch.sigmoid(u_z + v), torch.tanh(u_n + v)
        return {"z": z, "n": n, "h": state + self.epsilon * z * n}
