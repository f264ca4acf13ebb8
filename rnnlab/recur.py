"""Recur: a cell made stateful; reset, detach, and reading and writing states by name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ContextDecorator
from typing import Any

import torch
from torch import Tensor, nn

from rnnlab.carried import Carried
from rnnlab.cells.base import Cell, batch_changed, describe
from rnnlab.cells.fast import NONE, Stepper
from rnnlab.errors import RnnlabError
from rnnlab.nested import State, children, fill, hides, is_branch, map_leaves, named_leaves


class _AtInit:
    """The state of a Recur that stands at its initial state. One value, kept through copies."""

    def __repr__(self) -> str:
        return "AT_INIT"

    def __reduce__(self) -> str:
        return "AT_INIT"

    def __deepcopy__(self, memo: dict[int, Any]) -> _AtInit:
        return self


AT_INIT = _AtInit()


class _Journal(threading.local):
    """The states that calls under way have replaced, newest last; None outside `atomic`."""

    entries: list[tuple[Recur, State, Any]] | None = None


_journal = _Journal()
_wants_gradient = torch.is_grad_enabled
_compiling = torch.compiler.is_dynamo_compiling


class atomic(ContextDecorator):  # noqa: N801, used like a function
    """Either the block succeeds, or every Recur that it advanced is put back.

    Example:
        >>> import torch, rnnlab as rl
        >>> m = rl.Recur(lambda h, x: (h + x, x), 0)
        >>> try:
        ...     with atomic():
        ...         m(2)
        ...         1 / 0
        ... except ZeroDivisionError:
        ...     m.state
        2
        0
    """

    __slots__ = ("entries", "outer")

    def _recreate_cm(self) -> atomic:
        return atomic()  # a decorated function may call itself

    def __enter__(self) -> None:
        self.outer = _journal.entries
        self.entries: list[tuple[Recur, State, Any]] = []
        _journal.entries = self.entries

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            for recur, state, lead in reversed(self.entries):
                recur.__dict__["_state"] = state
                recur.__dict__["_lead"] = lead
        _journal.entries = self.outer
        if kind is None and self.outer is not None:
            self.outer += self.entries


class Recur(nn.Module):
    r"""A cell made stateful: `m(x)` runs `state, y = cell(state, x)`, keeps the state, returns y.

    Args:
        cell: any callable `h, y = cell(h, x)`, or `cell(h, x1, x2, …)` with several inputs: one of
            the library's cells, another `nn.Module`, or a plain function.
        init: the initial state: a tensor, a number, or a (nested) tuple of them. An
            `nn.Parameter` in it is trained, a tensor becomes a buffer, a number stays a number.
            Left out, it is the cell's own `initial_state()`.

    Attributes:
        state: the running state. Right after construction or `reset` it *is* `init`, so a
            gradient reaches the initial state. It can be assigned.
        init: the initial state.

    Shapes: those of the cell. A state `(H,)` is broadcast over the first batch.

    Raises:
        RnnlabError: a plain function without `init` (at construction); an input whose batch size
            differs from the running state's; a cell that does not return `(state, y)`. After any
            exception, also one from inside the cell, the state is exactly what it was.

    Steps in inference (under `torch.no_grad`) of RNN, LSTM and GRU on the CPU take a shorter way to
    the same values. On an NVIDIA GPU, float32 agrees with the CPU within 1e-5 where TF32 is off:
    `torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False`; torch allows
    it in cuDNN, which costs about 1e-3. `rnnlab.graphs.graphed` makes one launch of a step there.

    Source: Flux.jl 0.10.4, `Recur`.

    Example:
        >>> m = Recur(lambda h, x: (h + x, x), 0)
        >>> m(2), m(3), m.state
        (2, 3, 5)
        >>> m.reset()
        >>> m.state
        0
    """

    def __init__(self, cell: Callable[..., tuple[State, Any]], init: State = None) -> None:
        super().__init__()
        if not callable(cell):
            raise RnnlabError(
                f"Recur: the cell must be callable as h, y = cell(h, x), got {describe(cell)}."
            )
        if isinstance(cell, Recur):
            raise RnnlabError(f"Recur: {cell!r} is already stateful; use it as it is.")
        self.cell = cell
        self._owns_init = init is None
        if init is None:
            if not callable(getattr(cell, "initial_state", None)):
                name = _cell_name(cell)
                raise RnnlabError(
                    f"Recur({name}): a function cell needs an initial state. "
                    f"Give it as the second argument: Recur({name}, torch.zeros(H))."
                )
        else:
            self._register_init(init)
        self.__dict__["_state"] = AT_INIT
        self.__dict__["_lead"] = None
        self.__dict__["_fast"] = Stepper()
        self.__dict__["_carried"] = Carried()

    def _register_init(self, init: State) -> None:
        names = self._state_names
        parts = len(init) if is_branch(init) else 1
        if names is not None and parts != len(names):
            raise RnnlabError(
                f"Recur({self.cell!r}): init must be ({', '.join(names)}), got {describe(init)}."
            )
        slots: list[Any] = []
        for path, leaf in named_leaves(init, top=names):
            slot = f"init_{path.replace('.', '_')}"
            if slot in slots:
                raise RnnlabError(
                    f"Recur({_cell_name(self.cell)}): two parts of init are both named "
                    f"{slot.removeprefix('init_')}; rename the dict keys or fields."
                )
            if isinstance(leaf, nn.Parameter):
                self.register_parameter(slot, leaf)
            elif isinstance(leaf, Tensor):
                self.register_buffer(slot, leaf.detach())
            else:
                self.__dict__[slot] = leaf
            slots.append(slot)
        self._init_slots = fill(init, iter(slots))

    @property
    def _state_names(self) -> tuple[str, ...] | None:
        return getattr(self.cell, "state_names", None)

    @property
    def init(self) -> State:
        """The initial state, as it is now (training may have moved it)."""
        if self._owns_init:
            return _cell_in(self.__dict__).initial_state()
        return map_leaves(lambda slot: getattr(self, slot), self._init_slots)

    @property
    def state(self) -> State:
        """The running state; `init` right after construction or `reset`."""
        slots = self.__dict__
        state = slots["_state"]
        if state is AT_INIT:
            return self.init
        if _wants_gradient():
            if not _compiling() and _has_inference(state):
                slots["_state"] = state = map_leaves(_usable, state)
            slots["_carried"].taken(self, _cell_in(slots), state)
        return state

    @state.setter
    def state(self, value: State) -> None:
        # the batch of a state that was put in is not known: the cell checks it
        self._advance(value, None)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "state":  # nn.Module would register a Parameter under this name
            Recur.state.__set__(self, value)
        else:
            super().__setattr__(name, value)

    def __call__(self, *xs: Any) -> Any:
        """`forward`, with its hooks; a step like the last one, in inference, by a shorter way."""
        slots = self.__dict__
        before, fast = slots["_state"], slots["_fast"]
        if before is fast.state and len(xs) == 1:
            done = fast.step(slots, before, xs)
            if done is not None:
                if _journal.entries is not None:
                    _journal.entries.append((self, before, slots["_lead"]))
                slots["_state"] = done[0]
                return done[1]
        return super().__call__(*xs)

    def forward(self, *xs: Any) -> Any:
        slots = self.__dict__
        before = slots["_state"]
        lead = _leading(xs)
        if before is AT_INIT:
            state = self.init
        else:
            state = self.state
            if slots["_lead"] is not None and lead != slots["_lead"]:
                self._refuse_batch(slots["_lead"], lead)
        result = self.cell(state, *xs)
        if type(result) is not tuple or len(result) != 2:
            raise RnnlabError(
                f"{self!r}: a cell must return the tuple (state, y), got {describe(result)}."
            )
        self._advance(result[0], lead)
        if len(xs) == 1 and type(self).forward is Recur.forward:
            slots["_fast"].passed(self.cell, result[0], xs[0])
        return result[1]

    def _advance(self, state: State, lead: Any) -> None:
        """Take `state` as the running state, leaving a note for `atomic`."""
        slots = self.__dict__
        if _journal.entries is not None:
            _journal.entries.append((self, slots["_state"], slots["_lead"]))
        slots["_state"] = state
        slots["_lead"] = lead
        if state is not AT_INIT and _wants_gradient():
            slots["_carried"].left(_cell_in(slots))

    def _refuse_batch(self, before: Any, now: Any) -> None:
        for was, shape in zip(before, now, strict=False):
            if was is not None and shape is not None and was != shape:
                raise batch_changed(repr(self), tuple(was), tuple(shape))

    def reset(self) -> None:
        """Put the state back to `init`."""
        self._advance(AT_INIT, None)
        self.__dict__["_fast"].state = NONE  # nothing is kept alive

    def _detach(self) -> None:
        state = self.__dict__["_state"]
        if state is not AT_INIT:
            cut = map_leaves(lambda v: v.detach() if isinstance(v, Tensor) else v, state)
            self._advance(cut, self.__dict__["_lead"])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Recur:
        super()._apply(fn, recurse)
        state = self.__dict__["_state"]
        if state is not AT_INIT:
            with torch.no_grad():
                moved = map_leaves(lambda v: fn(v) if isinstance(v, Tensor) else v, state)
            self.__dict__["_state"] = moved
        return self

    def __getstate__(self) -> dict[str, Any]:
        # a copy or a pickle keeps the values of the state, not the graph that led there
        slots = self.__dict__.copy()
        if slots["_state"] is not AT_INIT:
            slots["_state"] = map_leaves(
                lambda v: v.detach() if isinstance(v, Tensor) else v, slots["_state"]
            )
        return slots

    def __repr__(self) -> str:
        return f"Recur({_cell_name(self.cell)})"


def _has_inference(state: State) -> bool:
    """Whether a part of the state was made under `torch.inference_mode`, and that is over."""
    parts = state if type(state) is tuple else (state,)
    if all(type(part) is Tensor and not part.is_inference() for part in parts):
        return False
    leaves = (leaf for _, leaf in named_leaves(state) if isinstance(leaf, Tensor))
    return any(leaf.is_inference() for leaf in leaves) and not torch.is_inference_mode_enabled()


def _usable(leaf: Any) -> Any:
    """The same value as a tensor that may take part in a graph."""
    return leaf.clone() if isinstance(leaf, Tensor) and leaf.is_inference() else leaf


def _cell_in(slots: dict[str, Any]) -> Any:
    """The cell of a Recur, from its `__dict__`: `nn.Module` searches for the attribute."""
    cell = slots["_modules"].get("cell")
    return slots.get("cell") if cell is None else cell


def _cell_name(cell: Any) -> str:
    return repr(cell) if isinstance(cell, nn.Module) else getattr(cell, "__name__", repr(cell))


def _leading(xs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The batch shape of each tensor input: every dimension but the features."""
    return tuple(x.shape[:-1] if isinstance(x, Tensor) else None for x in xs)


