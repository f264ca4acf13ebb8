"""Session: stepping, going back bit for bit, forking instead of overwriting, refusing."""

import copy
import pickle
import random
import sys

import numpy as np
import pytest
import torch
from torch import nn

import rnnlab as rl
from rnnlab.session import Moved, Session
from tests.helpers import randomise
from tests.session.helpers import (
    MODELS,
    H,
    I,
    accumulator,
    chain,
    contents,
    inputs,
    make,
    running,
    states,
)

every_model = pytest.mark.parametrize("name", MODELS)


def refused(text: str):
    return pytest.raises(rl.RnnlabError, match=f"^{text}$")


class TestStepping:
    @every_model
    def test_outputs_and_states_are_the_models_own(self, name):
        session, alone = Session(make(name)), make(name)
        for x in inputs(5, model=alone):
            with torch.no_grad():
                want = alone(x)
            torch.testing.assert_close(session.step(x), want)
            assert running(session.model) == states(session)
            torch.testing.assert_close(rl.states(session.model), rl.states(alone))
        assert session.t == session.length() == 5

    @every_model
    def test_the_recording_is_inputs_states_outputs(self, name):
        session, alone = Session(make(name)), make(name)
        xs = inputs(4, model=alone)
        rows = []
        for x in xs:
            session.step(x)
            with torch.no_grad():
                y = alone(x)
            rows.append({"x": x, **rl.states(alone), "y": y})
        trace = session.trace()
        assert list(trace) == list(rows[0])
        for t, row in enumerate(rows):
            for key, value in row.items():
                np.testing.assert_allclose(trace[key][t], value, rtol=1e-6, atol=1e-6)
        assert trace.states == tuple(rl.states(alone))

    def test_numbers(self):
        session = Session(accumulator())
        assert (session.step(2), session.step(3), session.t) == (0.0, 4.0, 2)
        assert session.states() == {"h": 5.0}
        assert session.trace()["h"].tolist() == [2, 5]
        assert session.recorded() == {"x": (), "h": (), "y": ()}

    @pytest.mark.parametrize(
        "x", [[1, 2, 3], (1.0, 2, 3), np.array([1, 2, 3]), torch.tensor([1.0, 2, 3])]
    )
    def test_whatever_holds_numbers_is_an_input(self, x):
        session = Session(make("rnn"))
        want = Session(make("rnn")).step(torch.tensor([1.0, 2, 3]))
        assert torch.equal(session.step(x), want)

    def test_tokens(self):
        model = nn.Sequential(nn.Embedding(5, I), rl.GRU(I, H))
        session = Session(model)
        session.step(3)
        session.step(np.int64(4))
        assert session.trace()["x"].tolist() == [3, 4]

    def test_several_inputs(self):
        session = Session(rl.Recur(lambda h, a, b: (h + a * b, {"sum": a + b, "h": h}), 0.0))
        assert session.step(2, 3) == {"sum": 5, "h": 0.0}
        assert session.step(4, 5.0) == {"sum": 9.0, "h": 6.0}
        trace = session.trace()
        assert trace.names == ("x.0", "x.1", "h", "y.sum", "y.h")
        assert trace["y.h"].tolist() == [0, 6]

    def test_a_batch(self):
        session = Session(chain())
        session.step(torch.ones(2, I))
        session.step(torch.zeros(2, I))
        assert session.trace()["0.h"].shape == (2, 2, H)
        assert session.initial()["0.h"].shape == (H,)
        assert session.trace().initial["0.h"].shape == (2, H)
        session.rewind(0)
        session.rewind(1)
        assert session.states()["0.h"].shape == (2, H)

    def test_a_bare_cell_is_wrapped(self):
        session = Session(randomise(rl.LSTMCell(I, H)))
        session.step(torch.ones(I))
        assert list(session.states()) == ["h", "c"]

    def test_encode_decode_of_text(self):
        eye = {"a": [1.0, 0, 0], "b": [0.0, 1, 0]}
        session = Session(make("rnn"), encode=eye.__getitem__)
        session.run("abba")
        assert session.trace().labels == ("a", "b", "b", "a")
        assert session.trace()["x"].tolist() == [eye[c] for c in "abba"]

    def test_labels(self):
        session = Session(make("rnn"))
        session.step(torch.ones(I), label="one")
        session.step(torch.ones(I))
        assert session.trace().labels == ("one", "")
        assert Session(make("rnn")).trace().labels is None

    def test_the_returned_output_and_the_given_input_may_be_overwritten(self):
        session, same = Session(make("gru")), Session(make("gru"))
        x = torch.ones(I)
        session.step(x).fill_(7)
        same.step(torch.ones(I))
        x.fill_(3)
        assert contents(session) == contents(same)
        x.fill_(1)
        assert torch.equal(session.step(x), same.step(torch.ones(I)))

    def test_a_cell_that_works_in_place_is_recorded_all_the_same(self):
        def adding(h, x):
            h += x
            return h, h

        session = Session(rl.Recur(adding, torch.zeros(2)))
        for _ in range(3):
            session.step(torch.ones(2))
        assert session.trace()["h"].tolist() == [[1, 1], [2, 2], [3, 3]]
        assert session.trace().initial["h"].tolist() == [0, 0]
        session.rewind(1)
        assert session.states()["h"].tolist() == [1, 1]
        session.step(torch.ones(2))
        session.rewind(0)
        assert session.states()["h"].tolist() == [0, 0]

    def test_it_holds_its_place_against_other_users_of_the_model(self):
        session, same = Session(make("gru")), Session(make("gru"))
        for x in inputs(3):
            rl.reset(session.model)
            session.model(torch.ones(I))
            assert torch.equal(session.step(x), same.step(x))


