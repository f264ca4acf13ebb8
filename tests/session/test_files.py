"""Saving a session and loading it: everything comes back, or the file is refused by name."""

import copy
import os
from collections import namedtuple

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab.session import Session
from rnnlab.session.columns import PENDING
from tests.session.helpers import MODELS, I, contents, inputs, make, running, states
from tests.session.test_log import busy

Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize("name", MODELS)
def test_everything_comes_back(name, tmp_path):
    session = busy(name)
    session.save(tmp_path / "run")
    assert os.listdir(tmp_path) == ["run"]
    model = copy.deepcopy(session.model)
    rl.reset(model)
    again = Session.load(tmp_path / "run", model)
    assert contents(again) == contents(session)
    assert again.log == session.log
    assert again.active_edits == session.active_edits
    x = inputs(1, seed=9, model=model)[0]
    assert torch.equal(again.step(x), session.step(x))
    session.rewind(2)
    again.rewind(2)
    assert torch.equal(again.step(x), session.step(x))
    assert contents(again) == contents(session)
    for each in (session, again):
        each.checkout(next(n for n in each.branches if n.startswith("main@4")), 5)
        each.switch(4, False)
    assert contents(again) == contents(session)


def test_as_safetensors(tmp_path):
    session = busy("chain")
    session.save(tmp_path / "run.safetensors")
    assert b'"header"' in (tmp_path / "run.safetensors").read_bytes()[:20000]
    again = Session.load(tmp_path / "run.safetensors", session.model)
    assert contents(again) == contents(session)
    assert again.log == session.log


def test_places_given_as_numpy_numbers_are_written(tmp_path):
    session = Session(make("lstm"))
    session.run(inputs(4))
    session.rewind(np.int64(3))
    session.back(np.int8(1))
    session.checkout("main", np.int16(2))
    session.poke("h", np.int64(1), np.float32(0.5))
    session.clamp("f", [np.int64(0)], 1.0, np.int64(2))
    session.transplant("h", "main", np.int64(1))
    session.refeed("main", np.int64(2))
    session.switch(np.int64(1), False)
    session.save(tmp_path / "run")
    again = Session.load(tmp_path / "run", session.model)
    assert list(again.log) == list(session.log)
    assert contents(again) == contents(session)


def test_a_model_of_another_size_is_refused_even_then(tmp_path):
    session = Session(rl.LSTM(I, 4))
    session.run(inputs(3))
    session.save(tmp_path / "run")
    with pytest.raises(
        rl.RnnlabError,
        match=r"h of shape \(4,\); this model's is \(5,\)\. Give the model it was made with\.$",
    ):
        Session.load(tmp_path / "run", rl.LSTM(I, 5), force=True)


def test_a_fresh_session(tmp_path):
    session = Session(make("lstm"))
    session.save(tmp_path / "run")
    again = Session.load(tmp_path / "run", copy.deepcopy(session.model))
    assert contents(again) == contents(session)


def test_structures_numbers_dtypes(tmp_path):
    def cell(state, x):
        h, (k, half) = state["h"], state["pair"]
        return {"h": h + x, "pair": Pair(k + 1, [half * 0.5])}, h

    def init():
        return {"h": 0.5, "pair": Pair(0, [torch.ones(2, dtype=torch.bfloat16)])}

    def flat(state, x):
        (half,) = state["pair"].b
        return cell({"h": state["h"], "pair": (state["pair"].a, half)}, x)

    session = Session(rl.Recur(flat, init()))
    session.run([1, 2.5, 3])
    session.save(tmp_path / "run")
    again = Session.load(tmp_path / "run", rl.Recur(flat, init()))
    assert contents(again)[1] == 3
    assert repr(again.states()) == repr(session.states())
    again.step(1)
    again.back(2)
    assert again.states()["h.h"] == 4.0
    assert isinstance(again.model.state["pair"], Pair)


def test_another_model_is_refused_by_the_parameter(tmp_path):
    session = Session(make("lstm"))
    session.run(inputs(3))
    session.save(tmp_path / "run")
    other = copy.deepcopy(session.model)
    with torch.no_grad():
        other.cell.weight_hh[0, 0] += 1
    text = (
        r"run was recorded with another model: cell\.weight_hh differs\. "
        r"Give the model it was made with, or force=True to go on with this one\.$"
    )
    with pytest.raises(rl.RnnlabError, match=text):
        Session.load(tmp_path / "run", other)
    forced = Session.load(tmp_path / "run", other, force=True)
    assert states(forced) == states(session)
    forced.step(torch.ones(I))
    assert forced.trace().weights["cell.weight_hh"] == "changed before step 4"


def test_another_initial_number_is_another_model(tmp_path):
    def add(h, x):
        return h + x, h

    session = Session(rl.Recur(add, 0.0))
    session.run([1, 2])
    session.save(tmp_path / "run")
    for other in (5.0, 0):
        with pytest.raises(rl.RnnlabError, match=r"another model: the initial state h differs\. "):
            Session.load(tmp_path / "run", rl.Recur(add, other))
    assert contents(Session.load(tmp_path / "run", rl.Recur(add, 0.0))) == contents(session)
    again = Session.load(tmp_path / "run", rl.Recur(add, 5.0), force=True)
    assert again.states() == {"h": 3.0}
    again.reset()
    assert again.states() == {"h": 5.0}


