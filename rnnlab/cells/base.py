"""What every cell of the library keeps to, and the activations they share."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rnnlab.errors import RnnlabError
from rnnlab.nested import State

Activation = Callable[[Tensor], Tensor]
Parts = tuple[Tensor, ...]
Update = Callable[[State, Tensor], tuple[State, Tensor]]


def identity(x: Tensor) -> Tensor:
    """x itself: the activation of a linear layer.

    Example:
        >>> rnn = __import__("rnnlab").RNNCell(10, 5, identity)
        >>> rnn
        RNNCell(10, 5)
    """
    return x


ACTIVATIONS: dict[str, Activation] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "softplus": nn.functional.softplus,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
    "identity": identity,
}
_ALIASES = {nn.functional.relu: torch.relu, nn.functional.tanh: torch.tanh}


def named_activation(value: str | Activation, owner: str) -> Activation:
    """The function that `value` names, or `value` itself if it is a function.

    Raises:
        RnnlabError: the name is unknown, or `value` is neither a name nor callable.
    """
    if isinstance(value, str):
        if value in ACTIVATIONS:
            return ACTIVATIONS[value]
        near = difflib.get_close_matches(value, ACTIVATIONS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise RnnlabError(
            f"{owner}: unknown activation {value!r}.{hint} "
            f"Known: {', '.join(ACTIVATIONS)}; or give a function."
        )
    if not callable(value):
        raise RnnlabError(
            f"{owner}: the activation must be a name or a function, not {value!r}. "
            f"Known names: {', '.join(ACTIVATIONS)}."
        )
    return _ALIASES.get(value, value)


def activation_name(fn: Activation) -> str:
    """How an activation is printed: its name, without package or address."""
    if isinstance(fn, nn.Module):
        return repr(fn)
    return next(
        (name for name, known in ACTIVATIONS.items() if known is fn),
        getattr(fn, "__name__", type(fn).__name__),
    )


def check_sizes(owner: str, **sizes: int) -> None:
    """Raise unless every size is a positive whole number."""
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise RnnlabError(f"{owner}: {name} must be a whole number ≥ 1, got {size!r}.")


def glorot_uniform(*shape: int, device: Any = None, dtype: Any = None) -> nn.Parameter:
    """A trainable matrix drawn uniformly from ±√(6 / (rows + columns)) (Glorot & Bengio 2010)."""
    weight = nn.Parameter(torch.empty(*shape, device=device, dtype=dtype))
    nn.init.xavier_uniform_(weight)
    return weight


_FORMULA = ("project", "equation", "combine", "recurrent_weight", "recurrent_input", "update")


class Cell(nn.Module):
    r"""A recurrent cell: the pure function `state', y = cell(state, x)`.

    A subclass writes its formula once, in two parts, so that a whole sequence can share the first:

        u = project(x)             what depends on the input alone
        equation(state, u)         what has to wait for the state: every intermediate by name

    `update`, `gates`, stepping and unrolling follow from these. A subclass may replace `step` by a
    faster evaluation of the same equation and `kernel` by one for a whole sequence. Cells whose
    state enters through one matrix product are better written as an `AdditiveCell`.

    Shapes: x `(I,)` or `(B, I)`; each part of the state `(H,)` or `(B, H)`; y like the state.
    A state `(H,)` given with a batched x is broadcast over the batch.
    """

    state_names: ClassVar[tuple[str, ...]] = ("h",)
    """Names of the parts of the state, in order. One name: the state is a tensor, else a tuple."""

    gate_names: ClassVar[tuple[str, ...]] = ()
    """Names of the intermediates that `gates` returns, states not included."""

    input_size: int
    hidden_size: int

    def __init_subclass__(cls, **options: Any) -> None:
        """A class that changes the formula loses the faster evaluations of the old one."""
        super().__init_subclass__(**options)
        if any(part in cls.__dict__ for part in _FORMULA):
            for fast in ("step", "kernel"):
                if fast not in cls.__dict__ and getattr(cls, fast) is not getattr(Cell, fast):
                    setattr(cls, fast, getattr(Cell, fast))

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        check_sizes(type(self).__name__, input_size=input_size, hidden_size=hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size

    def add_initial_state(self, train_init: bool, **factory: Any) -> None:
        """Create `h0`, `c0`, … at zero: parameters, or buffers if `train_init` is false."""
        for name in self.state_names:
            zero = torch.zeros(self.hidden_size, **factory)
            if train_init:
                self.register_parameter(f"{name}0", nn.Parameter(zero))
            else:
                self.register_buffer(f"{name}0", zero)

    def initial_state(self) -> State:
        """The state before the first step: `h0`, or `(h0, c0)`; each part `(H,)`."""
        own = self._parameters
        parts = []
        for name in self.state_names:
            part = own.get(f"{name}0")
            parts.append(getattr(self, f"{name}0") if part is None else part)
        return parts[0] if len(parts) == 1 else tuple(parts)

    def state_sizes(self) -> tuple[int, ...]:
        """How many units each part of the state has."""
        return (self.hidden_size,) * len(self.state_names)

    def project(self, x: Tensor) -> Tensor:
        """The part of the update that depends on the input alone; any leading dimensions."""
        raise NotImplementedError

    def equation(self, state: State, u: Tensor) -> dict[str, Tensor]:
        """Every named intermediate of one update and the new state; `u` is `project(x)`.

        Keys: `gate_names`, then `state_names`; `y` too where the output is not the first state.
        Takes any leading dimensions.
        """
        raise NotImplementedError

    def update(self, state: State, u: Tensor) -> tuple[State, Tensor]:
        """One step from `u = project(x)`: the new state and the output."""
        return self._result(self.equation(state, u))

    def stepper(self) -> Update:
        """`update` for many steps in a row: what is the same in all of them is formed once."""
        return self.update

    def _result(self, values: dict[str, Tensor]) -> tuple[State, Tensor]:
        names = self.state_names
        state = values[names[0]] if len(names) == 1 else tuple(values[name] for name in names)
        return state, values.get("y", values[names[0]])

    def gates(self, state: State, x: Tensor) -> dict[str, Tensor]:
        """Every named intermediate of one update, and the new state, by the documented equation.

        Takes any leading dimensions, so a whole run is one call with time as the batch axis.
        """
        return self.equation(state, self.project(x))

    def step(self, state: State, x: Tensor) -> tuple[State, Tensor]:
        """One update without checking the arguments."""
        return self.update(state, self.project(x))

    has_kernel: bool = False
    """Whether torch has a fused kernel for a whole sequence of this cell."""

    @property
    def fused(self) -> bool:
        """Whether `kernel` computes this cell's formula."""
        return self.has_kernel and type(self).kernel is not Cell.kernel

    def kernel(self, state: State, xs: Tensor) -> tuple[State, Tensor]:
        """The whole sequence xs `(T, B, I)` through the fused kernel: last state and ys."""
        raise NotImplementedError

    def forward(self, state: State, x: Tensor) -> tuple[State, Tensor]:
        self.check(state, x)
        return self.step(state, x)

    def check(self, state: State, x: Tensor) -> None:
        """Raise RnnlabError unless `step(state, x)` is well defined."""
        self.check_input(x)
        self.check_state(state, x)

    def check_state(self, state: State, x: Tensor, *, leading: int = 0) -> None:
        """Raise RnnlabError unless the state goes with an x that is right in itself.

        x has `leading` more dimensions in front (time).
        """
        names = self.state_names
        parts = (state,) if len(names) == 1 else state
        if not isinstance(parts, tuple) or len(parts) != len(names):
            wanted = ", ".join(names)
            raise RnnlabError(f"{self!r}: the state must be ({wanted}), got {describe(state)}.")
        lead, dtype, device = x.shape[leading:-1], x.dtype, x.device
        for name, part, size in zip(names, parts, self.state_sizes(), strict=True):
            if not (
                isinstance(part, Tensor)
                and part.shape in ((size,), (*lead, size))
                and part.dtype == dtype
                and part.device == device
            ):
                self._refuse_part(name, part, size, lead, x)

    def check_input(self, x: Any, *, leading: int = 0) -> None:
        """Raise unless x is `(I,)` or `(B, I)`, after `leading` more dimensions (time)."""
        if not isinstance(x, Tensor):
            raise RnnlabError(
                f"{self!r}: x must be a torch tensor, got {describe(x)}. "
                "torch.as_tensor(x, dtype=torch.float32) makes one."
            )
        shape = x.shape
        if len(shape) not in (1 + leading, 2 + leading):
            wanted = "(T, I) or (T, B, I)" if leading else "(I,) or (B, I)"
            raise RnnlabError(f"{self!r}: x must have shape {wanted}; x.shape = {tuple(shape)}")
        if shape[-1] != self.input_size:
            raise RnnlabError(
                f"{self!r}: x has {shape[-1]} features, expected {self.input_size}; "
                f"x.shape = {tuple(shape)}"
            )
        for weight in self._parameters.values():
            if weight is not None:
                break
        else:  # all parametrised, or in submodules
            weight = next(self.parameters())
        if x.dtype != weight.dtype and not converted(x, weight):
            raise RnnlabError(
                f"{self!r}: x is {x.dtype} and the weights are {weight.dtype}. "
                f"x.to({weight.dtype}) converts the input."
            )
        if x.device != weight.device:
            raise RnnlabError(
                f"{self!r}: x is on {x.device} and the weights are on {weight.device}. "
                f"x.to({str(weight.device)!r}) moves the input."
            )

    def _refuse_part(self, name: str, part: Any, size: int, lead: torch.Size, x: Tensor) -> None:
        if not isinstance(part, Tensor):
            raise RnnlabError(f"{self!r}: state {name} must be a tensor, got {describe(part)}.")
        shape = part.shape
        if len(shape) not in (1, 2) or shape[-1] != size:
            raise RnnlabError(
                f"{self!r}: state {name} must have shape ({size},) or (B, {size}); "
                f"{name}.shape = {tuple(shape)}"
            )
        if len(shape) == 2 and lead != shape[:1]:
            raise batch_changed(repr(self), tuple(shape[:-1]), tuple(lead))
        if part.dtype != x.dtype and not converted(part, x):
            raise RnnlabError(
                f"{self!r}: state {name} is {part.dtype} and x is {x.dtype}; "
                "both must have the dtype of the weights."
            )
        if part.device != x.device:
            raise RnnlabError(
                f"{self!r}: state {name} is on {part.device} and x is on {x.device}. "
                f"{name}.to({str(x.device)!r}) moves the state."
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.describe_arguments())})"

    def describe_arguments(self) -> list[str]:
        """The arguments that `repr` shows: the sizes, then whatever is not the default."""
        shown = [str(self.input_size), str(self.hidden_size)]
        if getattr(self, "bias", True) is None:
            shown.append("bias=False")
        return shown


