"""A fingerprint of a model's weights: which parameter differs, without keeping the weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rnnlab.nested import children, is_branch


def weights(model: Any) -> dict[str, Tensor]:
    """Every parameter and buffer of `model` (a module, or a list, tuple or dict of them)."""
    if isinstance(model, nn.Module):
        return {**dict(model.named_parameters()), **dict(model.named_buffers())}
    if is_branch(model):
        return {
            f"{key}.{name}": value
            for key, part in children(model)
            for name, value in weights(part).items()
        }
    return {}


def fingerprint(model: Any) -> dict[str, str]:
    """Parameter or buffer → its shape and a hash of its values.

    Example:
        >>> import rnnlab as rl
        >>> a, b = rl.RNN(2, 3), rl.RNN(2, 3)
        >>> first_difference(fingerprint(a), fingerprint(a)) is None
        True
        >>> first_difference(fingerprint(a), fingerprint(b))
        'cell.weight_ih'
    """
    found = {}
    for name, value in weights(model).items():
        data = value.detach().cpu().contiguous()
        content = data.reshape(-1).view(torch.uint8).numpy().data if data.numel() else b""
        digest = hashlib.sha256(content).hexdigest()[:16]
        found[name] = f"{str(data.dtype).removeprefix('torch.')} {tuple(data.shape)} {digest}"
    return found


def versions(model: Any) -> tuple[int, ...]:
    """A cheap mark that changes when torch changes a weight in place (an optimiser step)."""
    return tuple(value._version for value in weights(model).values())


def first_difference(a: Mapping[str, str], b: Mapping[str, str]) -> str | None:
    """The first parameter in which two fingerprints differ, or None."""
    for name in [*a, *(name for name in b if name not in a)]:
        if a.get(name) != b.get(name):
            return name
    return None
