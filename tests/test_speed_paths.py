"""The short ways of a step, in inference: never another value than the way that is written down."""

import copy
import inspect
import io
import pickle
import threading

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import rnnlab as rl
from rnnlab import Recur, RnnlabError
from rnnlab.cells import fast
from tests.helpers import F64, close, filled, joined, parts, randomise

I, H, B = 5, 4, 3
# torch's own rules for forward mode are made with torch.jit.script when they are first used
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")

CELLS = [
    lambda **o: rl.LSTMCell(I, H, **o),
    lambda **o: rl.GRUCell(I, H, **o),
    lambda **o: rl.RNNCell(I, H, **o),
    lambda **o: rl.RNNCell(I, H, "relu", **o),
]
KINDS = pytest.mark.parametrize("kind", CELLS, ids=["lstm", "gru", "tanh", "relu"])
LEADS = pytest.mark.parametrize("lead", [(), (1,), (B,)], ids=["unbatched", "one", "batched"])


def make(kind, **options) -> Recur:
    return Recur(randomise(kind(**{"dtype": F64, **options})))


def inputs(*lead, steps=6, seed=0, dtype=F64):
    return filled(steps, *lead, I, seed=seed, dtype=dtype)


def written(cell, state, x):
    """One step by the documented equation."""
    with torch.no_grad():
        return cell.update(state, cell.project(x))


@pytest.fixture
def taken(monkeypatch):
    """Which steps went the short way: True or False for each call that came so far."""
    calls = []
    real = fast.Stepper.step

    def step(self, *args):
        done = real(self, *args)
        calls.append(done is not None)
        return done

    monkeypatch.setattr(fast.Stepper, "step", step)
    return calls


def follow(m, xs, tol=1e-12):
    """Run m in inference and compare every state and output with the equation."""
    for x in xs:
        state = m.state
        want = written(m.cell, state, x)
        with torch.no_grad():
            y = m(x)
        got, want = (y, joined(m.state)), (want[1], joined(want[0]))
        torch.testing.assert_close(got, want, rtol=tol, atol=tol, equal_nan=True)


@KINDS
@LEADS
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_it_is_taken_and_is_the_equation(kind, lead, bias, taken):
    m = make(kind, bias=bias)
    follow(m, inputs(*lead))
    assert taken == [True] * 5  # the first one is checked
    m.reset()
    follow(m, inputs(*lead, seed=3))
    assert taken == [True] * 10


@KINDS
def test_what_was_given_out_is_never_changed(kind):
    m, xs = make(kind), inputs(B)
    held, copies = [], []
    with torch.no_grad():
        for x in xs:
            y = m(x)
            held.append((y, *parts(m.state)))
            copies.append([part.clone() for part in held[-1]])
    for values, before in zip(held, copies, strict=True):
        close(list(values), before, 0)
    stores = [part.untyped_storage().data_ptr() for values in held for part in values[1:]]
    assert len(set(stores)) == len(stores)


@KINDS
def test_weights_are_read_at_every_step(kind, taken):
    """In whatever way they are changed, also the ways that torch counts no version for."""
    m, xs = make(kind), iter(inputs(B, steps=60))
    cell = m.cell
    square = filled(*cell.weight_hh.shape, seed=5)

    def check():
        follow(m, [next(xs), next(xs)])

    check()
    for name in ("weight_ih", "weight_hh", "bias"):
        weight = getattr(cell, name)
        changed = filled(*weight.shape, seed=9)
        changes = [
            lambda weight=weight: weight.data.mul_(0.5),
            lambda weight=weight, changed=changed: weight.data.copy_(changed),
            lambda weight=weight: weight.detach().numpy().__imul__(0.9),
            lambda weight=weight, changed=changed: setattr(weight, "data", changed * 0.7),
            lambda name=name, changed=changed: setattr(cell, name, nn.Parameter(changed * 0.3)),
            lambda name=name, changed=changed: cell.load_state_dict(
                {**cell.state_dict(), name: changed * 0.4}
            ),
        ]
        for change in changes:
            with torch.no_grad():
                change()
            check()
    optimizer = torch.optim.Adam(m.parameters(), lr=0.1)
    for _ in range(2):
        m.reset()
        m(next(xs)).sum().backward()
        optimizer.step()
        check()
    # the same place in memory, read in another order
    size = cell.hidden_size
    cell.weight_hh.data = square
    check()
    cell.weight_hh.data = square.t().reshape(square.shape)
    check()
    if square.shape == (size, size):
        cell.weight_hh.data = cell.weight_hh.data.t()
        check()
    assert sum(taken) > 30


