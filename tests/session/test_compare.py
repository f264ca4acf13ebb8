"""compare, find, match, backtrack: against what they mean, written out."""

from itertools import pairwise

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab.session import (
    Predicate,
    Session,
    Span,
    argmax_changed,
    compare,
    crossed,
    differ,
    find,
    match,
)
from rnnlab.trace import Trace
from tests.helpers import randomise
from tests.session.helpers import H, I, accumulator, inputs, make


def two():
    session = Session(make("chain"))
    session.run(inputs(8))
    session.rewind(3)
    session.run(inputs(5, seed=1))
    return session


def trace_of(rows, **options) -> Trace:
    rows = np.asarray(rows, dtype=float)
    return Trace({"h": rows}, initial={"h": np.zeros(rows.shape[1:])}, **options)


class TestCompare:
    def test_distances(self):
        session = two()
        found = compare(session, "main", "main@3")
        a, b = session.trace("main"), session.trace("main@3")
        assert list(found.distance) == ["0.h", "0.c", "1.h", "y"]
        for name in found.distance:
            gap = np.abs(a[name].astype(float) - b[name])
            np.testing.assert_allclose(found.gaps[name], gap)
            np.testing.assert_allclose(found.distance[name], np.sqrt((gap**2).mean(axis=1)))
            assert (found.distance[name][:3] == 0).all()
            assert found.begins(name) == 3
        assert found.steps.tolist() == [[t, t] for t in range(1, 9)]
        shares = found.carriers("0.h", H)
        assert sum(share for _, share in shares) == pytest.approx(1)
        assert [s for _, s in shares] == sorted((s for _, s in shares), reverse=True)

    def test_where_it_dies_out(self):
        session = Session(rl.Recur(lambda h, x: (0.1 * h + x, h), 0.0))
        session.run([1.0] * 9)
        session.rewind(1)
        session.run([2.0] + [1.0] * 7)
        found = compare(session, "main", "main@1")
        assert found.begins("h") == 1
        assert found.dies_out("h", 0.5) == 2
        assert found.dies_out("h", 1e-12) is None
        same = compare(session, "main", "main")
        assert (same.begins("h"), same.dies_out("h")) == (None, 0)
        assert repr(same).splitlines()[1:] == ["  h: equal", "  y: equal"]

    def test_sessions_and_traces(self):
        one, other = two(), two()
        other.checkout("main")
        assert (compare(one, other).distance["0.h"][3:] > 0).all()
        assert compare(one.trace(), one).distance["0.h"].max() == 0

    def test_by_label(self):
        v = rl.session.Vocabulary.from_text("the river investment bank")
        model = rl.Chain(torch.nn.Embedding(4, I), rl.GRU(I, H))
        session = Session(model, v.encode)
        session.run(["the", "river", "bank"])
        session.rewind(1)
        session.run(["investment", "river", "bank"])
        found = compare(session, "main", session.branch_name, align="label")
        assert found.steps.tolist() == [[1, 1], [2, 3], [3, 4]]
        a, b = session.trace("main")["1.h"], session.trace()["1.h"]
        np.testing.assert_allclose(found.gaps["1.h"][2], np.abs(a[2] - b[3]), rtol=1e-6)

    def test_a_batch_shows_its_largest_gap(self):
        session = Session(make("rnn"))
        session.step(torch.ones(2, I))
        session.rewind(0)
        x = torch.ones(2, I)
        x[1] = -1
        session.step(x)
        found = compare(session, "main", "main@0")
        a, b = session.trace("main")["h"], session.trace()["h"]
        np.testing.assert_allclose(found.gaps["h"], np.abs(a - b).max(axis=1), rtol=1e-6)

    def test_refused(self):
        session = two()
        with pytest.raises(rl.RnnlabError, match=r"align must be 'step' or 'label', not 'x'\.$"):
            compare(session, "main", "main@3", align="x")
        with pytest.raises(rl.RnnlabError, match=r"there are no labels to align by"):
            compare(session, "main", "main@3", align="label")
        with pytest.raises(rl.RnnlabError, match=r"^Session: no branch 'x'\."):
            compare(session, "main", "x")
        with pytest.raises(
            rl.RnnlabError, match=r"nothing of the same shape .*y: \(.*\) a step in "
        ):
            compare(session.trace(), trace_of([[1]]))
        found = compare(session, "main", "main@3")
        for value, told in (("a", "str 'a'"), (np.nan, "float nan"), (True, "bool True")):
            with pytest.raises(rl.RnnlabError) as error:
                found.begins("y", value)
            assert str(error.value) == f"begins: above must be a number, got {told}."
            with pytest.raises(rl.RnnlabError, match=r"^dies_out: share must be a number, got "):
                found.dies_out("y", value)
        with pytest.raises(rl.RnnlabError, match=r"^compare: give branches of a session"):
            compare(session, "main", 3)

    def test_a_layer_may_be_called_x(self):
        rows = np.arange(6.0).reshape(3, 2)
        a = Trace({"x": rows, "xrnn.h": rows}, initial={"xrnn.h": np.zeros(2)})
        b = Trace({"x": rows, "xrnn.h": rows + 1}, initial={"xrnn.h": np.zeros(2)})
        assert list(compare(a, b).distance) == ["xrnn.h"]

    def test_what_is_not_a_number_is_said(self):
        a = Trace({"h": np.array([[0.0, 0], [1, 0], [0, 0], [0, 0]])})
        b = Trace({"h": np.array([[0.0, 0], [0, 0], [0, np.nan], [0, 0]])})
        found = compare(a, b)
        assert repr(found).endswith(
            "h: at most 0.707, at step 2; units 0 (100%), 1 (0%); until step 4; "
            "not a number at 1 steps"
        )
        assert found.dies_out("h") == 3
        assert found.begins("h") == 1
        nothing = compare(b[2:3], b[2:3])
        assert repr(nothing).endswith("h: not a number at any step")
        assert nothing.dies_out("h") is None

    def test_an_array_that_was_not_compared(self):
        found = compare(Trace({"h": np.zeros((2, 1))}), Trace({"h": np.ones((2, 1))}))
        for ask in (found.carriers, found.begins, found.dies_out):
            with pytest.raises(rl.RnnlabError, match=r"^compare: no 'zz' was compared, but h\.$"):
                ask("zz")

    def test_what_was_left_out_is_said(self):
        h, narrow = np.ones((3, 4)), np.ones((3, 2))
        a = Trace({"x": h, "h": h, "0.c": h, "z": h}, initial={"h": h[0], "0.c": h[0]})
        b = Trace({"x": narrow, "h": h, "0.c": narrow, "y": h}, initial={"0.c": narrow[0]})
        found = compare(a, b)
        ours, theirs = f"in {repr(a)!r}", f"in {repr(b)!r}"
        assert found.left_out == {
            "0.c": f"(4,) a step {ours}, (2,) a step {theirs}",
            "z": f"(4,) a step {ours}, absent {theirs}",
            "y": f"absent {ours}, (4,) a step {theirs}",
        }
        assert list(found.distance) == ["h"]
        assert repr(found).splitlines()[1:] == [
            "  h: equal",
            *(f"  {name}: not compared, {why}" for name, why in found.left_out.items()),
        ]
        with pytest.raises(rl.RnnlabError, match=r"^compare: 0\.c was not compared: \(4,\) a step"):
            found.begins("0.c")

    def test_a_text_with_one_edit_is_aligned_around_it(self):
        text = list("the river bank was steep. " * 200)
        other = text[:2000] + list("very ") + text[2000:]
        rows = np.zeros((len(other), 1))
        one = Trace({"h": rows[: len(text)]}, labels=text)
        found = compare(one, Trace({"h": rows}, labels=other), align="label")
        assert len(found.steps) == len(text)
        assert all(text[i - 1] == other[j - 1] for i, j in found.steps)


