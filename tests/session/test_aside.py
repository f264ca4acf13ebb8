"""What fails leaves the model's buffers and the random numbers as they were."""

import pytest
import torch

import rnnlab as rl
from rnnlab.session import Session
from tests.helpers import filled, randomise
from tests.session.helpers import bits, contents

X = filled(9, 8, 3, dtype=torch.float32)
NAN = torch.full((8, 3), torch.nan)


class Counts(torch.nn.Module):
    """A layer that puts new buffers in the place of its old ones."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.tensor(0))

    def forward(self, x):
        self.count = self.count + 1
        return x


class Fails(torch.nn.Module):
    """A layer that fails, or gives too large numbers, when told to."""

    def __init__(self):
        super().__init__()
        self.act = lambda y: y

    def forward(self, y):
        return self.act(y)


def fail(y):
    raise ZeroDivisionError


LAYERS = {
    "batch norm": lambda: torch.nn.BatchNorm1d(3),
    "dropout": lambda: torch.nn.Dropout(0.5),
    "count": Counts,
    "all": lambda: rl.Chain(Counts(), torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.5)),
}
REFUSED = {
    "not finite": (lambda s: s.step(NAN), None),
    "wrong width": (lambda s: s.step(torch.ones(8, 2)), None),
    "in a run": (lambda s: s.run([*X[:3], NAN]), None),
    "in a whole run": (lambda s: s.run(torch.stack([*X[:3], NAN])), None),
    "an exception": (lambda s: s.step(X[3]), fail),
    "an exception in a run": (lambda s: s.run(X), fail),
    "an infinite output": (lambda s: s.step(X[3]), lambda y: y / 0),
    "an infinite output of a run": (lambda s: s.run(X), lambda y: y / 0),
    "no number": (lambda s: s.step(X[3]), lambda y: "y"),
    "no tensor": (lambda s: s.run(X), lambda y: "y"),
}


@pytest.mark.parametrize("steps", [0, 1, 4])
@pytest.mark.parametrize("way", REFUSED)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_refused_step_leaves_all_as_it_was(layer, way, steps):
    """Also of the short way, which is open after some steps."""
    act, does = REFUSED[way]
    s = Session(randomise(rl.Chain(LAYERS[layer](), rl.RNN(3, 4), Fails())).float())
    for x in X[:steps]:
        s.step(x)
    assert (s._lane is not None) == (steps > 1)
    s.model[2].act = does or (lambda y: y)
    for _ in range(2):
        buffers = dict(s.model.named_buffers())
        before = [bits(b) for b in buffers.values()], bits(torch.get_rng_state()), contents(s)
        with pytest.raises(rl.RnnlabError):
            act(s)
        assert before == (
            [bits(b) for b in s.model.buffers()],
            bits(torch.get_rng_state()),
            contents(s),
        )
        assert all(now is buffers[name] for name, now in s.model.named_buffers())


def test_a_whole_run_that_is_stepped_in_the_end_counts_once():
    s = Session(rl.Chain(Counts(), rl.Recur(lambda h, x: (h + 1, x + h), 0)))
    for steps in (9, 18):  # what numbers a state holds is known to be stepped after the first
        s.run(X)
        assert s.t == s.model[0].count == steps
    s.run(X[:0])
    assert s.model[0].count == 18


def test_in_evaluation_the_same_again_is_the_same():
    s = Session(rl.Chain(LAYERS["all"](), rl.RNN(3, 4)).eval().float())
    for x in X:
        s.step(x)
    want = s.trace()["y"].tobytes()
    s.rewind(0)
    s.refeed("main")
    assert s.trace()["y"].tobytes() == want


def test_buffers_that_do_not_change_are_copied_once(monkeypatch):
    s = Session(rl.Chain(torch.nn.BatchNorm1d(3), rl.RNN(3, 4)).eval().float())
    s.step(X[0])
    kept = s._stepper.aside._kept
    copies = kept[0][3]
    for x in X[1:]:
        s.step(x)
    assert s._stepper.aside._kept[0][3] is copies