class TestRun:
    @every_model
    def test_as_stepping(self, name):
        ran, stepped = Session(make(name)), Session(make(name))
        xs = inputs(7, model=ran.model)
        ys = ran.run(torch.stack(xs))
        want = torch.stack([stepped.step(x) for x in xs])
        torch.testing.assert_close(ys, want)
        a, b = ran.trace(), stepped.trace()
        assert a.names == b.names
        for key in a:
            np.testing.assert_allclose(a[key], b[key], rtol=1e-5, atol=1e-5)
            assert a[key].dtype == b[key].dtype
        assert ran.t == 7

    def test_lists_generators_arrays_nothing(self):
        session = Session(make("rnn"))
        xs = torch.stack(inputs(3))
        tensor = session.run(xs)
        assert tensor.shape == (3, H)
        for given in (list(xs), (x for x in xs), tuple(xs)):
            session.reset()
            got = session.run(given)
            assert isinstance(got, list)
            torch.testing.assert_close(torch.stack(got), tensor)
        session.reset()
        torch.testing.assert_close(session.run(xs.numpy()), tensor)
        assert session.run([]) == []
        assert session.t == 3

    def test_numbers(self):
        session = Session(accumulator())
        assert session.run([2, 3, 1]) == [0.0, 4.0, 10.0]

    def test_on_from_a_place(self):
        session, whole = Session(make("lstm")), Session(make("lstm"))
        xs = inputs(6)
        for x in xs[:2]:
            session.step(x)
        session.run(torch.stack(xs[2:]))
        for x in xs:
            whole.step(x)
        np.testing.assert_allclose(session.trace()["c"], whole.trace()["c"], rtol=1e-5, atol=1e-6)

    def test_from_the_past_it_forks_once(self):
        session = Session(make("rnn"))
        session.run(torch.stack(inputs(4)))
        session.rewind(2)
        session.run(torch.stack(inputs(3, seed=1)))
        assert session.branches == ("main", "main@2")
        assert (session.t, session.length("main"), session.length()) == (5, 4, 5)

    def test_nothing_is_kept_of_a_run_that_fails(self):
        session = Session(make("rnn"))
        session.run(inputs(300))
        before = contents(session)
        for bad in (torch.ones(I + 1), torch.full((I,), float("nan")), "word", None):
            with pytest.raises(rl.RnnlabError):
                session.run([*inputs(3), bad])
            assert contents(session) == before
        session.rewind(100)
        before = contents(session)
        with pytest.raises(rl.RnnlabError):
            session.run([*inputs(3), torch.ones(I + 1)])
        assert contents(session) == before
        session.step(torch.ones(I))

    def test_what_is_no_sequence(self):
        session = Session(make("rnn"))
        for bad in (3, None, torch.tensor(1.0)):
            with pytest.raises(rl.RnnlabError, match=r"^Session: run takes a sequence of inputs"):
                session.run(bad)