class TestFind:
    def test_against_a_loop(self):
        rows = np.random.default_rng(0).normal(size=(300, 5))
        units = [("h", 0), ("h", 2, -1), ("h", 4)]
        for k in (1, 2, 3):
            active = [sum(v > 0.2 for v in (row[0], -row[2], row[4])) >= k for row in rows.tolist()]
            spans, at = [], 0
            while at < len(active):
                end = at
                while end < len(active) and active[end]:
                    end += 1
                spans += [(at, end)] if end > at else []
                at = end + 1
            found = find(trace_of(rows), units, above=0.2, at_least=k)
            assert [(s.start, s.stop) for s in found] == spans
            assert all(len(s) >= 2 for s in find(trace_of(rows), units, 0.2, k, min_steps=2))

    def test_spans(self):
        (span,) = find(trace_of([[0, 0], [1, 3], [1, 1], [0, 0]]), {"h": [0, 1]})
        assert repr(span) == "Span(steps 2–3, strength 1.5)"
        assert len(trace_of([[0], [1]])[span.slice]) == 1
        assert find(trace_of(np.zeros((0, 2))), {"h": [0]}) == []

    def test_refused(self):
        trace = trace_of([[0, 0]])
        with pytest.raises(rl.RnnlabError, match=r"^find: h has units 0 to 1; there is no 2\.$"):
            find(trace, {"h": [2]})
        with pytest.raises(
            rl.RnnlabError, match=r"^find: no units were given\. units=.* names them\.$"
        ):
            find(trace, [])
        with pytest.raises(rl.RnnlabError, match=r"between 1 and the number of units \(1\), not 2"):
            find(trace, {"h": [0]}, at_least=2)


