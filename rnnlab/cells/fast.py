"""Steps in inference, in memory that is used again: a few operations where torch does twenty.

A single step of a small cell costs what its calls cost, not its arithmetic. Where no gradient is
wanted, the temporaries can lie where they lay at the step before, and the slices of them be formed
once. Weights are never copied: every step reads the parameters themselves, so nothing can be out
of date. States and outputs are new tensors at every step: whoever keeps one keeps it unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter
from torch.nn.modules import module as _torch_module

from rnnlab.cells.base import Cell
from rnnlab.nested import State

LARGEST = 1 << 20
"""Bytes of temporaries kept for one cell. A step that needs more costs its arithmetic anyway."""

NONE = object()
"""No running state is this one."""

Run = Callable[[Any, Tensor], tuple[State, Tensor]]

_Step = TypeVar("_Step", bound=Callable[..., Any])

_grad = torch.is_grad_enabled
_compiling = torch.compiler.is_dynamo_compiling
_autocast = torch.is_autocast_enabled
_transformed = torch._C._are_functorch_transforms_active
_modes = torch._C._len_torch_dispatch_stack
_tracing = torch._C._get_tracing_state


def plain_inference() -> bool:
    """Whether operations are done as they are written, on the CPU, and nobody wants a gradient."""
    return not (
        _grad()
        or _compiling()
        or _autocast("cpu")
        or _transformed()
        or _modes()
        or _tracing() is not None
        or forward_ad._current_level >= 0
    )


def disturbed(outer: dict[str, Any], inner: dict[str, Any]) -> bool:
    """Whether someone listens to the calls of two modules, or has replaced what they do.

    The modules are given as their `__dict__`.
    """
    return bool(
        outer["_forward_hooks"]
        or outer["_forward_pre_hooks"]
        or inner["_forward_hooks"]
        or inner["_forward_pre_hooks"]
        or "forward" in outer
        or "_compiled_call_impl" in outer
        or "forward" in inner
        or "step" in inner
        or "_compiled_call_impl" in inner
        or _torch_module._global_forward_hooks
        or _torch_module._global_forward_pre_hooks
    )


class FastStep:
    """A step of `cell` in inference for one shape of x, with its temporaries.

    A subclass has the formula: `make` gives the function `state, y = run(state, x)`. It belongs to
    one way of taking a step, which names it (`in_inference`): a cell with another `step` has none.
    One call uses it at a time: whoever takes it from a `Stepper` gives it back.
    """

    blocks: ClassVar[int]
    """Rows of the weights in units of H."""

    def __init__(self, cell: Any, weights: list[Parameter], x: Tensor) -> None:
        self.weight_ih, self.weight_hh = weights[:2]
        self.bias = weights[2] if len(weights) > 2 else None
        # views: they show whatever the parameters hold, as long as that stays in its place
        self.view_ih, self.view_hh = self.weight_ih.detach(), self.weight_hh.detach()
        self.current = self._current(cell)
        self.vector = x.dim() == 1
        lead = x.shape[:-1]

        def temporary(blocks: int) -> Tensor:
            return torch.empty(*lead, blocks * cell.hidden_size, dtype=x.dtype, device="cpu")

        self.run = self.make(cell, temporary)

    def _current(self, cell: Any) -> Callable[[], bool]:
        """The function that says whether the cell still has these weights, where they were."""
        own, slots, activation = cell._parameters, cell.__dict__, cell.__dict__.get("activation")
        weight_ih, weight_hh, bias = self.weight_ih, self.weight_hh, self.bias
        ih_in_place, hh_in_place = self.view_ih.is_set_to, self.view_hh.is_set_to

        def current() -> bool:
            return (
                own["weight_ih"] is weight_ih
                and own["weight_hh"] is weight_hh
                and own.get("bias") is bias
                and slots.get("activation") is activation
                and ih_in_place(weight_ih)
                and hh_in_place(weight_hh)
            )

        return current

    @classmethod
    def suits(cls, cell: Any) -> bool:
        """Whether it computes what this cell does."""
        return True

    def make(self, cell: Any, temporary: Callable[[int], Tensor]) -> Run:
        """The step, on temporaries `(…, blocks · H)`. States and outputs lie in new memory."""
        raise NotImplementedError

    def of_input(self, out: Tensor) -> Callable[[Tensor], Any]:
        """The function that puts W x + b into `out`."""
        weight, transposed, bias = self.weight_ih, self.view_ih.t(), self.bias
        mm, addmm, mv, addmv = torch.mm, torch.addmm, torch.mv, torch.addmv
        if bias is None:
            if self.vector:
                return lambda x: mv(weight, x, out=out)
            return lambda x: mm(x, transposed, out=out)
        if self.vector:
            return lambda x: addmv(bias, weight, x, out=out)
        return lambda x: addmm(bias, x, transposed, out=out)

    def of_state(self, out: Tensor) -> Callable[[Tensor], Any]:
        """The function that puts U h into `out`."""
        weight, transposed = self.weight_hh, self.view_hh.t()
        if self.vector:
            return lambda h: torch.mv(weight, h, out=out)
        return lambda h: torch.mm(h, transposed, out=out)

    def of_both(self, out: Tensor) -> Callable[[Tensor, Tensor], Any]:
        """The function that puts W x + b + U h into `out`."""
        of_input = self.of_input(out)
        if self.vector:
            recurrent, add_product_ = self.weight_hh, out.addmv_

            def vectors(x: Tensor, h: Tensor) -> None:
                of_input(x)
                add_product_(recurrent, h)

            return vectors
        transposed, add_product_ = self.view_hh.t(), out.addmm_

        def rows(x: Tensor, h: Tensor) -> None:
            of_input(x)
            add_product_(h, transposed)

        return rows


def in_inference(fast: type[FastStep]) -> Callable[[_Step], _Step]:
    """Says of a cell's `step` that `fast` computes the same where no gradient is wanted."""

    def mark(step: _Step) -> _Step:
        step.in_inference = fast  # type: ignore[attr-defined]
        return step

    return mark