class TestGoingBack:
    @every_model
    def test_every_state_returns_bit_for_bit(self, name):
        session = Session(make(name))
        seen = [states(session)]
        for x in inputs(300, model=session.model):
            session.step(x)
            seen.append(states(session))
        for t in (0, 1, 17, 255, 256, 257, 299, 300, 3, 0, 300):
            session.rewind(t)
            assert states(session) == seen[t] == running(session.model)

    @every_model
    def test_going_on_from_there_is_what_it_was(self, name):
        session = Session(make(name))
        xs = inputs(6, model=session.model)
        ys = [session.step(x) for x in xs]
        for t in (0, 2, 5):
            session.checkout("main", t)
            for x, y in zip(xs[t:], ys[t:], strict=True):
                assert torch.equal(session.step(x), y)
            assert session.branch_name == f"main@{t}"
            arrays, want = session.trace(), session.trace("main")
            for key in want:
                assert arrays[key].tobytes() == want[key].tobytes()

    def test_back_and_forward(self):
        session = Session(make("gru"))
        session.run(inputs(5))
        session.back()
        session.back(2)
        assert session.t == 2
        session.forward()
        assert session.t == 3
        with refused(r"Session: step 3 of 5 on 'main': 3 more would pass the last recorded step\."):
            session.forward(3)
        with refused(r"Session: step 3 of 5 on 'main': 4 more would pass the start\."):
            session.back(4)
        assert session.t == 3

    def test_places_that_are_not(self):
        session = Session(make("gru"))
        session.run(inputs(2))
        with refused(r"Session: branch 'main' has steps 0 to 2, there is no 3\."):
            session.rewind(3)
        with refused(r"Session: branch 'main' has steps 0 to 2, there is no -1\."):
            session.rewind(-1)
        for bad in (1.0, "1", True, None):
            with refused(rf"Session: t must be a whole number, got {bad!r}\."):
                session.rewind(bad)
        with refused(r"Session: no branch 'river'. There are: main\."):
            session.checkout("river")
        session.rewind(np.int64(1))
        assert session.t == 1

    def test_at_the_start_the_initial_state_is_the_models_own(self):
        session = Session(make("gru"))
        session.run(inputs(2))
        session.rewind(0)
        assert session.model.state is session.model.init


class TestBranches:
    def test_stepping_from_the_past_forks(self):
        session = Session(make("lstm"))
        session.run(inputs(4))
        main = contents(session)[-1]["main"]
        session.rewind(2)
        session.step(torch.ones(I))
        session.step(torch.zeros(I))
        assert (session.branch_name, session.t, session.length()) == ("main@2", 4, 4)
        assert contents(session)[-1]["main"] == main
        both = session.trace("main"), session.trace("main@2")
        assert both[0]["c"][:2].tobytes() == both[1]["c"][:2].tobytes()
        session.rewind(1)
        session.step(torch.ones(I))
        session.checkout("main", 2)
        session.step(torch.ones(I))
        assert session.branches == ("main", "main@2", "main@1", "main@2 (2)")

    def test_named_branches(self):
        session = Session(make("lstm"))
        session.run(inputs(2))
        session.branch("river")
        assert (session.branch_name, session.t, session.length()) == ("river", 2, 2)
        session.step(torch.ones(I))
        assert (session.length("main"), session.length("river")) == (2, 3)
        session.checkout("main")
        session.step(torch.ones(I))
        assert session.length("main") == 3
        with refused(
            r"Session: there is a branch 'river' already; checkout\('river'\) goes to it\."
        ):
            session.branch("river")
        for bad in ("", "  ", 3, None):
            with refused(rf"Session: a branch needs a name, got {bad!r}\."):
                session.branch(bad)

    def test_reset_starts_a_run_and_keeps_the_old(self):
        session = Session(make("lstm"))
        session.reset()
        assert session.branches == ("main",)
        session.run(inputs(2))
        session.reset()
        session.run(inputs(1))
        assert (session.branches, session.t) == (("main", "run 2"), 1)
        assert session.length("main") == 2
        session.rewind(0)
        session.step(torch.ones(I))
        assert session.branch_name == "run 2@0"

    def test_shared_and_origin(self):
        session = Session(make("lstm"))
        session.run(inputs(4))
        session.rewind(3)
        session.step(torch.ones(I))
        session.rewind(2)
        session.branch("b")
        session.step(torch.ones(I))
        names = ("main", "main@3", "b")
        assert [[session.shared(a, b) for b in names] for a in names] == [
            [4, 3, 2],
            [3, 4, 2],
            [2, 2, 3],
        ]
        assert session.origin == "b"
        session.rewind(2)
        assert session.origin == "main"
        session.checkout("main@3", 4)
        assert session.origin == "main@3"
        session.reset()
        assert session.origin == "run 2"
        assert session.shared("run 2", "main") == 0

    def test_branches_of_equal_commands_are_equal(self):
        session = Session(make("chain"))
        xs = inputs(5)
        for name in ("a", "b"):
            session.checkout("main", 0)
            session.branch(name)
            for x in xs:
                session.step(x)
        a, b = session.trace("a"), session.trace("b")
        assert all(a[key].tobytes() == b[key].tobytes() for key in a)


