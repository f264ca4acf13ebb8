"""Poke, clamp, transplant: what they change, what they leave, and switching them off and on."""

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab.cells.registry import CELLS
from rnnlab.session import Clamp, Poke, Run, Session, Step, Transplant
from tests.helpers import randomise
from tests.session.helpers import MODELS, H, I, accumulator, contents, inputs, make, states

LOOSE = {"allow_nonfinite": True}


def refused(text: str):
    return pytest.raises(rl.RnnlabError, match=f"^{text}$")


def plain_lstm(cell, state, x, held=()):
    """One LSTM step by hand, with gates replaced."""
    h, c = state
    z = cell.weight_ih @ x + cell.weight_hh @ h + cell.bias
    i, f, g, o = z.chunk(4)
    gates = {"i": i.sigmoid(), "f": f.sigmoid(), "g": g.tanh(), "o": o.sigmoid()}
    for gate, unit, value in held:
        gates[gate] = gates[gate].clone()
        gates[gate][unit] = value
    c = gates["f"] * c + gates["i"] * gates["g"]
    return (gates["o"] * c.tanh(), c), gates


def test_the_function_of_a_poke_cannot_move_the_session():
    session = Session(make("lstm"))
    session.run(inputs(3))
    before = contents(session)

    def moves(c):
        session.rewind(1)
        return c

    with refused(r"Session: the function for c failed with RnnlabError: .* cannot move .*"):
        session.poke("c", 0, moves)
    assert contents(session) == before
    session.poke("c", 0, lambda c: session.states()["c"][:1] + c)  # to look is allowed
    assert session.states()["c"][0] == 2 * session.read("c", 2, 3, branch="main")[0, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_poke_in_half_precision(dtype):
    model = rl.Chain(rl.LSTM(I, H), rl.Dense(H, 2)).to(dtype)
    session = Session(model)
    xs = torch.stack(inputs(4)).to(dtype)
    session.run(xs)
    session.rewind(2)
    session.poke("0.h", 1, 0.5)
    session.refeed()
    trace = session.trace()
    assert trace["0.h"][1, 1] == 0.5
    assert len(trace) == 4
    full = rl.derive(model, trace)
    want = model[0].cell.gates(
        tuple(torch.tensor(trace[n][2]).to(dtype) for n in ("0.h", "0.c")), xs[3]
    )
    torch.testing.assert_close(
        torch.tensor(full["0.f"][3]).float(), want["f"].float(), rtol=0.02, atol=0.01
    )


class TestPoke:
    def test_a_unit_is_set_and_the_rest_is_left(self):
        session = Session(make("lstm"))
        session.run(inputs(3))
        before, main = session.states(), session.trace()
        session.poke("c", 2, 0.75)
        after = session.states()
        assert after["c"][2] == 0.75
        assert torch.equal(after["c"][[0, 1, 3]], before["c"][[0, 1, 3]])
        assert torch.equal(after["h"], before["h"])
        assert session.branch_name == "main@3 c[2]=0.75"
        trace = session.trace()
        assert trace["c"][2].tolist() == after["c"].tolist()
        assert trace["c"][:2].tobytes() == main["c"][:2].tobytes()
        assert session.trace("main")["c"].tobytes() == main["c"].tobytes()
        edit = {"t": 3, "kind": "poke", "name": "c", "units": (2,), "value": 0.75}
        assert trace.edits == (edit,)

    def test_the_model_goes_on_from_there(self):
        session, alone = Session(make("lstm")), make("lstm")
        xs = inputs(4)
        session.run(xs[:2])
        session.poke("c", 1, -1.5)
        h, c = (session.states()[name] for name in "hc")
        with torch.no_grad():
            (h, c), y = alone.cell((h, c), xs[2])
        torch.testing.assert_close(session.step(xs[2]), y, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(session.states()["c"], c, rtol=1e-6, atol=1e-7)

    @pytest.mark.parametrize(
        ("unit", "value", "want"),
        [
            (None, 0.5, [0.5, 0.5, 0.5, 0.5]),
            (None, [1, 2, 3, 4], [1, 2, 3, 4]),
            (None, torch.tensor([1.0, 2, 3, 4]), [1, 2, 3, 4]),
            (-1, 9, [1, 1, 1, 9]),
            ([0, 2], [5, 6], [5, 1, 6, 1]),
            (np.array([1, 3]), 0, [1, 0, 1, 0]),
            (slice(1, None), 7, [1, 7, 7, 7]),
            (None, lambda h: -2 * h, [-2, -2, -2, -2]),
            (1, lambda h: h + 4, [1, 5, 1, 1]),
        ],
    )
    def test_units_and_values(self, unit, value, want):
        session = Session(rl.Recur(lambda h, x: (h + x, h), torch.zeros(4)))
        session.step(torch.ones(4))
        session.poke("h", unit, value)
        assert session.states()["h"].tolist() == want

    def test_a_number(self):
        session = Session(accumulator())
        session.run([1, 2])
        session.poke("h", None, 10)
        assert session.step(1) == 20
        assert session.trace()["h"].tolist() == [1, 10, 11]

    def test_at_the_start(self):
        session = Session(make("rnn"))
        session.poke("h", 0, 3.0)
        session.run(inputs(2))
        assert session.trace().initial["h"][0] == 3
        assert session.initial("main")["h"][0] != 3
        session.rewind(0)
        assert session.states()["h"][0] == 3

    def test_edits_at_one_place_share_a_branch(self):
        session = Session(make("rnn"))
        session.run(inputs(2))
        session.poke("h", 0, 1.0)
        session.poke("h", 1, 2.0)
        assert session.branches == ("main", "main@2 h[0]=1, h[1]=2")
        assert session.states()["h"][:2].tolist() == [1, 2]
        session.undo()
        assert session.branches == ("main", "main@2 h[0]=1")
        session.redo()
        session.step(torch.ones(I))
        session.poke("h", 0, 1.0)
        assert len(session.branches) == 3

    def test_in_a_batch_every_row_is_set(self):
        session = Session(make("chain"))
        session.step(torch.ones(2, I))
        session.poke("0.h", 1, 0.5)
        assert session.states()["0.h"][:, 1].tolist() == [0.5, 0.5]

    def test_no_effect_no_change(self):
        session = Session(make("gru"))
        session.run(inputs(2))
        before, log = contents(session), len(session.log)
        session.poke("h", 2, float(session.states()["h"][2]))
        session.poke("h", None, lambda h: h)
        assert contents(session) == before
        assert len(session.log) == log

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (("z", 0, 1.0), r"Session: no state 'z'\. There are: h, c\."),
            (("c", 4, 1.0), r"Session: c has units 0 to 3; there is no 4\."),
            (("c", 0.5, 1.0), r"Session: a unit is a whole number, got 0\.5\."),
            (("c", [], 1.0), r"Session: \[\] is no unit of c\. It has units 0 to 3\."),
            (("c", slice(5, 9), 1.0), r"Session: slice.* is no unit of c\. It has units 0 to 3\."),
            (("c", slice("a"), 1.0), r"Session: slice\('?.* names no units of c: .*"),
            (
                ("c", None, [[1.0], [2, 3]]),
                r"Session: c .*, or to numbers of shape \(4,\); got .*",
            ),
            (
                ("c", None, [1.0, 2]),
                r"Session: c .*, or to numbers of shape \(4,\); got shape \(2,\)\.",
            ),
            (
                ("c", 0, "word"),
                r"Session: c .*, or to numbers of shape \(1,\); got str 'word'\.",
            ),
            (
                ("c", 0, 1j),
                r"Session: c .*, or to numbers of shape \(1,\); got complex 1j\.",
            ),
            (("c", 0, float("nan")), r"Session: c would be set to values that are not finite .*"),
            (("c", 0, lambda c: 1 / 0), r"Session: the function for c failed with ZeroDivision.*"),
        ],
    )
    def test_refused(self, arguments, text):
        session = Session(make("lstm"))
        session.run(inputs(2))
        before = contents(session)
        with refused(text):
            session.poke(*arguments)
        assert contents(session) == before


