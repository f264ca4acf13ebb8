"""The gradient of a whole sequence in one sweep: as autograd gives it, whatever is asked."""

import gc
import weakref

import pytest
import torch
from torch import nn

import rnnlab as rl
from rnnlab import Cell, Recur, RnnlabError, scan, sweep, unroll
from rnnlab.cells.base import AdditiveCell
from rnnlab.cells.registry import CELLS
from tests.helpers import F64, close, filled, parts, randomise, weighted

I, H, B, T = 3, 4, 2, 6
SOME = [c for c in CELLS if c.__name__ in {"RNNCell", "GRUCell", "GRUv3Cell", "PeepholeLSTMCell"}]
SOME_CELLS = pytest.mark.parametrize("kind", SOME, ids=lambda kind: kind.__name__)


@pytest.fixture(autouse=True)
def swept(monkeypatch):
    """How many sequences went through the sweep, however short."""
    monkeypatch.setattr(scan, "_SWEPT_STEPS", 1)
    monkeypatch.setattr(scan, "_SWEPT_KERNEL_STEPS", 1)
    count, apply = [], sweep._Sweep.apply
    monkeypatch.setattr(sweep._Sweep, "apply", lambda *a: count.append(1) or apply(*a))
    return count


def model_of(kind, **options):
    return randomise(Recur(kind(I, H, dtype=F64, **options)))


def stepped(model, xs):
    return torch.stack([model(x) for x in xs])


def both(model, xs, fn):
    """`fn(ys)` after the loop and after `unroll`."""
    results = []
    for run in (stepped, unroll):
        model.reset()
        results.append(fn(run(model, xs)))
    return results


@SOME_CELLS
def test_it_is_used(kind, swept):
    model, xs = model_of(kind), filled(T, B, I)
    unroll(model, xs)
    assert len(swept) == 1
    with torch.no_grad():
        unroll(model, xs)
    for weight in model.parameters():
        weight.requires_grad_(False)
    model.reset()
    assert not unroll(model, xs).requires_grad
    assert len(swept) == 1


@SOME_CELLS
def test_accumulated_and_repeated_backward(kind):
    model, xs = model_of(kind), filled(T, B, I).requires_grad_()

    def accumulate(ys):
        model.zero_grad()
        xs.grad = None
        weighted(ys).backward(retain_graph=True)
        (3 * weighted(ys.tanh())).backward(retain_graph=True)
        weighted(
            model.state if isinstance(model.state, torch.Tensor) else model.state[-1]
        ).backward()
        return [p.grad.clone() for p in (*model.parameters(), xs)]

    want, got = both(model, xs, accumulate)
    close(got, want)


@SOME_CELLS
@pytest.mark.parametrize("step", [0, 3, T - 1])
def test_a_loss_of_some_steps(kind, step):
    model, xs = model_of(kind), filled(T, B, I).requires_grad_()
    wanted = [*model.parameters(), xs]
    want, got = both(model, xs, lambda ys: torch.autograd.grad(weighted(ys[step]), wanted))
    close(got, want)
    assert not got[-1][step + 1 :].any()


@SOME_CELLS
def test_gradients_of_gradients(kind):
    model, xs = model_of(kind), filled(T, B, I).requires_grad_()
    weights = list(model.parameters())

    def penalty(wanted):
        def of(ys):
            first = torch.autograd.grad(weighted(ys.tanh()), wanted, create_graph=True)
            return torch.autograd.grad(
                sum(g.pow(2).sum() for g in first), [*weights, xs], allow_unused=True
            )

        return of

    for wanted in ([xs], weights, [*weights, xs]):
        want, got = both(model, xs, penalty(wanted))
        close(got, want)


@SOME_CELLS
def test_frozen_weights_and_inputs(kind):
    model = model_of(kind)
    for name, weight in model.cell.named_parameters():
        weight.requires_grad_(False)
        xs = filled(T, B, I).requires_grad_(name == "weight_hh")
        wanted = [p for p in (*model.parameters(), xs) if p.requires_grad]
        want, got = both(model, xs, lambda ys, w=wanted: torch.autograd.grad(weighted(ys), w))
        close(got, want)
        weight.requires_grad_(True)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # torch's own