class Stepper:
    """The fast steps of one Recur: for what it ran last, and none for anything else.

    It holds nothing that could not be formed again: copies and pickles of it are empty.
    """

    __slots__ = ("cell", "dtype", "free", "shape", "state")

    def __init__(self) -> None:
        self.state: State = NONE
        """The last state that was reached in inference; NONE if a step has to be checked."""
        self.cell: Any = None
        self.shape: torch.Size | None = None
        self.dtype: torch.dtype | None = None
        self.free: list[FastStep] = []

    def __reduce__(self) -> Any:
        return Stepper, ()

    def __deepcopy__(self, memo: Any) -> Stepper:
        return Stepper()

    def passed(self, cell: Any, state: State, x: Any) -> None:
        """A step from x to `state` has been checked and taken; the next may go without."""
        if (
            plain_inference()
            and type(x) is Tensor
            and x.is_cpu
            and isinstance(cell, Cell)
            and type(cell).forward is Cell.forward
            and hasattr(type(cell).step, "in_inference")
        ):
            if cell is not self.cell or x.shape != self.shape or x.dtype != self.dtype:
                self.cell, self.shape, self.dtype = cell, x.shape, x.dtype
                self.free = []  # a step that is under way goes back to the old list
            self.state = state

    def step(self, slots: dict[str, Any], state: State, xs: Any) -> tuple[State, Tensor] | None:
        """The new state and the output; None where the step has to be taken as usual.

        `state` is the one that was given to `passed`, or that came from here the last time;
        `slots` is the `__dict__` of the Recur. An x of another type or device is refused by the
        operations themselves.
        """
        x, cell = xs[0], self.cell
        if (
            not plain_inference()
            or type(x) is not Tensor
            or x.shape != self.shape
            or slots["_modules"].get("cell") is not cell
            or disturbed(slots, cell.__dict__)
        ):
            return None
        free = self.free
        try:
            fast = free.pop()  # so that no other thread has the same temporaries
            if not fast.current():
                raise KeyError
        except (IndexError, KeyError):
            fast = _made(cell, x)
            if fast is None:
                self.state = NONE
                return None
        try:
            result = fast.run(state, x)
        except RuntimeError:  # the usual way knows what to say
            return None
        free.append(fast)
        self.state = result[0]
        return result


def _made(cell: Any, x: Tensor) -> FastStep | None:
    """A fast step for `cell` and x, if there is one."""
    kind: type[FastStep] | None = getattr(type(cell).step, "in_inference", None)
    if kind is None or type(cell).forward is not Cell.forward:
        return None
    own = cell._parameters
    names = ("weight_ih", "weight_hh", "bias")[: 3 if own.get("bias") is not None else 2]
    weights = [own.get(name) for name in names]
    rows = x.shape[0] if x.dim() > 1 else 1
    size = kind.blocks * cell.hidden_size
    if (
        not kind.suits(cell)
        or any(type(weight) is not Parameter for weight in weights)
        or getattr(cell, "bias", None) is not own.get("bias")
        or any(weight.dtype is not x.dtype or not weight.is_cpu for weight in weights)
        or not all(weight.is_contiguous() for weight in weights)
        or [tuple(weight.shape) for weight in weights]
        != [(size, cell.input_size), (size, cell.hidden_size), (size,)][: len(weights)]
        or rows * size * x.element_size() > LARGEST
    ):
        return None
    with torch.inference_mode(False), torch.no_grad():
        return kind(cell, weights, x)
