"""The gradient of a whole sequence without a record of its steps."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch._C._functorch import is_batchedtensor, is_legacy_batchedtensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

from rnnlab.by_unit import Products, UnlikeError, apart, cut, spread, terms
from rnnlab.cells.base import ACTIVATIONS, Cell, Parts, as_parts, as_state
from rnnlab.cells.replay import all_states, loop
from rnnlab.errors import RnnlabError

CHUNK_BYTES = 1 << 19
"""Size of the input projection of the steps whose intermediates are formed again together."""

_CHECKED = 4
"""About how many steps of every chunk are checked."""

_fits: WeakKeyDictionary[Cell, bool] = WeakKeyDictionary()


def sweep(cell: Cell, parts: Parts, u: Tensor, xs: Tensor | None = None) -> tuple[Parts, Tensor]:
    """Last state and ys of `cell` from u = project(xs), where `sweepable(cell)`.

    With `xs` the steps themselves are done by the cell's fused kernel.
    """
    named = {name: weight for name, weight in cell._parameters.items() if weight is not None}
    ys, *last = _Sweep.apply(cell, tuple(named), xs, u, *parts, *named.values())
    return tuple(last), ys


def sweepable(cell: Cell, parts: Parts, u: Tensor) -> bool:
    """Whether `sweep` sees all of the cell: its parameters and plain options, nothing else."""
    known = ACTIVATIONS.values()
    plain = not cell._modules and all(
        value is None or isinstance(value, (bool, int, float, str)) or value in known
        for name, value in cell.__dict__.items()
        if not name.startswith("_")
    )
    if not plain:
        return False
    if cell not in _fits:
        # a gradient that the parameters do not explain: one of a tensor from elsewhere
        with torch.enable_grad():
            weights = {name: cut(weight) for name, weight in cell._parameters.items()}
            alone = _stand_in(cell, weights)
            state, y = alone.update(as_state(tuple(map(cut, parts))), cut(u[0]))
        whole = not any(value.requires_grad for value in (*as_parts(state), y))
        fits = whole and apart(alone, as_parts(state), cut(u[:1]))
        if fits is None:
            return False
        _fits[cell] = fits
    return _fits[cell]


def _stand_in(cell: Cell, weights: dict[str, Tensor | None]) -> Cell:
    """The cell with other tensors for its parameters; the cell itself stays untouched."""
    other = object.__new__(type(cell))
    other.__dict__.update(cell.__dict__)
    other.__dict__["_parameters"] = weights
    return other


class _Sweep(torch.autograd.Function):
    """A whole sequence of a cell whose units meet in products with weights only.

    Forward keeps the states and nothing else. Backward forms the intermediates again, many steps
    in one batched evaluation. Between products unit j depends on unit j alone, so the derivatives
    of every step are vectors; with these the gradient of the states is swept from the last step to
    the first in a handful of operations a step. One more batched evaluation then gives the gradient
    of u and of the parameters, a recurrent weight's as one large product.

    The sweep is checked against that evaluation. Where it does not hold, and where the gradient is
    to be differentiated itself, the loop is differentiated as it stands.
    """

    @staticmethod
    def forward(
        ctx: Any, cell: Cell, names: Any, xs: Tensor | None, u: Tensor, *rest: Tensor
    ) -> Any:
        parts = rest[: len(cell.state_names)]
        if xs is not None:
            state, ys = cell.kernel(as_state(parts), xs)
            last, stacks, ctx.output = (as_parts(state)[0].clone(),), (ys,), 0
        else:
            last, stacks, ys, ctx.output = all_states(cell, parts, u)
        ctx.cell, ctx.names = cell, names
        ctx.as_it_was = _stand_in(cell, {})  # options may change before the way back
        ctx.save_for_backward(u, *rest, *stacks)
        # whoever writes into the outputs must not write into what is kept
        return (ys if ctx.output is None else ys.clone()), *last

    @staticmethod
    def backward(ctx: Any, gy: Tensor, *g_last: Tensor) -> Any:  # type: ignore[override]
        count = len(g_last)
        u, *rest = ctx.saved_tensors
        parts, weights, stacks = rest[:count], rest[count:-count], rest[-count:]
        if not torch.is_grad_enabled() and not any(map(_batched, (gy, *g_last))):
            try:
                run = _Backward(ctx.as_it_was, ctx.names, weights, ctx.output)
                return None, None, None, *run(u, parts, stacks, gy, g_last)
            except UnlikeError as reason:
                _fits[ctx.cell] = not reason.lasts
        return None, None, None, *_by_loop(ctx, u, parts, weights, (gy, *g_last))


def _batched(gradient: Tensor) -> bool:
    """Whether it stands for many at once: vmap, `is_grads_batched`, a vectorized Jacobian."""
    return is_batchedtensor(gradient) or is_legacy_batchedtensor(gradient)


def _by_loop(ctx: Any, u: Tensor, parts: Any, weights: Any, cotangents: Any) -> tuple[Any, ...]:
    """The gradients by differentiating the loop; they can be differentiated again."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        with temporarily_clear_interpreter_stack():  # only the cotangents can be batched
            # aliases: nothing but the loop itself lies between them and the results
            inputs = [
                value.view_as(value)
                if again
                else value.detach().requires_grad_(value.requires_grad)
                for value in (u, *parts, *weights)
            ]
            u, *rest = inputs
            parts, weights = rest[: len(parts)], rest[len(parts) :]
            cell = _stand_in(ctx.as_it_was, dict(zip(ctx.names, weights, strict=True)))
            last, _, ys = loop(cell.stepper(), tuple(parts), u)
            results = [torch.stack(ys), *last]
        wanted = [value for value in inputs if value.requires_grad]
        pairs = [pair for pair in zip(results, cotangents, strict=True) if pair[0].requires_grad]
        found = iter(
            torch.autograd.grad(
                [result for result, _ in pairs],
                wanted,
                [cotangent for _, cotangent in pairs],
                create_graph=again,
                allow_unused=True,
            )
        )
    return tuple(next(found) if value.requires_grad else None for value in inputs)


