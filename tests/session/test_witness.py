"""A recording is loaded for the function that made it, however it is written, and for no other."""

import copy
import math

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab.session import Session
from tests.helpers import randomise
from tests.session.helpers import MODELS, I, contents, inputs, make, running

X = torch.stack(inputs(40))


def leak(rate):
    def cell(h, x):
        return (1 - rate) * h + rate * x, h

    return cell


def saved(model, path, xs=X):
    session = Session(model)
    session.run(list(xs))
    session.save(path)
    return session


def test_another_function_is_refused(tmp_path):
    begin = torch.zeros(I)
    made = saved(rl.Recur(leak(0.25), begin), tmp_path / "run")
    text = (
        r"run was recorded with another model: step 1 of branch 'main' gives another h, off by "
        r"[0-9.e-]+\. A function, .* mode .* must be another\. Give the model it was made with, or "
        r"force=True to go on with this one\.$"
    )
    for other in (leak(0.26), lambda h, x: (h, h)):
        with pytest.raises(rl.RnnlabError, match=text):
            Session.load(tmp_path / "run", rl.Recur(other, begin))
    assert Session.load(tmp_path / "run", rl.Recur(leak(0.3), begin), force=True).t == 40

    def renamed(state, given):
        """The same in other words."""
        return state + 0.25 * (given - state), state

    for same in (leak(0.25), renamed, lambda h, x: leak(0.25)(h, x)):
        again = Session.load(tmp_path / "run", rl.Recur(same, begin))
        assert contents(again) == contents(made)


def test_another_activation_is_refused(tmp_path):
    made = saved(make("rnn"), tmp_path / "run")
    other = rl.RNN(I, 4, torch.sin)
    other.load_state_dict(made.model.state_dict())
    with pytest.raises(rl.RnnlabError, match=r"step \d+ of branch 'main' gives another h, off by"):
        Session.load(tmp_path / "run", other)


def test_a_function_that_fails_is_another(tmp_path):
    saved(rl.Recur(leak(0.25), torch.zeros(I)), tmp_path / "run")
    for other, said in (
        (lambda h, x: (h[7], h), "fails with IndexError: index 7"),
        (lambda h, x: (h, (h, h)), "fails with RnnlabError: .*records x, h, y; this step gave"),
    ):
        with pytest.raises(rl.RnnlabError, match=f"step 1 of branch 'main' {said}"):
            Session.load(tmp_path / "run", rl.Recur(other, torch.zeros(I)))


def test_a_late_difference_is_found(tmp_path):
    """The last step is always one of those that are tried, and so is one of every eighth part."""
    counted = rl.Recur(lambda n, x: (n + 1, n), 0)
    saved(counted, tmp_path / "run", [0.5] * 1000)
    for last in (999, 870):
        stops = rl.Recur(lambda n, x, last=last: (min(n + 1, last), n), 0)
        with pytest.raises(rl.RnnlabError, match="step 1000 of branch 'main' gives another h"):
            Session.load(tmp_path / "run", stops)


@pytest.mark.parametrize("name", MODELS)
def test_the_model_is_left_as_it_was(name, tmp_path):
    model = make(name)
    session = Session(model)
    session.run(torch.stack(inputs(6, model=model)))
    session.rewind(2)
    session.poke(next(iter(session.states())), None, 0.25)
    session.refeed("main")
    session.save(tmp_path / "run")
    twin, random = copy.deepcopy(model), torch.get_rng_state()
    again = Session.load(tmp_path / "run", twin)
    assert contents(again) == contents(session)
    assert running(twin) == running(model)
    assert torch.equal(torch.get_rng_state(), random)
    assert [p.requires_grad for p in twin.parameters()] == [
        p.requires_grad for p in model.parameters()
    ]


def test_what_is_drawn_at_random_is_no_contradiction(tmp_path):
    model = randomise(rl.Chain(rl.RNN(I, 8), torch.nn.Dropout(0.5))).float()
    made = saved(model, tmp_path / "run")
    assert contents(Session.load(tmp_path / "run", model)) == contents(made)
    generator = np.random.default_rng(0)
    noisy = rl.Recur(lambda h, x: (h + generator.normal(), h), 0.0)
    made = saved(noisy, tmp_path / "run", [1.0] * 9)
    assert contents(Session.load(tmp_path / "run", noisy)) == contents(made)


def test_steps_by_earlier_weights_are_passed_over(tmp_path):
    session = Session(make("gru"))
    session.run(X)
    with torch.no_grad():
        session.model.cell.weight_ih.mul_(0.5)
    session.run(X)
    session.save(tmp_path / "run")
    assert contents(Session.load(tmp_path / "run", session.model)) == contents(session)


def test_a_run_that_rounded_otherwise_is_no_contradiction(tmp_path):
    """As a whole sequence at once, or in fewer bits on another machine."""
    model = randomise(rl.LSTM(I, 64)).float()
    session = Session(model)
    session.run(1e3 * X)
    state = session._branch.columns[0]
    state._chunks[:] = [chunk * np.float32(1 + 1e-4) for chunk in state._chunks]
    session.save(tmp_path / "run")
    Session.load(tmp_path / "run", model)
    state._chunks[:] = [chunk * np.float32(1 + 1e-2) for chunk in state._chunks]
    session.save(tmp_path / "run")
    with pytest.raises(rl.RnnlabError, match="gives another"):
        Session.load(tmp_path / "run", model)


def test_what_is_not_a_number_is_the_same_again(tmp_path):
    session = Session(rl.Recur(lambda h, x: (h + x, h), 0.0), allow_nonfinite=True)
    session.run([1.0, math.inf, -math.inf, 2.0])
    session.save(tmp_path / "run")
    assert Session.load(tmp_path / "run", session.model).t == 4
