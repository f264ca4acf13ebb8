"""graphed: a step on the GPU as one CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rnnlab.cells.base import autocasts, describe
from rnnlab.errors import RnnlabError
from rnnlab.nested import State, fill, named_leaves
from rnnlab.recur import AT_INIT, Recur, recurs

_WARM_UPS = 3
"""Steps before the capture: libraries choose their ways and allocate their memory in these."""


def graphed(model: Any, x: Tensor) -> Graphed:
    """A model on an NVIDIA GPU whose single steps are replayed as one CUDA graph, for inference.

    A step of a small model on the GPU takes as long as its launches; replayed, there is one.

    Args:
        model: a Recur, Chain or any module with Recurs inside, on a GPU, that gives a tensor. What
            it does must not depend on the values of x (no branch on them, no `.item()`).
        x: an example input, `(I,)` or `(B, I)`, on that GPU; its values do not count.

    Returns:
        A `Graphed`: call it in place of the model.

    Raises:
        RnnlabError: x or the model is not on a GPU; a model without state, or with a state or
            output that is not a tensor; a step that cannot be captured; autocast is on (also at a
            call); at a call: an x of another shape, dtype or device.

    The model's running state is what it would be otherwise: `model.state`, `reset(model)`,
    `load_states(model, …)` and ordinary calls work between graphed ones, and what a call has
    returned or left as a state does not change afterwards. No gradient is recorded. Weights are
    read where they are, so changed values count at once; if they were moved (`model.to(…)`, cuDNN's
    buffer), or the module was put into another mode, the next call captures anew.

    Example:
        >>> import rnnlab as rl
        >>> graphed(rl.LSTM(2, 3), torch.ones(2))
        Traceback (most recent call last):
        rnnlab.errors.RnnlabError: graphed: CUDA graphs need an NVIDIA GPU; x is on cpu. \
