"""Recurrent layers inside a module of someone else, made to continue where they stopped."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnnlab.adapters.bare import TORCH_CELLS, TORCH_LAYERS, from_cell, from_layer, plain
from rnnlab.adapters.foreign import ForeignCell, arguments_of, is_cell, short, taken_apart
from rnnlab.cells.base import as_state, batch_changed
from rnnlab.errors import RnnlabError
from rnnlab.nested import State, fill, named_leaves
from rnnlab.recur import AT_INIT, Recur, atomic, recurs


class LayerState(Recur):
    """The running state of a layer that belongs to someone else; made by `adapt`.

    Its `cell` is the layer's formula on the layer's own weights (where these are known).
    The layer itself does the work: a call of a LayerState is refused.

    Example:
        >>> from rnnlab.adapters import adapt
        >>> class Tagger(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.gru = nn.GRU(2, 3)
        ...     def forward(self, x):
        ...         return self.gru(x)[0]
        >>> adapt(Tagger()).gru
        LayerState(TorchGRUCell(2, 3))
    """

    def __init__(self, cell: Any) -> None:
        super().__init__(cell)
        self._modules.clear()  # the weights are the owner's, and listed there
        self.__dict__["cell"] = cell

    def forward(self, *xs: Any) -> Any:
        raise RnnlabError(f"{self!r}: call the adapted model; it steps this layer.")

    def __repr__(self) -> str:
        return f"LayerState({self.cell!r})"


class _Zeros:
    """In place of a cell whose formula is not known: the sizes of its states."""

    def __init__(self, layer: nn.RNNBase, number: int) -> None:
        self.layer = layer
        lstm = layer.mode == "LSTM"
        self.state_names = ("h", "c") if lstm else ("h",)
        sizes = (layer.proj_size or layer.hidden_size, layer.hidden_size)
        self.sizes = sizes if lstm else sizes[1:]

    @property
    def _parameters(self) -> dict[str, nn.Parameter]:
        """The layer's weights: by them it is seen that an optimiser has taken a step."""
        return dict(self.layer.named_parameters())

    def initial_state(self) -> State:
        like = next(self.layer.parameters())
        zeros: tuple[Tensor, ...] = tuple(like.new_zeros(size) for size in self.sizes)
        return as_state(zeros)

    def __call__(self, state: State, x: Any) -> Any:
        raise RnnlabError(f"adapt: the formula of {self.layer!r} is not known.")

    def __repr__(self) -> str:
        return short(self.layer)


@dataclass
class _Site:
    """A layer inside a module, and where its state is kept."""

    path: str
    layer: nn.Module
    holders: list[LayerState]
    argument: str
    """What its forward calls the state."""

    @property
    def sequence(self) -> bool:
        return isinstance(self.layer, nn.RNNBase)


@dataclass
class _Visit:
    """What happens at one layer while the adapted model runs once."""

    site: _Site
    override: bool
    thread: int = field(default_factory=threading.get_ident)
    started: bool = False
    given: bool = False
    made: list[tuple[str, Any]] = field(default_factory=list)
    """What the layers have returned so far, one list for all; it keeps them alive."""
    called: bool = False
    """Whether the layer is being called, so that its hooks have been heard."""
    x: Any = None
    before: list[State] = field(default_factory=list)

    def enter(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        """Before the layer runs: put the running state where it was given none."""
        if threading.get_ident() != self.thread:
            return None
        self.called = True
        name = self.site.argument
        state = args[1] if len(args) > 1 else kwargs.get(name)
        if state is not None and (self.started or not self.override):
            self.given = True
            return None
        if self.started:
            raise RnnlabError(
                f"adapt: forward calls layer {self.site.path!r} twice without a state. Two "
                "sequences would go on from the same state; adapt the parts on their own."
            )
        if state is not None:
            self._refuse_handed_on(state)
        self.started = True
        self.x = x = args[0] if args else next(iter(kwargs.values()))
        self.before = [holder.state for holder in self.site.holders]
        if all(holder.__dict__["_state"] is AT_INIT for holder in self.site.holders):
            return None
        running = _joined(self.site, _rows_of(self.site, x), self.before)
        return (x, running, *args[2:]), {
            key: value
            for place, (key, value) in enumerate(kwargs.items())
            if key != name and (args or place)
        }

    def leave(self, module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
        """After the layer has run: keep the state that it returned."""
        if threading.get_ident() != self.thread:
            return
        self.called = False
        if self.override:
            self.made.append((self.site.path, result))
        if not self.started:
            return
        site = self.site
        rows = _rows_of(site, args[0] if args else next(iter(kwargs.values())))
        lead = (torch.Size([] if rows is None else [rows]),)
        if site.sequence:
            state = result[1]
            parts = zip(*state, strict=True) if isinstance(state, tuple) else state.unbind(0)
            for holder, part in zip(site.holders, parts, strict=True):
                holder._advance(part, lead)
        else:
            holder = site.holders[0]
            holder._advance(taken_apart(site.layer, result, holder.state)[0], lead)

    def _refuse_handed_on(self, state: State) -> None:
        """Raise where the state to be replaced is not a start but what another layer made."""
        leaves = {id(leaf) for _, leaf in named_leaves(state)}
        for path, result in self.made:
            if any(id(leaf) in leaves for _, leaf in named_leaves(result)):
                raise RnnlabError(
                    f"adapt: forward gives layer {self.site.path!r} a state that layer {path!r} "
                    "has made, so the running state cannot take its place. Without override, the "
                    "layers that are given a state are left alone."
                )

    def straight(self, forward: Any) -> Any:
        """`layer.forward` for whoever calls it past the layer's hooks; these are then made up for.

        Libraries do so in loops of their own (`self.rnn_cell.forward(x, h)`).
        """

        def called(*args: Any, **kwargs: Any) -> Any:
            if self.called or threading.get_ident() != self.thread:
                return forward(*args, **kwargs)
            args, kwargs = self.enter(self.site.layer, args, kwargs) or (args, kwargs)
            result = forward(*args, **kwargs)
            self.leave(self.site.layer, args, kwargs, result)
            return result

        return called


def _rows_of(site: _Site, x: Any) -> int | None:
    """The batch of what a layer was given; None without one."""
    if isinstance(x, PackedSequence):
        return int(x.batch_sizes[0])
    if x.dim() < (3 if site.sequence else 2):
        return None
    return x.shape[0 if not site.sequence or site.layer.batch_first else 1]  # type: ignore


def _joined(site: _Site, rows: int | None, states: list[State]) -> State:
    """The running state of a layer as the layer takes it."""

    now: tuple[int, ...] = () if rows is None else (rows,)

    def fitted(part: Any, shape: torch.Size) -> Any:
        was = tuple(part.shape[: part.dim() - len(shape)])
        if was and was != now:
            raise batch_changed(f"adapt: layer {site.path!r}", was, now)
        return part.expand(*now, *shape)

    each: list[list[Tensor]] = []
    for holder, state in zip(site.holders, states, strict=True):
        shapes = [leaf.shape for _, leaf in named_leaves(holder.init)]
        leaves = [leaf for _, leaf in named_leaves(state)]
        each.append([fitted(a, shape) for a, shape in zip(leaves, shapes, strict=True)])
    if not site.sequence:
        return fill(states[0], iter(each[0]))
    parts: tuple[Tensor, ...] = tuple(
        torch.stack(list(column)) for column in zip(*each, strict=True)
    )
    return as_state(parts)


class Adapted(nn.Module):
    """A module with recurrent layers inside, made to continue where it stopped; made by `adapt`.

    It is called as the module itself is, with one or more time steps. While its call runs, every
    recurrent layer that `forward` calls *without a state* starts from its running state and keeps
    the state that it ends with; states that `forward` itself passes on afterwards (in a loop of its
    own) are followed. A layer whose first state `forward` gives is left alone, unless `override`.
    The module's code is not touched, and its owner can go on calling it: outside calls of the
    Adapted it has no running state and no hook.

    States are named by the layer's path: `"encoder.lstm.h"`, with several layers
    `"encoder.lstm.0.h"`, `"encoder.lstm.1.h"`; for the module itself (a subclass of nn.LSTM)
    `"layer.h"`. One state is `(H,)`, or `(B, H)` in a batch. `reset`, `detach`, `states`,
    `load_states`, `Session` and `as_cell` find them. A call succeeds as a whole or leaves every
    state as it was. `state_dict` is the module's own.

    Attributes:
        model: the module.
        layers: the paths of the layers with a running state.
        parity: the largest difference found by `adapt(…, check=x)`, or None.

    Raises:
        RnnlabError: a batch of another size than the running state's; a `forward` that gives every
            layer its state, or calls a layer twice without one; a call after `release`.

    Example:
        >>> import rnnlab as rl
        >>> from rnnlab.adapters import adapt
        >>> class Tagger(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.lstm = nn.LSTM(2, 3, batch_first=True)
        ...         self.out = nn.Linear(3, 1)
        ...     def forward(self, x):
        ...         return self.out(self.lstm(x)[0])
        >>> tagger, x = Tagger(), torch.ones(4, 6, 2)
        >>> m = adapt(tagger)
        >>> parts = [m(x[:, :2]), m(x[:, 2:])]
        >>> torch.allclose(torch.cat(parts, dim=1), tagger(x), atol=1e-6)
        True
        >>> list(rl.states(m)), rl.states(m)["lstm.h"].shape
        (['lstm.h', 'lstm.c'], torch.Size([4, 3]))
    """

    def __init__(self, model: nn.Module, *, override: bool = False) -> None:
        super().__init__()
        sites = _sites(model)
        if not sites:
            if recurs(model):
                raise RnnlabError(f"adapt: {short(model)} is stateful already; use it as it is.")
            raise RnnlabError(
                f"adapt: {short(model)} has no recurrent layer inside (nn.RNN, nn.LSTM, nn.GRU, "
                "their cells, or a cell called as cell(x, state) with a hidden_size). "
                "For a cell of your own, give its initial state: adapt(cell, init=…)."
            )
        taken = {name for name, _ in model.named_children()}
        slot = "model"
        while slot in taken:
            slot += "_"
        self._slot = slot
        self._modules[slot] = model
        for site in sites:
            if len(site.holders) == 1:
                _plant(self, site.path or "layer", site.holders[0])
            else:
                for number, holder in enumerate(site.holders):
                    _plant(self, f"{site.path or 'layer'}.{number}", holder)
        self._sites: list[_Site] | None = sites
        self._override = override
        self.layers = tuple(site.path for site in sites)
        self.parity: float | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self._sites is None:
            raise RnnlabError(
                f"{self!r} has been released; adapt(model) makes the model step again."
            )
        handles: list[Any] = []
        kept: list[Any] = []
        made: list[tuple[str, Any]] = []
        visits = [_Visit(site, self._override, made=made) for site in self._sites]
        try:
            for visit in visits:
                layer = visit.site.layer
                handles.append(layer.register_forward_pre_hook(visit.enter, with_kwargs=True))
                handles.append(layer.register_forward_hook(visit.leave, with_kwargs=True))
                kept.append((layer, layer.__dict__.get("forward")))
                layer.__dict__["forward"] = visit.straight(layer.forward)
            with atomic():
                y = self._modules[self._slot](*args, **kwargs)  # type: ignore[misc]
                self._check_visits(visits)
        finally:
            for handle in handles:
                handle.remove()
            for layer, forward in kept:
                if forward is None:
                    layer.__dict__.pop("forward", None)
                else:
                    layer.__dict__["forward"] = forward
        seen = self.__dict__.get("_visits")
        if seen is not None:
            seen += visits
        return y

    def _check_visits(self, visits: list[_Visit]) -> None:
        if any(visit.started for visit in visits) or recurs(self._modules[self._slot]):
            return
        given = [repr(visit.site.path) for visit in visits if visit.given]
        if given:
            raise RnnlabError(
                f"adapt: forward gives its recurrent layers their states itself "
                f"({', '.join(given)}), so nothing would be carried from call to call. "
                "adapt(model, override=True) lets the running state take their place."
            )
        raise RnnlabError(
            "adapt: forward called none of its recurrent layers "
            f"({', '.join(map(repr, self.layers))}), so nothing would be carried from call to call."
        )

    def release(self) -> None:
        """Let go of the module: nothing of this is left in it, and calls of this are refused."""
        self._sites = None

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own: the same names as without `adapt`."""
        return self._modules[self._slot].state_dict(*args, **kwargs)  # type: ignore[union-attr]

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load into the module."""
        return self._modules[self._slot].load_state_dict(*args, **kwargs)  # type: ignore[union-attr]

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # called where a module around this one is loaded, with the names that it saved
        for name in [name for name in state_dict if name.startswith(prefix)]:
            own = name.removeprefix(prefix)
            state_dict[f"{prefix}{self._slot}.{own}"] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def __repr__(self) -> str:
        model = type(self._modules[self._slot]).__name__
        return f"Adapted({model}: {', '.join(path or 'layer' for path in self.layers)})"


def _plant(root: nn.Module, path: str, holder: LayerState) -> None:
    """Register `holder` under `path`, with plain modules on the way."""
    *above, name = path.split(".")
    for part in above:
        if part not in root._modules:
            root._modules[part] = nn.Module()
        root = root._modules[part]  # type: ignore[assignment]
    root._modules[name] = holder


def _sites(model: nn.Module) -> list[_Site]:
    """Every recurrent layer inside, outermost first; none inside another."""
    found: list[_Site] = []
    inside: set[int] = set()
    for path, module in model.named_modules():
        if id(module) in inside:
            continue
        if isinstance(module, nn.RNNBase):
            known = type(module).forward in [kind.forward for kind in TORCH_LAYERS] and plain(
                module
            )
            make = from_layer if known else _Zeros
            holders = [LayerState(make(module, n)) for n in range(module.num_layers)]
            found.append(_Site(path, module, holders, "hx"))
        elif path and is_cell(module):
            known = type(module) in TORCH_CELLS and plain(module)
            cell = from_cell(module) if known else ForeignCell(module)  # type: ignore[arg-type]
            arguments = arguments_of(module)
            name = arguments[1].name if len(arguments) > 1 else "state"
            found.append(_Site(path, module, [LayerState(cell)], name))
        elif isinstance(module, (Recur, Adapted)):
            pass
        else:
            continue
        inside |= {id(part) for part in module.modules()}
    return found