def recurs(model: Any) -> list[tuple[str, Recur]]:
    """Every Recur anywhere inside `model`, once, with its path ("" for the model itself)."""
    found: dict[int, tuple[str, Recur]] = {}
    for path, recur in _inside(model, ""):
        found.setdefault(id(recur), (path, recur))
    return list(found.values())


def _inside(value: Any, path: str) -> Iterator[tuple[str, Recur]]:
    if isinstance(value, nn.Module):
        for name, module in value.named_modules():
            if isinstance(module, Recur):
                yield ".".join(part for part in (path, name) if part), module
    elif is_branch(value):
        for key, part in children(value):
            yield from _inside(part, f"{path}.{key}" if path else key)


def reset(model: Any) -> None:
    """Put every Recur found anywhere inside `model` back to its initial state.

    Args:
        model: a Recur, a Chain, any `nn.Module`, or a list, tuple or dict of them.

    Example:
        >>> import torch, rnnlab as rl
        >>> m = rl.Chain(rl.RNN(2, 3), rl.Dense(3, 1))
        >>> y = m(torch.ones(2))
        >>> rl.reset(m)
        >>> rl.states(m)["0.h"] is m[0].init
        True
    """
    for _, recur in recurs(model):
        recur.reset()


def detach(model: Any) -> None:
    """Cut the graph at every current state of `model`, keeping the values.

    This is what truncated backpropagation through time needs between two chunks of a sequence:
    without it, backpropagation runs through all steps since the last reset.

    Example:
        >>> import torch, rnnlab as rl
        >>> m = rl.RNN(2, 3)
        >>> y = m(torch.ones(2))
        >>> m.state.requires_grad
        True
        >>> rl.detach(m)
        >>> m.state.requires_grad
        False
    """
    for _, recur in recurs(model):
        recur._detach()