class TestReading:
    @pytest.mark.parametrize(("start", "stop"), [(0, 6), (1, 2), (2, 4), (3, 6), (4, 4), (5, None)])
    def test_ranges_across_a_fork(self, start, stop):
        session = Session(make("lstm"))
        session.run(inputs(4))
        session.rewind(3)
        session.run(inputs(3, seed=9))
        got = session.read("c", start, stop)
        want = session.trace()["c"][start:stop]
        assert got.tobytes() == want.tobytes()
        assert len(got) == (6 if stop is None else stop) - start

    def test_what_is_read_cannot_be_written(self):
        session = Session(make("lstm"))
        session.run(inputs(3))
        with pytest.raises(ValueError, match="read-only"):
            session.read("c")[0] = 0
        with pytest.raises(ValueError, match="read-only"):
            session.initial()["c"][0] = 0

    def test_names(self):
        session = Session(make("lstm"))
        with refused(r"Session: 'c' is not recorded; there is: nothing yet\."):
            session.read("c")
        session.run(inputs(1))
        with refused(r"Session: 'z' is not recorded; there is: x, h, c, y\."):
            session.read("z")
        with refused(r"Session: there are steps 0 to 1 on 'main', not 0 to 5\."):
            session.read("c", 0, 5)

    def test_a_trace_before_the_first_step(self):
        trace = Session(make("lstm")).trace()
        assert (trace.names, len(trace)) == (("h", "c"), 0)
        assert trace.initial["c"].shape == (H,)

    def test_repr(self):
        session = Session(rl.RNN(2, 3))
        assert repr(session) == "Session(Recur(RNNCell(2, 3, tanh)), step 0 of 0, branch 'main')"


class Fragile(nn.Module):
    """Gives what it is told to, or raises it."""

    def __init__(self):
        super().__init__()
        self.answer = None

    def forward(self, x):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return x if self.answer is None else self.answer