model.to("cuda") and x.to("cuda") move both.
    """
    if not isinstance(x, Tensor) or not x.is_cuda:
        where = f"x is on {x.device}" if isinstance(x, Tensor) else f"x is {describe(x)}"
        raise RnnlabError(
            f'graphed: CUDA graphs need an NVIDIA GPU; {where}. model.to("cuda") and x.to("cuda") '
            "move both."
        )
    return Graphed(model, x, partial(_captured, x.device))


class Graphed:
    """What `graphed` makes: `y = g(x)` in place of `y = model(x)`.

    Attributes:
        model: the model, whose running state a call moves on.
    """

    def __init__(
        self, model: Any, x: Tensor, capture: Callable[[Callable[[], None]], Callable[[], None]]
    ) -> None:
        self.model = model
        self._capture = capture
        self._recurs = [recur for _, recur in recurs(model)]
        if not isinstance(model, nn.Module) or not self._recurs:
            raise RnnlabError(f"graphed: {describe(model)} has no state; call it as it is.")
        self._x = x.detach().clone()
        self._refuse_autocast()
        self._record()

    def __call__(self, x: Tensor) -> Tensor:
        """One step: the output, and the model's running state moved on."""
        like = self._x
        if not isinstance(x, Tensor) or (x.shape, x.dtype, x.device) != (
            like.shape,
            like.dtype,
            like.device,
        ):
            said = (
                f"x.shape = {tuple(x.shape)}, {x.dtype}, on {x.device}"
                if isinstance(x, Tensor)
                else f"x is {describe(x)}"
            )
            raise RnnlabError(
                f"{self!r}: {said}; the graph was captured for {tuple(like.shape)}, {like.dtype}, "
                f"on {like.device}. graphed(model, x) makes one for another x."
            )
        self._refuse_autocast()
        with torch.inference_mode(False), torch.no_grad():
            if self._depends_on() != self._seen:
                self._record()
            for number, (recur, static) in enumerate(zip(self._recurs, self._states, strict=True)):
                if not _same(recur, self._left[number]):
                    self._left[number] = None
                    _put(recur, static, x.shape[:-1])
            like.copy_(x)
            self._replay()
            # one copy of everything that the step gave: it belongs to the caller
            given = [flat.clone() for flat in self._flats]
        values = [given[k][part].view(shape) for k, part, shape in self._places]
        for number, recur in enumerate(self._recurs):
            state = fill(self._states[number], iter([values[p] for p in self._parts[number]]))
            recur._advance(state, (x.shape[:-1],))
            self._left[number] = (state, [leaf._version for _, leaf in named_leaves(state)])
        return values[-1]

    def _record(self) -> None:
        """Capture one step from the model's initial state; its running state stays as it is."""
        self._seen: Any = None  # where this fails, the next call tries again
        kept = [(recur.__dict__["_state"], recur.__dict__["_lead"]) for recur in self._recurs]
        lead = self._x.shape[:-1]
        try:
            with torch.inference_mode(False), torch.no_grad():
                for recur in self._recurs:
                    recur._advance(AT_INIT, None)
                y = self.model(self._x)  # for the shapes; afterwards every state has its batch
                if not isinstance(y, Tensor):
                    raise RnnlabError(f"{self!r}: the output must be a tensor, not {describe(y)}.")
                self._states = [_static(recur) for recur in self._recurs]
                self._parts, self._places, self._flats = _layout(self._states, y)

                def step() -> None:
                    for recur, static in zip(self._recurs, self._states, strict=True):
                        recur._advance(static, (lead,))
                    y = self.model(self._x)
                    leaves = [leaf for r in self._recurs for _, leaf in named_leaves(r.state)]
                    for value, (k, part, shape) in zip([*leaves, y], self._places, strict=True):
                        self._flats[k][part].view(shape).copy_(value)
                    statics = [leaf for s in self._states for _, leaf in named_leaves(s)]
                    for static, value in zip(statics, leaves, strict=True):
                        static.copy_(value)

                try:
                    self._replay = self._capture(step)
                except RuntimeError as error:
                    # the end of a capture that has failed raises an error of its own
                    reason = str(error.__context__ or error).strip().partition("\n")[0]
                    raise RnnlabError(
                        f"{self!r}: a step cannot be captured ({reason}). It must not wait for the "
                        "GPU: no .item(), no branch on what a tensor holds."
                    ) from error
        finally:
            for recur, (state, lead_before) in zip(self._recurs, kept, strict=True):
                recur._advance(state, lead_before)
        self._left: list[Any] = [None] * len(self._recurs)
        self._seen = self._depends_on()

    def _refuse_autocast(self) -> None:
        if autocasts(self._x.device.type):  # its copies of the weights do not outlive it
            raise RnnlabError(
                "graphed: autocast is on, and a graph cannot keep what it makes of the weights. "
                "Call it outside; model.to(torch.float16) has the whole model in that type."
            )

    def _depends_on(self) -> list[Any]:
        """Where the weights are, and the mode of every module: what a graph has in it for good."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        places: list[Any] = [(t.data_ptr(), t.dtype) for t in tensors]
        return places + [module.training for module in self.model.modules()]

    def __repr__(self) -> str:
        text = " ".join(repr(self.model).split())
        return f"graphed({text})"


def _static(recur: Recur) -> State:
    """Memory for the running state of `recur`, which must consist of tensors."""
    copies = []
    for name, leaf in named_leaves(recur.state, top=recur._state_names):
        if not isinstance(leaf, Tensor):
            raise RnnlabError(
                f"graphed: state {name} of {recur!r} is {describe(leaf)}; a graph works on tensors."
            )
        copies.append(leaf.clone())
    return fill(recur.state, iter(copies))


def _layout(states: list[State], y: Tensor) -> tuple[Any, Any, list[Tensor]]:
    """Places for all states and y in one buffer for each dtype, so that one copy takes them out."""
    sizes: dict[torch.dtype, int] = {}
    kinds: list[torch.dtype] = []
    parts, places, at = [], [], 0
    leaves = [[leaf for _, leaf in named_leaves(state)] for state in states]
    for group in [*leaves, [y]]:
        parts.append(range(at, at + len(group)))
        at += len(group)
        for leaf in group:
            if leaf.dtype not in sizes:
                sizes[leaf.dtype] = 0
                kinds.append(leaf.dtype)
            start = sizes[leaf.dtype]
            sizes[leaf.dtype] = start + leaf.numel()
            where = slice(start, start + leaf.numel())
            places.append((kinds.index(leaf.dtype), where, leaf.shape))
    return parts, places, [y.new_empty(sizes[kind], dtype=kind) for kind in kinds]


def _same(recur: Recur, left: Any) -> bool:
    """Whether the state is the one that the last graphed call left, unchanged."""
    if left is None or recur.__dict__["_state"] is not left[0]:
        return False
    return [leaf._version for _, leaf in named_leaves(left[0])] == left[1]


def _put(recur: Recur, static: State, lead: torch.Size) -> None:
    """Copy the running state of `recur` to where the graph reads it."""
    before = recur.__dict__["_lead"]
    if recur.__dict__["_state"] is not AT_INIT and before is not None and before != (lead,):
        recur._refuse_batch(before, (lead,))
    targets = list(named_leaves(static, top=recur._state_names))
    values = [leaf for _, leaf in named_leaves(recur.state)]
    for (name, target), value in zip(targets, values, strict=True):
        if not isinstance(value, Tensor) or value.shape not in (
            target.shape,
            target.shape[len(lead) :],
        ):
            raise RnnlabError(
                f"{recur!r}: state {name} is {describe(value)}; the graph was captured for "
                f"{tuple(target.shape)}. Call reset(model), or graphed(model, x) for this state."
            )
        if (value.dtype, value.device) != (target.dtype, target.device):
            raise RnnlabError(
                f"{recur!r}: state {name} is {value.dtype} on {value.device}; the graph was "
                f"captured for {target.dtype} on {target.device}. Convert the state, or call "
                "reset(model)."
            )
        target.copy_(value)


def _captured(device: torch.device, step: Callable[[], None]) -> Callable[[], None]:
    """`step` as a CUDA graph; a call replays it."""
    with torch.cuda.device(device):
        stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # left also where a capture fails, unlike that of the graph
            for _ in range(_WARM_UPS):
                step()
            with torch.cuda.graph(graph, stream=stream):  # torch's own is on one GPU for good
                step()
        torch.cuda.current_stream().wait_stream(stream)
    return graph.replay