@SOME_CELLS
def test_transforms_take_the_plain_way(kind, swept):
    model, xs = model_of(kind), filled(T, B, I)
    weights = dict(model.named_parameters())

    def loss(weights, xs, run):
        model.reset()
        return torch.func.functional_call(_Run(model, run), _prefixed(weights), (xs,))

    want = torch.func.grad(loss)(weights, xs, stepped)
    close(torch.func.grad(loss)(weights, xs, unroll), want)
    close(
        torch.func.jacrev(loss, 1)(weights, xs, unroll),
        torch.func.jacrev(loss, 1)(weights, xs, stepped),
    )
    tangent = filled(T, B, I, seed=5)
    along = [
        torch.func.jvp(lambda x, r=r: loss(weights, x, r), (xs,), (tangent,))
        for r in (stepped, unroll)
    ]
    close(along[1], along[0])
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(xs, tangent)
        model.reset()
        close(
            torch.autograd.forward_ad.unpack_dual(weighted(unroll(model, dual).tanh())).tangent,
            along[0][1],
        )
    model.reset()
    assert not swept


class _Run(nn.Module):
    def __init__(self, model, run):
        super().__init__()
        self.model, self.run = model, run

    def forward(self, xs):
        return weighted(self.run(self.model, xs).tanh())


def _prefixed(weights):
    return {f"model.{name}": weight for name, weight in weights.items()}


def test_weights_put_in_for_one_call():
    """functional_call without a transform: gradients go to the tensors that were put in."""
    model, xs = model_of(rl.GRUv3Cell), filled(T, B, I)
    weights = {n: (2 * p.detach()).requires_grad_() for n, p in model.named_parameters()}
    grads = []
    for run in (stepped, unroll):
        model.reset()
        loss = torch.func.functional_call(_Run(model, run), _prefixed(weights), (xs,))
        model.reset()
        grads.append(torch.autograd.grad(loss, list(weights.values())))
    close(grads[1], grads[0])


@SOME_CELLS
def test_autocast_takes_the_plain_way(kind, swept):
    model = randomise(Recur(kind(I, H)))
    xs = filled(T, B, I, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ys = unroll(model, xs)
    weighted(ys.double()).backward()
    assert not swept
    model.reset()
    close(ys.double(), stepped(model, xs).double(), 0.05)


@pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.__name__)
def test_nothing_keeps_the_graph_alive(kind):
    model, xs = model_of(kind), filled(T, B, I)
    gc.disable()
    try:
        ys = unroll(model, xs)
        watched = weakref.ref(ys.grad_fn if kind.__name__ != "LSTMCell" else ys)
        weighted(ys).backward()
        del ys
        model.reset()
        assert watched() is None
    finally:
        gc.enable()


def test_changed_weights_are_noticed():
    model, xs = model_of(rl.GRUv3Cell), filled(T, B, I)
    ys = unroll(model, xs)
    with torch.no_grad():
        model.cell.weight_hh.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        weighted(ys).backward()


class Mean(AdditiveCell):
    """Not pointwise: every unit sees the mean of all."""

    gate_names = ()

    def __init__(self, input_size, hidden_size, mix=0.5, dtype=None):
        super().__init__(input_size, hidden_size)
        self.mix = mix
        self.weight_ih = nn.Parameter(filled(hidden_size, input_size).to(dtype))
        self.weight_hh = nn.Parameter(filled(hidden_size, hidden_size, seed=1).to(dtype))
        self.add_initial_state(True, dtype=dtype)

    def project(self, x):
        return nn.functional.linear(x, self.weight_ih)

    def combine(self, state, u, v):
        return {"h": torch.tanh(u + v - self.mix * state.mean(-1, keepdim=True))}


