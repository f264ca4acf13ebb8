"""What callers give, checked: numbers, counts, seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnlab.cells.base import describe
from rnnlab.errors import RnnlabError


def numbers(owner: str, what: str, value: Any) -> Tensor:
    """A tensor of real numbers from what a caller gave, of its own if it was no tensor.

    Raises:
        RnnlabError: text, ragged lists, complex numbers.

    Example:
        >>> numbers("flow", "state", [1, 2.5])
        tensor([1.0000, 2.5000], dtype=torch.float64)
    """
    try:
        given = value if isinstance(value, Tensor) else torch.as_tensor(np.array(value, order="C"))
    except (TypeError, ValueError, RuntimeError) as error:
        raise RnnlabError(f"{owner}: {what} is not numeric: {describe(value)}.") from error
    if given.is_complex():
        raise RnnlabError(f"{owner}: {what} must be real, got {describe(value)}.")
    return given.detach()


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, and no truth value."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def check_whole(owner: str, **numbers: Any) -> None:
    """Raise unless every number is whole and at least 1."""
    for name, value in numbers.items():
        if not is_whole(value) or value < 1:
            raise RnnlabError(f"{owner}: {name} must be a whole number ≥ 1, got {value!r}.")


def check_seed(owner: str, seed: Any) -> int:
    """A seed of random numbers."""
    if not is_whole(seed) or not 0 <= seed < 2**63:
        raise RnnlabError(f"{owner}: seed must be a whole number ≥ 0, got {seed!r}.")
    return int(seed)


def check_positive(owner: str, **numbers: Any) -> None:
    """Raise unless every number is positive and finite."""
    for name, value in numbers.items():
        real = isinstance(value, (int, float, np.integer, np.floating))
        if not real or isinstance(value, bool) or not 0 < value < np.inf:
            raise RnnlabError(f"{owner}: {name} must be a positive number, got {value!r}.")
