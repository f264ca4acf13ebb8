"""What every layer inside a model is given in one step, whatever the container."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from rnnlab.adapters.inside import Adapted
from rnnlab.nested import State, named_leaves
from rnnlab.recur import Recur, recurs


@dataclass
class Call:
    """One call of a layer inside."""

    layer: nn.Module
    x: Any
    y: Any
    before: State = None
    after: State = None


def stepped(model: nn.Module, xs: tuple[Any, ...], kinds: tuple[type, ...]) -> list[Call]:
    """`model(*xs)`; returns the calls of its Recur layers, of the layers that `adapt` has taken
    over and of the modules of some kinds, in the order in which they end."""
    calls: list[Call] = []
    began: dict[int, State] = {}
    handles: list[Any] = []
    taken = holders(model)

    def begins(layer: nn.Module, args: Any) -> None:
        began[id(layer)] = layer.__dict__["_state"]

    def ends(layer: nn.Module, args: Any, kwargs: dict[str, Any], y: Any) -> None:
        x = args[0] if args else next(iter(kwargs.values()), None)
        if type(layer) is Recur:
            x = x if len(args) == 1 and not kwargs else None
            calls.append(Call(layer, x, y, began[id(layer)], layer.__dict__["_state"]))
        else:
            calls.append(Call(layer, x, y))

    try:
        for module in model.modules():
            if type(module) is Recur:
                handles.append(module.register_forward_pre_hook(begins))
            elif id(module) not in taken and type(module) not in kinds:
                continue
            handles.append(module.register_forward_hook(ends, with_kwargs=True))
        model(*xs)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def holders(model: nn.Module) -> dict[int, list[Any]]:
    """The states of the layers that `adapt` has taken over, by the id of the layer."""
    return {
        id(site.layer): site.holders
        for module in model.modules()
        if isinstance(module, Adapted)
        for site in module._sites or ()
    }


def single_steps(model: nn.Module, xs: tuple[Any, ...]) -> dict[int, tuple[State, Tensor]]:
    """`model(*xs)`; returns the state and the input of every layer that made exactly one step from
    its running state and kept what came of it, by the id of its Recur."""
    start = {id(recur): recur.__dict__["_state"] for _, recur in recurs(model)}
    calls = stepped(model, xs, ())
    taken = holders(model)
    times = [id(call.layer) for call in calls]
    found: dict[int, tuple[State, Tensor]] = {}
    for call in calls:
        if times.count(id(call.layer)) > 1 or not isinstance(call.x, Tensor):
            continue
        if type(call.layer) is Recur:
            own = start[id(call.layer)]
            if call.before is own and call.after is call.layer.__dict__["_state"]:
                found[id(call.layer)] = own, call.x
            continue
        x: Any = _only_step(call.layer, call.x)
        for holder in taken[id(call.layer)]:
            before, after = start[id(holder)], holder.__dict__["_state"]
            if x is None or after is before:
                break
            found[id(holder)] = before, x
            x = next(leaf for _, leaf in named_leaves(after))
    return found


def _only_step(layer: nn.Module, x: Tensor) -> Tensor | None:
    """The input of a layer that was given one step; None if it was given several."""
    if not isinstance(layer, nn.RNNBase):
        return x
    time = 1 if layer.batch_first and x.dim() == 3 else 0
    return x.select(time, 0) if x.shape[time] == 1 else None
