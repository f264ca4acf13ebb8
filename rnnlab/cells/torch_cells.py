"""The cells of torch.nn, exactly: two biases, a projected LSTM, weights that belong to another."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rnnlab.cells import onednn
from rnnlab.cells.base import AdditiveCell, Cell, for_kernel
from rnnlab.cells.cuda import fused_step, run, zero_bias
from rnnlab.cells.in_place import gru_in_place, in_place, rnn_in_place
from rnnlab.errors import RnnlabError
from rnnlab.nested import State

LSTMState = tuple[Tensor, Tensor]


class _TorchCell(Cell):
    """A cell on weights that someone else owns; its initial state is zero, as torch's is."""

    weight_ih: nn.Parameter
    weight_hh: nn.Parameter
    bias_ih: nn.Parameter | None
    bias_hh: nn.Parameter | None
    blocks = 1

    def __init__(
        self,
        weight_ih: nn.Parameter,
        weight_hh: nn.Parameter,
        bias_ih: nn.Parameter | None = None,
        bias_hh: nn.Parameter | None = None,
    ) -> None:
        rows, columns = weight_ih.shape[0], weight_hh.shape[1]
        if (
            rows % self.blocks
            or weight_hh.shape[0] != rows
            or (bias_ih is None) != (bias_hh is None)
        ):
            raise RnnlabError(
                f"{type(self).__name__}: weight_ih {tuple(weight_ih.shape)} and weight_hh "
                f"{tuple(weight_hh.shape)} must both have {self.blocks} × H rows; the biases must "
                "both be there or both be missing."
            )
        super().__init__(weight_ih.shape[1], columns)
        self.weight_ih = weight_ih
        self.weight_hh = weight_hh
        self.bias_ih = bias_ih
        self.bias_hh = bias_hh

    def initial_state(self) -> State:
        """Zeros of the weights' dtype and device."""
        zeros = tuple(self.weight_ih.new_zeros(size) for size in self.state_sizes())
        return zeros[0] if len(zeros) == 1 else zeros

    def project(self, x: Tensor) -> Tensor:
        bias = self.bias_ih
        if bias is not None and self.bias_hh is not None:
            bias = bias + self.bias_hh
        return linear(x, self.weight_ih, bias)

    has_kernel = True

    def _run(self, fused: Any, state: Any, xs: Tensor) -> Any:
        """One of torch's sequence kernels on these weights, which stay where they are."""
        return run(fused, xs, state, self._flat(), owned=False)

    def _flat(self) -> tuple[list[Tensor], bool, int, float, bool, bool, bool]:
        """What torch's sequence kernels take after the input and the state."""
        biases, (weight_ih, weight_hh, *projection) = self._biases(), self._matrices()
        layers, dropout, bidirectional, batch_first = 1, 0.0, False, False
        train = torch.is_grad_enabled()
        weights = [weight_ih, weight_hh, *biases, *projection]
        return weights, bool(biases), layers, dropout, train, bidirectional, batch_first

    def _matrices(self) -> list[Tensor]:
        return [self.weight_ih, self.weight_hh]

    def _biases(self) -> list[Tensor]:
        """Both biases, or none; zeros in place of none where cuDNN could find something else.

        If it is given none, it takes what lies behind the weights for zeros of its own. In the
        buffer of several layers, all matrices before all biases, that is the next layer.
        """
        if self.bias_ih is not None and self.bias_hh is not None:
            return [self.bias_ih, self.bias_hh]
        weight = self.weight_ih
        if not weight.is_cuda:
            return []
        entries = sum(each.numel() for each in self._matrices()) + 2 * len(weight)
        alone = weight.untyped_storage().nbytes() <= entries * weight.element_size()
        return [] if alone else [zero_bias(weight)] * 2

    def describe_arguments(self) -> list[str]:
        shown = [str(self.input_size), str(self.hidden_size)]
        return shown + ([] if self.bias_ih is not None else ["bias=False"])