class MeanOfProduct(Mean):
    def combine(self, state, u, v):
        return {"h": torch.tanh(u + v - self.mix * v.mean(-1, keepdim=True))}


class Matmul(Mean):
    """A product that does not go through `linear`."""

    def equation(self, state, u):
        return {"h": torch.tanh(u + state @ self.weight_hh.T)}


class Tilted(Mean):
    """A nonlinearity with an output of its own and a product inside."""

    def equation(self, state, u):
        h = torch.tanh(u + nn.functional.linear(state, self.weight_hh))
        return {"h": h, "y": torch.sin(nn.functional.linear(h * state, self.weight_hh) + h)}


@pytest.mark.parametrize("kind", [Mean, MeanOfProduct, Matmul, Tilted])
def test_any_formula_has_its_gradient(kind):
    model, xs = model_of(kind), filled(T, B, I).requires_grad_()
    wanted = [*model.parameters(), xs]
    for _ in range(2):
        want, got = both(model, xs, lambda ys: torch.autograd.grad(weighted(ys), wanted))
        close(got, want)
    assert sweep._fits[model.cell] == (kind is Tilted)


class Rolled(Mean):
    """Each unit sees its neighbour."""

    def combine(self, state, u, v):
        return {"h": torch.tanh(u + v + self.mix * state.roll(1, -1))}


@pytest.mark.parametrize("kind", [Mean, MeanOfProduct, Rolled])
def test_weak_ties_between_units_are_not_taken_for_rounding(kind, swept):
    model = Recur(kind(I, H, mix=1e-4, dtype=torch.float32))
    xs, wanted = filled(T, B, I, dtype=torch.float32), list(model.parameters())
    want, got = both(model, xs, lambda ys: torch.autograd.grad(weighted(ys), wanted))
    close(got, want, 1e-5)
    assert not swept


def test_a_first_step_that_is_not_finite_says_nothing_of_the_cell(swept):
    model, xs = model_of(rl.GRUv3Cell), filled(T, B, I)
    xs[0, 1, 2] = torch.nan
    weighted(unroll(model, xs)).backward()
    model.reset()
    weighted(unroll(model, xs[1:])).backward()
    assert swept == [1]


def test_gradients_that_are_not_finite_are_those_of_the_loop():
    model, xs = model_of(rl.GRUv3Cell), filled(T, B, I)
    xs[2, 0, 1] = torch.nan
    wanted = list(model.parameters())
    want, got = both(model, xs, lambda ys: torch.autograd.grad(weighted(ys), wanted))
    torch.testing.assert_close(got, want, equal_nan=True, rtol=1e-10, atol=1e-10)
    assert sweep._fits[model.cell]


def test_a_tensor_from_elsewhere_gets_its_gradient(swept):
    elsewhere = filled(H).requires_grad_()

    class Closure(Mean):
        def combine(self, state, u, v):
            return {"h": torch.tanh(u + v + elsewhere)}

    model, xs = model_of(Closure), filled(T, B, I)
    want, got = both(model, xs, lambda ys: torch.autograd.grad(weighted(ys), elsewhere))
    close(got, want)
    assert not swept


@pytest.mark.parametrize(
    "activation", [nn.Softmax(-1), nn.PReLU(dtype=F64), lambda a: a - a.mean()]
)
def test_activations_that_are_not_known_take_the_plain_way(activation, swept):
    model = randomise(Recur(rl.RNNCell(I, H, activation, dtype=F64)))
    xs, wanted = filled(T, I), list(model.parameters())
    want, got = both(model, xs, lambda ys: torch.autograd.grad(weighted(ys), wanted))
    close(got, want)
    assert not swept


def test_a_cell_that_draws_numbers_is_refused_not_guessed():
    class Noisy(Mean):
        def combine(self, state, u, v):
            return {"h": nn.functional.dropout(torch.tanh(u + v), 0.5, self.training)}

        def __repr__(self):
            return "Noisy()"

    model, xs = model_of(Noisy), filled(T, B, I)
    with pytest.raises(RnnlabError) as caught:
        weighted(unroll(model, xs)).backward()
    assert str(caught.value) == (
        "Noisy(): repeating a step gave another result, so its gradient cannot be formed for the "
        "whole sequence at once. A cell that draws random numbers has to be stepped: "
        "[model(x) for x in xs]."
    )
    model.reset()
    weighted(unroll(model.eval(), xs)).backward()


