"""What outlives a call: copies and moves of a running model, states read and written by name."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import rnnlab as rl
from rnnlab import Recur, RnnlabError, load_states, states
from rnnlab.recur import recurs
from tests.helpers import F64, close, filled, joined, randomise

I, H, B = 4, 3, 5
KINDS = pytest.mark.parametrize("kind", [rl.RNN, rl.LSTM, rl.GRU, rl.GRUv3])


def make(kind=rl.RNN, dtype=F64) -> Recur:
    return randomise(kind(I, H, dtype=dtype))


def accum(h, x):
    return h + x, x


def refusal(fn, *args) -> str:
    with pytest.raises(RnnlabError) as caught:
        fn(*args)
    return str(caught.value)


def saved(m):
    buffer = io.BytesIO()
    torch.save(m, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


COPIES = pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), saved],
    ids=["deepcopy", "pickle", "save"],
)


class TestCopies:
    @COPIES
    @KINDS
    def test_a_copy_runs_on_from_the_same_state_by_itself(self, kind, copied):
        m, x = make(kind), filled(B, I)
        m(x)
        twin = copied(m)
        close(joined(twin.state), joined(m.state).detach(), 0)
        assert not joined(twin.state).requires_grad
        before = joined(m.state)
        after = twin(x)
        close(joined(m.state), before, 0)
        close(m(x), after, 0)
        assert "batch of 5" in refusal(twin, filled(2, I))
        twin.reset()
        assert "batch of 5" in refusal(m, filled(2, I))

    @COPIES
    def test_a_copy_at_the_initial_state_trains_its_own(self, copied):
        twin = copied(make())
        assert twin.state is twin.cell.h0
        assert torch.autograd.grad(twin(filled(I)).sum(), twin.cell.h0)[0].any()

    @COPIES
    def test_init_of_all_kinds_is_copied(self, copied):
        m = Recur(accum_pair, (nn.Parameter(filled(H)), filled(H, seed=2), 3))
        m(filled(H, seed=4))
        twin = copied(m)
        close(tuple(twin.state), tuple(m.state))
        twin.reset()
        h, c, k = twin.init
        assert isinstance(h, nn.Parameter)
        assert h is not m.init[0]
        close((h.detach(), c), (filled(H), filled(H, seed=2)), 0)
        assert k == 3

    @COPIES
    def test_a_recur_used_twice_is_still_one(self, copied):
        r = randomise(rl.RNN(H, H, dtype=F64))
        twin = copied(rl.Chain(r, r))
        assert twin[0] is twin[1]


def accum_pair(state, x):
    h, c, k = state
    return (h + x, c * x, k + 1), h


class TestMoves:
    @KINDS
    def test_the_running_state_is_moved_along(self, kind):
        m, x = make(kind, torch.float32), filled(B, I)
        m(x.float())
        before = joined(m.state).detach()
        assert m.to(F64) is m
        close(joined(m.state), before.double(), 0)
        want = m.cell(m.state, x)
        close((m(x), m.state), (want[1], want[0]), 0)
        assert "batch of 5" in refusal(m, filled(2, I))
        m.float()
        close(joined(m.state), joined(want[0]).float().detach(), 0)

    def test_half_and_back(self):
        m = make()
        m(filled(B, I))
        before = m.state.detach()
        m.half()
        close(m.state, before.half(), 0)
        m.double()
        close(m.state, before.half().double(), 0)

    def test_inside_a_chain_and_to_another_device(self):
        m = rl.Chain(make(rl.LSTM), rl.Dense(H, 2, dtype=F64))
        m(filled(B, I))
        m.to("meta")
        assert {v.device.type for v in states(m).values()} == {"meta"}

    def test_whole_numbers_stay_whole(self):
        m = Recur(lambda s, x: ((s[0] + 1, s[1] + 1, s[2] * x), x), (0, torch.tensor(0), filled(H)))
        m(filled(H))
        m.float()
        assert [m.state[0], m.state[1].dtype, m.state[2].dtype] == [1, torch.int64, torch.float32]
        m.reset()
        assert m.state[2].dtype == torch.float32

    def test_a_move_to_where_it_is_keeps_the_graph(self):
        m, x = make(), filled(I).requires_grad_()
        m(x)
        m.to(F64)
        assert torch.autograd.grad(m.state.sum(), x)[0].any()


class TestNames:
    def test_by_module_path(self):
        m = rl.Chain(rl.LSTM(I, H), rl.Chain(read=rl.GRU(H, H)), rl.Dense(H, 2))
        assert list(states(m)) == ["0.h", "0.c", "1.read.h"]
        assert states(m)["0.c"] is m[0].cell.c0
        assert list(states(m[0])) == ["h", "c"]
        assert list(states({"a": [m[0]], "b": 3})) == ["a.0.h", "a.0.c"]
        assert states(nn.Linear(2, 2)) == {}

    def test_of_a_function_cell(self):
        assert list(states(Recur(accum, 0))) == ["h"]
        assert list(states(Recur(accum, (0, 0)))) == ["h.0", "h.1"]
        assert list(states([Recur(accum, {"a": (0, 0)})])) == ["0.h.a.0", "0.h.a.1"]

    def test_a_recur_used_twice_has_one_name(self):
        r = rl.RNN(H, H)
        assert [path for path, _ in recurs(rl.Chain(r, r))] == ["0"]
        assert [path for path, _ in recurs([r, {"again": r}])] == ["0"]
        assert [path for path, _ in recurs(r)] == [""]


class TestLoading:
    @KINDS
    def test_back_to_an_earlier_step_bit_for_bit(self, kind):
        m, xs = rl.Chain(make(kind), rl.Dense(H, I, dtype=F64), make(kind)), filled(6, B, I)
        rl.unroll(m, xs[:2])
        kept = states(m)
        want = rl.unroll(m, xs[2:]), states(m)
        load_states(m, kept)
        close((rl.unroll(m, xs[2:]), states(m)), want, 0)
        rl.reset(m)
        load_states(m, {name: v.detach().numpy() for name, v in kept.items()})
        close((rl.unroll(m, xs[2:]), states(m)), want, 0)

    def test_another_batch_may_be_loaded(self):
        m = make()
        m(filled(B, I))
        load_states(m, {"h": filled(2, H)})
        x = filled(2, I)
        close(m(x), m.cell(filled(2, H), x)[1], 0)

    def test_arrays_are_copied(self):
        m, array = make(dtype=torch.float32), np.array([0.1, 0.2, 0.3], dtype=np.float32)
        load_states(m, {"h": array})
        array[:] = 9
        close(m.state, torch.tensor([0.1, 0.2, 0.3]), 0)
        array.flags.writeable = False  # as a recording gives it
        load_states(m, {"h": array})
        close(m.state, torch.full((H,), 9.0), 0)

    def test_a_function_cell_takes_back_whatever_it_had(self):
        """Its state may have another dtype, shape or structure than its initial state."""
        for init, x in (
            (torch.tensor(0), torch.tensor([1.5, 2.5])),
            (torch.zeros(1), filled(H)),
            (0, filled(H)),
            (torch.zeros(2, 3, 4), filled(2, 3, 4)),
        ):
            m = Recur(accum, init)
            m(x)
            kept = states(m)
            m(x)
            load_states(m, kept)
            close(m.state, x + init, 0)
            m.reset()
            load_states(m, kept)
            close(m.state, x + init, 0)
        m = Recur(lambda h, x: ((*h, x), x), ())
        m(1), m(2)
        kept = states(m)
        load_states(m, {name: 10 * v for name, v in kept.items()})
        assert m.state == (10, 20)

    def test_fractions_are_not_rounded_to_the_dtype_of_a_whole_initial_state(self):
        m = Recur(accum, torch.tensor([0, 0]))
        load_states(m, {"h": [0.5, 1.5]})
        close(m.state, torch.tensor([0.5, 1.5]), 0)

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            (
                lambda s: s.pop("0.c"),
                "the names do not fit the model (missing: 0.c). It has: 0.h, 0.c, 1.h.",
            ),
            (
                lambda s: (s.pop("0.h"), s.update({"2.h": 1, 3: 2})),
                "the names do not fit the model (missing: 0.h; unknown: 2.h, 3). "
                "It has: 0.h, 0.c, 1.h.",
            ),
            (lambda s: s.update({"1.h": "abc"}), "1.h is not numeric: str 'abc'."),
            (
                lambda s: s.update({"1.h": np.ma.masked_equal([1.0, 0.0, 2.0], 0.0)}),
                "1.h has masked elements, and what the mask hides would be taken. "
                "value.filled(number) has a number of your own in their place.",
            ),
            (lambda s: s.update({"1.h": None}), "1.h is not numeric: None."),
            (lambda s: s.update({"1.h": [[1.0], [1.0, 2.0]]}), "1.h is not numeric: a list of 2."),
            (
                lambda s: s.update({"1.h": torch.zeros(1)}),
                "1.h is torch.float32, the model's is torch.float64.",
            ),
            (
                lambda s: s.update({"1.h": s["1.h"].to("meta")}),
                "1.h is on meta, the model is on cpu. value.to('cpu') moves it.",
            ),
            *(
                (
                    lambda s, shape=shape: s.update({"1.h": filled(*shape)}),
                    f"1.h has shape {shape}; the model's initial state has (1,), to which only a "
                    "batch dimension may be added in front.",
                )
                for shape in [(5,), (5, 3), (2, 5, 1), (0,)]
            ),
            (
                lambda s: s.update({"0.h": filled(2, H)}),
                "the parts of one state must have the same shape; 0.h, 0.c have (2, 3), (5, 3).",
            ),
        ],
    )
    def test_bad_input_changes_nothing(self, change, text):
        m = rl.Chain(make(rl.LSTM), randomise(rl.RNN(H, 1, dtype=F64)))
        m(filled(B, I))
        before = states(m)
        new = {name: torch.zeros_like(v) for name, v in before.items()}
        change(new)
        assert refusal(load_states, m, new) == f"load_states: {text}"
        after = states(m)
        assert after.keys() == before.keys()
        assert all(after[name] is before[name] for name in before)
        assert "batch of 5" in refusal(m, filled(2, I))

    @pytest.mark.parametrize(("s", "text"), [(None, "None"), ([1.0], "a list of 1")])
    def test_what_is_no_dictionary(self, s, text):
        assert refusal(load_states, make(rl.GRU), s) == (
            f"load_states: the states must be a dictionary, as states(model) gives it; got {text}."
        )

    def test_a_model_without_states(self):
        load_states(nn.Linear(2, 2), {})
        assert refusal(load_states, nn.Linear(2, 2), {"h": 1}) == (
            "load_states: the names do not fit the model (unknown: h). It has: no states."
        )

    def test_gradients_reach_a_loaded_state(self):
        m, h = make(), filled(H).requires_grad_()
        load_states(m, {"h": h})
        assert m.state is h
        assert torch.autograd.grad(m(filled(I)).sum(), h)[0].any()
