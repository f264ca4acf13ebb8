"""Liquid networks: the time constant depends on the input (Hasani et al. 2021, 2022)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rnnlab.cells.base import Activation, Cell, check_sizes, glorot_uniform, named_activation
from rnnlab.cells.parameters import StackedCell, changed_options, check_positive


class LTCCell(StackedCell):
    r"""The liquid time-constant cell: its equation solved by L fused Euler steps an input.

        dh/dt = −(1/τ + f)∘h + f∘A,    f = act(W h + V x + b)

        L times:    f = act(W h + V x + b)
                    h ← (h + δ f∘A) / (1 + δ (1/τ + f)),    δ = dt/L
        h' = h,    y = h'

    x: input, held for the L steps, `(I,)` or `(B, I)`. h: state, `(H,)` or `(B, H)`. y: like h'.
    τ: time constants, in the unit of dt. A: the state that f pulls to.
    `gates` gives the conductance `f` of the last of the L steps, the time constant that it makes,
    `tau` = τ/(1 + τ f), and the new state `h`.
    Parameters: `weight_ih (H, I)` = V, `weight_hh (H, H)` = W, `bias (H,)` or None,
    `log_tau (H,)` = log τ, `reversal (H,)` = A, `h0 (H,)`.

    Args:
        input_size: I, features of the input.
        hidden_size: H, units of the state.
        activation: a name or a function. Not negative ("sigmoid", "relu", "softplus"), it keeps
            the state between 0 and A and the time constant at most τ.
        dt: time between two inputs, > 0.
        unfolds: L, solver steps an input.
        bias: whether there is a bias.
        train_init: whether the initial state h0 is trained (else it is a buffer).

    Raises:
        RnnlabError: a size or unfolds below 1, dt not above 0 or an unknown activation (at
            construction); an input or state of the wrong shape, dtype or device (at the call).

    Source: Hasani, Lechner, Amini, Rus & Grosu 2021, Liquid time-constant networks (arXiv
    2006.04439), equation 3 and algorithm 1, x for our h and I for our x; there the step of the
    solver is called Δt, here an input takes dt however many steps solve it. The default is a
    sigmoid as in its theorems (its example is tanh). The published code is another model: each
    synapse has a conductance and a reversal potential of its own. τ is positive by construction and
    starts at 1 (with the unit of dt), A uniform on ±1; weights are Glorot-uniform, the bias zero.

    Example:
        >>> import torch
        >>> cell = LTCCell(10, 5, unfolds=3)
        >>> cell
        LTCCell(10, 5, unfolds=3)
        >>> h, y = cell(cell.initial_state(), torch.ones(3, 10))
        >>> h.shape, list(cell.gates(h, torch.ones(3, 10)))
        (torch.Size([3, 5]), ['f', 'tau', 'h'])
    """

    blocks = ("f",)
    gate_names = ("f", "tau")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        activation: str | Activation = "sigmoid",
        dt: float = 1.0,
        unfolds: int = 6,
        bias: bool = True,
        train_init: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            input_size, hidden_size, bias=bias, train_init=train_init, device=device, dtype=dtype
        )
        check_positive("LTCCell", dt=dt)
        check_sizes("LTCCell", unfolds=unfolds)
        self.activation = named_activation(activation, "LTCCell")
        self.dt = dt
        self.unfolds = unfolds
        zero = torch.zeros(hidden_size, device=device, dtype=dtype)
        self.log_tau = nn.Parameter(zero)
        self.reversal = nn.Parameter(torch.empty_like(zero).uniform_(-1, 1))

    def equation(self, state: Tensor, u: Tensor) -> dict[str, Tensor]:
        values, leak = {"h": state}, torch.exp(-self.log_tau)
        for _ in range(self.unfolds):
            values = self._fused_step(values["h"], u, leak)
        return values

    def _fused_step(self, h: Tensor, u: Tensor, leak: Tensor) -> dict[str, Tensor]:
        delta = self.dt / self.unfolds
        f = self.activation(u + linear(h, self.weight_hh))
        h = (h + delta * f * self.reversal) / (1 + delta * (leak + f))
        return {"f": f, "tau": 1 / (leak + f), "h": h}


class CfCCell(Cell):
    r"""The closed-form continuous-time cell: the solution of a liquid network, without a solver.

        a = act(V x + W h + b)                  backbone
        f = W_f a + b_f                         rate at which the time gate closes
        g = tanh(W_g a + b_g)                   target while it is open
        k = tanh(W_k a + b_k)                   target once it is closed
        s = σ(−f dt)                            time gate
        h' = s∘g + (1 − s)∘k,    y = h'

    x: input, `(I,)` or `(B, I)`. h: state, `(H,)` or `(B, H)`. y: output, like h'. dt: the time
    between two inputs; f is in 1/(unit of dt).
    Parameters: `weight_ih (U, I)` = V, `weight_hh (U, H)` = W, `bias (U,)` = b or None;
    `weight_heads (3H, U)`, `bias_heads (3H,)` or None, in blocks f, g, k; `h0 (H,)`.

    Args:
        input_size: I, features of the input.
        hidden_size: H, units of the state.
        activation: of the backbone: a name or a function.
        backbone_size: U, units of the backbone; None: as many as H.
        dt: time between two inputs, > 0.
        bias: whether there are biases.
        train_init: whether the initial state h0 is trained (else it is a buffer).

    Raises:
        RnnlabError: a size below 1, dt not above 0 or an unknown activation (at construction); an
            input or state of the wrong shape, dtype or device (at the call).

    Source: Hasani et al. 2022, Closed-form continuous-time neural networks (Nature Machine
    Intelligence 4, 992); our h and k are their x and h. The inputs come at equal intervals and the
    backbone has one layer. The published code has σ(f dt + f₀) with one more head f₀, and other
    activations in the backbone (1.7159 tanh(0.666 a), silu). Weights are Glorot-uniform, biases
    zero.

    Example:
        >>> import torch
        >>> cell = CfCCell(10, 5, backbone_size=32)
        >>> cell
        CfCCell(10, 5, backbone_size=32)
        >>> h, y = cell(cell.initial_state(), torch.ones(3, 10))
        >>> h.shape, list(cell.gates(h, torch.ones(3, 10)))
        (torch.Size([3, 5]), ['f', 'g', 'k', 's', 'h'])
    """

    gate_names = ("f", "g", "k", "s")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        activation: str | Activation = "tanh",
        backbone_size: int | None = None,
        dt: float = 1.0,
        bias: bool = True,
        train_init: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        check_positive("CfCCell", dt=dt)
        self.activation = named_activation(activation, "CfCCell")
        self.backbone_size = backbone_size
        self.dt = dt
        factory = {"device": device, "dtype": dtype}
        units = hidden_size if backbone_size is None else backbone_size
        check_sizes("CfCCell", backbone_size=units)
        self.weight_ih = glorot_uniform(units, input_size, **factory)
        self.weight_hh = glorot_uniform(units, hidden_size, **factory)
        self.bias = nn.Parameter(torch.zeros(units, **factory)) if bias else None
        self.weight_heads = glorot_uniform(3 * hidden_size, units, **factory)
        self.bias_heads = nn.Parameter(torch.zeros(3 * hidden_size, **factory)) if bias else None
        self.add_initial_state(train_init, **factory)

    def project(self, x: Tensor) -> Tensor:
        return linear(x, self.weight_ih, self.bias)

    def equation(self, state: Tensor, u: Tensor) -> dict[str, Tensor]:
        a = self.activation(u + linear(state, self.weight_hh))
        f, g, k = linear(a, self.weight_heads, self.bias_heads).chunk(3, dim=-1)
        g, k = torch.tanh(g), torch.tanh(k)
        s = torch.sigmoid(-f * self.dt)
        return {"f": f, "g": g, "k": k, "s": s, "h": s * g + (1 - s) * k}

    def describe_arguments(self) -> list[str]:
        return super().describe_arguments() + changed_options(self)