class TestWhatAStateCanHold:
    """A value is looked at as the state will hold it: never cut, never silently infinite."""

    def session(self, dtype, **options):
        session = Session(rl.Recur(lambda h, x: (h + x, h), torch.zeros(2, dtype=dtype)), **options)
        session.step(torch.ones(2, dtype=dtype))
        return session

    @pytest.mark.parametrize(
        ("dtype", "value", "kind"),
        [
            (torch.int64, 2.7, "int64"),
            (torch.int64, [1, 2.5], "int64"),
            (torch.int64, float("nan"), "int64"),
            (torch.int64, 1e30, "int64"),
            (torch.uint8, -1, "uint8"),
            (torch.uint8, 300, "uint8"),
            (torch.bool, 2, "bool"),
        ],
    )
    def test_whole_numbers_are_not_cut(self, dtype, value, kind):
        session = self.session(dtype)
        before = contents(session)
        for edit in (session.poke, session.clamp):
            with refused(rf"Session: h is {kind} and cannot hold .*\. Give numbers of that type\."):
                edit("h", None, value)
        assert contents(session) == before
        session.poke("h", None, 1.0)  # but what is a whole number may be written as any other
        assert session.states()["h"].tolist() == [1, 1]

    def test_a_state_that_is_a_number(self):
        counter = Session(rl.Recur(lambda h, x: (h + x, h), 0))
        counter.step(1)
        with refused(r"Session: h is int and cannot hold 2\.7\. Give numbers of that type\."):
            counter.poke("h", None, 2.7)
        counter.poke("h", None, 2.0)
        assert counter.step(1) == 2
        with refused(r"Session: slice.* is no unit of h\. It is a number: give None\."):
            counter.clamp("h", slice(None), 1)
        large = Session(accumulator())
        large.poke("h", None, 1e300)  # beyond float32
        assert large.states()["h"] == 1e300

    def test_finite_is_asked_of_the_type_of_the_state(self):
        half = self.session(torch.float16)
        text = r"Session: h would be set to values that are not finite .* in float16\. .*"
        with refused(text):
            half.poke("h", 0, 1e6)
        with refused(text):
            half.clamp("h", 0, 1e6)
        assert half.branches == ("main",)
        self.session(torch.float16, allow_nonfinite=True).poke("h", 0, 1e6)
        double = self.session(torch.float64)
        double.poke("h", 0, 1e300)
        assert double.states()["h"].tolist() == [1e300, 1]


