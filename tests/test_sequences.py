"""Rows of unequal length, resets on the way, reading from the end; against loops row by row."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import rnnlab as rl
from rnnlab import Chain, Dense, Recur, RnnlabError, scan, sweep, unroll
from rnnlab.cells.registry import CELLS
from rnnlab.layers import Stacked
from tests.helpers import F64, close, filled, randomise, weighted

I, H, B, T = 3, 4, 4, 14
LENGTHS = [9, 14, 1, 9]
ALL_CELLS = pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.__name__)

FEW = torch.zeros(T, dtype=torch.bool)
FEW[[0, 8]] = True
BY_ROW = torch.zeros(T, B, dtype=torch.bool)
BY_ROW[3, [0, 1]] = BY_ROW[8, 3] = True
MANY = torch.arange(T * B).reshape(T, B) % 3 == 1

PLANS = {
    "plain": {},
    "reverse": {"reverse": True},
    "lengths": {"lengths": LENGTHS},
    "lengths reverse": {"lengths": LENGTHS, "reverse": True},
    "resets": {"reset_at": FEW},
    "resets reverse": {"reset_at": FEW, "reverse": True},
    "resets by row": {"reset_at": BY_ROW},
    "many resets": {"reset_at": MANY},
    "lengths resets": {"lengths": LENGTHS, "reset_at": FEW},
    "lengths resets by row reverse": {"lengths": LENGTHS, "reset_at": BY_ROW, "reverse": True},
    "lengths many resets": {"lengths": LENGTHS, "reset_at": MANY},
}
ALL_PLANS = pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))


def one_by_one(model, xs, *, start=None, lengths=None, reset_at=None, reverse=False):
    """Outputs and final states from one unbatched loop after the other."""
    steps, rows = xs.shape[:2]
    lengths = lengths or [steps] * rows
    resets = torch.zeros(steps, rows, dtype=torch.bool)
    if reset_at is not None:
        resets |= reset_at if reset_at.dim() == 2 else reset_at.unsqueeze(1)
    columns, ends = [], []
    for b in range(rows):
        rl.reset(model)
        if start is not None:
            rl.load_states(model, {name: value[b] for name, value in start.items()})
        ys = {}
        times = range(lengths[b])
        for t in reversed(times) if reverse else times:
            if resets[t, b]:
                rl.reset(model)
            ys[t] = model(xs[t, b])
        zero = torch.zeros_like(ys[0])
        columns.append(torch.stack([ys.get(t, zero) for t in range(steps)]))
        ends.append(rl.states(model))
    states = {name: torch.stack([end[name] for end in ends]) for name in ends[0]}
    return torch.stack(columns, dim=1), states


def everything(model, ys, states, xs):
    """Outputs, final states, and the gradients of all of them in all weights and inputs."""
    loss = weighted(ys) + weighted(list(states.values()))
    wanted = [*model.parameters(), xs]
    grads = torch.autograd.grad(loss, wanted, allow_unused=True)
    grads = [torch.zeros_like(w) if g is None else g for g, w in zip(grads, wanted, strict=True)]
    return ys, states, grads


def by_row(states):
    """The states with a row for each of the batch, also where they are the same for all."""
    return {n: v if v.shape[0] == B else v.expand(B, *v.shape) for n, v in states.items()}


def padded(xs, lengths):
    """xs with what no result may depend on where a row has ended."""
    xs = xs.detach().clone()
    for b, length in enumerate(lengths or []):
        xs[length:, b] = torch.nan
    return xs.requires_grad_()


def agrees(model, plan, *, running=True, tol=1e-10, xs=None):
    xs = filled(T, B, I) if xs is None else xs
    start = None
    if running:
        with torch.no_grad():
            rl.reset(model)
            unroll(model, filled(3, B, I, seed=9))
            start = rl.states(model)
    clean, dirty = xs.clone().requires_grad_(), padded(xs, plan.get("lengths"))
    want = everything(model, *one_by_one(model, clean, start=start, **plan), clean)
    rl.reset(model)
    if start is not None:
        rl.load_states(model, start)
    got = everything(model, unroll(model, dirty, **plan), by_row(rl.states(model)), dirty)
    close(got, want, tol)
    with torch.no_grad():
        rl.reset(model)
        if start is not None:
            rl.load_states(model, start)
        close((unroll(model, dirty, **plan), by_row(rl.states(model))), want[:2], tol)


def swept(monkeypatch):
    """Gradients of whole sequences at once, however short."""
    monkeypatch.setattr(scan, "_SWEPT_STEPS", 1)
    monkeypatch.setattr(scan, "_SWEPT_KERNEL_STEPS", 1)


@pytest.mark.parametrize(
    "plan",
    ["reverse", "lengths", "resets", "lengths resets by row reverse", "lengths many resets"],
)
@ALL_CELLS
def test_every_cell(kind, plan, monkeypatch):
    if "many" not in plan:
        monkeypatch.setattr(scan, "_SHORT", 1)  # every segment on its own, however short
    swept(monkeypatch)
    agrees(randomise(Recur(kind(I, H, dtype=F64))), PLANS[plan])


@pytest.mark.parametrize("plan", ["plain", "lengths reverse", "many resets"])
@ALL_CELLS
def test_every_cell_step_by_step(kind, plan, monkeypatch):
    monkeypatch.setattr(scan, "_SWEPT_UNITS", 0)
    monkeypatch.setattr(scan, "CHUNK_BYTES", 1000)
    agrees(randomise(Recur(kind(I, H, dtype=F64))), PLANS[plan])


@pytest.mark.parametrize("size", [1, 1000])
@ALL_CELLS
def test_every_cell_in_chunks(kind, size, monkeypatch):
    monkeypatch.setattr(sweep, "CHUNK_BYTES", size)
    swept(monkeypatch)
    agrees(randomise(Recur(kind(I, H, dtype=F64))), {})


class Adapted(nn.Module):
    """A foreign module with Recurs inside, and one that it uses twice."""

    def __init__(self):
        super().__init__()
        self.one, self.two = rl.LSTM(I, I, dtype=F64), rl.GRUv3(I, I, dtype=F64)

    def forward(self, x):
        return self.two(self.one(self.two(x)))


def tanh_cell(h, x):
    h = torch.tanh(0.5 * h + x)
    return h, 2 * h


def nested_cell(state, x):
    (a, b), c = state
    a, b, c = torch.tanh(a + x), b * 0.9 + a, torch.sin(c + x)
    return ((a, b), c), a * b + c


class Foreign(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(I, H, dtype=F64)

    def forward(self, h, x):
        h = self.cell(x, h.expand(*x.shape[:-1], H))
        return h, h


MODELS = {
    "chain": lambda: Chain(
        rl.LSTM(I, H, dtype=F64), Dense(H, 3, dtype=F64), rl.GRUv3(3, H, dtype=F64), torch.exp
    ),
    "log": lambda: Chain(Dense(I, 3, dtype=F64), lambda x: x.abs().log(), rl.RNN(3, H, dtype=F64)),
    "stacked": lambda: Stacked(
        rl.LSTM(I, H, dtype=F64), rl.RNN(H, 3, "sigmoid", dtype=F64), rl.GRU(3, 2, dtype=F64)
    ),
    "function": lambda: Recur(tanh_cell, nn.Parameter(filled(I))),
    "function from a number": lambda: Recur(tanh_cell, 0.5),
    "nested": lambda: Recur(nested_cell, ((nn.Parameter(filled(I)), 0.5), filled(I))),
    "foreign": lambda: Recur(Foreign(), nn.Parameter(filled(H))),
    "adapted": Adapted,
    "given init": lambda: Recur(
        rl.LSTMCell(I, H, dtype=F64), (nn.Parameter(filled(H)), filled(H, seed=3))
    ),
    "no bias": lambda: rl.LSTM(I, H, bias=False, train_init=False, dtype=F64),
    "shared": lambda: (lambda r: Chain(r, Dense(I, I, dtype=F64), r))(rl.RNN(I, I, dtype=F64)),
}


@ALL_PLANS
@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
def test_every_kind_of_model(model, plan):
    agrees(randomise(model()), plan, running=False)


@pytest.mark.parametrize("model", ["chain", "stacked", "adapted", "foreign"])
@pytest.mark.parametrize("plan", ["lengths reverse", "resets by row", "lengths many resets"])
def test_a_running_state_goes_on_by_row(model, plan):
    agrees(randomise(MODELS[model]()), PLANS[plan])


def test_an_initial_state_with_rows_of_its_own():
    init = filled(B, H, seed=2), filled(B, H, seed=3)
    model = Recur(randomise(rl.LSTMCell(I, H, dtype=F64)), init)
    xs = filled(T, B, I)
    got, end = unroll(model, xs, lengths=LENGTHS, reset_at=BY_ROW), model.state
    for b in range(B):
        row = Recur(model.cell, tuple(part[b] for part in init))
        n = LENGTHS[b]
        want = []
        for t in range(n):
            if BY_ROW[t, b]:
                row.reset()
            want.append(row(xs[t, b]))
        close(got[:n, b], torch.stack(want))
        close([part[b] for part in end], list(row.state))


class TestForms:
    def model(self):
        return randomise(Chain(rl.LSTM(I, H, dtype=F64), Dense(H, 2, dtype=F64)))

    @pytest.mark.parametrize(
        "as_form", [list, tuple, torch.tensor], ids=["list", "tuple", "tensor"]
    )
    def test_of_lengths(self, as_form):
        model, xs = self.model(), filled(T, B, I)
        want = one_by_one(model, xs, lengths=LENGTHS)
        rl.reset(model)
        close((unroll(model, xs, lengths=as_form(LENGTHS)), rl.states(model)), want)

    @pytest.mark.parametrize(
        "plan", [{"reset_at": BY_ROW}, {"lengths": LENGTHS}, {"reverse": True}]
    )
    def test_a_list_gives_a_list(self, plan):
        model, xs = self.model(), filled(T, B, I)
        want = unroll(model, xs, **plan)
        rl.reset(model)
        got = unroll(model, list(xs), **plan)
        assert type(got) is list
        close(torch.stack(got), want)

    def test_of_resets(self):
        model, xs = self.model(), filled(T, B, I)
        want = unroll(model, xs, reset_at=FEW)
        for form in (FEW.tolist(), FEW.numpy(), FEW.unsqueeze(1).expand(T, B)):
            rl.reset(model)
            close(unroll(model, xs, reset_at=form), want)

    def test_unbatched(self):
        model, xs = self.model(), filled(T, I)
        want, states = one_by_one(model, xs.unsqueeze(1), reset_at=FEW, reverse=True)
        rl.reset(model)
        close(unroll(model, xs, reset_at=FEW, reverse=True), want[:, 0])
        close(rl.states(model), {name: value[0] for name, value in states.items()})

    def test_lists_of_anything(self):
        m = Recur(lambda h, x: (h + x, h), 0)
        assert unroll(m, [1, 2, 3, 4], reset_at=[False, False, True, False]) == [0, 1, 0, 3]
        m.reset()
        assert unroll(m, [1, 2, 3, 4], reverse=True) == [9, 7, 4, 0]
        assert m.state == 10

    def test_full_lengths_and_no_resets_are_as_without(self):
        model, xs = self.model(), filled(T, B, I)
        want = unroll(model, xs), rl.states(model)
        rl.reset(model)
        none = torch.zeros(T, B, dtype=torch.bool)
        close((unroll(model, xs, lengths=[T] * B, reset_at=none), rl.states(model)), want, 0)

    def test_an_empty_sequence(self):
        model = self.model()
        none = torch.zeros(0, dtype=torch.bool)
        assert unroll(model, filled(0, B, I), reset_at=none, reverse=True).shape == (0, B, 2)
        assert unroll(model, [], reset_at=[], reverse=True) == []

    def test_a_reset_at_the_start_makes_room_for_another_batch(self):
        model, xs = self.model(), filled(T, B, I)
        want = unroll(model, xs, reset_at=FEW)
        rl.reset(model)
        unroll(model, filled(2, B + 1, I))
        close(unroll(model, xs, reset_at=FEW), want)
        rl.reset(model)
        unroll(model, filled(2, B + 1, I))
        close(unroll(model, xs.flip(0), reset_at=FEW.flip(0), reverse=True).flip(0), want)


class TestPacked:
    @pytest.mark.parametrize("sort", [True, False])
    @pytest.mark.parametrize("plan", [{}, {"reverse": True}, {"reset_at": BY_ROW}])
    def test_in_and_out(self, sort, plan):
        lengths = sorted(LENGTHS, reverse=True) if sort else LENGTHS
        model = randomise(Chain(rl.LSTM(I, H, dtype=F64), Dense(H, 2, dtype=F64)))
        xs = filled(T, B, I).requires_grad_()
        want = everything(model, *one_by_one(model, xs, lengths=lengths, **plan), xs)
        rl.reset(model)
        packed = pack_padded_sequence(xs, torch.tensor(lengths), enforce_sorted=sort)
        ys = unroll(model, packed, **plan)
        assert type(ys) is PackedSequence
        for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
            close(getattr(ys, name), getattr(packed, name), 0)
        got, counts = pad_packed_sequence(ys)
        assert counts.tolist() == lengths
        close(everything(model, got, rl.states(model), xs), want)

    def test_against_torch(self):
        theirs = randomise(nn.LSTM(I, H, dtype=F64))
        ours = rl.LSTM(I, H, dtype=F64)
        with torch.no_grad():
            ours.cell.weight_ih.copy_(theirs.weight_ih_l0)
            ours.cell.weight_hh.copy_(theirs.weight_hh_l0)
            ours.cell.bias.copy_(theirs.bias_ih_l0 + theirs.bias_hh_l0)
        packed = pack_padded_sequence(filled(T, B, I), LENGTHS, enforce_sorted=False)
        want, (h, c) = theirs(packed)
        close(unroll(ours, packed).data, want.data)
        close(ours.state, (h[0], c[0]))


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "text"),
        [
            (
                {"lengths": [3, 0, 2, 1]},
                "row 1 has length 0; every row needs at least one step. "
                "Take row 1 out of the batch.",
            ),
            (
                {"lengths": [3, 2, 21, 1]},
                "row 2 has length 21, and xs has 14 steps; xs.shape = (14, 4, 3)",
            ),
            ({"lengths": [3, 2]}, "there are 2 lengths for a batch of 4; xs.shape = (14, 4, 3)"),
            (
                {"lengths": [3.0, 2, 1, 1]},
                "lengths must be one whole number for each row, got a list of 4.",
            ),
            ({"lengths": 3}, "lengths must be one whole number for each row, got int 3."),
            (
                {"reset_at": torch.zeros(T)},
                "reset_at must be boolean, got torch.float32. "
                "reset_at.bool() takes everything but zero for true.",
            ),
            (
                {"reset_at": FEW[1:]},
                "reset_at must have shape (T,) or (T, B) with T = 14; reset_at.shape = (13,)",
            ),
            (
                {"reset_at": BY_ROW[:, 1:]},
                "reset_at has 3 rows, and xs a batch of 4; xs.shape = (14, 4, 3)",
            ),
            (
                {"reset_at": "never"},
                "reset_at must be boolean, (T,) or (T, B), got str 'never'.",
            ),
        ],
    )
    def test_of_the_plan(self, options, text):
        model = rl.LSTM(I, H, dtype=F64)
        model(filled(B, I))
        before = model.state
        with pytest.raises(RnnlabError) as caught:
            unroll(model, filled(T, B, I), **options)
        assert str(caught.value) == f"unroll: {text}"
        assert model.state is before

    @pytest.mark.parametrize(
        ("model", "xs", "options", "text"),
        [
            (
                rl.LSTM(I, H, dtype=F64),
                filled(T, I),
                {"lengths": [1, 2, 3]},
                "LSTMCell(3, 4): lengths and resets by row need a batch, xs (T, B, I); "
                "xs.shape = (14, 3)",
            ),
            (
                rl.LSTM(I, H, dtype=F64),
                filled(T),
                {"lengths": [1]},
                "unroll: lengths need a padded batch, a tensor (T, B, …) or a list of such steps; "
                "xs.shape = (14,)",
            ),
            (
                Recur(lambda h, x: (h + 1, x), 0),
                filled(T, B, I),
                {"lengths": LENGTHS},
                "Recur(<lambda>): state h is int 2; rows can only end one by one where it has "
                "one for each of the 4 of the batch, (B, H). Unroll the rows on their own.",
            ),
            (
                Recur(lambda h, x: (h + 1, x), 0),
                filled(T, B, I),
                {"reset_at": BY_ROW},
                "Recur(<lambda>): state h is int 3; rows can only be put back one by one where it "
                "has one for each of the 4 of the batch, (B, H). Unroll the rows on their own.",
            ),
            (
                Recur(lambda h, x: (torch.tanh(h), x), filled(B)),
                filled(T, B, I),
                {"lengths": LENGTHS},
                "Recur(<lambda>): state h is a tensor of shape (4,); rows can only end one by one "
                "where it has one for each of the 4 of the batch, (B, H). "
                "Unroll the rows on their own.",
            ),
            (
                Recur(lambda h, x: (h + x, x.sum()), 0),
                filled(T, B, I),
                {"lengths": LENGTHS},
                "unroll: with lengths the output must have a row for each of the 4 of the batch; "
                "every step gives ()",
            ),
            (
                rl.LSTM(I, H),
                pack_padded_sequence(filled(T, B, I), LENGTHS, enforce_sorted=False),
                {"lengths": LENGTHS},
                "unroll: a PackedSequence has its lengths already; leave lengths out.",
            ),
            (
                Recur(lambda h, x: (h + x, {"x": x}), 0),
                filled(T, B, I),
                {},
                "unroll: for a tensor the model has to give tensors of one shape, not a dict of 1 "
                "first and a dict of 1 last. list(xs) in place of xs gives a list of the outputs.",
            ),
        ],
    )
    def test_of_the_model(self, model, xs, options, text):
        before = rl.states(model)
        with pytest.raises(RnnlabError) as caught:
            unroll(model, xs, **options)
        assert str(caught.value) == text
        assert all(value is before[name] for name, value in rl.states(model).items())

    def test_a_failure_in_the_last_segment_puts_the_state_back(self):
        model = Chain(rl.LSTM(I, H, dtype=F64), Dense(H + 1, 2, dtype=F64))
        model[0](filled(B, I))
        before = rl.states(model)
        with pytest.raises(RnnlabError, match="has 4 features, expected 5"):
            unroll(model, filled(T, B, I), lengths=LENGTHS, reset_at=BY_ROW)
        assert all(value is before[name] for name, value in rl.states(model).items())


def test_copies_are_independent_of_the_plan():
    model = randomise(rl.GRU(I, H, dtype=F64))
    other = copy.deepcopy(model)
    xs = filled(T, B, I)
    close(unroll(model, xs, lengths=LENGTHS), unroll(other, xs, lengths=LENGTHS), 0)