class TestMatch:
    def naive(self, rows, pattern):
        length = len(pattern)
        return [
            2 * (rows[i : i + length] * pattern).sum()
            / ((rows[i : i + length] ** 2).sum() + (pattern**2).sum())
            for i in range(len(rows) - length + 1)
        ]  # fmt: skip

    @pytest.mark.parametrize(("steps", "length"), [(50, 7), (500, 3), (100, 100), (333, 64)])
    def test_similarity_is_what_it_says(self, steps, length):
        from rnnlab.session.patterns import _similarity

        rows = np.random.default_rng(1).normal(size=(steps, 3))
        pattern = rows[:length] * 0.9
        np.testing.assert_allclose(_similarity(rows, pattern), self.naive(rows, pattern), atol=1e-9)

    def test_planted_patterns_are_found_in_order(self):
        rng = np.random.default_rng(2)
        rows = 0.01 * rng.normal(size=(400, 4))
        pattern = rng.normal(size=(12, 4))
        rows[50:62] += pattern
        rows[200:212] += pattern
        rows[300:312] += 1.5 * pattern
        other = 0.01 * rng.normal(size=(100, 4))
        other[30:42] += pattern
        found = match(trace_of(rows), slice(50, 62), top=2)
        assert [(m.start, m.stop) for m in found] == [(200, 212), (300, 312)]
        assert found[0].similarity > 0.99 > found[1].similarity
        found = match(trace_of(rows), Span(50, 62, 0.0), [trace_of(other)], top=1)
        assert (found[0].recording, found[0].start) == (0, 30)
        assert repr(found[0]).startswith("Match(recording 0, steps 31–42, similarity ")

    def test_places_do_not_overlap(self):
        found = match(trace_of(np.sin(np.arange(200.0))[:, None]), (20, 40), top=20)
        places = sorted(m.start for m in found)
        assert all(b - a >= 20 for a, b in pairwise(places))
        assert all(m.stop <= 20 or m.start >= 40 for m in found)

    def test_chosen_units(self):
        rows = np.zeros((30, 2))
        rows[3:6, 0] = rows[20:23, 0] = 1
        rows[3:6, 1] = 9
        found = match(trace_of(rows), (3, 6), units=[("h", 0)], top=1)
        assert (found[0].start, found[0].similarity) == (20, pytest.approx(1))

    def test_one_recording_may_be_given_alone(self):
        rows = np.zeros((30, 1))
        rows[3:6] = rows[20:23] = 1
        trace = trace_of(rows)
        assert match(trace, (3, 6), trace[10:], top=1) == match(trace, (3, 6), [trace[10:]], top=1)

    @pytest.mark.parametrize(
        "span", [5, "ab", (-3, 4), (2, 9), (1.0, 2.0), Span(3, 9, 1.0), slice(0, 4, 2)]
    )
    def test_no_span(self, span):
        with pytest.raises(
            rl.RnnlabError, match=r"^match: the span is what find gave, .* 0 and 5; "
        ):
            match(trace_of(np.zeros((5, 1))), span)

    def test_the_span_itself_is_no_other_place(self):
        """Neither in another copy of the recording nor in a branch that shares its past."""
        session = Session(randomise(rl.RNN(1, 4)))
        session.run(torch.randn(30, 1, generator=torch.Generator().manual_seed(0)))
        session.rewind(20)
        session.run(torch.randn(10, 1, generator=torch.Generator().manual_seed(1)))
        main, other = session.trace("main"), session.trace()
        found = match(main, slice(5, 10), [session.trace("main"), other])
        assert found
        assert all(place.stop <= 5 or place.start >= 10 for place in found)
        later = match(main, slice(22, 27), [other], top=30)
        assert any(22 <= place.start < 27 for place in later), "there it is another place"

    def test_numbers_that_are_not_finite_are_left_out(self):
        h = np.array([0, 1, 2, 1, 0, np.nan, 0, 1, 2, 1, 0, 0.0])[:, None]
        trace = Trace({"h": h}, initial={"h": [0.0]})
        (best, *others) = match(trace, slice(1, 4))
        assert (best.start, best.stop) == (7, 10)
        assert best.similarity == pytest.approx(1)
        assert all(place.start > 5 or place.stop <= 5 for place in others)
        with pytest.raises(rl.RnnlabError, match=r"^match: the span holds numbers that are not"):
            match(trace, slice(4, 7))

    def test_complex_states(self):
        h = np.array([0, 1j, 2, 0, 0, -1j, 2, 0, 1j, 2, 0])[:, None]
        trace = Trace({"h": h}, initial={"h": [0j]})
        best = match(trace, slice(1, 3), top=1)[0]
        assert best.start == 8, "where the imaginary part is the same, too"
        with pytest.raises(rl.RnnlabError, match=r"^find: h is complex"):
            find(trace, {"h": [0]})

    @pytest.mark.parametrize("wrong", [{"recordings": 5}, {"recordings": ["h"]}, {"top": 1.5}])
    def test_what_is_no_recording(self, wrong):
        trace = Trace({"h": np.zeros((5, 1))})
        with pytest.raises(rl.RnnlabError, match=r"^match: (recordings are Traces|top must be)"):
            match(trace, slice(0, 2), **wrong)

    def test_one_name_is_a_name(self):
        h = np.array([0, 1, 2, 1, 0, 0, 0, 1, 2, 1, 0, 0.0])[:, None]
        trace = Trace({"0.h": h, "1.h": -h}, initial={"0.h": [0.0], "1.h": [0.0]})
        assert match(trace, slice(1, 4), names="0.h") == match(trace, slice(1, 4), names=["0.h"])

    @pytest.mark.parametrize("what", [None, "main", Session(accumulator())])
    def test_what_is_no_trace(self, what):
        with pytest.raises(rl.RnnlabError, match=r"^find: the recording must be a Trace"):
            find(what, {"h": [0]})
        with pytest.raises(rl.RnnlabError, match=r"^match: the recording must be a Trace"):
            match(what, (0, 2))

    def test_an_empty_span(self):
        with pytest.raises(rl.RnnlabError, match=r"^match: the span is empty \(2 to 2\)\.$"):
            match(trace_of(np.zeros((5, 1))), (2, 2))


