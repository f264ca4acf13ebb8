"""Whole sequences in inference, in the memory of their input projection.

torch's own kernels for these cells make new memory for every operation of every step. Where no
gradient is wanted nothing of a step is needed again but its output.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Parameter

from rnnlab.cells.fast import plain_inference

_IN_PLACE = {torch.tanh: torch.tanh_, torch.relu: torch.relu_}


def in_place(xs: Tensor, *weights: Tensor | None) -> bool:
    """Whether the functions here may take the place of torch's kernel for these tensors."""
    return plain_inference() and all(
        value is None or (type(value) in (Tensor, Parameter) and value.is_cpu)
        for value in (xs, *weights)
    )


def rnn_in_place(h: Tensor, u: Tensor, weight: Tensor, activation: object) -> tuple[Tensor, Tensor]:
    """h' = act(u + U h) over u `(T, B, H)`, which becomes the outputs: the last state and ys.

    h: state, `(H,)` or `(B, H)`. weight: U `(H, H)`. activation: torch.tanh or torch.relu.

    Example:
        >>> u = torch.ones(2, 1, 1)
        >>> rnn_in_place(torch.zeros(1), u, torch.ones(1, 1), torch.relu)
        (tensor([[2.]]), tensor([[[1.]],
        <BLANKLINE>
                [[2.]]]))
    """
    act_, add_product_, transposed = _IN_PLACE[activation], Tensor.addmm_, weight.t()
    h = h.expand(u.shape[1:])
    for u_t in u.unbind(0):
        h = act_(add_product_(u_t, h, transposed))
    return h.clone(), u


def gru_in_place(
    h: Tensor, u: Tensor, weight: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The GRU's update over u `(T, B, 3H)`: the last state and ys `(T, B, H)`.

    h: state, `(H,)` or `(B, H)`. weight: U `(3H, H)`, blocks r, z, n; bias: `(3H,)`, is added to
    the product U h.

    Example:
        >>> h, ys = gru_in_place(torch.ones(1), torch.zeros(2, 1, 3), torch.zeros(3, 1))
        >>> h, ys.flatten()
        (tensor([[0.2500]]), tensor([0.5000, 0.2500]))
    """
    size, transposed = weight.shape[1], weight.t()
    mm, addmm, addcmul, sub = torch.mm, torch.addmm, torch.addcmul, torch.sub
    u_rz, u_n = u.split([2 * size, size], dim=-1)
    ys = u.new_empty(u_n.shape)
    v, n = torch.empty_like(u[0]), torch.empty_like(ys[0])
    rz, v_n = v.split([2 * size, size], dim=-1)
    r, z = rz.chunk(2, dim=-1)
    h = h.expand(ys.shape[1:])
    for u_rz_t, u_n_t, y in zip(u_rz.unbind(0), u_n.unbind(0), ys.unbind(0), strict=True):
        if bias is None:
            mm(h, transposed, out=v)
        else:
            addmm(bias, h, transposed, out=v)
        rz.add_(u_rz_t).sigmoid_()
        addcmul(u_n_t, r, v_n, out=n).tanh_()
        h = addcmul(n, z, sub(h, n, out=y), out=y)
    return h.clone(), ys