def test_complex_numbers_are_written(tmp_path):
    turning = rl.Recur(lambda h, x: (1j * h, h), torch.ones(2, dtype=torch.complex64))
    session = Session(turning)
    session.step(torch.ones(2))
    session.poke("h", None, (2 + 1j, 1j))
    session.clamp("h", 0, 3j, 2)
    session.step(torch.ones(2))
    session.save(tmp_path / "run")
    again = Session.load(tmp_path / "run", turning)
    assert contents(again) == contents(session)
    assert list(again.log) == list(session.log)


def test_a_state_that_is_a_complex_number(tmp_path):
    turning = rl.Recur(lambda h, x: (1j * h + x, h), 1j)
    session = Session(turning)
    assert session.run([1, 2j, 0.5]) == [1j, 0, 2j]
    session.back()
    assert session.states() == {"h": 2j}
    session.rewind(0)
    assert session.states() == {"h": 1j}
    with pytest.raises(rl.RnnlabError, match="not finite"):
        session.poke("h", None, complex("nan"))
    with pytest.raises(rl.RnnlabError, match="not finite"):
        session.step(complex("nan"))
    session.poke("h", None, 2 + 1j)
    assert session.step(1.0) == 2 + 1j
    session.save(tmp_path / "run")
    again = Session.load(tmp_path / "run", turning)
    assert (contents(again), list(again.log)) == (contents(session), list(session.log))


@pytest.mark.parametrize("kind", [np.float32, np.int64, np.bool_])
def test_a_state_that_is_a_number_of_numpys(tmp_path, kind):
    session = Session(rl.Recur(lambda h, x: (kind(h + x), h), kind(1)))
    session.run([1] * (PENDING + 1))
    session.rewind(2)
    assert type(session.states()["h"]) is kind
    session.save(tmp_path / "run")
    again = Session.load(tmp_path / "run", session.model)
    assert again.trace()["h"].tolist() == session.trace()["h"].tolist()


def test_a_branch_without_steps_is_not_bound_by_what_came_later(tmp_path):
    model = rl.RNN(2, 3)
    session = Session(model)
    session.poke("h", 0, 0.5)
    session.switch(1, False)
    session.step(torch.ones(4, 2))
    session.save(tmp_path / "run")
    again = Session.load(tmp_path / "run", model)
    for each in (session, again):
        each.checkout("main@0 h[0]=0.5")
        assert each.recorded() == {}
        assert each.step(torch.ones(2)).shape == (3,)
        each.undo()
        assert each.recorded() == {}
        each.redo()
    assert contents(again) == contents(session)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(rl.RnnlabError, match=r"^Session\.load: .*none: there is no such file\.$"):
        Session.load(tmp_path / "none", make("rnn"))


def test_other_states_are_refused_even_then(tmp_path):
    session = Session(make("lstm"))
    session.save(tmp_path / "run")
    with pytest.raises(
        rl.RnnlabError,
        match=r"run has the states h, c; this model has h\. Give the model it was made with\.$",
    ):
        Session.load(tmp_path / "run", make("gru"), force=True)


def test_what_is_loaded_is_not_undone(tmp_path):
    session = Session(make("lstm"))
    session.run(inputs(3))
    session.save(tmp_path / "run")
    again = Session.load(tmp_path / "run", session.model)
    again.step(torch.ones(I))
    again.undo()
    assert again.t == 3
    with pytest.raises(
        rl.RnnlabError,
        match=r"^Session: nothing to undo\. What was done before the session was saved stays\.$",
    ):
        again.undo()


def test_encode_and_decode_are_given_again(tmp_path):
    v = rl.session.Vocabulary("abc", one_hot=True)
    session = Session(make("rnn"), v.encode, v.decode)
    session.run("abba")
    session.save(tmp_path / "run")
    again = Session.load(tmp_path / "run", session.model, v.encode)
    again.step("c")
    assert again.trace().labels == ("a", "b", "b", "a", "c")


def test_other_files(tmp_path):
    session = Session(make("rnn"))
    session.run(inputs(2))
    session.trace().save(tmp_path / "trace")
    text = r"trace is not a saved Session \(it is a saved Trace\)\.$"
    with pytest.raises(rl.RnnlabError, match=text):
        Session.load(tmp_path / "trace", session.model)
    (tmp_path / "text").write_text("text")
    with pytest.raises(rl.RnnlabError, match=r"text is not a saved Session \("):
        Session.load(tmp_path / "text", session.model)


def test_a_good_file_survives_a_failing_write(tmp_path, monkeypatch):
    session = Session(make("rnn"))
    session.run(inputs(2))
    session.save(tmp_path / "run")
    good = (tmp_path / "run").read_bytes()

    def half(file, **_):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", half)
    session.step(torch.ones(I))
    with pytest.raises(rl.RnnlabError, match="disk full"):
        session.save(tmp_path / "run")
    assert (tmp_path / "run").read_bytes() == good
    assert os.listdir(tmp_path) == ["run"]


def test_a_file_that_is_refused_leaves_the_model_where_it_stood(tmp_path):
    session = Session(make("chain"))
    session.run(inputs(3))
    session.save(tmp_path / "run")
    other, same = make("chain"), copy.deepcopy(session.model)
    with torch.no_grad():
        other[0].cell.weight_hh[0, 0] += 1
    same[2].activation = torch.tanh
    for model, text in ((other, "0.cell.weight_hh differs"), (same, "y, off by")):
        model(torch.ones(I))
        before = running(model)
        with pytest.raises(rl.RnnlabError, match=text):
            Session.load(tmp_path / "run", model)
        assert running(model) == before