class TorchRNNCell(_TorchCell, AdditiveCell):
    r"""The cell of torch.nn.RNN and torch.nn.RNNCell, on their very weights.

        h' = act(W_ih x + b_ih + W_hh h + b_hh),    y = h'

    x: input, `(I,)` or `(B, I)`. h: state, `(H,)` or `(B, H)`, zero at first. y: output, like h'.
    `gates` gives the pre-activation `a`, and the new state `h`.

    Args:
        weight_ih: `(H, I)`, a Parameter that is kept, not copied; likewise the others.
        weight_hh: `(H, H)`.
        bias_ih: `(H,)` or None.
        bias_hh: `(H,)` or None.
        activation: "tanh" or "relu".

    Raises:
        RnnlabError: weights whose shapes do not fit, another activation (at construction); an
            input or state of the wrong shape, dtype or device (at the call).

    Example:
        >>> theirs = torch.nn.RNNCell(3, 4)
        >>> cell = TorchRNNCell(theirs.weight_ih, theirs.weight_hh, theirs.bias_ih, theirs.bias_hh)
        >>> cell
        TorchRNNCell(3, 4, tanh)
        >>> h, y = cell(cell.initial_state(), torch.ones(2, 3))
        >>> torch.allclose(y, theirs(torch.ones(2, 3)))
        True
    """

    gate_names = ("a",)

    def __init__(
        self,
        weight_ih: nn.Parameter,
        weight_hh: nn.Parameter,
        bias_ih: nn.Parameter | None = None,
        bias_hh: nn.Parameter | None = None,
        activation: str = "tanh",
    ) -> None:
        super().__init__(weight_ih, weight_hh, bias_ih, bias_hh)
        if activation not in ("tanh", "relu"):
            raise RnnlabError(f"TorchRNNCell: activation must be tanh or relu, got {activation!r}.")
        self.activation = activation

    def combine(self, state: Tensor, u: Tensor, v: Tensor) -> dict[str, Tensor]:
        a = u + v
        return {"a": a, "h": torch.tanh(a) if self.activation == "tanh" else torch.relu(a)}

    def step(self, state: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        if not fused_step(x):
            return self.update(state, self.project(x))
        fused = torch.rnn_tanh_cell if self.activation == "tanh" else torch.rnn_relu_cell
        weights = self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh
        if x.dim() == 1:
            h = fused(x.unsqueeze(0), state.unsqueeze(0), *weights).squeeze(0)
        else:
            h = fused(x, state.expand(x.shape[0], -1), *weights)
        return h, h

    def kernel(self, state: Tensor, xs: Tensor) -> tuple[Tensor, Tensor]:
        if in_place(xs, *self._flat()[0]):
            activation = torch.tanh if self.activation == "tanh" else torch.relu
            return rnn_in_place(state, self.project(xs), self.weight_hh, activation)
        h = for_kernel(state, xs.shape[1])
        fused = torch.rnn_tanh if self.activation == "tanh" else torch.rnn_relu
        ys, h = self._run(fused, h, xs)
        return h[0], ys

    def describe_arguments(self) -> list[str]:
        shown = super().describe_arguments()
        return [*shown[:2], self.activation, *shown[2:]]


class TorchGRUCell(_TorchCell, AdditiveCell):
    r"""The cell of torch.nn.GRU and torch.nn.GRUCell, on their very weights, both biases included.

        r = σ(W_r x + b_ir + U_r h + b_hr)             reset gate
        z = σ(W_z x + b_iz + U_z h + b_hz)             update gate
        n = tanh(W_n x + b_in + r∘(U_n h + b_hn))      candidate
        h' = (1 − z)∘n + z∘h,    y = h'

    x: input, `(I,)` or `(B, I)`. h: state, `(H,)` or `(B, H)`, zero at first. y: output, like h'.

    Args:
        weight_ih: `(3H, I)` = W, a Parameter that is kept, not copied; likewise the others.
        weight_hh: `(3H, H)` = U.
        bias_ih: `(3H,)` or None.
        bias_hh: `(3H,)` or None.

    Raises:
        RnnlabError: weights whose shapes do not fit (at construction); an input or state of the
            wrong shape, dtype or device (at the call).

    Example:
        >>> theirs = torch.nn.GRUCell(3, 4)
        >>> cell = TorchGRUCell(theirs.weight_ih, theirs.weight_hh, theirs.bias_ih, theirs.bias_hh)
        >>> h, y = cell(cell.initial_state(), torch.ones(2, 3))
        >>> torch.allclose(y, theirs(torch.ones(2, 3)))
        True
    """

    gate_names = ("r", "z", "n")
    blocks = 3

    def project(self, x: Tensor) -> Tensor:
        return linear(x, self.weight_ih, self.bias_ih)  # b_hn stands inside r∘(…)

    def combine(self, state: Tensor, u: Tensor, v: Tensor) -> dict[str, Tensor]:
        u_r, u_z, u_n = u.chunk(3, dim=-1)
        v_r, v_z, v_n = (v if self.bias_hh is None else v + self.bias_hh).chunk(3, dim=-1)
        r = torch.sigmoid(u_r + v_r)
        z = torch.sigmoid(u_z + v_z)
        n = torch.tanh(u_n + r * v_n)
        return {"r": r, "z": z, "n": n, "h": (1 - z) * n + z * state}

    def step(self, state: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        if not fused_step(x):
            return self.update(state, self.project(x))
        weights = self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh
        if x.dim() == 1:
            h = torch.gru_cell(x.unsqueeze(0), state.unsqueeze(0), *weights).squeeze(0)
        else:
            h = torch.gru_cell(x, state.expand(x.shape[0], -1), *weights)
        return h, h

    def kernel(self, state: Tensor, xs: Tensor) -> tuple[Tensor, Tensor]:
        if in_place(xs, *self._flat()[0]):
            return gru_in_place(state, self.project(xs), self.weight_hh, self.bias_hh)
        h = for_kernel(state, xs.shape[1])
        ys, h = self._run(torch.gru, h, xs)
        return h[0], ys


def _gates(a: Tensor, c: Tensor) -> dict[str, Tensor]:
    i, f, g, o = a.chunk(4, dim=-1)
    i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    c = f * c + i * g
    return {"i": i, "f": f, "g": g, "o": o, "h": o * torch.tanh(c), "c": c}


class TorchLSTMCell(_TorchCell, AdditiveCell):
    r"""The cell of torch.nn.LSTM and torch.nn.LSTMCell, on their very weights and both biases.

        i = σ(W_i x + b_ii + U_i h + b_hi)          input gate
        f = σ(W_f x + b_if + U_f h + b_hf)          forget gate
        g = tanh(W_g x + b_ig + U_g h + b_hg)       candidate
        o = σ(W_o x + b_io + U_o h + b_ho)          output gate
        c' = f∘c + i∘g,    h' = o∘tanh(c'),    y = h'

    x: input, `(I,)` or `(B, I)`. State: (h, c), each `(H,)` or `(B, H)`, zero at first. y: like h'.

    Args:
        weight_ih: `(4H, I)` = W, a Parameter that is kept, not copied; likewise the others.
        weight_hh: `(4H, H)` = U.
        bias_ih: `(4H,)` or None.
        bias_hh: `(4H,)` or None.

    Raises:
        RnnlabError: weights whose shapes do not fit (at construction); an input or state of the
            wrong shape, structure, dtype or device (at the call).

    Example:
        >>> theirs = torch.nn.LSTMCell(3, 4)
        >>> cell = TorchLSTMCell(theirs.weight_ih, theirs.weight_hh, theirs.bias_ih, theirs.bias_hh)
        >>> (h, c), y = cell(cell.initial_state(), torch.ones(2, 3))
        >>> torch.allclose(c, theirs(torch.ones(2, 3))[1])
        True
    """

    state_names = ("h", "c")
    gate_names = ("i", "f", "g", "o")
    blocks = 4

    def combine(self, state: LSTMState, u: Tensor, v: Tensor) -> dict[str, Tensor]:
        return _gates(u + v, state[1])

    def step(self, state: LSTMState, x: Tensor) -> tuple[LSTMState, Tensor]:
        if not fused_step(x):
            return self.update(state, self.project(x))
        h, c = state
        weights = self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh
        if x.dim() == 1:
            h, c = torch.lstm_cell(x.unsqueeze(0), (h.unsqueeze(0), c.unsqueeze(0)), *weights)
            h, c = h.squeeze(0), c.squeeze(0)
        else:
            n = x.shape[0]
            h, c = torch.lstm_cell(x, (h.expand(n, -1), c.expand(n, -1)), *weights)
        return (h, c), h

    def kernel(self, state: LSTMState, xs: Tensor) -> tuple[LSTMState, Tensor]:
        weights = self._flat()[0]
        if onednn.takes(xs, weights):
            return onednn.lstm(state, xs, weights)
        h, c = for_kernel(state[0], xs.shape[1]), for_kernel(state[1], xs.shape[1])
        ys, h, c = self._run(onednn.torch_lstm, (h, c), xs)
        return (h[0], c[0]), ys


class TorchProjectedLSTMCell(_TorchCell):
    r"""The cell of a torch.nn.LSTM with `proj_size`, on its very weights.

        i, f, g, o, c'                        as TorchLSTMCell, with h of P units
        h' = W_hr (o∘tanh(c')),    y = h'

    x: input, `(I,)` or `(B, I)`. State: h `(P,)` or `(B, P)` and c `(H,)` or `(B, H)`, zero at
    first. y: output, like h'. `hidden_size` is P, the size of h and y; `memory_size` is H.

    Args:
        weight_ih: `(4H, I)` = W, a Parameter that is kept, not copied; likewise the others.
        weight_hh: `(4H, P)` = U.
        bias_ih: `(4H,)` or None.
        bias_hh: `(4H,)` or None.
        weight_hr: `(P, H)`.

    Raises:
        RnnlabError: weights whose shapes do not fit (at construction); an input or state of the
            wrong shape, structure, dtype or device (at the call).

    Source: Sak, Senior & Beaufays 2014 (arXiv 1402.1128), as torch.nn.LSTM computes it.

    Example:
        >>> w = torch.nn.LSTM(3, 4, proj_size=2, bias=False)
        >>> cell = TorchProjectedLSTMCell(w.weight_ih_l0, w.weight_hh_l0, weight_hr=w.weight_hr_l0)
        >>> (h, c), y = cell(cell.initial_state(), torch.ones(3))
        >>> h.shape, c.shape, y is h
        (torch.Size([2]), torch.Size([4]), True)
    """

    state_names = ("h", "c")
    gate_names = ("i", "f", "g", "o")
    blocks = 4

    def __init__(
        self,
        weight_ih: nn.Parameter,
        weight_hh: nn.Parameter,
        bias_ih: nn.Parameter | None = None,
        bias_hh: nn.Parameter | None = None,
        *,
        weight_hr: nn.Parameter,
    ) -> None:
        super().__init__(weight_ih, weight_hh, bias_ih, bias_hh)
        self.memory_size = weight_ih.shape[0] // 4
        if tuple(weight_hr.shape) != (self.hidden_size, self.memory_size):
            raise RnnlabError(
                f"TorchProjectedLSTMCell: weight_hr must be (P, H) = {self.hidden_size} × "
                f"{self.memory_size}, got {tuple(weight_hr.shape)}."
            )
        self.weight_hr = weight_hr

    def state_sizes(self) -> tuple[int, ...]:
        return self.hidden_size, self.memory_size

    def equation(self, state: LSTMState, u: Tensor) -> dict[str, Tensor]:
        h, c = state
        values = _gates(u + linear(h, self.weight_hh), c)
        return {**values, "h": linear(values["h"], self.weight_hr)}

    def kernel(self, state: LSTMState, xs: Tensor) -> tuple[LSTMState, Tensor]:
        h, c = for_kernel(state[0], xs.shape[1]), for_kernel(state[1], xs.shape[1])
        with warnings.catch_warnings():  # that it is slower than without a projection
            warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
            ys, h, c = self._run(torch.lstm, (h, c), xs)
        return (h[0], c[0]), ys

    def _matrices(self) -> list[Tensor]:
        return [*super()._matrices(), self.weight_hr]

    def describe_arguments(self) -> list[str]:
        shown = super().describe_arguments()
        return [*shown[:2], f"memory_size={self.memory_size}", *shown[2:]]
