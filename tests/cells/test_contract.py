"""What every cell in the registry keeps to."""

import copy
import inspect
import io
import pickle

import pytest
import torch

import rnnlab
import rnnlab.cells
from rnnlab import Recur, RnnlabError, detach, reset, unroll
from rnnlab.cells.base import Cell
from rnnlab.cells.registry import CELLS
from rnnlab.nested import map_leaves
from tests.helpers import (
    F64,
    close,
    filled,
    gradients,
    joined,
    numeric_jacobian,
    parts,
    randomise,
    weighted,
)

I, H, B, T = 5, 4, 3, 6
LEADS = pytest.mark.parametrize("lead", [(), (B,)], ids=["unbatched", "batched"])

pytestmark = pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.__name__)


def make(kind: type[Cell], dtype: torch.dtype = F64) -> Cell:
    """A cell with all weights and the initial state away from zero and from symmetry."""
    torch.manual_seed(5)
    return randomise(kind(I, H, dtype=dtype))


def state_of(cell: Cell, *lead: int):
    """A state in the middle of a run, without its graph."""
    state = cell.initial_state()
    for k in range(3):
        state, _ = cell(state, filled(*lead, I, seed=20 + k))
    return map_leaves(lambda part: part.detach(), state)


def loop(m, xs):
    return torch.stack([m(x) for x in xs])


def test_it_is_public_and_named_after_itself(kind):
    assert getattr(rnnlab.cells, kind.__name__) is kind
    assert kind.__name__.endswith("Cell")
    assert repr(kind(I, H)).startswith(f"{kind.__name__}({I}, {H}")
    assert repr(Recur(kind(I, H))) == f"Recur({kind(I, H)!r})"


def test_initial_state_is_zero_and_trains(kind):
    cell = kind(I, H)
    names = [f"{name}0" for name in cell.state_names]
    initial = cell.initial_state()
    assert isinstance(initial, tuple) == (len(names) > 1)
    for name, part in zip(names, parts(initial), strict=True):
        assert part is cell.get_parameter(name)
        close(part.detach(), torch.zeros(H))


def test_train_init_false_makes_buffers(kind):
    cell = kind(I, H, train_init=False)
    for name, part in zip(cell.state_names, parts(cell.initial_state()), strict=True):
        assert part is cell.get_buffer(f"{name}0")
        assert not part.requires_grad
    assert kind(I, H).state_dict().keys() == cell.state_dict().keys()


def test_bias_false_is_allowed(kind):
    if "bias" not in inspect.signature(kind).parameters:
        pytest.skip(f"{kind.__name__} takes no bias argument; the test runs once it does")
    cell = randomise(kind(I, H, bias=False, dtype=F64))
    assert not [name for name, _ in cell.named_parameters() if "bias" in name]
    assert "bias=False" in repr(cell)
    m, xs = Recur(cell), filled(T, B, I)
    ys = loop(m, xs)
    m.reset()
    close(unroll(m, xs), ys)


@LEADS
def test_a_call_is_a_pure_function(kind, lead):
    """Arguments and weights stay as they are, and the same arguments give the same result."""
    cell = make(kind)
    state, x = state_of(cell, *lead), filled(*lead, I)
    before = copy.deepcopy((state, x, cell.state_dict()))
    first, second = cell(state, x), cell(state, x)
    close(first, second, 0)
    close((state, x, cell.state_dict()), before, 0)
    new, y = first
    assert len(parts(new)) == len(cell.state_names)
    for part in (*parts(new), y):
        assert part.shape == (*lead, H)
        assert part.dtype == F64


@LEADS
def test_gates_hold_the_state_of_the_call(kind, lead):
    cell = make(kind)
    state, x = state_of(cell, *lead), filled(*lead, I)
    new, y = cell(state, x)
    gates = cell.gates(state, x)
    names = [*cell.gate_names, *cell.state_names]
    assert list(gates) in (names, [*names, "y"])
    for name, part in zip(cell.state_names, parts(new), strict=True):
        close(gates[name], part, 1e-12)
    close(gates.get("y", gates[cell.state_names[0]]), y, 1e-12)
    close(cell.update(state, cell.project(x)), (new, y), 1e-12)
    close(cell.step(state, x), (new, y), 0)


@LEADS
def test_gates_of_a_run_are_one_batched_evaluation(kind, lead):
    m, xs = Recur(make(kind)), filled(T, *lead, I)
    before, after = [], []
    for x in xs:
        before.append([part.expand(*lead, H) for part in parts(m.state)])
        m(x)
        after.append(list(parts(m.state)))
    stacked = tuple(torch.stack(part) for part in zip(*before, strict=True))
    gates = m.cell.gates(stacked if len(stacked) > 1 else stacked[0], xs)
    for name, values in zip(m.cell.state_names, zip(*after, strict=True), strict=True):
        close(gates[name], torch.stack(values), 1e-12)