def _paths(path: str, recur: Recur) -> Iterator[tuple[str, Any]]:
    for name, leaf in named_leaves(recur.state, top=recur._state_names):
        yield (f"{path}.{name}" if path else name), leaf


def states(model: Any) -> dict[str, Any]:
    """Every state of `model` by name: `"0.h"`, `"0.c"`, `"encoder.lstm.h"`; `"h"` for a Recur.

    The values are the states themselves, not copies.

    Example:
        >>> import rnnlab as rl
        >>> list(rl.states(rl.Chain(rl.LSTM(2, 3), rl.Dense(3, 1))))
        ['0.h', '0.c']
    """
    return {name: leaf for path, recur in recurs(model) for name, leaf in _paths(path, recur)}


def load_states(model: Any, s: Mapping[str, Any]) -> None:
    """Put the states `s`, as `states(model)` gave them, back into `model`.

    Arrays and lists are turned into tensors of the initial state's dtype and device.

    Raises:
        RnnlabError: a name is missing or unknown, or a value does not fit its state; nothing is
            changed then.

    Example:
        >>> import torch, rnnlab as rl
        >>> m = rl.RNN(2, 3)
        >>> rl.load_states(m, {"h": [0.1, 0.2, 0.3]})
        >>> m.state
        tensor([0.1000, 0.2000, 0.3000])
    """
    if not isinstance(s, Mapping):
        raise RnnlabError(
            f"load_states: the states must be a dictionary, as states(model) gives it; got "
            f"{describe(s)}."
        )
    known = states(model)
    missing = [name for name in known if name not in s]
    unknown = [name for name in s if name not in known]
    if missing or unknown:
        said = [f"missing: {', '.join(missing)}"] if missing else []
        said += [f"unknown: {', '.join(map(str, unknown))}"] if unknown else []
        raise RnnlabError(
            f"load_states: the names do not fit the model ({'; '.join(said)}). "
            f"It has: {', '.join(known) or 'no states'}."
        )
    loaded: list[tuple[Recur, State]] = []
    for path, recur in recurs(model):
        names = [name for name, _ in _paths(path, recur)]
        inits = [leaf for _, leaf in named_leaves(recur.init, top=recur._state_names)]
        if len(inits) != len(names):  # a function cell whose state changed its structure
            inits = [leaf for _, leaf in _paths(path, recur)]
        ours = isinstance(recur.cell, Cell)
        values = [_as_leaf(n, s[n], like, ours) for n, like in zip(names, inits, strict=True)]
        if ours and len({value.shape[:-1] for value in values}) > 1:
            shapes = sorted({tuple(value.shape) for value in values})
            raise RnnlabError(
                f"load_states: the parts of one state must have the same shape; "
                f"{', '.join(names)} have {', '.join(map(str, shapes))}."
            )
        loaded.append((recur, fill(recur.state, iter(values))))
    for recur, state in loaded:
        recur._advance(state, None)