class _Backward:
    def __init__(self, cell: Cell, names: Any, weights: Any, output: int | None) -> None:
        self.leaves = [w.detach().requires_grad_(w.requires_grad) for w in weights]
        self.cell = _stand_in(cell, dict(zip(names, self.leaves, strict=True)))
        self.output = output
        self.trained = [leaf for leaf in self.leaves if leaf.requires_grad]
        self.grads: dict[int, Tensor] = {}
        self.products: dict[tuple[int, int], Tensor] = {}

    def __call__(self, u: Tensor, parts: Any, stacks: Any, gy: Tensor, g_last: Any) -> list[Any]:
        T = len(u)
        size = max(1, CHUNK_BYTES // max(1, u[0].numel() * u.element_size()))
        g = list(g_last)
        if self.output is not None:
            g[self.output] = g[self.output] + gy[-1]
        gu: list[Tensor] = []
        for stop in range(T, 0, -size):
            start = max(0, stop - size)
            before = [
                torch.cat([part.unsqueeze(0), stack[: stop - 1]])
                if start == 0
                else stack[start - 1 : stop - 1]
                for part, stack in zip(parts, stacks, strict=True)
            ]
            after = [stack[start:stop] for stack in stacks]
            if self.output is None:
                arriving = gy[start:stop]
            elif start:
                arriving = gy[start - 1 : stop - 1]
            else:
                arriving = torch.cat([torch.zeros_like(gy[:1]), gy[: stop - 1]])
            gu.append(self._chunk(u[start:stop], before, after, arriving, g))
        self._weights()
        grads = [self.grads.get(id(leaf)) for leaf in self.leaves]
        return [torch.cat(gu[::-1]), *g, *grads]

    def _chunk(
        self,
        u: Tensor,
        before: list[Tensor],
        after: list[Tensor],
        arriving: Tensor,
        g: list[Tensor],
    ) -> Tensor:
        """Sweep some steps. `g` is the gradient of the state after them, then before them.

        `arriving` is what reaches the state before each step from the output of the step before;
        if the output is not part of the state, it is the gradient of the output of each step.
        """
        count, n = len(before), len(u)
        with torch.enable_grad(), Products() as cuts:
            u = u.detach().requires_grad_()
            state = tuple(part.detach().requires_grad_() for part in before)
            new, y = self.cell.update(as_state(state), u)
        new, products = as_parts(new), cuts.found
        self.last = products
        variables = [*state, *(v for _, _, _, v in products)]
        known = {id(part): p for p, part in enumerate(state)}
        inner = {k: s for k, (s, *_) in enumerate(products) if id(s) not in known}
        sample = slice(0, n, max(1, n // _CHECKED))
        for part, value in zip(after, new, strict=True):
            _compare(self.cell, part[sample], value[sample], part[sample])

        start: list[list[Tensor] | None] = [None] * len(variables)
        if self.output is not None:
            start[self.output] = list(arriving.unbind(0))
        elif y.requires_grad:
            grads = torch.autograd.grad(
                y, variables, arriving, retain_graph=True, allow_unused=True
            )
            start = [None if d is None else list(d.unbind(0)) for d in grads]
        from_new = [terms(value, variables) for value in new]
        from_inner = {k: terms(s, variables) for k, s in inner.items()}
        weights = [weight.detach() for _, weight, _, _ in products]
        empty = [torch.zeros_like(part[0]) for part in state]

        seen: list[list[Tensor]] = [[] for _ in range(count)]
        inner_seen: dict[int, list[Tensor]] = {k: [] for k in inner}
        for t in range(n - 1, -1, -1):
            total = [None if values is None else values[t] for values in start]
            for p in range(count):
                seen[p].append(g[p])
                spread(g[p], from_new[p], total, t)
            for k in range(len(products) - 1, -1, -1):
                gv = total[count + k]
                if k in inner:
                    gs = inner[k].new_zeros(inner[k].shape[1:]) if gv is None else gv @ weights[k]
                    inner_seen[k].append(gs)
                    spread(gs, from_inner[k], total, t)
                elif gv is not None:
                    q = known[id(products[k][0])]
                    so_far = total[q]
                    total[q] = gv @ weights[k] if so_far is None else so_far.addmm(gv, weights[k])
            g[:] = [
                zero if value is None else value for value, zero in zip(total, empty, strict=False)
            ]
        cotangents = [torch.stack(column[::-1]) for column in seen]
        inner_cotangents = {k: torch.stack(column[::-1]) for k, column in inner_seen.items()}

        results = [*zip(new, cotangents, strict=True)]
        results += [(inner[k], inner_cotangents[k]) for k in inner]
        if self.output is None:
            results.append((y, arriving))
        results = [pair for pair in results if pair[0].requires_grad]
        grads = torch.autograd.grad(
            [value for value, _ in results],
            [u, *variables, *self.trained],
            [cotangent for _, cotangent in results],
            allow_unused=True,
            retain_graph=True,
        )
        exact = [None if d is None else d[sample] for d in grads[1 : 1 + count]]
        for k, gv in enumerate(grads[1 + count : 1 + len(variables)]):
            if gv is None:
                continue
            gs = gv[sample] @ weights[k]
            if k in inner:
                _compare(None, inner_cotangents[k][sample], gs, inner_cotangents[k][sample])
            else:
                q = known[id(products[k][0])]
                direct = exact[q]
                exact[q] = gs if direct is None else direct + gs
            self._add_product(k, gv, products[k])
        for q, value in enumerate(exact):
            swept = torch.cat(
                [g[q].unsqueeze(0), cotangents[q][:-1][sample.step - 1 :: sample.step]]
            )
            if self.output == q:
                swept = swept - arriving[sample]
            if value is None:
                value = torch.zeros_like(swept)
            _compare(None, swept, value, cotangents[q][sample])
        for leaf, grad in zip(self.trained, grads[1 + len(variables) :], strict=True):
            self._add(leaf, grad)
        return torch.zeros_like(u) if grads[0] is None else grads[0]

    def _add(self, leaf: Tensor, grad: Tensor | None) -> None:
        if grad is not None:
            so_far = self.grads.get(id(leaf))
            self.grads[id(leaf)] = grad if so_far is None else so_far + grad

    def _add_product(self, k: int, gv: Tensor, product: Any) -> None:
        s, weight, bias, _ = product
        gv = gv.flatten(0, -2)
        if weight.requires_grad:
            s = s.detach().flatten(0, -2)
            so_far = self.products.get((k, 1))
            self.products[k, 1] = gv.t() @ s if so_far is None else so_far.addmm_(gv.t(), s)
        if bias is not None and bias.requires_grad:
            so_far = self.products.get((k, 2))
            self.products[k, 2] = gv.sum(0) if so_far is None else so_far + gv.sum(0)

    def _weights(self) -> None:
        """From the gradients of the factors of the products to those of the parameters."""
        if not self.products:
            return
        factors: list[Any] = [self.last[k][place] for k, place in self.products]
        grads = torch.autograd.grad(
            factors, self.trained, list(self.products.values()), allow_unused=True
        )
        for leaf, grad in zip(self.trained, grads, strict=True):
            self._add(leaf, grad)


def _compare(cell: Cell | None, found: Tensor, expected: Tensor, scale: Tensor) -> None:
    """Raise unless two values agree to rounding at every step."""
    dims = list(range(1, found.dim()))
    error = (found - expected).abs().amax(dims)
    limit = torch.finfo(found.dtype).eps ** 0.5 * torch.maximum(
        scale.abs().amax(dims), expected.abs().amax(dims)
    )
    if not bool((error <= limit).all()):
        finite = bool(expected.isfinite().all() and found.isfinite().all())
        if cell is None or not finite:
            raise UnlikeError(lasts=finite)
        raise RnnlabError(
            f"{cell!r}: repeating a step gave another result, so its gradient cannot be formed "
            "for the whole sequence at once. A cell that draws random numbers has to be stepped: "
            "[model(x) for x in xs]."
        )
