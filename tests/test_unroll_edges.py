"""unroll at its edges: empty and uneven sequences, refusals, hooks and subclasses."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import rnnlab as rl
from rnnlab import Chain, Dense, Recur, RnnlabError, unroll
from tests.helpers import F64, close, filled, randomise

I, H, O, B, T = 4, 3, 2, 5, 6
LEADS = pytest.mark.parametrize("lead", [(), (B,)], ids=["unbatched", "batched"])


def refusal(fn, *args) -> str:
    with pytest.raises(RnnlabError) as caught:
        fn(*args)
    return str(caught.value)


def accum(h, x):
    return h + x, x


def agrees_with_the_loop(model, xs) -> None:
    want = torch.stack([model(x) for x in xs])
    end = rl.states(model)
    for way in (xs, list(xs)):
        rl.reset(model)
        ys = unroll(model, way)
        close(ys if isinstance(ys, torch.Tensor) else torch.stack(ys), want)
        close(rl.states(model), end)


class TestEmpty:
    def test_a_list_gives_a_list_and_leaves_the_states(self):
        model = Chain(rl.LSTM(I, H), Dense(H, O))
        model(torch.ones(B, I))
        before = rl.states(model)
        assert unroll(model, []) == []
        assert unroll(model, ()) == []
        assert all(v is before[name] for name, v in rl.states(model).items())

    @pytest.mark.parametrize("kind", [rl.RNN, rl.LSTM, rl.GRU, rl.GRUv3])
    @LEADS
    def test_a_tensor_gives_a_tensor_of_the_shape_to_be_expected(self, kind, lead):
        model = Chain(kind(I, H, dtype=F64), Dense(H, O, dtype=F64))
        for _ in range(2):
            before = rl.states(model)
            ys = unroll(model, filled(0, *lead, I))
            assert ys.shape == (0, *lead, O)
            assert ys.dtype == F64
            assert all(v is before[name] for name, v in rl.states(model).items())
            model(filled(*lead, I))

    def test_behind_a_function_that_changes_the_features(self):
        model = Chain(rl.RNN(I, H), lambda h: torch.cat([h, h], -1), Dense(2 * H, O))
        assert len(unroll(model, torch.ones(0, B, I))) == 0
        model = Chain(Recur(lambda h, x: (h, x[..., :2]), 0), Dense(2, O))
        assert len(unroll(model, torch.ones(0, B, I))) == 0

    @pytest.mark.parametrize("kind", [rl.RNN, rl.LSTM, rl.GRU, rl.GRUv3])
    def test_a_batch_of_none(self, kind):
        model = kind(I, H)
        want = torch.stack([model(x) for x in torch.ones(T, 0, I)])
        model.reset()
        close(unroll(model, torch.ones(T, 0, I)), want, 0)


class TestLists:
    def test_unequal_steps_are_looped_over(self):
        m = Recur(lambda h, x: (h + x.sum(), x * h), 1.0)
        xs = [filled(n) for n in (2, 5, 1)]
        got = unroll(m, xs)
        end = m.state
        m.reset()
        close((got, end), ([m(x) for x in xs], m.state), 0)

    def test_unequal_batches_are_refused_and_leave_the_state(self):
        model = randomise(rl.LSTM(I, H, dtype=F64))
        model(filled(B, I))
        before = model.state
        assert refusal(unroll, model, [filled(B, I), filled(B, I), filled(2, I)]) == (
            "Recur(LSTMCell(4, 3)): the state is for a batch of 5, x has a batch of 2. "
            "Call reset(model) before starting with another batch size."
        )
        assert model.state is before

    def test_outputs_that_are_no_tensors_or_of_unequal_shapes(self):
        for say in (lambda y: y.argmax().item(), lambda y: y[y > 0], lambda y: {"y": y}):
            model, xs = randomise(Chain(rl.GRU(I, H, dtype=F64), say)), list(filled(T, I))
            want = [model(x) for x in xs]
            rl.reset(model)
            close(unroll(model, xs), want)

    def test_numbers_and_functions(self):
        m = Recur(accum, 0)
        assert unroll(m, range(1, 11)) == list(range(1, 11))
        assert m.state == 55
        assert unroll(lambda x: 2 * x, [1, 2]) == [2, 4]
        close(unroll(Recur(accum, 0), torch.arange(3.0)), torch.arange(3.0), 0)


class TestRefusals:
    @pytest.mark.parametrize(
        ("xs", "text"),
        [
            (torch.tensor(1.0), "xs must have a time axis, got a tensor of shape ()."),
            (3, "xs must be a list of steps or a tensor (T, …), got int 3."),
            ("abc", "xs must be a list of steps or a tensor (T, …), got str 'abc'."),
            (b"abc", "xs must be a list of steps or a tensor (T, …), got bytes b'abc'."),
            ({"a": 1}, "xs must be a list of steps or a tensor (T, …), got a dict of 1."),
            (None, "xs must be a list of steps or a tensor (T, …), got None."),
            (
                np.ones((2, 3)),
                "xs must be a list of steps or a tensor (T, …), got ndarray of shape (2, 3) and "
                "type float64.",
            ),
        ],
    )
    def test_what_is_no_sequence(self, xs, text):
        m = Recur(accum, 0)
        assert refusal(unroll, m, xs) == f"unroll: {text}"
        assert m.state == 0

    @pytest.mark.parametrize(
        ("shape", "dtype", "text"),
        [
            ((T, B, 7), F64, "LSTMCell(4, 3): x has 7 features, expected 4; x.shape = (6, 5, 7)"),
            ((T, 7), F64, "LSTMCell(4, 3): x has 7 features, expected 4; x.shape = (6, 7)"),
            ((4,), F64, "LSTMCell(4, 3): x must have shape (T, I) or (T, B, I); x.shape = (4,)"),
            (
                (2, T, B, I),
                F64,
                "LSTMCell(4, 3): x must have shape (T, I) or (T, B, I); x.shape = (2, 6, 5, 4)",
            ),
            (
                (T, B, I),
                torch.float32,
                "LSTMCell(4, 3): x is torch.float32 and the weights are torch.float64. "
                "x.to(torch.float64) converts the input.",
            ),
            (
                (T, 2, I),
                F64,
                "Recur(LSTMCell(4, 3)): the state is for a batch of 5, x has a batch of 2. "
                "Call reset(model) before starting with another batch size.",
            ),
            (
                (T, I),
                F64,
                "Recur(LSTMCell(4, 3)): the state is for a batch of 5, x is unbatched. "
                "Call reset(model) before starting with another batch size.",
            ),
        ],
    )
    def test_a_wrong_sequence_changes_nothing(self, shape, dtype, text):
        model = Chain(rl.LSTM(I, H, dtype=F64), Dense(H, O, dtype=F64))
        model(filled(B, I))
        before = rl.states(model)
        assert refusal(unroll, model, filled(*shape, dtype=dtype)) == text
        assert all(v is before[name] for name, v in rl.states(model).items())

    @pytest.mark.parametrize("kind", [rl.GRU, rl.GRUv3])
    def test_the_batch_of_a_sequence_is_remembered(self, kind):
        m = kind(I, H)
        unroll(m, torch.ones(T, I))
        for call in (m, lambda x: unroll(m, x[None])):
            assert refusal(call, torch.ones(B, I)) == (
                f"{m!r}: the state is unbatched, x has a batch of 5. "
                "Call reset(model) before starting with another batch size."
            )

    @pytest.mark.parametrize("how", [list, torch.stack], ids=["list", "tensor"])
    @pytest.mark.parametrize("last", ["cell", "function", "layer"])
    def test_a_failure_at_a_late_step_or_layer_puts_all_states_back(self, how, last):
        def picky(h, x):
            if calls.append(x) or len(calls) > 8:
                raise ZeroDivisionError
            return h + x, x

        calls = []
        model = Chain(
            rl.GRU(I, H, dtype=F64),
            {
                "cell": Recur(picky, 0.0),
                "function": lambda x: picky(0, x)[1],
                "layer": rl.RNN(H + 1, H, dtype=F64),
            }[last],
        )
        xs = filled(T, B, I)
        if last != "layer":
            unroll(model, xs)
        before = rl.states(model)
        with pytest.raises((ZeroDivisionError, RnnlabError)):
            unroll(model, how([*xs]))
        assert all(v is before[name] for name, v in rl.states(model).items())


HOOKS = {
    "forward": lambda m, hook: m.register_forward_hook(hook),
    "forward pre": lambda m, hook: m.register_forward_pre_hook(hook),
    "full backward": lambda m, hook: m.register_full_backward_hook(hook),
    "full backward pre": lambda m, hook: m.register_full_backward_pre_hook(hook),
    "global forward": lambda m, hook: nn.modules.module.register_module_forward_hook(
        lambda module, *rest: hook(module, *rest) if module is m else None
    ),
}


class TestHooks:
    @pytest.mark.parametrize("where", ["recur", "cell", "dense"])
    @pytest.mark.parametrize("kind", HOOKS)
    def test_a_hook_fires_at_every_step(self, kind, where):
        model = randomise(Chain(rl.GRU(I, H, dtype=F64), Dense(H, O, dtype=F64)))
        fired = []

        def hook(*args):
            fired.append(args[0])

        heard = {"recur": model[0], "cell": model[0].cell, "dense": model[1]}[where]
        handle = HOOKS[kind](heard, hook)
        try:
            xs = filled(T, B, I).requires_grad_()
            unroll(model, xs).sum().backward()
        finally:
            handle.remove()
        assert fired == [heard] * T

    def test_a_hook_that_changes_the_output_changes_it(self):
        model = randomise(Chain(rl.GRU(I, H, dtype=F64), Dense(H, O, dtype=F64)))
        for part in (model, model[0], model[1]):
            handle = part.register_forward_hook(lambda m, x, y: 2 * y + 1)
            agrees_with_the_loop(model, filled(T, B, I))
            handle.remove()
            rl.reset(model)

    def test_a_hook_on_an_inner_chain_is_called_at_every_step(self):
        inner, seen = Chain(rl.GRU(I, H), Dense(H, O)), []
        inner.register_forward_hook(lambda m, x, y: seen.append(tuple(y.shape)))
        unroll(Chain(inner, torch.tanh), torch.ones(T, B, I))
        assert seen == [(B, O)] * T


class TestSubclasses:
    """Whoever overrides `forward` is asked at every step."""

    @pytest.mark.parametrize("where", ["recur", "cell", "dense", "chain"])
    def test_of_one_object(self, where):
        chain = randomise(Chain(rl.GRU(I, H, dtype=F64), Dense(H, O, dtype=F64)))
        part = {"recur": chain[0], "cell": chain[0].cell, "dense": chain[1], "chain": chain}[where]
        forward, calls = part.forward, []
        part.forward = lambda *xs: calls.append(1) or forward(*xs)
        agrees_with_the_loop(chain, filled(T, B, I))
        assert len(calls) == 3 * T

    def test_of_recur(self):
        class Doubled(Recur):
            def forward(self, x):
                return 2 * super().forward(x)

        agrees_with_the_loop(randomise(Doubled(rl.GRUCell(I, H, dtype=F64))), filled(T, B, I))

    def test_of_chain(self):
        class Skip(Chain):
            def forward(self, x):
                return x + super().forward(x)

        agrees_with_the_loop(randomise(Skip(rl.RNN(I, I, dtype=F64))), filled(T, B, I))

    def test_of_dense(self):
        class Softmax(Dense):
            def forward(self, x):
                return super().forward(x).softmax(0)

        model = Chain(rl.RNN(I, H, dtype=F64), Softmax(H, O, dtype=F64))
        agrees_with_the_loop(randomise(model), filled(T, B, I))

    def test_of_a_cell(self):
        """The formula is written once: gates, call and whole sequence all follow it."""

        class Louder(rl.LSTMCell):
            def combine(self, state, u, v):
                values = super().combine(state, u, v)
                return {**values, "h": 2 * values["h"]}

        m = randomise(Recur(Louder(I, H, dtype=F64)))
        x = filled(B, I)
        agrees_with_the_loop(m, filled(T, B, I))
        m.reset()
        want = m.cell.gates(m.init, x)["h"]
        close(m(x), want)

    def test_parametrised_weights(self):
        m = rl.GRU(I, H, dtype=F64)
        nn.utils.parametrizations.weight_norm(m.cell, "weight_hh")
        agrees_with_the_loop(randomise(m), filled(T, B, I))


class Look:
    """Something called that keeps a model; also as a method, and inside other things."""

    def __init__(self, recur):
        self.kept = {"recur": recur}

    def __call__(self, h):
        return h + self.kept["recur"].state


class LookModule(nn.Module):
    """A module with a Recur that is not registered in it."""

    def __init__(self, recur):
        super().__init__()
        self.others = [recur]

    def forward(self, h):
        return h + self.others[0].state


def look(h, recur):
    return h + recur.state


KEPT = {}


def look_at_a_global(h):
    return h + KEPT["recur"].state


WAYS = {
    "global": lambda r: KEPT.update(recur=r) or look_at_a_global,
    "function": lambda r: lambda h: h + r.state,
    "a function of a function": lambda r: (lambda inner: lambda h: inner(h) + 1)(Look(r).__call__),
    "object": Look,
    "method": lambda r: Look(r).__call__,
    "partial": lambda r: partial(look, recur=r),
    "default": lambda r: lambda h, r=r: h + r.state,
    "keyword": lambda r: lambda h, *, r=r: h + r.state,
    "module": LookModule,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_layer_that_looks_at_the_state_of_another(way):
    """It needs the state of its own step, not that of the last."""
    r = randomise(rl.RNN(I, H, dtype=F64))
    agrees_with_the_loop(Chain(r, WAYS[way](r)), filled(T, B, I))


class Endless:
    """An object that holds another one, made when it is asked for."""

    @property
    def __dict__(self):
        return {"next": Endless()}


def test_what_a_layer_holds_has_no_end():
    """What lies near is found all the same."""
    r = randomise(rl.RNN(I, H, dtype=F64))
    layer = LookModule(r)
    layer.words, layer.endless = dict.fromkeys(range(10_000), 1.0), Endless()
    agrees_with_the_loop(Chain(r, layer), filled(T, B, I))


def test_a_hook_that_looks_at_the_state_of_another_layer():
    r, seen = randomise(rl.RNN(I, H, dtype=F64)), []
    m = Chain(r, Dense(H, O, dtype=F64))
    m[1].register_forward_hook(lambda layer, args, y: seen.append(r.state))
    unroll(m, filled(T, B, I))
    r.reset()
    close(seen, [r(x) for x in filled(T, B, I)])


def test_a_hook_on_every_module_hears_the_steps_in_their_order():
    def heard(run):
        calls = []
        handle = nn.modules.module.register_module_forward_hook(
            lambda module, args, y: calls.append(type(module).__name__)
        )
        try:
            run()
        finally:
            handle.remove()
        return calls

    xs = filled(T, B, I)
    for m in (rl.GRU(I, H, dtype=F64), Chain(rl.RNN(I, H, dtype=F64), Dense(H, O, dtype=F64))):
        steps = heard(lambda m=m: [m(x) for x in xs])
        rl.reset(m)
        assert heard(lambda m=m: unroll(m, xs)) == steps
        assert steps


@pytest.mark.parametrize(
    "state",
    [torch.zeros(H + 1), torch.zeros(H), torch.zeros(B + 1, H, dtype=F64), (1, 2), None],
    ids=["size", "dtype", "batch", "structure", "none"],
)
@pytest.mark.parametrize("kind", [rl.RNN, rl.LEM])
def test_a_state_that_does_not_fit_is_refused_as_in_a_step(kind, state):
    m, xs = kind(I, H, dtype=F64), filled(T, B, I)
    m.state = (state, state) if kind is rl.LEM and state is not None else state
    text = refusal(m, xs[0])
    assert refusal(unroll, m, xs) == text