def _as_leaf(name: str, value: Any, like: Any, ours: bool) -> Any:
    """`value` for a state that starts as `like`; only a cell of ours fixes its shape and dtype."""
    if not isinstance(like, Tensor):
        return value
    if not isinstance(value, Tensor):
        if hides(value):
            raise RnnlabError(
                f"load_states: {name} has masked elements, and what the mask hides would be taken. "
                "value.filled(number) has a number of your own in their place."
            )
        # whole numbers may start a state that then runs on fractions: they must not round it
        dtype = like.dtype if ours or like.is_floating_point() else None
        try:
            value = torch.tensor(value, dtype=dtype, device=like.device)  # a copy, always
        except (TypeError, ValueError, RuntimeError) as error:
            raise RnnlabError(f"load_states: {name} is not numeric: {describe(value)}.") from error
    if not ours:
        return value
    if value.dtype != like.dtype:
        raise RnnlabError(f"load_states: {name} is {value.dtype}, the model's is {like.dtype}.")
    if value.device != like.device:
        raise RnnlabError(
            f"load_states: {name} is on {value.device}, the model is on {like.device}. "
            f"value.to({str(like.device)!r}) moves it."
        )
    if like.shape not in (value.shape, value.shape[1:]):
        raise RnnlabError(
            f"load_states: {name} has shape {tuple(value.shape)}; the model's initial state has "
            f"{tuple(like.shape)}, to which only a batch dimension may be added in front."
        )
    return value