def test_batched_is_unbatched(kind):
    cell = make(kind)
    state, x = state_of(cell, B), filled(B, I)
    together = cell(state, x)
    alone = [cell(map_leaves(lambda part, b=b: part[b], state), x[b]) for b in range(B)]
    close(together[1], torch.stack([y for _, y in alone]), 1e-12)
    close(joined(together[0]), torch.stack([joined(new) for new, _ in alone]), 1e-12)
    own = {id(part) for part in parts(cell.initial_state())}
    weights = [p for p in cell.parameters() if id(p) not in own]
    want = torch.autograd.grad(
        weighted(torch.stack([joined(new) for new, _ in alone])), weights, allow_unused=True
    )
    got = torch.autograd.grad(weighted(joined(together[0])), weights, allow_unused=True)
    close(got, want, 1e-11)


def test_one_state_for_a_batch_gets_the_sum_of_the_gradients(kind):
    cell = make(kind)
    x = filled(B, I)
    one = map_leaves(lambda part: part.detach().clone().requires_grad_(), cell.initial_state())
    many = map_leaves(lambda p: p.detach().repeat(B, 1).requires_grad_(), cell.initial_state())
    broadcast, repeated = cell(one, x), cell(many, x)
    close(broadcast, repeated, 1e-12)
    got = torch.autograd.grad(weighted(joined(broadcast[0])), parts(one))
    want = torch.autograd.grad(weighted(joined(repeated[0])), parts(many))
    for ours, theirs in zip(got, want, strict=True):
        assert ours.any()
        close(ours, theirs.sum(0), 1e-12)


@LEADS
def test_unroll_is_the_loop(kind, lead):
    """Forward, running state and every gradient, from the initial state and from mid-run."""
    m, xs = Recur(make(kind)), filled(2 * T, *lead, I, seed=9).requires_grad_()
    want = loop(m, xs)
    last = m.state
    slopes = gradients(weighted([want, joined(last)]), m, xs)
    m.reset()
    whole = unroll(m, xs)
    close((whole, m.state), (want, last))
    close(gradients(weighted([whole, joined(m.state)]), m, xs), slopes)
    m.reset()
    halves = torch.cat([unroll(m, xs[:5]), torch.stack(unroll(m, list(xs[5:])))])
    close((halves, m.state), (want, last))
    close(gradients(weighted([halves, joined(m.state)]), m, xs), slopes)


def test_unroll_is_the_loop_in_float32(kind):
    m, xs = Recur(make(kind, torch.float32)), filled(T, B, I, dtype=torch.float32)
    want = loop(m, xs)
    slopes = gradients(weighted(want), m)
    m.reset()
    got = unroll(m, xs)
    close(got, want, 1e-5)
    close(gradients(weighted(got), m), slopes, 1e-5)


def test_shapes_on_the_meta_device(kind):
    """Where there are no values nothing looks at them."""
    m, xs = Recur(kind(I, H, device="meta")), torch.ones(100, B, I, device="meta")
    assert loop(m, xs[:2]).shape == (2, B, H)
    assert unroll(m, xs).shape == (100, B, H)
    with torch.no_grad():
        assert unroll(m, xs, reverse=True).shape == (100, B, H)


@pytest.mark.parametrize("type_", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_between_other_layers(kind, type_):
    """Layers hand each other, and steps the next one, what autocast makes of their results."""
    m = rnnlab.Chain(rnnlab.Dense(I, I), Recur(make(kind, torch.float32)), rnnlab.Dense(H, 2))
    xs = filled(T, B, I, dtype=torch.float32)
    want = loop(m, xs)
    slopes = gradients(weighted(want), m)
    for way in (loop, unroll):
        reset(m)
        with torch.autocast("cpu", type_):
            ys = torch.cat([way(m, xs[:2]), way(m, xs[2:])])
        assert ys.dtype == type_
        close(ys.float(), want, 0.1)
        close(gradients(weighted(ys.float()), m), slopes, 0.2)
    reset(m)
    with torch.autocast("cpu", type_), pytest.raises(RnnlabError, match="the weights are"):
        m[1](xs[0].double())  # autocast leaves doubles as they are


def test_float32_follows_float64(kind):
    exact, single = make(kind), make(kind, torch.float32)
    single.load_state_dict(exact.state_dict())
    xs = filled(T, B, I)
    ys = loop(Recur(single), xs.float())
    assert ys.dtype == torch.float32
    close(ys.double(), loop(Recur(exact), xs), 1e-5)
    close(loop(Recur(single.double()), xs), loop(Recur(exact), xs), 1e-5)


def test_gradient_flows_into_every_parameter(kind):
    m = Recur(make(kind))
    loop(m, filled(T, B, I)).square().sum().backward()
    dead = [n for n, p in m.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


def through_bytes(cell):
    buffer = io.BytesIO()
    torch.save(cell, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def through_state_dict(cell):
    fresh = type(cell)(I, H, dtype=F64)
    assert fresh.load_state_dict(cell.state_dict()) == ([], [])
    return fresh


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c)), through_bytes, through_state_dict],
    ids=["deepcopy", "pickle", "save", "state_dict"],
)
def test_a_copy_is_the_same_function_with_weights_of_its_own(kind, copied):
    cell, xs = make(kind), filled(T, B, I)
    twin = copied(cell)
    want = loop(Recur(cell), xs)
    close(loop(Recur(twin), xs), want, 0)
    assert repr(twin) == repr(cell)
    randomise(twin, seed=50)
    close(loop(Recur(cell), xs), want, 0)