class TestRefusing:
    """After anything refused the session is exactly where it was."""

    def session(self, **options):
        model = randomise(rl.Chain(rl.LSTM(I, H), rl.Dense(H, 2)))
        model.add_module("fragile", Fragile())
        model.add_module("last", randomise(rl.RNN(2, 2, "identity")))
        session = Session(model, **options)
        session.run(inputs(3))
        return session

    @pytest.mark.parametrize(
        ("x", "text"),
        [
            (torch.ones(I + 1), r"LSTMCell\(3, 4\): x has 4 features, expected 3; .*"),
            (torch.ones(2, I), r".* reset\(\) to start a new run\."),
            (torch.ones(I).double(), r"LSTMCell\(3, 4\): x is torch.float64 .*"),
            ("river", r"Session: cannot turn str 'river' into an input\. .*"),
            (None, r"Session: cannot turn None into an input\. .*"),
            ([[1, 2], [3]], r"Session: cannot turn a list of 2 into an input\. .*"),
            (
                torch.tensor([1.0, float("nan"), 2]),
                r"Session: the input has values .* not finite .*",
            ),
            ([1.0, float("inf"), 2], r"Session: the input has values that are not finite .*"),
        ],
    )
    @pytest.mark.parametrize("t", [3, 1])
    def test_inputs(self, x, text, t):
        session = self.session()
        session.rewind(t)
        before = contents(session)
        with refused(text):
            session.step(x)
        assert contents(session) == before

    def test_arrays_in_another_order_of_rows_or_bytes(self):
        session = self.session()
        x = np.array([0.5, -1.0, 2.0], np.float32)
        session.step(x[::-1])
        session.step(x.astype(">f4"))
        session.run(np.stack([x, -x])[::-1])
        session.run(np.array([[1, 2, 3]], ">i8"))
        fed = [x[::-1], x, -x, x, np.array([1, 2, 3])]
        assert session.trace()["x"][-5:].tolist() == np.stack(fed).tolist()

    def test_masked_arrays(self):
        session = self.session()
        plain = np.array([[0.5, -1.0, 2.0], [1.5, 9.0, -0.5]], np.float32)
        rows = np.ma.array(plain, mask=[[0, 0, 0], [0, 1, 0]])
        said = r"Session: the input, .*, has masked elements, .* x\.filled\(value\) .*"
        before = contents(session)
        for feed in (
            lambda: session.step(rows[1]),
            lambda: session.step([1.5, np.ma.masked, -0.5]),
            lambda: session.run(rows),
            lambda: session.run(list(rows)),
        ):
            with refused(said):
                feed()
            assert contents(session) == before
        session.encode = lambda x: rows[1]
        with refused(said):
            session.step("word")
        session.encode = None
        session.step(rows[0])
        session.step(rows[1].filled(0.25))
        assert session.trace()["x"][-2:].tolist() == [[0.5, -1.0, 2.0], [1.5, 0.25, -0.5]]

    @pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # by torch's own jvp
    @pytest.mark.parametrize("taken", [0, 3], ids=["first", "like the last"])
    @pytest.mark.parametrize("name", ["gru", "chain"])
    @pytest.mark.parametrize(
        "transform",
        [
            lambda f, x: torch.func.jacrev(f)(x),
            lambda f, x: torch.func.jvp(f, (x,), (x,)),
            lambda f, x: torch.func.vmap(f)(x[None]),
            lambda f, x: torch.func.grad(lambda x: f(x).sum())(x),
        ],
        ids=["jacrev", "jvp", "vmap", "grad"],
    )
    def test_a_transform_of_torch_func(self, transform, name, taken):
        session = Session(make(name))
        (x,) = inputs(1)
        for _ in range(taken):
            session.step(x)
        before = contents(session)
        for feed in (session.step, lambda x: session.run(x[None])):
            with refused(
                r"Session: a command was given inside a transform of torch\.func .*"
                r"rl\.as_cell\(session\.model\) is the pure function .*"
            ):
                transform(feed, x)
            assert contents(session) == before
        states = rl.states(session.model)
        assert torch.func.jacrev(lambda x: rl.as_cell(session.model)(states, x)[1])(x).any()
        session.step(x)

    @pytest.mark.parametrize("t", [3, 1, 0])
    def test_exceptions_in_the_model(self, t):
        session = self.session()
        session.rewind(t)
        before = contents(session)
        session.model.fragile.answer = ZeroDivisionError("boom")
        with pytest.raises(rl.RnnlabError, match="failed with ZeroDivisionError: boom") as caught:
            session.step(torch.ones(I))
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert str(caught.value).endswith("The session stands where it stood.")
        assert contents(session) == before
        session.model.fragile.answer = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            session.step(torch.ones(I))
        assert contents(session) == before

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_results_that_are_not_finite(self, value):
        session = self.session()
        before = contents(session)
        session.model.fragile.answer = torch.tensor([1.0, value])
        with refused(
            r"Session: the step gave last.h values that are not finite \(NaN or infinity\)\. "
            r"Nothing was recorded\. Session\(model, allow_nonfinite=True\) accepts them\."
        ):
            session.model.last.cell.bias.data[0] = value
            session.step(torch.ones(I))
        session.model.last.cell.bias.data[0] = 0
        assert contents(session) == before

    def test_infinities_that_cancel_are_not_finite(self):
        session = Session(rl.Recur(lambda h, x: (h + x, x), torch.zeros(2)))
        with pytest.raises(rl.RnnlabError, match="not finite"):
            session.step(torch.tensor([float("inf"), -float("inf")]))
        huge = torch.tensor([3e38, 3e38])
        assert torch.equal(session.step(huge), huge)

    def test_allowed_nonfinite(self):
        session = Session(make("rnn"), allow_nonfinite=True)
        session.step(torch.full((I,), float("nan")))
        assert np.isnan(session.trace()["h"]).all()
        session.back()
        session.forward()
        assert states(session)["h"] == running(session.model)["h"]

    @pytest.mark.parametrize("other", [lambda x: x.to("meta"), torch.Tensor.to_sparse])
    def test_an_encode_that_gives_no_numbers(self, other):
        session = self.session()
        session.encode = other
        with refused(r"Session: the input is a tensor of shape \(3,\) that is .*\. Feed .*\."):
            session.step(torch.ones(I))

    def test_an_encode_that_fails(self):
        session = self.session()
        session.encode = {"a": [1.0, 2, 3]}.__getitem__
        before = contents(session)
        with refused(
            r"Session: encode failed with KeyError: 'b'\. The session stands where it stood\."
        ):
            session.step("b")
        assert contents(session) == before

    @pytest.mark.parametrize("y", ["word", None])
    def test_outputs_that_cannot_be_recorded(self, y):
        session = Session(rl.Recur(lambda h, x: (h + x, y), 0.0))
        with refused(rf"Session: y is {y!r}, which is not a number to be recorded\. .*64 bits\."):
            session.step(1)
        assert (session.t, session.states()) == (0, {"h": 0.0})

    def test_another_shape(self):
        session = Session(rl.Recur(lambda h, x: (h, x), 0.0))
        session.step(torch.ones(2))
        with refused(
            r"Session: branch 'main' records x with shape \(2,\) float32; this step gave shape "
            r"\(3,\) float32\. Call reset\(\) to start a new run\."
        ):
            session.step(torch.ones(3))
        session.reset()
        session.step(torch.ones(3))

    def test_another_structure(self):
        session = Session(rl.Recur(lambda h, x: (h, x if x < 2 else (x, x)), 0.0))
        session.step(1)
        with refused(
            r"Session: branch 'main' records x, h, y; this step gave x, h, y\.0, y\.1\. "
            r"Call reset\(\) to start a new run\."
        ):
            session.step(3)

    @pytest.mark.parametrize("model", [nn.Linear(2, 2), nn.LSTM(2, 2), lambda x: x, 3])
    def test_models_without_state(self, model):
        with pytest.raises(rl.RnnlabError, match=r"has no state to step through\..* rl\.adapt\("):
            Session(model)

    def test_a_model_made_in_inference_mode(self):
        torch.manual_seed(0)
        with torch.inference_mode():
            model = rl.LSTM(2, 3)
        session, xs = Session(model), torch.randn(4, 2)
        for x in xs:
            session.step(x)
        own = rl.LSTM(2, 3)
        own.load_state_dict(model.state_dict())
        np.testing.assert_allclose(session.trace()["h"], rl.unroll(own, xs).detach(), rtol=1e-5)