class AdditiveCell(Cell):
    r"""A cell whose state enters through one matrix product: gates are sums of Wx and Uh.

        u = project(x),   v = U s,   combine(state, u, v)

    with U = `recurrent_weight()` and s = `recurrent_input(state)`; `combine` is elementwise. U
    is formed once for a sequence, not once a step.
    """

    weight_hh: nn.Parameter

    def recurrent_weight(self) -> Tensor:
        """U `(K, S)`: the parameter itself, or what is built from parameters."""
        return self.weight_hh

    def recurrent_input(self, state: State) -> Tensor:
        """s `(…, S)`: the vector that U multiplies; the state h unless said otherwise."""
        return state if len(self.state_names) == 1 else state[0]

    def combine(self, state: State, u: Tensor, v: Tensor) -> dict[str, Tensor]:
        """`equation` with the product `v = U s` already formed."""
        raise NotImplementedError

    def equation(self, state: State, u: Tensor) -> dict[str, Tensor]:
        v = linear(self.recurrent_input(state), self.recurrent_weight())
        return self.combine(state, u, v)

    def stepper(self) -> Update:
        kind = type(self)
        if kind.equation is not AdditiveCell.equation or kind.update is not Cell.update:
            return self.update
        weight, result = self.recurrent_weight(), self._result
        combine, recurrent_input = self.combine, self.recurrent_input

        def step(state: State, u: Tensor) -> tuple[State, Tensor]:
            return result(combine(state, u, linear(recurrent_input(state), weight)))

        return step


