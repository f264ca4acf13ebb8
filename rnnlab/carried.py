"""Backpropagation that runs into steps whose graph is gone: torch's error, with what to do."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from rnnlab.errors import RnnlabError
from rnnlab.nested import State, named_leaves

_FAR = 64
"""How many nodes of the graph behind a state are looked at."""

_NOTHING: dict[str, Any] = {}
_GONE = ("backward through the graph a second time", "modified by an inplace operation")
_compiling = torch.compiler.is_dynamo_compiling

_saved: dict[type, tuple[str, ...]] = {}
"""For each kind of node the attributes that give what it has saved for the way back."""


class Carried:
    """What happened between two calls of a Recur, as far as its running state is concerned.

    A state that still has its graph ties a step to those before. If the weights have changed since,
    or have got a gradient, then someone has gone backwards and perhaps taken a step of the
    optimiser, and has gone on without `detach` or `reset`. That may be meant, so nothing is said
    yet; but should backpropagation come through that state, it is looked whether its graph is gone.
    """

    __slots__ = ("mark",)

    def __init__(self) -> None:
        self.mark: Any = None

    def __reduce__(self) -> Any:
        return Carried, ()

    def __deepcopy__(self, memo: Any) -> Carried:
        return Carried()

    def left(self, cell: Any) -> None:
        """A step has left a state, with its graph."""
        self.mark = _mark(cell)

    def taken(self, owner: nn.Module, cell: Any, state: State) -> None:
        """That state is used for another step, with a graph."""
        now = _mark(cell)
        if now != self.mark and not torch._C._are_functorch_transforms_active():
            self.mark = now
            watch = _Watch(owner)
            for _, leaf in named_leaves(state):
                if type(leaf) is Tensor and leaf.grad_fn is not None:
                    leaf.grad_fn.register_prehook(watch)


def _mark(cell: Any) -> Any:
    """What changes when the optimiser takes a step, or when a gradient arrives."""
    if _compiling():
        return None
    own = getattr(cell, "_parameters", _NOTHING)
    if not own and isinstance(cell, nn.Module):  # they are further inside
        own = dict(cell.named_parameters())
    for weight in own.values():
        if weight is not None and weight.requires_grad and weight.is_leaf:
            if weight.is_inference():  # these count no changes, and take part in no graph
                return None
            slope = weight.grad
            if slope is None:
                return weight._version, None, None
            return weight._version, id(slope), slope._version
    return None


class _Watch:
    """Called by torch before it goes back through the operation that made a state.

    It holds no tensor of the graph that holds it: that circle would never be freed.
    """

    def __init__(self, owner: nn.Module) -> None:
        self.owner = weakref.ref(owner)

    def __call__(self, _: Any) -> None:
        node = torch._C._current_autograd_node()
        try:
            for each in _around(node):
                for name in _saved_by(each):
                    getattr(each, name)
        except RuntimeError as error:
            if not any(text in str(error) for text in _GONE):
                return  # whoever keeps what is saved in a way of his own
            raise RnnlabError(
                f"{self.owner() or 'Recur'}: backpropagation has come to steps that an earlier "
                "backward() or optimiser step has used up. Call detach(model) after each chunk of "
                "a sequence (truncated backpropagation through time), or reset(model) before a "
                "new one; backward(retain_graph=True) if steps are meant to be gone through twice."
            ) from error


def _around(node: Any) -> Iterator[Any]:
    """The nodes from here backwards, as far as is sensible."""
    queue, seen = [node], {node}
    for node in queue:
        yield node
        for before, _ in node.next_functions:
            if before is not None and before not in seen and len(queue) < _FAR:
                seen.add(before)
                queue.append(before)


def _saved_by(node: Any) -> tuple[str, ...]:
    kind = type(node)
    if kind not in _saved:
        names = dir(kind)
        _saved[kind] = (
            ("saved_tensors",)  # a torch.autograd.Function
            if "saved_tensors" in names
            else tuple(n.removeprefix("_raw") for n in names if n.startswith("_raw_saved_"))
        )
    return _saved[kind]