class TestLeftAlone:
    def test_mode_hooks_gradients_random_state(self):
        model = make("chain")
        model[0].eval()
        seen = []
        model[2].register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
        model[1].cell.bias.requires_grad_(False)
        model(torch.ones(I)).sum().backward()
        grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
        flags = [p.requires_grad for p in model.parameters()]
        torch.manual_seed(3), np.random.seed(3), random.seed(3)
        wanted = torch.rand(2), np.random.rand(2), random.random()
        torch.manual_seed(3), np.random.seed(3), random.seed(3)
        session = Session(model)
        session.step(torch.ones(I))
        session.run(torch.ones(4, I))
        session.rewind(1)
        session.step(torch.ones(I))
        session.reset()
        assert torch.equal(torch.rand(2), wanted[0])
        assert (np.random.rand(2) == wanted[1]).all()
        assert random.random() == wanted[2]
        assert [m.training for m in model] == [False, True, True]
        assert [p.requires_grad for p in model.parameters()] == flags
        for p, grad in zip(model.parameters(), grads, strict=True):
            assert (p.grad is None) == (grad is None)
            assert grad is None or torch.equal(p.grad, grad)
        assert len(model[2]._forward_hooks) == 1
        assert len(seen) >= 6
        assert torch.is_grad_enabled()
        assert not session.states()["0.h"].requires_grad or session.t == 0

    def test_no_graph_is_kept(self):
        session = Session(make("lstm"))
        y = session.step(torch.ones(I, requires_grad=True))
        assert not y.requires_grad
        assert all(not value.requires_grad for value in session.states().values())


