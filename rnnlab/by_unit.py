"""How units depend on each other within a step: between products with weights, each on itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.overrides import TorchFunctionMode

from rnnlab.cells.base import Cell, Parts, as_parts, as_state

Term = tuple[int, int, list[Tensor]]
"""Where a gradient goes, in how many blocks, and the derivative of every step."""

_GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it, without their whole part, spread evenly and never come back."""

_ROUNDING = 64
"""How many times the precision two derivatives may differ that are the same but for rounding."""


class UnlikeError(Exception):
    """The cell is not what the sweep takes it for; or only these numbers are not finite."""

    def __init__(self, lasts: bool = True) -> None:
        super().__init__()
        self.lasts = lasts


def cut(value: Any) -> Any:
    """A tensor without its graph; None stays None."""
    return None if value is None else value.detach()


class Products(TorchFunctionMode):
    """Cuts a computation at every `linear`: the result becomes a variable of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[Tensor, Tensor, Tensor | None, Tensor]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is not linear or kwargs:
            return func(*args, **(kwargs or {}))
        s: Tensor = args[0]
        weight: Tensor = args[1]
        bias: Tensor | None = args[2] if len(args) > 2 else None
        v = linear(s.detach(), weight.detach(), cut(bias)).requires_grad_()
        self.found.append((s, weight, bias, v))
        return v


def terms(value: Tensor, variables: list[Tensor]) -> list[tuple[int, int, list[Term]]]:
    """The derivatives of `value` by the variables: for each block of units, where they go."""
    if not value.requires_grad:
        return []
    width = value.shape[-1]
    ones = torch.ones_like(value)
    grads = torch.autograd.grad(value, variables, ones, retain_graph=True, allow_unused=True)
    base = min([width, *(d.shape[-1] for d in grads if d is not None)])
    if any(d is not None and d.shape[-1] % base for d in grads) or width % base:
        raise UnlikeError
    blocks = []
    for first in range(0, width, base):
        if base < width:
            ones = torch.zeros_like(value)  # anew: derivatives may be views of it
            ones[..., first : first + base] = 1
            grads = torch.autograd.grad(
                value, variables, ones, retain_graph=True, allow_unused=True
            )
        found: list[Term] = []
        for i, d in enumerate(grads):
            if d is None or (base < width and not d.any()):
                continue
            many = d.shape[-1] // base
            if many > 1:
                d = d.unflatten(-1, (many, base))
            found.append((i, many, list(d.unbind(0))))
        blocks.append((first, base, found))
    return blocks


def spread(g: Tensor, blocks: Any, total: list[Tensor | None], t: int) -> None:
    """Add what the gradient of one value means for the variables that it depends on."""
    for first, base, found in blocks:
        part = g if len(blocks) == 1 else g[..., first : first + base]
        for i, many, derivatives in found:
            so_far = total[i]
            if many == 1:
                d = derivatives[t]
                total[i] = part * d if so_far is None else torch.addcmul(so_far, part, d)
            else:
                more = (part.unsqueeze(-2) * derivatives[t]).flatten(-2)
                total[i] = more if so_far is None else so_far + more


def apart(cell: Cell, parts: Parts, u: Tensor) -> bool | None:
    """Whether between products every unit of every row goes its own way; None where not finite.

    The check of a sweep itself would take a weak tie for rounding. Here gradients of very different
    size arrive at the units, powers of two, so that nothing is rounded.
    """
    with torch.enable_grad(), Products() as cuts:
        state = tuple(part.detach().unsqueeze(0).requires_grad_() for part in parts)
        new, y = cell.update(as_state(state), u)
    variables = [*state, *(v for _, _, _, v in cuts.found)]
    for value in (*as_parts(new), y, *(s for s, *_ in cuts.found)):
        if not value.requires_grad:
            continue
        try:
            blocks = terms(value, variables)
        except UnlikeError:
            return False
        sizes = _sizes(value[0], base=blocks[0][1])
        arriving = sizes.repeat(*(1,) * (sizes.dim() - 1), value.shape[-1] // sizes.shape[-1])
        told: list[Tensor | None] = [None] * len(variables)
        spread(arriving, blocks, told, 0)
        exact = torch.autograd.grad(
            value, variables, arriving.unsqueeze(0), retain_graph=True, allow_unused=True
        )
        for by_unit, gradient in zip(told, exact, strict=True):
            if gradient is None:
                continue
            want = gradient[0].unflatten(-1, (-1, sizes.shape[-1])) / sizes.unsqueeze(-2)
            if not want.isfinite().all():
                return None
            got = torch.zeros_like(want)
            if by_unit is not None:
                got = by_unit.unflatten(-1, want.shape[-2:]) / sizes.unsqueeze(-2)
            limit = _ROUNDING * torch.finfo(want.dtype).eps * want.abs().max()
            if (want - got).abs().max() > limit:
                return False
    return True


def _sizes(like: Tensor, base: int) -> Tensor:
    """A power of two for each of `base` units in each row of `like`, near each other none alike."""
    rows = like.shape[:-1]
    places = torch.arange(rows.numel() * base, device=like.device, dtype=torch.float64)
    powers = 2.0 ** (places * _GOLDEN % 1 * 8 - 4).round()
    return powers.to(like.dtype).reshape(*rows, base)