@KINDS
def test_types_follow_the_weights(kind, taken):
    m = make(kind, dtype=torch.float32)
    follow(m, inputs(B, dtype=torch.float32), 1e-5)
    m.double()
    follow(m, inputs(B))
    m.bfloat16()
    follow(m, inputs(B, dtype=torch.bfloat16), 3e-2)
    assert taken.count(True) == 5 + 4 + 4 or taken.count(True) == 15


@KINDS
@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda x: x.float(), "x is torch.float32 and the weights are torch.float64"),
        (lambda x: x.to("meta"), "x is on meta and the weights are on cpu"),
        (lambda x: x[:, :3], "x has 3 features, expected 5"),
        (lambda x: x[:2], "Call reset"),
        (lambda x: x[0], "Call reset"),
        (lambda x: x.tolist(), "x must be a torch tensor"),
    ],
)
def test_wrong_input_is_refused_as_ever_and_changes_nothing(kind, spoil, text, taken):
    m, xs = make(kind), inputs(B)
    follow(m, xs[:3])
    before = m.state
    with torch.no_grad(), pytest.raises(RnnlabError, match=text):
        m(spoil(xs[3]))
    assert m.state is before
    follow(m, xs[3:])
    assert taken[-1]


@KINDS
def test_weights_that_moved_to_another_type_alone_are_refused(kind):
    m, xs = make(kind), inputs(B)
    follow(m, xs[:3])
    m.cell.float()
    with torch.no_grad(), pytest.raises(RnnlabError, match=r"the weights are torch\.float32"):
        m(xs[3])


@KINDS
def test_a_gradient_is_never_lost(kind, taken):
    m, xs = make(kind), inputs(B)
    follow(m, xs[:3])
    y = m(xs[3])
    assert not any(taken[2:])
    assert all(slope.any() for slope in torch.autograd.grad(y.sum(), [*m.cell.parameters()][:2]))
    follow(m, xs[4:])


@KINDS
def test_a_gradient_in_the_state_alone_is_not_lost(kind, taken):
    m, xs = make(kind, train_init=False).requires_grad_(False), inputs(B)
    follow(m, xs[:3])
    first = parts(m.state)[0].requires_grad_()
    assert torch.autograd.grad(m(xs[3]).sum(), first)[0].any()
    assert taken == [True, True, False]


@KINDS
def test_states_that_were_put_in_are_used(kind, taken):
    m, xs = make(kind), inputs(B)
    follow(m, xs[:3])
    kept = {name: value.clone() for name, value in rl.states(m).items()}
    follow(m, xs[3:])
    rl.load_states(m, kept)
    follow(m, xs[3:])
    m.state = m.init
    follow(m, xs[:2])
    with torch.no_grad():
        parts(m.state)[0].mul_(0.5)  # the running state itself, changed in place
    follow(m, xs[:2])
    m.state = (filled(7, H),) * 2 if isinstance(m.init, tuple) else filled(7, H)
    with torch.no_grad(), pytest.raises(RnnlabError, match="reset"):
        m(xs[0])
    assert True in taken


def test_activation_can_be_changed():
    m, xs = Recur(randomise(rl.RNNCell(I, H, dtype=F64))), inputs(B)
    follow(m, xs[:3])
    m.cell.activation = torch.relu
    follow(m, xs[3:])
    m.cell.activation = rl.identity
    follow(m, xs)
    m.cell.activation = lambda a: a.mul_(2)  # in place: it must not meet memory used again
    with torch.no_grad():
        m(xs[0])
        held = m(xs[1]).clone(), m.state
        m(xs[2])
        close(held[1], held[0], 0)