def converted(*values: Tensor) -> bool:
    """Whether autocast gives each of these the type that an operation wants (doubles it leaves)."""
    fits = all(value.is_floating_point() and value.dtype != torch.float64 for value in values)
    return fits and autocasts(values[0].device.type)


def autocasts(device: str) -> bool:
    """Whether autocast is at work on this kind of device."""
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def as_parts(state: State) -> Parts:
    """The parts of a cell's state as a tuple, also of a state that is one tensor."""
    return state if isinstance(state, tuple) else (state,)


def as_state(parts: Parts) -> State:
    """The state that `as_parts` took apart."""
    return parts[0] if len(parts) == 1 else parts


RESET = "Call reset(model) before starting with another batch size."
"""What to do about a batch that differs from the state's; who drives the model says it his way."""


def batch_changed(owner: str, before: tuple[int, ...], now: tuple[int, ...]) -> RnnlabError:
    """The error for an input whose batch differs from the state's."""

    was = f"for a batch of {_sizes(before)}" if before else "unbatched"
    has = f"has a batch of {_sizes(now)}" if now else "is unbatched"
    return RnnlabError(f"{owner}: the state is {was}, x {has}. {RESET}")


def _sizes(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def describe(value: Any) -> str:
    """A short, exact description of a state or input for an error message."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, (tuple, list, dict)):
        return f"a {type(value).__name__} of {len(value)}"
    if hasattr(value, "shape") and hasattr(value, "dtype"):  # an array of another library
        return f"{type(value).__name__} of shape {tuple(value.shape)} and type {value.dtype}"
    return f"{type(value).__name__} {value!r}" if value is not None else "None"


def as_rows(part: Tensor, batch: int) -> Tensor:
    """A part of the state with a row for each of the batch, `(B, H)`, row after row in memory.

    A part `(H,)` is expanded; its gradient sums.
    """
    if batch == 1:  # nothing to sum
        return part.reshape(1, -1).contiguous()
    return part.expand(batch, -1).contiguous()


def for_kernel(part: Tensor, batch: int) -> Tensor:
    """A part of the state as torch's sequence kernels take it, `(1, B, H)`."""
    return as_rows(part, batch).unsqueeze(0)