@pytest.mark.parametrize(
    "units", ["h", 3, {"h": 0}, [("h",)], [("h", "0")], [("h", 0.5)], [(0, 0)]]
)
def test_no_units(units):
    with pytest.raises(rl.RnnlabError, match=r"^find: units are \(name, unit\) or .* got "):
        find(trace_of(np.zeros((5, 1))), units)


def test_other_signs_and_thresholds():
    trace = trace_of(np.zeros((5, 1)))
    with pytest.raises(rl.RnnlabError, match=r"^find: the sign of a unit is 1 or −1, got 2\.$"):
        find(trace, [("h", 0, 2)])
    for value, told in (("high", "str 'high'"), (np.nan, "float nan")):
        with pytest.raises(rl.RnnlabError) as error:
            find(trace, [("h", 0)], value)
        assert str(error.value) == f"find: above must be a number, got {told}."


class TestBacktrack:
    def session(self):
        session = Session(accumulator())
        session.run([1, 1, 1, -1, -1, 3])  # h: 1 2 3 2 1 4
        return session

    def test_crossed(self):
        session = self.session()
        assert session.backtrack(crossed("h", 0, 2.5)) == 6
        session.rewind(5)
        assert session.backtrack(crossed("h", 0, 2.5)) == 4
        assert session.backtrack(crossed("h", 0, 0.5)) == 1
        assert session.backtrack(crossed("h", 0, 9)) is None
        with pytest.raises(rl.RnnlabError, match=r"^crossed: h has units 0 to 0; there is no 3\.$"):
            session.backtrack(crossed("h", 3, 9))

    def test_a_function(self):
        session = self.session()
        assert session.backtrack(lambda trace, t: trace["h"][-1] == 2) == 4
        assert session.backtrack(lambda trace, t: len(trace) == t == 3) == 3
        assert session.backtrack(lambda trace, t: False) is None

    def test_no_function(self):
        with pytest.raises(
            rl.RnnlabError, match=r"^Session: backtrack takes a function .* int 5\.$"
        ):
            self.session().backtrack(5)

    def test_argmax_changed(self):
        session = Session(rl.Recur(lambda h, x: (x, x), torch.zeros(3)))
        with pytest.raises(rl.RnnlabError, match=r"^Trace: no array 'y'"):
            session.backtrack(argmax_changed())
        session.run(torch.tensor([[1.0, 0, 0], [0, 2, 0], [0, 3, 1], [0, 3, 2]]))
        assert session.backtrack(argmax_changed()) == 2
        session.rewind(1)
        assert session.backtrack(argmax_changed()) is None

    def test_differ(self):
        session = two()
        assert session.backtrack(differ("main", 0.0)) == 4
        assert session.backtrack(differ("main", 0.0, "1.h")) == 4
        assert session.backtrack(differ("main", 1e9)) is None
        session.rewind(3)
        assert session.backtrack(differ("main", 0.0)) is None

    def test_before_the_first_step(self):
        session = Session(rl.Recur(lambda h, x: (h + x, h), 0.0))
        session.run([1, 2])
        session.rewind(0)
        assert session.backtrack(crossed("h", 0, 0.5)) is None
        assert session.backtrack(lambda trace, t: True) is None

    def test_runs_of_other_batches_do_not_differ_by_chance(self):
        session = Session(rl.RNN(2, 3))
        session.run(torch.zeros(3, 3, 2))
        session.reset()
        session.run(torch.zeros(3, 2))
        with pytest.raises(rl.RnnlabError, match=r"^differ: h is \(3,\) a step here and \(3, 3\)"):
            session.backtrack(differ("main", 0.1))

    def test_a_function_that_fails(self):
        with pytest.raises(
            rl.RnnlabError, match=r"backtrack failed at step \d with ZeroDivisionError"
        ):
            self.session().backtrack(lambda trace, t: 1 / 0)
        with pytest.raises(rl.RnnlabError, match=r"'mine' .* failed with ZeroDivisionError"):
            self.session().backtrack(Predicate("mine", lambda session, trace: 1 / 0))

    @pytest.mark.parametrize(
        "make",
        [
            lambda: crossed("h", 0, "a"),
            lambda: crossed("h", 1.5, 0),
            lambda: crossed(3, 0, 0.0),
            lambda: differ("main", None),
        ],
    )
    def test_what_is_no_threshold(self, make):
        with pytest.raises(rl.RnnlabError, match=r"^(crossed|differ): (the|a) .* must"):
            make()

    def test_titles(self):
        assert repr(crossed("h", 1, 0.5)) == "h[1] crossed 0.5"
        assert repr(argmax_changed()) == "the arg-max of y changed"

    @pytest.mark.parametrize("predicate", [argmax_changed("h"), crossed("h", 0, 0.5)], ids=repr)
    def test_complex_numbers_have_no_order(self, predicate):
        session = Session(rl.Recur(lambda h, x: (1j * h, x), torch.ones(2, dtype=torch.cfloat)))
        session.run([1.0, 2.0])
        with pytest.raises(rl.RnnlabError, match=r": h is complex, and complex .* have no order\."):
            session.backtrack(predicate)
        assert session.backtrack(lambda trace, t: abs(trace["h"][t - 1, 0]) > 0.5) == 2
        assert repr(differ("b", 0.1)) == "differed from 'b' by more than 0.1"