class TestCommandsGivenAsData:
    """`do` refuses what the method of that command refuses."""

    @pytest.mark.parametrize(
        ("command", "text"),
        [
            (Poke("nope", None, 1.0), r"Session: no state 'nope'\. .*"),
            (Poke("h", (99,), 1.0), r"Session: h has units 0 to 3; there is no 99\."),
            (Poke("h", (), 1.0), r"Session: \(\) is no unit of h\. .*"),
            (Poke("h", None, (1.0, 2.0)), r"Session: h can be set to .* got shape \(2,\)\."),
            (Poke("h", None, float("nan")), r"Session: h would be set to .* not finite .*"),
            (Clamp("nope", None, 1.0, None), r"Session: no state 'nope'\. .*"),
            (Clamp("f", (9,), 1.0, None), r"Session: f has units 0 to 3; there is no 9\."),
            (Clamp("f", None, 1.0, 0), r"Session: steps must be a whole number ≥ 1.*"),
            (Transplant(("nope",), "main", 1), r"Session: no state 'nope'\. .*"),
            (Transplant(("h",), "main", 9), r"Session: branch 'main' has steps 0 to 2.*"),
            (Run((5,)), r"Session: a Run has a tuple with a tensor \(T, …\), or a tuple, .*"),
            (Run(()), r"Session: a Run has a tuple with .*"),
            (Run((torch.tensor(1.0),)), r"Session: a Run has a tuple with .*"),
            (Run(((),)), r"Session: the inputs and labels of a Run .* at least 1; got 0\."),
            (Run(((1, 2), (1,))), r"Session: the inputs and labels of a Run .*; got 2, 1\."),
            (Run((torch.ones(2, I),), ("a",)), r"Session: the inputs and labels .* got 2, 1\."),
            (Run((torch.ones(1, I),), (5,)), r"Session: a label is text, or None; got int 5\."),
            (Run((torch.ones(1, I),), 5), r"Session: a Run has .* tuple of labels, or None; .*"),
            (Step(5), r"Session: a Step has a tuple with a value for each input .*"),  # type: ignore[arg-type]
            (Step((torch.ones(I),), 5), r"Session: a label is text, or None; got int 5\."),  # type: ignore[arg-type]
            (Step((object(),)), r"Session: cannot turn .* into an input\..*"),
        ],
    )
    def test_refused(self, command, text):
        session = Session(make("lstm"))
        session.run(inputs(2))
        before, log = contents(session), len(session.log)
        with refused(text):
            session.do(command)
        assert contents(session) == before
        assert len(session.log) == log

    def test_inputs_are_made_as_in_a_step(self):
        session, other = Session(make("lstm")), Session(make("lstm"))
        assert torch.equal(session.do(Step(([1.0, 2.0, 3.0],))), other.step([1.0, 2.0, 3.0]))
        session.do(Run((([4.0, 5.0, 6.0], [7.0, 8.0, 9.0]),)))
        other.run([[4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
        np.testing.assert_allclose(session.trace()["h"], other.trace()["h"], rtol=1e-6, atol=1e-6)


class TestClamp:
    def test_a_lesion(self):
        session, alone = Session(make("rnn")), make("rnn")
        xs = inputs(5)
        session.run(xs[:1])
        session.clamp("h", [1, 2], 0.0, steps=3)
        h = session.states()["h"]
        for x in xs[1:4]:
            assert h[1] == h[2] == 0
            y = session.step(x)
            with torch.no_grad():
                h, _ = alone.cell(h, x)
            h[[1, 2]] = 0
            torch.testing.assert_close(session.states()["h"], h)
            assert torch.equal(y, session.states()["h"])
            h = session.states()["h"]
        y = session.step(xs[4])
        assert y[1] != 0
        with torch.no_grad():
            assert torch.equal(y, alone.cell(h, xs[4])[1])

    @pytest.mark.parametrize("value", [0.0, 1.0, 0.25])
    def test_a_gate_is_exactly_that_and_the_state_follows(self, value):
        session = Session(make("lstm"))
        xs = inputs(4)
        session.run(xs[:1])
        session.clamp("f", [0, 3], value, steps=2)
        cell = session.model.cell
        for x in xs[1:3]:
            before = session.states()
            session.step(x)
            with torch.no_grad():
                held = [("f", unit, value) for unit in (0, 3)]
                (h, c), gates = plain_lstm(cell, (before["h"], before["c"]), x, held)
                torch.testing.assert_close(session.states()["h"], h)
                torch.testing.assert_close(session.states()["c"], c)
            if value == 1:
                kept = before["c"] + gates["i"] * gates["g"]
                torch.testing.assert_close(session.states()["c"][[0, 3]], kept[[0, 3]])

    def test_what_follows_a_gate_sees_it(self):
        session = Session(make("gru"))
        session.run(inputs(2))
        before = session.states()["h"]
        session.clamp("r", None, 0.0, steps=1)
        x = inputs(1, seed=5)[0]
        session.step(x)
        cell = session.model.cell
        with torch.no_grad():
            u, v = cell.weight_ih @ x + cell.bias, cell.weight_hh @ before
            z = torch.sigmoid(u[H : 2 * H] + v[H : 2 * H])
            n = torch.tanh(u[2 * H :])  # r = 0: the recurrent part is gone
            torch.testing.assert_close(session.states()["h"], (1 - z) * n + z * before)

    def test_update_gate_at_one_keeps_the_state_exactly(self):
        session = Session(make("gru"))
        session.run(inputs(2))
        before = session.states()["h"]
        session.clamp("z", None, 1.0, steps=5)
        session.run(torch.stack(inputs(5, seed=3)))
        assert torch.equal(session.states()["h"], before)
        session.step(torch.ones(I))
        assert not torch.equal(session.states()["h"], before)

    @pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.__name__)
    def test_every_gate_of_every_cell(self, kind):
        cell = randomise(kind(I, H))
        session = Session(cell)
        x = torch.tensor([0.3, -0.7, 1.1])
        session.step(x)
        cell = session.model.cell
        for gate in cell.gate_names:
            session.checkout("main")
            before = session.model.state
            with torch.no_grad():
                free = cell.gates(before, x)[gate]
            session.clamp(gate, 0, 0.125, steps=1)
            moved = session.step(x)
            assert torch.isfinite(moved).all()
            session.checkout("main")
            session.clamp(gate, None, [float(v) for v in free], steps=1)
            same = session.step(x)
            session.checkout("main", 1)
            session.branch(f"free {gate}")
            torch.testing.assert_close(same, session.step(x), rtol=1e-5, atol=1e-5)

    def test_two_clamps_and_a_layer_inside_a_chain(self):
        session = Session(make("chain"))
        session.clamp("0.f", None, 1.0, steps=4)
        session.clamp("0.i", None, 0.0, steps=4)
        c = session.states()["0.c"]
        session.run(torch.stack(inputs(4)))
        assert torch.equal(session.states()["0.c"], c)
        session.step(torch.ones(I))
        assert not torch.equal(session.states()["0.c"], c)

    def test_a_fork_within_is_held_for_what_is_left(self):
        session = Session(make("gru"))
        session.clamp("z", None, 1.0, steps=4)
        session.run(inputs(2))
        h = session.states()["h"]
        session.branch("other")
        session.run(inputs(2))
        assert torch.equal(session.states()["h"], h)
        session.step(torch.ones(I))
        assert not torch.equal(session.states()["h"], h)

    def test_to_the_end(self):
        session = Session(make("rnn"))
        session.clamp("h", 0, 0.5)
        session.run(torch.stack(inputs(20)))
        assert (session.trace()["h"][:, 0] == 0.5).all()
        assert session.branch_name == "main@0 h[0]=0.5 held"

    def test_the_model_gets_its_cells_back(self):
        session = Session(make("chain"))
        cell, slots = session.model[0].cell, dict(session.model[0].__dict__)
        session.clamp("0.f", None, 1.0, steps=2)
        session.step(torch.ones(I))
        assert session.model[0].cell is cell
        assert slots.keys() == session.model[0].__dict__.keys()
        with pytest.raises(rl.RnnlabError):
            session.step(torch.ones(I + 1))
        assert slots.keys() == session.model[0].__dict__.keys()

    def test_a_function_cell(self):
        session = Session(make("function"))
        session.step(torch.ones(I))
        session.clamp("h.0", 1, 0.0, steps=2)
        session.run(inputs(2))
        assert (session.trace()["h.0"][:, 1][[0, 1, 2]] == 0).all()

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (
                ("q", 0, 1.0, 2),
                r"Session: no state 'q'\. There are: h, c\. Gates that can be held: i, f, g, o\.",
            ),
            (("f", 4, 1.0, 2), r"Session: f has units 0 to 3; there is no 4\."),
            (("f", 0, 1.0, 0), r"Session: steps must be a whole number ≥ 1, .*, got 0\."),
            (("f", 0, float("inf"), 1), r"Session: f would be set to values .* not finite .*"),
        ],
    )
    def test_refused(self, arguments, text):
        session = Session(make("lstm"))
        before = contents(session)
        with refused(text):
            session.clamp(*arguments)
        assert contents(session) == before

    def test_gates_of_a_function_cell(self):
        with refused(r"Session: no state 'f'\. There are: h\."):
            Session(accumulator()).clamp("f", 0, 1.0, 1)