class TestEvents:
    def test_every_change_is_told(self):
        session, told = Session(make("rnn")), []
        unsubscribe = session.subscribe(told.append)
        session.step(torch.ones(I))
        session.run(inputs(2))
        session.rewind(1)
        session.step(torch.ones(I))
        session.checkout("main")
        session.branch("b")
        session.reset()
        assert told == [
            Moved("main", 1, 0, 1),
            Moved("main", 3, 1, 3),
            Moved("main", 1, 1, 1),
            Moved("main@1", 2, 1, 2),
            Moved("main", 3, 3, 3),
            Moved("b", 3, 3, 3),
            Moved("run 2", 0, 0, 0),
        ]
        unsubscribe()
        unsubscribe()
        session.step(torch.ones(I))
        assert len(told) == 7

    def test_nothing_is_told_of_what_was_refused(self):
        session, told = Session(make("rnn")), []
        session.subscribe(told.append)
        with pytest.raises(rl.RnnlabError):
            session.step(torch.ones(I + 1))
        with pytest.raises(rl.RnnlabError):
            session.run([torch.ones(I), torch.ones(I + 1)])
        with pytest.raises(rl.RnnlabError):
            session.rewind(4)
        assert told == []

    def test_a_failing_subscriber_breaks_neither_the_step_nor_the_others(self, capsys):
        session, told = Session(make("rnn")), []
        session.subscribe(lambda _: 1 / 0)
        session.subscribe(told.append)
        session.step(torch.ones(I))
        assert session.t == len(told) == 1
        assert "ZeroDivisionError" in capsys.readouterr().err

    def test_all_are_told_in_the_order_of_what_happened(self):
        session, first, last = Session(make("rnn")), [], []

        def twice(moved):
            first.append(moved.t)
            if moved.t < 3:
                session.step(torch.ones(I))
                first.append("done")

        session.subscribe(twice)
        session.subscribe(lambda moved: last.append(moved.t))
        session.step(torch.ones(I))
        assert last == [1, 2, 3]
        assert first == [1, "done", 2, "done", 3]
        session.step(torch.ones(I))
        assert last == [1, 2, 3, 4]

    def test_one_function_subscribed_twice(self):
        session, told = Session(make("rnn")), []
        one, other = session.subscribe(told.append), session.subscribe(told.append)
        one()
        one()
        session.step(torch.ones(I))
        assert len(told) == 1
        other()
        session.step(torch.ones(I))
        assert len(told) == 1

    def test_a_subscriber_that_exits_or_is_interrupted(self, capsys):
        session, told = Session(make("rnn")), []
        end = session.subscribe(lambda _: sys.exit(3))
        session.subscribe(told.append)
        session.step(torch.ones(I))
        assert session.t == len(told) == 1
        assert "SystemExit" in capsys.readouterr().err
        end()

        def interrupted(_):
            raise KeyboardInterrupt

        end = session.subscribe(interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.step(torch.ones(I))
        end()
        session.step(torch.ones(I))
        assert [moved.t for moved in told] == [1, 2, 3]

    def test_only_a_function_can_be_told(self):
        with refused(r"Session: subscribe takes a function of what moved, got int 5\."):
            Session(accumulator()).subscribe(5)

    def test_a_subscriber_may_leave_while_it_is_told(self):
        session, told = Session(make("rnn")), []
        leave = session.subscribe(lambda moved: (told.append(moved), leave()))
        session.subscribe(told.append)
        session.step(torch.ones(I))
        session.step(torch.ones(I))
        assert [moved.t for moved in told] == [1, 1, 2]


class TestWeights:
    def test_the_trace_names_the_weights_that_made_it(self):
        from rnnlab.fingerprint import fingerprint

        session = Session(make("rnn"))
        session.run(inputs(2))
        assert session.trace().weights == fingerprint(session.model)
        assert Session(make("rnn")).trace().weights is None

    def test_weights_that_changed_on_the_way_are_named(self):
        session = Session(make("rnn"))
        session.run(inputs(2))
        with torch.no_grad():
            session.model.cell.bias += 1
        session.step(torch.ones(I))
        weights = session.trace().weights
        assert weights["cell.bias"] == "changed before step 3"
        assert "float32" in weights["cell.weight_ih"]
        session.reset()
        session.step(torch.ones(I))
        assert "float32" in session.trace().weights["cell.bias"]


def test_a_session_is_not_copied():
    session = Session(make("rnn"))
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(
            rl.RnnlabError, match=r"^Session: .* not copied or pickled\. .*replay\("
        ):
            way(session)
    session.run(inputs(3))
    other = rl.replay(copy.deepcopy(session.model), session.log)
    assert contents(other) == contents(session)
    other.step(inputs(1)[0])
    assert session.t == 3