def test_lower_precision():
    for kind in SOME:
        model = randomise(Recur(kind(I, H))).to(torch.bfloat16)
        xs = filled(T, B, I, dtype=torch.bfloat16)
        wanted = list(model.parameters())
        want, got = both(model, xs, lambda ys, w=wanted: torch.autograd.grad(weighted(ys), w))
        close(got, want, 0.15)


def test_the_formula_is_what_a_subclass_says():
    class Slow(rl.GRUCell):
        def combine(self, state, u, v):
            return {"h": 0.9 * state + torch.tanh(u + v).chunk(3, -1)[0]}

    model, xs = model_of(Slow), filled(T, B, I)
    assert not model.cell.fused
    want, got = both(model, xs, lambda ys: ys)
    close(got, want)
    assert type(model.cell).step is Cell.step
    assert rl.GRUCell(2, 2).fused


def test_large_batches_are_recorded_step_by_step(swept):
    model = randomise(Recur(rl.GRUv3Cell(I, H, dtype=F64)))
    unroll(model, filled(2, scan._SWEPT_UNITS // H + 1, I))
    assert not swept


@pytest.mark.parametrize("kind", [rl.GRUv3Cell, rl.RNNCell])
def test_short_sequences_are_recorded_step_by_step(kind, swept, monkeypatch):
    monkeypatch.undo()
    apply = sweep._Sweep.apply
    monkeypatch.setattr(sweep._Sweep, "apply", lambda *a: swept.append(1) or apply(*a))
    model = model_of(kind)
    shortest = scan._SWEPT_KERNEL_STEPS if model.cell.fused else scan._SWEPT_STEPS
    unroll(model, filled(shortest - 1, B, I))
    assert not swept
    unroll(model, filled(shortest, B, I))
    assert swept


@SOME_CELLS
def test_outputs_and_states_may_be_written_into(kind):
    model, xs = model_of(kind), filled(T, B, I).requires_grad_()

    def masked(ys):
        ys[:, 0] = 0
        return torch.autograd.grad(weighted(ys), [*model.parameters(), xs])

    want, got = both(model, xs, masked)
    close(got, want)
    model.reset()
    unroll(model, xs)
    last = parts(model.state)[0]
    want = torch.autograd.grad(3 * weighted(last), xs, retain_graph=True)
    close(torch.autograd.grad(weighted(last.mul_(3)), xs), want)


@SOME_CELLS
def test_many_gradients_at_once(kind):
    model, xs = model_of(kind), filled(T, B, I).requires_grad_()
    wanted, many = [*model.parameters(), xs], filled(3, T, B, H, seed=7)

    def batched(ys):
        return torch.autograd.grad(ys, wanted, many, is_grads_batched=True)

    def mapped(ys):
        def one(cotangent):
            return torch.autograd.grad(ys, wanted, cotangent, retain_graph=True)

        return torch.func.vmap(one)(many)

    one_by_one, _ = both(
        model, xs, lambda ys: [torch.autograd.grad(ys, wanted, g, retain_graph=True) for g in many]
    )
    want = [torch.stack(column) for column in zip(*one_by_one, strict=True)]
    for way in (batched, mapped):
        model.reset()
        close(list(way(unroll(model, xs))), want)


def test_options_that_change_before_the_way_back():
    model, xs = Recur(randomise(rl.LEMCell(I, H, dt=0.5, dtype=F64))), filled(T, B, I)

    def later(ys):
        model.cell.dt = 0.1
        try:
            return torch.autograd.grad(weighted(ys), list(model.parameters()))
        finally:
            model.cell.dt = 0.5

    want, got = both(model, xs, later)
    close(got, want)