class TestTransplant:
    def test_a_state_from_elsewhere(self):
        session = Session(make("lstm"))
        session.run(inputs(4))
        session.reset()
        session.run(inputs(3, seed=5))
        h = session.states()["h"]
        session.transplant("c", "main", 2)
        assert session.states()["c"].tolist() == session.trace("main")["c"][1].tolist()
        assert torch.equal(session.states()["h"], h)
        assert session.branch_name == "run 2@3 c from main@2"
        edit = {"t": 3, "kind": "transplant", "names": ("c",), "branch": "main", "from": 2}
        assert session.trace().edits == (edit,)

    def test_all_states(self):
        session = Session(make("chain"))
        session.run(inputs(4))
        want = states(session)
        session.reset()
        session.step(torch.ones(I))
        session.transplant(None, "main", 4)
        assert states(session) == want

    def test_refused(self):
        session = Session(make("lstm"))
        session.step(torch.ones(2, I))
        session.reset()
        session.step(torch.ones(I))
        with refused(
            r"Session: h is float32 \(4,\) here and float32 \(2, 4\) at step 1 of 'main'\."
        ):
            session.transplant("h", "main", 1)
        with refused(r"Session: branch 'main' has steps 0 to 1, there is no 2\."):
            session.transplant("h", "main", 2)
        with refused(r"Session: no branch 'x'\. There are: main, run 2\."):
            session.transplant("h", "x", 0)
        with refused(r"Session: \[\] names no state\. None means all: h, c\."):
            session.transplant([], "main", 1)


