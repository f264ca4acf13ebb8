"""Which Recurs a layer may come to: those inside it, and those that its code holds or names."""

from __future__ import annotations

import inspect
from functools import partial
from itertools import islice
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from rnnlab.recur import Recur

_CLOSED = frozenset((Tensor, nn.Parameter, str, bytes, bool, int, float, type(None), ModuleType))
"""What is met everywhere and holds no model."""

MOST = 4096
"""So many values are looked at, the nearest first: a layer may hold a dictionary of all words."""

_SLOTS = frozenset(nn.Module().__dict__)
"""What every module has, and nearly always empty."""


def within_reach(layer: Any) -> set[int]:
    """The id of every Recur that a call of `layer` may read or step, as far as can be seen.

    Example:
        >>> import rnnlab as rl
        >>> m = rl.RNN(2, 3)
        >>> within_reach(lambda y: y + m.state) == within_reach([m]) == {id(m)}
        True
    """
    reached: list[Any] = [layer]
    seen: set[int] = set()
    for value in islice(reached, MOST):  # the list grows on the way
        if type(value) not in _CLOSED and id(value) not in seen:
            seen.add(id(value))
            reached += _held_by(value)
    return {id(value) for value in reached[:MOST] if isinstance(value, Recur)}


def _held_by(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (tuple, list)):
        return list(value)
    if isinstance(value, nn.Module):
        return [part for name, part in value.__dict__.items() if name not in _SLOTS or part]
    if inspect.isfunction(value):
        names = inspect.getclosurevars(value)
        held = [*names.nonlocals.values(), *names.globals.values()]
        held += [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        home = value.__module__  # a function of another file was not written for this model
        return [part for part in held if not inspect.isfunction(part) or part.__module__ == home]
    if inspect.ismethod(value):
        return [value.__self__, value.__func__]
    if isinstance(value, partial):
        return [value.func, value.args, value.keywords]
    return [] if isinstance(value, type) else list(getattr(value, "__dict__", {}).values())
