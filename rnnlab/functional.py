"""as_cell: a whole stateful model as the pure function `(states, x) -> (states, y)`."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.autograd import forward_ad

from rnnlab.cells.base import Cell, describe
from rnnlab.errors import RnnlabError
from rnnlab.nested import State, fill, map_leaves, named_leaves
from rnnlab.recur import AT_INIT, Recur, recurs
from rnnlab.unfused import Unfused

States = dict[str, Any]
_Part = tuple[str, Recur, State, list[str]]


def as_cell(model: Any, *, dtype: torch.dtype | None = None) -> ModelCell:
    """The pure function `states, y = cell(states, x)` of a whole model.

    `states` is the dictionary that `rnnlab.states(model)` gives, by the same names. The model's own
    running state, mode and gradients are neither read nor changed by a call.

    Args:
        model: a Recur, a Chain, an adapted model, any `nn.Module` with Recurs inside, or a cell.
        dtype: compute in this type (torch.float64, say), with converted copies of the weights; the
            model keeps its own. Floating-point states and inputs are converted too.

    Returns:
        A `ModelCell`: callable, with `initial_state`, and `flat` and `unflat` between the
        dictionary and one vector.

    Raises:
        RnnlabError: a model without state, or one that cannot be copied (at construction); names
            or structures that do not fit the model, and whatever the model refuses (at the call).

    Everything works under torch.func (`jacrev`, `jvp`, `vmap`, nested): torch's fused operators,
    which have no rules for these, are replaced by the equation that they compute.

    Example:
        >>> import rnnlab as rl
        >>> cell = as_cell(rl.Chain(rl.LSTM(2, 3), rl.Dense(3, 1)), dtype=torch.float64)
        >>> states, y = cell(cell.initial_state(), torch.ones(2))
        >>> cell.names, y.shape, y.dtype
        (('0.h', '0.c'), torch.Size([1]), torch.float64)
        >>> x, s = torch.ones(2), cell.flat(states)
        >>> torch.func.jacrev(lambda s: cell.flat_step(s, x)[0])(s).shape
        torch.Size([6, 6])
    """
    return ModelCell(model, dtype=dtype)


class ModelCell:
    """A whole model as a cell: `states, y = cell(states, x)`; made by `as_cell`.

    It is a cell like any other: `Recur(as_cell(model))` runs it, with a state of its own.
    It follows the model: an optimiser step on the model, `eval()` or a moved model are seen at the
    next call, and gradients reach the model's weights. Hooks on the model run as on any call.

    A vector holds the states in the order of `names`, each flattened (its units last, row by row):
    `flat` and `unflat` convert, `slices` says where each state lies.

    Attributes:
        model: the model.
        names: the names of the states, in the order of the vector.
        shapes: name → shape of that state for one row (without a batch): `(H,)` as a rule.
        slices: name → its place in the vector.
        size: S, the length of the vector.
        dtype: the type it computes in, or None for the model's own.

    Shapes: x as the model takes it; each state `(H,)` or `(B, H)`, the vector `(S,)` or `(B, S)`.

    Raises:
        RnnlabError: see `as_cell`.

    Example:
        >>> import rnnlab as rl
        >>> cell = as_cell(rl.LSTM(2, 3))
        >>> cell
        ModelCell(Recur(LSTMCell(2, 3)))
        >>> cell.names, cell.slices["c"], cell.size
        (('h', 'c'), slice(3, 6, None), 6)
        >>> s = cell.flat(cell.initial_state(batch=4))
        >>> s, y = cell.flat_step(s, torch.ones(4, 2))
        >>> s.shape, cell.unflat(s)["c"].shape
        (torch.Size([4, 6]), torch.Size([4, 3]))
    """

    def __init__(self, model: Any, *, dtype: torch.dtype | None = None) -> None:
        if not recurs(model) and callable(getattr(model, "initial_state", None)):
            model = Recur(model)
        if not isinstance(model, nn.Module) or not recurs(model):
            text = " ".join(repr(model).split())
            raise RnnlabError(
                f"as_cell: {text[:80]} has no state. Give a Recur, a Chain with one inside, "
                "adapt(model) of a torch model, or Recur(cell, init) around a cell function of "
                "your own."
            )
        if dtype is not None and not dtype.is_floating_point:
            raise RnnlabError(f"as_cell: dtype must be a floating-point type, got {dtype}.")
        self.model = model
        self.dtype = dtype
        leaves = dict(self._leaves())
        self.names = tuple(leaves)
        self.shapes = {
            name: tuple(leaf.shape) if isinstance(leaf, Tensor) else ()
            for name, leaf in leaves.items()
        }
        self.slices: dict[str, slice] = {}
        self.size = 0
        for name, shape in self.shapes.items():
            self.slices[name] = slice(self.size, self.size + prod(shape))
            self.size += prod(shape)
        self._start()

    def _start(self) -> None:
        self._lock = threading.RLock()
        self._copy: nn.Module | None = None
        self._seen: list[Any] = []
        self._parts: list[_Part] = []
        self._by_equations = False
        self._current()

    @property
    def state_names(self) -> tuple[str, ...]:
        """The names of the parts of the state: `names`."""
        return self.names

    def initial_state(self, batch: int | None = None) -> States:
        """The states before the first step: the model's initial ones, whatever its running state.

        With `batch`, every tensor has a first dimension of that size.
        """
        found: States = {}
        for name, leaf in self._leaves():
            leaf = self._converted(leaf)
            if batch is not None and isinstance(leaf, Tensor):
                leaf = leaf.expand(batch, *leaf.shape)
            found[name] = leaf
        return found

    def __call__(self, states: Mapping[str, Any], *xs: Any) -> tuple[States, Any]:
        self._check_mapping(states)
        missing = [name for name in self.names if name not in states]
        unknown = [str(name) for name in states if name not in self.names]
        if missing or unknown:
            said = [f"missing: {', '.join(missing)}"] if missing else []
            said += [f"unknown: {', '.join(unknown)}"] if unknown else []
            raise RnnlabError(
                f"{self!r}: the states do not fit ({'; '.join(said)}). "
                f"They are: {', '.join(self.names)}."
            )
        xs = tuple(map_leaves(self._converted, x) for x in xs)
        with self._lock:
            model, parts = self._current()
            try:
                for _, recur, init, names in parts:
                    values = (self._converted(states[name]) for name in names)
                    recur.__dict__["_state"] = fill(init, values)
                if _transformed() or self._by_equations:
                    with Unfused():
                        y = model(*xs)
                else:
                    y = model(*xs)
                after = {
                    name: leaf
                    for path, recur, _, _ in parts
                    for name, leaf in _named(path, recur, recur.__dict__["_state"])
                }
            finally:
                for _, recur, _, _ in parts:
                    recur.__dict__["_state"] = AT_INIT
                    recur.__dict__["_lead"] = None
        if tuple(after) != self.names:
            raise RnnlabError(
                f"{self!r}: a step changed the structure of the states from "
                f"{', '.join(self.names)} to {', '.join(after)}."
            )
        return after, y

    def flat(self, states: Mapping[str, Any]) -> Tensor:
        """The states as one vector `(S,)`, or `(B, S)`, in the order of `names`.

        States without a batch are repeated for every row if others have one.
        """
        self._check_mapping(states)
        rows: list[Tensor] = []
        given = [value for value in states.values() if isinstance(value, Tensor)]
        factory: Any = {"dtype": self._real, "device": given[0].device if given else None}
        for name, shape in self.shapes.items():
            if name not in states:
                raise RnnlabError(
                    f"{self!r}: the state {name} is missing. They are: {', '.join(self.names)}."
                )
            value = self._converted(states[name])
            value = value if isinstance(value, Tensor) else torch.as_tensor(value, **factory)
            lead = value.dim() - len(shape)
            if lead < 0 or tuple(value.shape[lead:]) != shape:
                raise RnnlabError(
                    f"{self!r}: state {name} has shape {tuple(value.shape)}, expected {shape} or a "
                    "batch of it."
                )
            rows.append(value.reshape((*value.shape[:lead], prod(shape))))
        try:
            lead = torch.broadcast_shapes(*(row.shape[:-1] for row in rows))
        except RuntimeError as error:
            found = (
                f"{n} {tuple(states[n].shape)}" for n in self.names if hasattr(states[n], "shape")
            )
            raise RnnlabError(
                f"{self!r}: the states have different batches: {', '.join(found)}."
            ) from error
        return torch.cat([row.expand(*lead, row.shape[-1]) for row in rows], dim=-1)

    def _check_mapping(self, states: Any) -> None:
        if not isinstance(states, Mapping):
            raise RnnlabError(
                f"{self!r}: the states must be a dictionary, as initial_state() gives it, got "
                f"{describe(states)}. unflat(vector) makes one of a vector."
            )

    def unflat(self, vector: Tensor) -> States:
        """The states that `flat` made `vector` from, `(S,)` or `(B, S)`."""
        if not isinstance(vector, Tensor) or not vector.dim() or vector.shape[-1] != self.size:
            raise RnnlabError(
                f"{self!r}: a vector of states has {self.size} entries, got {describe(vector)}."
            )
        return {
            name: vector[..., self.slices[name]].reshape((*vector.shape[:-1], *shape))
            for name, shape in self.shapes.items()
        }

    def flat_step(self, vector: Tensor, *xs: Any) -> tuple[Tensor, Any]:
        """One step on vectors: `s, y = cell.flat_step(s, x)`; s `(S,)` or `(B, S)`."""
        states, y = self(self.unflat(vector), *xs)
        return self.flat(states), y

    def __repr__(self) -> str:
        text = " ".join(repr(self.model).split())
        return f"ModelCell({text})"

    def __getstate__(self) -> dict[str, Any]:
        private = ("_lock", "_copy", "_seen", "_parts", "_by_equations")
        return {name: value for name, value in self.__dict__.items() if name not in private}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def _leaves(self) -> Iterator[tuple[str, Any]]:
        for path, recur in recurs(self.model):
            yield from _named(path, recur, recur.init)

    @property
    def _real(self) -> torch.dtype:
        """The type of a state that is a plain number, in a vector."""
        if self.dtype is not None:
            return self.dtype
        kinds = [leaf.dtype for _, leaf in self._leaves() if isinstance(leaf, Tensor)]
        kinds = [kind for kind in kinds if kind.is_floating_point]
        return kinds[0] if kinds else torch.get_default_dtype()

    def _converted(self, value: Any) -> Any:
        if self.dtype is None or not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        return value.to(self.dtype)

    def _current(self) -> tuple[nn.Module, list[_Part]]:
        """The private copy that calls run on, made anew when the model is no longer the same."""
        seen = _marks(self.model, values=self.dtype is not None)
        same = len(seen) == len(self._seen) and all(
            a is b or (type(a) is int and a == b) for a, b in zip(seen, self._seen, strict=True)
        )
        if self._copy is None or not same:
            with _outside(self.model), torch.inference_mode(False):
                self._copy = private_copy(self.model, self._converted)
            self._seen = seen
            self._parts = [
                (path, recur, recur.init, [name for name, _ in _named(path, recur, recur.init)])
                for path, recur in recurs(self._copy)
            ]
            # cuDNN wants weights in one piece, which a copy's are not, and derives no derivative
            self._by_equations = any(
                weight.is_cuda
                for module in self._copy.modules()
                if isinstance(module, nn.RNNBase)
                for weight in module.parameters()
            )
        return self._copy, self._parts


def _named(path: str, recur: Recur, state: State) -> Iterator[tuple[str, Any]]:
    for name, leaf in named_leaves(state, top=recur._state_names):
        yield (f"{path}.{name}" if path else name), leaf


def _outside(model: nn.Module) -> AbstractContextManager[Any]:
    """Out of the transforms of torch.func, so that a copy made here may outlive them.

    A model whose weights are given for one call, inside (`functional_call`), is copied there.
    """
    given = any(map(is_functorch_wrapped_tensor, (*model.parameters(), *model.buffers())))
    return nullcontext() if given else temporarily_clear_interpreter_stack()


def _marks(model: nn.Module, *, values: bool) -> list[Any]:
    """What a call depends on, object by object; the version of what a private copy copies."""
    marks: list[Any] = []
    for module in model.modules():
        slots = module.__dict__
        running = ("_state", "_lead") if isinstance(module, Recur) else ()
        own = [slot for name, slot in slots.items() if name not in running]
        marks += own
        marks += slots["_modules"].values()
        marks += slots["_forward_pre_hooks"].values()
        marks += slots["_forward_hooks"].values()
        marks += slots["_parameters"].values()
        marks += slots["_buffers"].values()
        copied = [*slots["_buffers"].values(), *(slot for slot in own if isinstance(slot, Tensor))]
        if values:
            copied += slots["_parameters"].values()
        for value in copied:
            if value is not None:
                # made in inference mode it counts no changes, and in a transform it has no place
                version = None if value.is_inference() else value._version
                marks += [version, None if is_functorch_wrapped_tensor(value) else value.data_ptr()]
    return marks


def private_copy(
    model: nn.Module, converted: Callable[[Any], Any] = lambda value: value
) -> nn.Module:
    """A copy with the same parameters (or converted ones), buffers and states of its own."""
    memo: dict[int, Any] = {}
    with torch.enable_grad():
        for module in model.modules():
            for weight in module._parameters.values():
                if weight is not None:
                    memo[id(weight)] = converted(weight)
            for value in (*module._buffers.values(), *module.__dict__.values()):
                if isinstance(value, Tensor):
                    # deepcopy itself refuses what is computed from parameters
                    memo[id(value)] = converted(value.clone())
    try:
        private = copy.deepcopy(model, memo)
    except Exception as error:
        text = " ".join(repr(model).split())
        raise RnnlabError(
            f"as_cell: no private copy of {text[:80]} could be made "
            f"({type(error).__name__}: {error}). Keep what cannot be copied out of the module, or "
            "give its class a __deepcopy__."
        ) from error
    for _, recur in recurs(private):
        recur.__dict__["_state"] = AT_INIT
        recur.__dict__["_lead"] = None
    for module in private.modules():
        # any faster evaluation of a cell may lack a rule or reuse its memory: the equation does not
        if isinstance(module, Cell) and type(module).project is not Cell.project:
            module.__dict__["step"] = _Equation(module)
        if isinstance(module, nn.RNNBase):  # the weights are the owner's, or of no memory at all
            module.__dict__["flatten_parameters"] = _nothing
    return private


def _nothing() -> None:
    """In place of what lays the weights side by side for cuDNN."""


class _Equation:
    """`cell.step` by the documented equation."""

    def __init__(self, cell: Cell) -> None:
        self.update, self.project = cell.update, cell.project

    def __call__(self, state: State, x: Tensor) -> tuple[State, Tensor]:
        return self.update(state, self.project(x))


def _transformed() -> bool:
    """Whether torch.func or forward-mode differentiation is at work."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