class TestSwitch:
    @pytest.mark.parametrize("name", MODELS)
    @pytest.mark.parametrize("whole", [True, False])
    def test_off_gives_back_the_original_bit_for_bit(self, name, whole):
        session = Session(make(name))
        xs = inputs(12, model=session.model)
        session.run(torch.stack(xs) if whole else xs)
        if not whole:
            session.reset()
            for x in xs:
                session.step(x)
        origin = session.branch_name
        main = contents(session)[-1][origin]
        session.rewind(5)
        key = next(iter(session.states()))
        session.poke(key, 0, 2.0)
        session.refeed()
        edited = session.trace()
        assert len(edited) == 12
        assert edited[key][11].tobytes() != session.trace(origin)[key][11].tobytes()
        session.switch(1, False)
        assert (session.branch_name, session.t) == (origin, 12)
        assert contents(session)[-1][origin] == main
        session.switch(1, True)
        again = session.trace()
        assert all(again[k].tobytes() == edited[k].tobytes() for k in edited)
        assert len(session.branches) == (2 if whole else 3)

    def test_what_was_not_recorded_is_computed(self):
        session, alone = Session(make("gru")), Session(make("gru"))
        xs = inputs(9)
        session.run(xs[:3])
        session.poke("h", 0, 0.9)
        for x in xs[3:]:
            session.step(x)
        for x in xs[:3]:
            alone.step(x)
        session.switch(1, False)
        for x in xs[3:]:
            alone.step(x)
        np.testing.assert_allclose(session.trace()["h"], alone.trace()["h"], rtol=1e-6, atol=1e-6)
        assert session.active_edits == ()
        assert (session.t, session.length("main")) == (9, 3)

    def test_one_of_two_edits(self):
        session = Session(rl.Recur(lambda h, x: (h + x, h), torch.zeros(2)))
        ones = torch.ones(2)
        session.step(ones)
        session.poke("h", 0, 10.0)
        session.step(ones)
        session.poke("h", 1, 100.0)
        session.step(ones)
        assert session.states()["h"].tolist() == [12, 101]
        session.switch(1, False)
        assert session.states()["h"].tolist() == [3, 101]
        assert session.active_edits == (2,)
        session.switch(2, False)
        assert session.states()["h"].tolist() == [3, 3]
        session.switch(1, True)
        assert session.states()["h"].tolist() == [12, 3]
        session.switch(2, True)
        assert session.states()["h"].tolist() == [12, 101]
        assert session.branch_name == "main@2 h[1]=100"

    def test_a_clamp(self):
        session = Session(make("gru"))
        session.run(inputs(2))
        session.clamp("z", None, 1.0, steps=2)
        session.run(inputs(4, seed=3))
        held = session.trace()["h"]
        session.switch(1, False)
        assert not np.array_equal(session.trace()["h"][2:], held[2:])
        session.switch(1, True)
        assert session.trace()["h"].tobytes() == held.tobytes()

    def test_the_line_that_is_left_is_found_again_among_its_forks(self):
        """Two lines begin alike, and the one that was left goes on longest by itself."""
        session, (a, b) = Session(make("gru")), inputs(2)
        session.clamp("z", 0, 0.0, steps=1)
        edited = session.branch_name
        session.run([a, a])
        session.checkout(edited, 1)
        session.run([a, b])
        left, want = session.branch_name, contents(session)
        for _ in range(2):
            session.switch(1, False)
            count = len(session.branches)
            session.switch(1, True)
            assert (session.branch_name, len(session.branches)) == (left, count)
        session.rewind(session.t)
        assert contents(session)[0] == want[0]
        session.checkout(edited, 0)
        session.branch("empty")
        session.switch(1, False)
        session.switch(1, True)
        assert (session.branch_name, session.length()) == ("empty", 0)

    def test_by_other_weights_nothing_recorded_is_taken(self):
        session = Session(make("rnn"))
        session.run(inputs(4))
        session.rewind(2)
        session.poke("h", 0, 1.0)
        session.refeed()
        with torch.no_grad():
            session.model.cell.bias += 0.5
        session.switch(1, False)
        assert session.branch_name == "main@2"
        assert not np.array_equal(session.trace()["h"], session.trace("main")["h"])
        assert session.trace().weights["cell.bias"] == "changed before step 3"

    def test_refused(self):
        session = Session(make("rnn"))
        with refused(r"Session: no edit 1\. There are: none\."):
            session.switch(1, False)
        session.run(inputs(2))
        session.poke("h", 0, 1.0)
        with refused(r"Session: edit 1 is on already\."):
            session.switch(1, True)
        session.reset()
        with refused(r"Session: edit 1 is off already\."):
            session.switch(1, False)
        with refused(r"Session: edit 1 is at step 2; branch 'run 2' has 0\."):
            session.switch(1, True)