def test_reset_starts_again_and_detach_cuts(kind):
    m, xs = Recur(make(kind)), filled(T, B, I).requires_grad_()
    first = loop(m, xs)
    reset(m)
    close(loop(m, xs), first, 0)
    values = map_leaves(lambda part: part.detach().clone(), m.state)
    detach(m)
    close(m.state, values, 0)
    y = m(filled(B, I, seed=8))
    assert torch.autograd.grad(y.sum(), xs, allow_unused=True) == (None,)


def test_functional_jacobian_of_the_update(kind):
    """torch.func sees through `update` and `gates`; central differences are the judge."""
    cell = make(kind)
    at, x = joined(state_of(cell)), filled(I)
    u = cell.project(x).detach()

    def state(flat):
        split = flat.split(H)
        return split if len(cell.state_names) > 1 else split[0]

    for fn in (
        lambda flat: joined(cell.update(state(flat), u)[0]),
        lambda flat: torch.cat([v.reshape(-1) for v in cell.gates(state(flat), x).values()]),
    ):
        got = torch.func.jacrev(fn)(at).detach()
        want = numeric_jacobian(
            lambda v, fn=fn: fn(torch.from_numpy(v)).detach().numpy(), at.numpy()
        )
        close(got, torch.from_numpy(want), 1e-7)


def test_the_step_itself_maps_and_differentiates(kind):
    """Fused operators have no rules for torch.func: the step must not use them there."""
    cell, xs = make(kind), filled(T, I)
    state = state_of(cell)

    def loss(x):
        state_after, y = cell(state, x)
        return y.sin().sum() + joined(state_after).square().sum()

    want = torch.stack([torch.func.grad(loss)(x) for x in xs])
    x = xs[0].clone().requires_grad_()
    close(torch.autograd.grad(loss(x), x)[0], want[0])
    close(torch.func.vmap(torch.func.grad(loss))(xs), want)


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (torch.ones(7, dtype=F64), "x has 7 features, expected 5; x.shape = (7,)"),
        (torch.ones(B, 4, dtype=F64), "x has 4 features, expected 5; x.shape = (3, 4)"),
        (torch.ones((), dtype=F64), "x must have shape (I,) or (B, I); x.shape = ()"),
        (
            torch.ones(2, B, I, dtype=F64),
            "x must have shape (I,) or (B, I); x.shape = (2, 3, 5)",
        ),
        (
            torch.ones(B, I),
            "x is torch.float32 and the weights are torch.float64. "
            "x.to(torch.float64) converts the input.",
        ),
        (
            [1.0] * I,
            "x must be a torch tensor, got a list of 5. "
            "torch.as_tensor(x, dtype=torch.float32) makes one.",
        ),
    ],
)
def test_a_refused_input_changes_nothing(kind, x, text):
    m = Recur(make(kind))
    m.state = before = state_of(m.cell, B)
    with pytest.raises(RnnlabError) as caught:
        m(x)
    assert str(caught.value) == f"{m.cell!r}: {text}"
    assert m.state is before
    close(m(filled(B, I, seed=3)), m.cell(before, filled(B, I, seed=3))[1], 0)


@pytest.mark.parametrize(
    ("now", "text"),
    [
        ((4, I), "the state is for a batch of 3, x has a batch of 4."),
        ((1, I), "the state is for a batch of 3, x has a batch of 1."),
        ((I,), "the state is for a batch of 3, x is unbatched."),
    ],
)
def test_another_batch_is_refused_until_reset(kind, now, text):
    m = Recur(make(kind))
    m(filled(B, I))
    before = m.state
    for owner, call in (
        (m, m),
        (m, lambda x: unroll(m, x.expand(T, *now))),
        (m.cell, lambda x: m.cell(before, x)),
    ):
        with pytest.raises(RnnlabError) as caught:
            call(filled(*now))
        assert str(caught.value) == (
            f"{owner!r}: {text} Call reset(model) before starting with another batch size."
        )
        assert m.state is before
    m.reset()
    assert m(filled(*now)).shape == (*now[:-1], H)
