"""Shared by the tests of the core: weights and inputs without zeros, numeric derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

F64 = torch.float64


def filled(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    """Reproducible numbers of both signs, none of them near zero."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=generator, dtype=F64)
    return (x + 0.05 * torch.where(x < 0, -1.0, 1.0)).to(dtype)


def randomise(module: Any, seed: int = 1) -> Any:
    """Give every weight, also zero biases and initial states, a reproducible uneven value.

    Matrices are replaced; vectors are shifted, since some have to stay near where they start.
    """
    with torch.no_grad():
        for number, weight in enumerate(module.parameters()):
            shift = filled(*weight.shape, seed=seed + 100 * number).to(weight.dtype)
            weight.copy_(0.5 * shift if weight.dim() > 1 else weight + 0.3 * shift)
    return module


def parts(state: Any) -> tuple[Any, ...]:
    """The parts of a state, also of one that is a single tensor."""
    return state if isinstance(state, tuple) else (state,)


def joined(state: Any) -> Tensor:
    """All parts of a state side by side, as one tensor."""
    return torch.cat(parts(state), dim=-1)


def close(got: Any, want: Any, tol: float = 1e-10) -> None:
    """Assert that values, shapes and dtypes agree."""
    torch.testing.assert_close(got, want, rtol=tol, atol=tol)


def gradients(loss: Tensor, module: nn.Module, *others: Tensor) -> list[Tensor]:
    """The gradient in every parameter and in `others`; fails where there is none."""
    return list(torch.autograd.grad(loss, [*module.parameters(), *others]))


def weighted(value: Any) -> Tensor:
    """One number in which every entry of a tensor (or of a list or tuple of them) differs."""
    if isinstance(value, (tuple, list)):
        return torch.stack([(k + 1) * weighted(part) for k, part in enumerate(value)]).sum()
    return (value * filled(*value.shape, seed=77, dtype=value.dtype).to(value.device)).sum()


def numeric_jacobian(
    fn: Callable[[np.ndarray], np.ndarray], at: np.ndarray, eps: float = 1e-6
) -> np.ndarray:
    """∂fn/∂at by central differences, for one-dimensional numpy arrays."""
    columns = []
    for k in range(at.size):
        step = np.zeros_like(at)
        step[k] = eps
        columns.append((fn(at + step) - fn(at - step)) / (2 * eps))
    return np.stack(columns, axis=-1)


def numpy_weights(cell: nn.Module) -> dict[str, np.ndarray]:
    """The parameters of a cell as numpy arrays."""
    return {name: p.detach().numpy().copy() for name, p in cell.named_parameters()}