class TestOthersAtWork:
    """Where something stands between a call and its arithmetic, the usual way is taken."""

    def test_hooks_on_the_recur(self):
        m, xs, seen = make(CELLS[0]), inputs(B), []
        follow(m, xs[:3])
        handle = m.register_forward_hook(lambda *a: seen.append("after"))
        m.register_forward_pre_hook(lambda *a: seen.append("before"))
        follow(m, xs[3:])
        assert seen == ["before", "after"] * 3
        handle.remove()

    def test_hooks_on_the_cell_and_its_replaced_methods(self, taken):
        m, xs, seen = make(CELLS[1]), inputs(B), []
        follow(m, xs[:3])
        handle = m.cell.register_forward_pre_hook(lambda *a: seen.append(1))
        follow(m, xs)
        assert len(seen) == 6
        handle.remove()
        follow(m, xs[:2])
        assert taken[-1]
        forward = m.cell.forward
        m.cell.forward = lambda state, x: (forward(state, x)[0], x)
        with torch.no_grad():
            close(m(xs[0]), xs[0], 0)
        del m.cell.forward
        m.cell.step = lambda state, x: (state, 2 * x)
        with torch.no_grad():
            close(m(xs[0]), 2 * xs[0], 0)

    def test_hooks_on_every_module(self):
        m, xs, seen = make(CELLS[2]), inputs(B), []
        follow(m, xs[:3])
        register = nn.modules.module.register_module_forward_hook
        handle = register(lambda module, *a: seen.append(type(module)))
        try:
            follow(m, xs[3:4])
        finally:
            handle.remove()
        assert seen == [rl.RNNCell, Recur]

    def test_replaced_forward_of_a_recur(self):
        m, xs = make(CELLS[2]), inputs(B)
        follow(m, xs[:3])
        m.forward = lambda x: "mine"
        with torch.no_grad():
            assert m(xs[3]) == "mine"

    def test_a_subclass_of_recur(self):
        class Doubled(Recur):
            def forward(self, *xs):
                return 2 * super().forward(*xs)

        m, xs = Doubled(randomise(rl.RNNCell(I, H, dtype=F64))), inputs(B)
        with torch.no_grad():
            for x in xs:
                close(m(x), 2 * m.state, 0)

    def test_another_cell_in_the_same_recur(self):
        m, xs = make(CELLS[2]), inputs(B)
        follow(m, xs[:3])
        m.cell = randomise(rl.RNNCell(I, H, dtype=F64), seed=8)
        follow(m, xs[3:])

    @pytest.mark.parametrize("part", ["combine", "forward", "step", "project"])
    def test_a_subclass_of_a_cell(self, part):
        def odd(self, *args):
            value = getattr(rl.GRUCell, part)(self, *args)
            if part == "combine":
                return {**value, "h": value["h"] + 1}
            return (value[0] + 1, value[1] + 1) if isinstance(value, tuple) else value + 1

        kind = type("Odd", (rl.GRUCell,), {part: odd})
        cell = randomise(kind(I, H, dtype=F64))
        m, xs = Recur(cell), inputs(B)
        with torch.no_grad():
            h = cell.initial_state()
            for x in xs:
                h, want = cell(h, x)
                close(m(x), want, 1e-12)

    def test_a_parametrised_weight(self):
        m, xs = make(CELLS[0]), inputs(B)
        follow(m, xs[:3])
        nn.utils.parametrizations.weight_norm(m.cell, "weight_hh")
        with torch.no_grad():
            m.cell.parametrizations.weight_hh.original0.mul_(2)
        follow(m, xs[3:])

    def test_functional_call(self):
        m, xs = make(CELLS[0]), inputs(B)
        follow(m, xs[:3])
        state = m.state
        other = {name: 2 * value.detach() for name, value in m.named_parameters()}
        cell = copy.deepcopy(m.cell)
        cell.load_state_dict({name.removeprefix("cell."): v for name, v in other.items()})
        with torch.no_grad():
            y = torch.func.functional_call(m, other, (xs[3],))
        close(y, written(cell, state, xs[3])[1], 1e-12)
        follow(m, xs[4:])

    @pytest.mark.filterwarnings("ignore:There is a performance drop")  # the fused step has no rule
    def test_vmap(self, taken):
        m, xs = make(CELLS[2]), inputs(B)
        with torch.no_grad():
            follow(m, xs[:3])
            h = m.state

            def run(x):
                m.state, m.__dict__["_fast"].state = h, h
                return m(x)

            got = torch.func.vmap(run)(xs)
        assert not any(taken[2:])
        for x, y in zip(xs, got, strict=True):
            close(y, written(m.cell, h, x)[1], 1e-12)

    def test_transforms(self, taken):
        m, xs = make(CELLS[2]), inputs(B)
        cell = rl.RNNCell(I, H, dtype=F64)
        cell.load_state_dict(m.cell.state_dict())
        with torch.no_grad():
            follow(m, xs[:3])
            h = m.state

            def run(x):
                m.state = h
                m(x)
                return m(x)

            got = torch.func.jacfwd(run)(xs[3])
        want = torch.func.jacfwd(
            lambda x: cell.update(cell.update(h, cell.project(x))[0], cell.project(x))[1]
        )(xs[3])
        close(got, want.detach(), 1e-12)
        assert not any(taken[2:])

    def test_forward_mode_differentiation(self, taken):
        from torch.autograd import forward_ad

        m, xs = make(CELLS[2]), inputs(B)
        follow(m, xs[:3])
        h, slope = m.state, filled(B, I, seed=4)
        with torch.no_grad(), forward_ad.dual_level():
            x = forward_ad.make_dual(xs[3], slope)
            got = forward_ad.unpack_dual(m(x)).tangent
            want = forward_ad.unpack_dual(m.cell.update(h, m.cell.project(x))[1]).tangent
        close(got, want, 1e-12)
        assert not taken[-1]

    def test_autocast(self, taken):
        m, xs = make(CELLS[0], dtype=torch.float32), inputs(B, dtype=torch.float32)
        follow(m, xs[:3], 1e-5)
        state = m.state
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            got, want = m(xs[3]), m.cell(state, xs[3])[1]
        close(got, want, 0)
        assert not taken[-1]

    def test_inference_mode_and_back(self, taken):
        m, xs = make(CELLS[0]), inputs(B)
        with torch.inference_mode():
            for x in xs[:3]:
                m(x)
        follow(m, xs[3:])
        with torch.inference_mode():
            m(xs[0])
        follow(m, xs)
        assert taken.count(True) == len(taken)

    def test_dispatch_modes(self, taken):
        """A mode that records what is done, or replaces it, finds memory of one call only."""

        class Doubling(TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                result = func(*args, **(kwargs or {}))
                return 2 * result if func is torch.ops.aten.tanh.default else result

        m, xs = make(CELLS[2]), inputs(B)
        follow(m, xs[:3])
        want = 2 * written(m.cell, m.state, xs[3])[1]
        with Doubling(), torch.no_grad():
            close(m(xs[3]), want, 1e-12)
        assert not taken[-1]

    def test_sparse_input(self):
        m, xs = make(CELLS[2]), inputs(B)
        follow(m, xs[:3])
        want = written(m.cell, m.state, xs[3])[1]
        with torch.no_grad():
            close(m(xs[3].to_sparse()), want, 1e-12)


@KINDS
def test_copies_and_pickles_take_no_temporaries_along(kind):
    m, xs = make(kind), inputs(B)
    before = len(pickle.dumps(m))
    follow(m, xs[:3])
    ran = len(pickle.dumps(m))
    assert ran - before < 1000  # the running state
    file = io.BytesIO()
    torch.save(m, file)
    file.seek(0)
    for other in (
        copy.deepcopy(m),
        pickle.loads(pickle.dumps(m)),
        torch.load(file, weights_only=False),
    ):
        assert not other.__dict__["_fast"].free
        with torch.no_grad():
            other.cell.weight_hh.mul_(2)
        follow(other, xs[3:])
    follow(m, xs[3:])
    assert "_fast" not in "".join(m.state_dict())


def test_threads_do_not_share_temporaries():
    """Many threads step Recurs around one cell, and the same Recur too, each with its own input."""
    cell = randomise(rl.LSTMCell(I, H, dtype=F64))
    xs = [inputs(B, steps=200, seed=k) for k in range(6)]
    wants = []
    for k in range(6):
        m = Recur(cell)
        with torch.no_grad():
            wants.append([m(x) for x in xs[k]])
    failures = []

    def work(m, k):
        with torch.no_grad():
            for x, want in zip(xs[k], wants[k], strict=True):
                if not torch.equal(m(x), want):
                    failures.append(k)

    own = [Recur(cell) for _ in range(6)]
    threads = [threading.Thread(target=work, args=(own[k], k)) for k in range(6)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert not failures

    # one Recur: whoever steps it at the same time has temporaries of his own
    shared = own[0]
    stepper, states = shared.__dict__["_fast"], [m.state for m in own]
    with torch.no_grad():
        nexts = [stepper.step(shared.__dict__, states[k], (xs[k][0],))[1] for k in range(6)]

    def race(k):
        with torch.no_grad():
            for _ in range(400):
                _, y = stepper.step(shared.__dict__, states[k], (xs[k][0],))
                if not torch.equal(y, nexts[k]):
                    failures.append(k)

    threads = [threading.Thread(target=race, args=(k,)) for k in range(6)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert not failures
    assert 1 <= len(stepper.free) <= 6


def test_one_recur_in_many_threads_gives_steps_of_that_cell():
    """Its state is then anyone's, but each step must be one from a state that was there."""
    m, x = make(CELLS[1]), inputs(B)[0]
    failures = []
    with torch.no_grad():
        m(x), m(x)

    def work():
        with torch.no_grad():
            for _ in range(300):
                y = m(x)
                if not (torch.isfinite(y).all() and y.abs().max() <= 1):
                    failures.append(y)

    threads = [threading.Thread(target=work) for _ in range(4)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert not failures
    with torch.no_grad():  # a thousand steps of one input: it has come to rest, undisturbed
        for _ in range(300):
            m(x)
    close(m(x).detach(), written(m.cell, m.state, x)[1], 1e-12)


def test_a_step_within_a_step_has_memory_of_its_own():
    m, xs = make(CELLS[0]), inputs(B)
    follow(m, xs[:3])
    stepper = m.__dict__["_fast"]
    held = stepper.free.pop()  # as if a call were under way
    follow(m, xs[3:])
    assert stepper.free[0] is not held
    assert len(stepper.free) == 1


def test_large_batches_keep_no_memory(monkeypatch, taken):
    monkeypatch.setattr(fast, "LARGEST", 100)
    m, xs = make(CELLS[0]), inputs(B)
    follow(m, xs)
    assert not any(taken)
    assert not m.__dict__["_fast"].free


def test_atomic_puts_back_short_steps():
    m, xs = make(CELLS[0]), inputs(B)
    chain = rl.Chain(m, rl.Dense(H, 1, dtype=F64), lambda y: 1 / 0 if y is None else y)
    with torch.no_grad():
        for x in xs[:3]:
            chain(x)
        before = m.state
        chain[2].fn = lambda y: 1 / 0
        with pytest.raises(ZeroDivisionError):
            chain(xs[3])
    assert m.state is before
    follow(m, xs[3:])


@KINDS
def test_nan_and_infinity_are_values_like_others(kind):
    m, xs = make(kind), inputs(B)
    xs[3, 0, 0], xs[3, 1, 1] = float("nan"), float("inf")
    follow(m, xs)


def test_the_signature_stays():
    assert list(inspect.signature(Recur.forward).parameters) == ["self", "xs"]
    with pytest.raises(TypeError, match="unexpected keyword"):
        make(CELLS[0])(x=inputs()[0])
