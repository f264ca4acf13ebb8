"""What a model changes in a step besides its states: its buffers, and torch's random numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rnnlab.fingerprint import Watch

Buffers = tuple[dict[str, Any], dict[str, Any], list[int], list[Any]]
"""Those of one module: where it keeps them, what was there, their versions, and copies."""


class Aside:
    """Takes down buffers and random numbers, so that a step that fails leaves them as they were.

    A copy of a module's buffers is made anew only if torch has changed one of them: a model without
    buffers, or in evaluation, costs no copy. All buffers of a module are taken together, since
    torch does not count what a BatchNorm does to its means, but what it does to their number.

    Example:
        >>> norm = torch.nn.BatchNorm1d(2)
        >>> put_back = Aside(Watch(norm)).keep()
        >>> y = norm(torch.full((3, 2), torch.nan))
        >>> put_back()
        >>> norm.running_mean
        tensor([0., 0.])
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._parts: Any = None
        self._kept: list[Buffers] = []

    def keep(self) -> Callable[[], None]:
        """Take it down as it is now; the function that is given puts it back."""
        if self._watch.parts is not self._parts:
            taken = [_taken(slots) for slots in self._watch.buffers]
            self._parts, self._kept = self._watch.parts, taken
        kept = [old if _as_it_was(old) else _taken(old[0]) for old in self._kept]
        self._kept = kept
        random = [(source, source.get_state()) for source in _generators()]

        def put_back() -> None:
            for source, state in random:
                if not torch.equal(source.get_state(), state):
                    source.set_state(state)
            for old in kept:
                if not _as_it_was(old):
                    _put(old)

        return put_back


def _taken(slots: dict[str, Any]) -> Buffers:
    values = dict(slots)
    copies = [value.clone() if _counted(value) else None for value in values.values()]
    return slots, values, _versions(values), copies


def _as_it_was(kept: Buffers) -> bool:
    slots, values, versions, _ = kept
    same = len(slots) == len(values) and all(slots.get(n) is v for n, v in values.items())
    return same and _versions(values) == versions


def _put(kept: Buffers) -> None:
    slots, values, _, copies = kept
    slots.clear()
    slots.update(values)
    for value, copy in zip(values.values(), copies, strict=True):
        if copy is not None:
            value.detach().copy_(copy)  # no gradient, and no mode that an interrupt could leave


def _versions(values: dict[str, Any]) -> list[int]:
    return [value._version for value in values.values() if _counted(value)]


def _counted(value: Any) -> bool:
    """Whether it is a tensor whose changes torch counts: one of inference mode cannot change."""
    return isinstance(value, Tensor) and not value.is_inference()


def _generators() -> list[torch.Generator]:
    """Where torch's random numbers come from."""
    on_gpu = torch.cuda.default_generators if torch.cuda.is_initialized() else ()
    return [torch.default_generator, *on_gpu]
