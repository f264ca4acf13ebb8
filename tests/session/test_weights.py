"""Weights that change while a session is on: what is noticed, and when."""

import copy

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab import fingerprint as prints
from rnnlab.session import Session
from tests.helpers import filled, randomise
from tests.session.helpers import bits, contents

X = filled(9, 3, dtype=torch.float32)
MODELS = {
    "alone": lambda: rl.RNN(3, 4),
    "chain": lambda: rl.Chain(rl.RNN(3, 4), rl.Dense(4, 2)),
}
every = pytest.mark.parametrize("name", MODELS)


def begun(name):
    """A session after four steps, and the cell in it."""
    model = randomise(MODELS[name]()).float()
    s = Session(model)
    for x in X[:4]:
        s.step(x)
    assert s._lane is not None
    return s, (model if name == "alone" else model[0]).cell


def said(s):
    """What the recording says of its weights."""
    key = "cell.weight_ih" if "cell.weight_ih" in s.trace().weights else "0.cell.weight_ih"
    return s.trace().weights[key]


def other(cell):
    return torch.nn.Parameter(torch.zeros_like(cell.weight_ih))


WAYS = {
    "replaced": lambda cell: setattr(cell, "weight_ih", other(cell)),
    "moved": lambda cell: setattr(cell.weight_ih, "data", other(cell).data),
    "in place": lambda cell: cell.weight_ih.detach().zero_(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("slowly", [True, False])
@every
def test_it_is_noticed_at_the_next_step(name, slowly, way):
    s, cell = begun(name)
    before, kept = cell.weight_ih, cell.weight_ih.detach().clone()
    WAYS[way](cell)
    for x in X[4:8]:
        s._lane = None if slowly else s._lane
        s.step(x)
    assert said(s) == "changed before step 5"
    assert s._branch.weights_at(8) == prints.fingerprint(s.model)
    cell.weight_ih = before
    with torch.no_grad():
        before.data = kept
    with pytest.raises(rl.RnnlabError, match="weight_ih is not what it was in the recorded run"):
        rl.derive(s.model, s.trace())


WRITTEN = {
    "data": lambda cell: cell.weight_ih.data.zero_(),
    "numpy": lambda cell: cell.weight_ih.detach().numpy().fill(0),
}


@pytest.mark.parametrize("way", WRITTEN)
@every
def test_what_torch_does_not_know_is_noticed_at_a_command(name, way):
    s, cell = begun(name)
    WRITTEN[way](cell)
    s.run(X[4:8])
    assert said(s) == "changed before step 5"
    WRITTEN[way](cell)  # the same again: nothing has changed
    s.run(X[:2])
    assert len(s._branch.weights) == 2
    cell.weight_ih.data.uniform_(-1, 1)
    s.reset()
    s.run(X[:3])
    rl.derive(s.model, s.trace())
    s.step(X[3])
    assert s.trace().weights == prints.fingerprint(s.model)


MOVES = {
    "rewind": lambda s: (s.rewind(2), s.forward(2)),
    "checkout": lambda s: (s.checkout("main", 1), s.checkout("main")),
    "branch": lambda s: s.branch("other"),
}


@pytest.mark.parametrize("way", WRITTEN)
@pytest.mark.parametrize("move", MOVES)
@every
def test_to_move_looks_at_no_weight_and_the_next_step_at_all(name, move, way, monkeypatch):
    """Going somewhere costs what the states cost, however large the model is."""
    s, cell = begun(name)
    looked = []
    content = prints._content
    monkeypatch.setattr(prints, "_content", lambda w: looked.append(w) or content(w))
    WRITTEN[way](cell)
    MOVES[move](s)
    assert looked == []
    for x in X[4:8]:
        s.step(x)
    assert len(looked) >= len(list(s.model.parameters()))
    assert said(s) == "changed before step 5"
    looked.clear()
    s.step(X[0])
    assert looked == [], "it is looked once"


def test_a_recording_by_other_weights_is_not_taken_for_one_by_these():
    s, cell = begun("alone")
    s.rewind(2)
    s.poke("h", 0, 0.5)
    s.refeed("main")
    WRITTEN["data"](cell)
    s.switch(1, False)
    assert s.branch_name not in ("main",)
    assert bits(s.states()["h"]) != bits(torch.tensor(s.trace("main")["h"][-1]))


def test_a_large_model_is_not_compared(monkeypatch):
    monkeypatch.setattr(prints, "COMPARED", 4 * 31)  # an RNN(3, 4) has 36 numbers
    s, cell = begun("alone")
    WRITTEN["data"](cell)
    s.run(X[4:])
    assert said(s) != "changed before step 5"
    assert s._stepper.watch._copies is None
    WAYS["in place"](cell)
    cell.weight_ih.data = cell.weight_ih.data.clone()
    s.run(X[4:])
    assert said(s) == "changed before step 10"


@pytest.mark.parametrize("feed", ["step", "run", "many"])
def test_a_layer_that_was_replaced_is_refused(feed):
    s, _ = begun("chain")
    before, old = contents(s), s.model[0]
    log = list(s.log)
    s.model[0] = randomise(rl.RNN(3, 4)).float()
    act = {
        "step": lambda: s.step(X[4]),
        "run": lambda: s.run(X[4:]),
        "many": lambda: [s.step(x) for x in X[4:]],
    }[feed]
    for _ in range(2):
        with pytest.raises(rl.RnnlabError, match=r"'0' is another .* a new Session\(model\)"):
            act()
    s.model[0] = old
    assert (contents(s), list(s.log)) == (before, log)
    twin = begun("chain")[0]
    twin.step(X[4])
    s.step(X[4])
    assert contents(s) == contents(twin)
    s.model.append(rl.RNN(2, 2))
    with pytest.raises(rl.RnnlabError, match=r"layer '2' is new since the session was made"):
        s.step(X[5])
    assert len(s.model) == 3


def test_a_layer_without_a_state_may_be_replaced():
    s, _ = begun("chain")
    s.model[1] = randomise(rl.Dense(4, 2)).float()
    s.model[1].weight.data.mul_(2)
    s.step(X[4])
    assert s.trace().weights["1.weight"] == "changed before step 5"
    twin = copy.deepcopy(s.model)
    rl.reset(twin)
    for x in X[:5]:
        y = twin(x)
    np.testing.assert_allclose(s.output(), y.detach(), rtol=1e-6)