class TestWhatStandsForALine:
    """A recording is taken for another only if inputs, labels and weights are the same."""

    def test_labels(self):
        session = Session(make("rnn"))
        x, *rest = inputs(3)
        session.step(x)
        for each, label in zip(rest, "ab", strict=True):
            session.step(each, label=label)
        session.rewind(1)
        session.poke("h", 0, 1.0)
        for each, label in zip(rest, "ac", strict=True):
            session.step(each, label=label)
        session.switch(1, False)
        assert session.trace().labels == ("", "a", "c")
        assert session.trace("main").labels == ("", "a", "b")
        assert session.shared("main", session.branch_name) == 2

    def test_zero_has_a_sign(self):
        session = Session(rl.Recur(lambda h, x: (h + x, 1 / x), torch.zeros(1)), **LOOSE)
        session.run([torch.tensor([1.0]), torch.tensor([0.0])])
        session.rewind(1)
        session.poke("h", 0, 5.0)
        session.step(torch.tensor([-0.0]))
        session.switch(1, False)
        assert session.trace()["y"][1] == -np.inf
        assert session.branch_name != "main"

    def test_nan_is_itself(self):
        session = Session(rl.Recur(lambda h, x: (h + x, x), torch.zeros(1)), **LOOSE)
        session.run(torch.tensor([[1.0], [torch.nan], [2.0]]))
        session.rewind(1)
        session.poke("h", 0, 5.0)
        session.refeed()
        session.switch(1, False)
        assert session.branches == ("main", "main@1 h[0]=5")
        assert session.branch_name == "main"

    def test_weights_in_between(self):
        """As they were at both ends of a stretch is not as they were in it."""
        session = Session(make("rnn"))
        xs, bias = inputs(6), session.model.cell.bias
        kept = bias.detach().clone()
        for t, x in enumerate(xs):
            with torch.no_grad():
                bias.copy_(kept + 0.5 if t in (3, 4) else kept)
            session.step(x)
        session.rewind(1)
        session.poke("h", 0, 1.0)
        session.refeed()
        session.switch(1, False)
        assert session.shared("main", session.branch_name) == 3
        alone = Session(make("rnn"))
        for x in xs:
            alone.step(x)
        np.testing.assert_allclose(session.trace()["h"], alone.trace()["h"], rtol=1e-6, atol=1e-6)


class TestRefeed:
    def test_the_same_inputs_again(self):
        session = Session(make("lstm"))
        session.run(torch.stack(inputs(6)))
        session.rewind(2)
        session.poke("c", 0, 1.0)
        session.refeed(steps=3)
        assert session.t == 5
        assert session.trace()["x"].tobytes() == session.trace("main")[:5]["x"].tobytes()
        session.refeed("main")
        assert session.t == 6

    def test_labels_go_along(self):
        session = Session(make("rnn"))
        for text in "abc":
            session.step(torch.ones(I), label=text)
        session.rewind(1)
        session.branch("b")
        session.refeed()
        assert session.trace().labels == ("a", "b", "c")

    def test_refused(self):
        session = Session(make("rnn"))
        with refused(r"Session: 'main' was not forked; name a branch\."):
            session.refeed()
        session.run(inputs(3))
        session.rewind(1)
        session.branch("b")
        with refused(r"Session: 'main' has 2 steps after step 1, not 3\."):
            session.refeed(steps=3)
        session.reset()
        session.run(inputs(4))
        text = r"Session: 'main' ends at step 3; nothing in it follows step 4\. rewind\(3\), .*"
        with refused(text):
            session.refeed("main")
