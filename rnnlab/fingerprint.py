"""A fingerprint of a model's weights: which parameter differs, without keeping the weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from operator import attrgetter, is_
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnnlab.nested import children, is_branch

COMPARED = 1 << 24
"""Bytes of weights up to which a Watch keeps a copy to compare them with."""

_version = attrgetter("_version")
_address = Tensor.data_ptr


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
    return {name: digest(value) for name, value in weights(model).items()}


def digest(value: Tensor) -> str:
    """The dtype, the shape and a hash of the numbers of a tensor."""
    hashed = hashlib.sha256(_content(value).data).hexdigest()[:16]
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)} {hashed}"


def _content(value: Tensor) -> np.ndarray:
    """The bytes of a tensor; in its own memory if it lies on the CPU in one piece."""
    data = value.detach().cpu().contiguous()
    return data.reshape(-1).view(torch.uint8).numpy() if data.numel() else np.empty(0, np.uint8)


def first_difference(a: Mapping[str, str], b: Mapping[str, str]) -> str | None:
    """The first parameter in which two fingerprints differ, or None."""
    for name in [*a, *(name for name in b if name not in a)]:
        if a.get(name) != b.get(name):
            return name
    return None


class Watch:
    """The fingerprint of a model's weights, taken again when they are others.

    What `now` notices, in microseconds: a parameter, buffer or module in the place of another, a
    tensor whose memory lies elsewhere, a change that torch knows of (an optimiser's, `add_`,
    `copy_`). What is written through `.data` or numpy leaves no mark: after `doubt`, the next `now`
    compares the numbers with a copy, if they are no more than `COMPARED` bytes (about 0.2 ms per
    MB). To doubt costs nothing, so whoever only might need the weights need not look at them.

    Args:
        model: a module, or a list, tuple or dict of them.

    Attributes:
        weights: every parameter and buffer.
        parts: all parameters, buffers and modules; a new list when one of them is another.
        buffers: for each module that has any, the dictionary in which it keeps its buffers.
        counted: whether torch counts their changes; it does not for those of inference mode.

    Example:
        >>> import rnnlab as rl
        >>> m = rl.RNN(2, 3)
        >>> watch = Watch(m)
        >>> before = watch.now()
        >>> watch.now() is before
        True
        >>> w = m.cell.weight_ih.data.fill_(1)
        >>> watch.doubt()
        >>> first_difference(before, watch.now())
        'cell.weight_ih'
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._doubted = False
        self._find()

    def _find(self) -> None:
        # the parts last: an interrupt before lets `refresh` find them again
        slots, found = list(_slots(self._model)), list(weights(self._model).values())
        self.buffers = [buffers for buffers in slots[1::3] if buffers]
        self.weights = found
        self.counted = not any(weight.is_inference() for weight in found)
        self._slots, self._seen = slots, None
        self.parts = [part for each in slots for part in each.values()]

    def refresh(self) -> None:
        """Look for the parts again if one of them is another."""
        now = [part for slots in self._slots for part in slots.values()]
        if len(now) != len(self.parts) or not all(map(is_, now, self.parts)):
            self._find()

    def now(self) -> dict[str, str]:
        """The fingerprint; the same object as long as nothing is noticed."""
        self.refresh()
        versions = list(map(_version, self.weights)) if self.counted else [0] * len(self.weights)
        seen = versions, list(map(_address, self.weights))
        if seen != self._seen or (self._doubted and not self._as_copied()):
            self._take()
            self._seen = seen
        self._doubted = False
        return self._print

    def doubt(self) -> None:
        """Let the next `now` compare the numbers themselves, once."""
        self._doubted = True

    def _as_copied(self) -> bool:
        """Whether the numbers are those of the copies; where there are none, nobody knows."""
        pairs = zip(self.weights, self._copies, strict=True) if self._copies is not None else ()
        return all(np.array_equal(_content(weight), copy) for weight, copy in pairs)

    def marks(self) -> list[tuple[Tensor, int]]:
        """Every weight with the count of its changes that `now` saw last."""
        return list(zip(self.weights, self._seen[0] if self._seen else (), strict=True))

    def _take(self) -> None:
        self._print = fingerprint(self._model)
        size = sum(weight.numel() * weight.element_size() for weight in self.weights)
        small = size <= COMPARED
        self._copies = [_content(w).copy() for w in self.weights] if small else None


def _slots(model: Any) -> Iterator[dict[str, Any]]:
    """The dictionaries in which the modules of a model keep their parts."""
    if isinstance(model, nn.Module):
        for module in model.modules():
            yield module._parameters
            yield module._buffers
            yield module._modules
    elif is_branch(model):
        for _, part in children(model):
            yield from _slots(part)
