"""Nested states: a leaf (tensor, number, …) or a tuple, named tuple, list or dict of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

State = Any
"""A tensor, a number, or a (nested) tuple, named tuple, list or dict of them."""


def is_branch(tree: State) -> bool:
    """True if `tree` has parts, False if it is a leaf."""
    return isinstance(tree, (tuple, list, dict))


def children(tree: State) -> list[tuple[str, State]]:
    """The parts of a branch, each with its key: field name, dict key or position."""
    if isinstance(tree, dict):
        return [(str(key), value) for key, value in tree.items()]
    keys = getattr(tree, "_fields", None) or range(len(tree))
    return [(str(key), value) for key, value in zip(keys, tree, strict=True)]


def rebuild(tree: State, parts: list[State]) -> State:
    """A branch shaped like `tree` with these parts."""
    if isinstance(tree, dict):
        return dict(zip(tree, parts, strict=True))
    if hasattr(tree, "_fields"):
        return type(tree)(*parts)
    return type(tree)(parts)


def map_leaves(fn: Callable[[Any], Any], tree: State) -> State:
    """The same structure with `fn` applied to every leaf."""
    if is_branch(tree):
        return rebuild(tree, [map_leaves(fn, part) for _, part in children(tree)])
    return fn(tree)


def named_leaves(
    tree: State, name: str = "h", top: tuple[str, ...] | None = None
) -> Iterator[tuple[str, Any]]:
    """Every leaf with its dotted path.

    A leaf on its own is called `name`; the parts of a branch `name.0`, `name.1`, … or, at the top
    level, by the names in `top`.

    Example:
        >>> list(named_leaves((1, (2, 3))))
        [('h.0', 1), ('h.1.0', 2), ('h.1.1', 3)]
        >>> list(named_leaves((1, 2), top=("h", "c")))
        [('h', 1), ('c', 2)]
    """
    if not is_branch(tree):
        yield (top[0] if top else name), tree
        return
    parts = children(tree)
    named = bool(top) and len(top) == len(parts)
    for position, (key, part) in enumerate(parts):
        path = top[position] if top and named else f"{name}.{key}"
        if is_branch(part):
            yield from named_leaves(part, path)
        else:
            yield path, part


def fill(tree: State, values: Iterator[Any]) -> State:
    """The same structure with its leaves taken from `values`, in order."""
    return map_leaves(lambda _: next(values), tree)


def hides(x: Any) -> bool:
    """Whether numpy masks an element of an array, or of one in a list, which torch does not tell.

    Example:
        >>> hides([1.0, np.ma.masked_equal([2.0, -1.0], -1.0)]), hides(np.ma.ones(2))
        (True, False)
    """
    if isinstance(x, (list, tuple)):
        return any(map(hides, x))
    return isinstance(x, np.ma.MaskedArray) and bool(np.ma.is_masked(x))
