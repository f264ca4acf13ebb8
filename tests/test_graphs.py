"""graphed: what it does around the capture, with a stand-in for it; cells/test_gpu has CUDA."""

import pytest
import torch

import rnnlab as rl
from rnnlab import Chain, Dense, Recur, RnnlabError
from rnnlab.graphs import Graphed, graphed
from rnnlab.recur import recurs
from tests.helpers import F64, close, filled, randomise

I, H, B = 3, 4, 2


def model():
    layers = rl.LSTM(I, H, dtype=F64), rl.GRUv3(H, H, dtype=F64), Dense(H, 2, dtype=F64)
    return randomise(Chain(*layers))


class StandIn:
    """Replays by taking the step again; as in a replay, no Python of the model is seen to run."""

    def __init__(self, m):
        self.m, self.captures = m, 0

    def __call__(self, step):
        self.captures += 1

        def replay():
            inside = [recur for _, recur in recurs(self.m)]
            kept = [(r.__dict__["_state"], r.__dict__["_lead"]) for r in inside]
            step()
            for recur, (state, lead) in zip(inside, kept, strict=True):
                recur._advance(state, lead)

        step()
        return replay


def pair(*lead):
    m, other = model(), model()
    capture = StandIn(m)
    return Graphed(m, filled(*lead, I, seed=50), capture), m, other, capture


def agree(m, other):
    got, want = rl.states(m), rl.states(other)
    assert list(got) == list(want)
    for name in got:
        close(got[name].detach(), want[name].detach(), 1e-12)


def plain(other, x):
    with torch.no_grad():
        return other(x)


@pytest.mark.parametrize("lead", [(), (B,)], ids=["unbatched", "batched"])
def test_steps_are_those_of_the_model(lead):
    g, m, other, capture = pair(*lead)
    assert rl.states(m)["0.h"] is m[0].cell.h0  # the capture moved nothing
    for x in filled(5, *lead, I):
        close(g(x), plain(other, x), 1e-12)
        agree(m, other)
    assert capture.captures == 1


def test_reset_load_and_ordinary_calls_in_between():
    g, m, other, _ = pair(B)
    xs = filled(12, B, I)
    for x in xs[:3]:
        g(x), plain(other, x)
    kept = rl.states(m), rl.states(other)
    close(plain(m, xs[3]), plain(other, xs[3]), 1e-12)
    close(g(xs[4]), plain(other, xs[4]), 1e-12)
    rl.reset([m, other])
    close(g(xs[5]), plain(other, xs[5]), 1e-12)
    for at, states in zip((m, other), kept, strict=True):
        rl.load_states(at, states)
    close(g(xs[6]), plain(other, xs[6]), 1e-12)
    for at in (m, other):
        with torch.no_grad():
            at[0].state[1].mul_(0.5)  # the running state itself, in place
    close(g(xs[7]), plain(other, xs[7]), 1e-12)
    agree(m, other)
    with torch.inference_mode():
        close(g(xs[8]), other(xs[8]), 1e-12)
    close(g(xs[9]), plain(other, xs[9]), 1e-12)


def test_what_was_given_out_stays():
    g, m, _, _ = pair(B)
    held = []
    for x in filled(4, B, I):
        y = g(x)
        values = [y, *rl.states(m).values()]
        held.append((values, [v.clone() for v in values]))
    for values, copies in held:
        close(values, copies, 0)


def test_weights_that_change_or_move():
    g, m, other, capture = pair(B)
    xs = filled(6, B, I)
    g(xs[0]), plain(other, xs[0])
    for at in (m, other):
        with torch.no_grad():
            at[0].cell.weight_hh.mul_(0.5)
    close(g(xs[1]), plain(other, xs[1]), 1e-12)
    assert capture.captures == 1
    for at in (m, other):
        at[2].weight.data = 2 * at[2].weight.data
    close(g(xs[2]), plain(other, xs[2]), 1e-12)
    assert capture.captures == 2
    m.eval()
    close(g(xs[3]), plain(other, xs[3]), 1e-12)
    assert capture.captures == 3
    agree(m, other)


def test_no_gradient_and_no_change_on_refusal():
    g, m, _, _ = pair(B)
    assert not g(filled(B, I)).requires_grad
    before = rl.states(m)
    for x, text in [
        (filled(3, I), "the graph was captured for"),
        (filled(B, I).float(), "torch.float32"),
        ([1.0], "x is a list of 1"),
    ]:
        with pytest.raises(RnnlabError, match=text):
            g(x)
    m[1].state = filled(7, H)
    with pytest.raises(RnnlabError, match="Call reset"):
        g(filled(B, I))
    m[1].state = filled(B, H).float()
    with pytest.raises(RnnlabError, match=r"is torch\.float32 on cpu; the graph was captured for"):
        g(filled(B, I))
    assert rl.states(m)["0.h"] is before["0.h"]


def test_an_unbatched_state_is_for_every_row():
    g, m, other, _ = pair(B)
    for at in (m, other):
        at[1].state = filled(H, seed=8)
    x = filled(B, I)
    close(g(x), plain(other, x), 1e-12)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Dense(I, 2), "has no state"),
        (lambda: Recur(lambda h, x: (h + 1, x), 0), "is int 1; a graph works on tensors"),
        (lambda: Recur(lambda h, x: (h, (x, x)), torch.zeros(I)), "the output must be a tensor"),
    ],
)
def test_what_cannot_be_captured(make, text):
    with pytest.raises(RnnlabError, match=text):
        Graphed(make(), torch.ones(I), lambda step: step)


def test_a_capture_that_fails_is_tried_again():
    g, m, other, capture = pair(B)
    xs = filled(3, B, I)
    close(g(xs[0]), plain(other, xs[0]), 1e-12)

    def fail(step):
        try:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        finally:
            raise RuntimeError("capture ended")  # as torch.cuda.graph does

    g._capture = fail
    m.eval()
    for _ in range(2):
        with pytest.raises(
            RnnlabError, match=r"\(operation not permitted .* capturing\)\. It must"
        ):
            g(xs[1])
        m.train()  # what the last capture was for
        agree(m, other)
    g._capture = capture
    for x in xs[1:]:
        close(g(x), plain(other, x), 1e-12)
    agree(m, other)


def test_autocast_is_refused():
    g, m, _, _ = pair(B)
    before = rl.states(m)
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(RnnlabError, match="autocast is on"):
            g(filled(B, I))
        with pytest.raises(RnnlabError, match="autocast is on"):
            pair(B)
    assert rl.states(m)["0.h"] is before["0.h"]


def test_without_a_gpu_it_says_so():
    with pytest.raises(RnnlabError, match="CUDA graphs need an NVIDIA GPU; x is on cpu"):
        graphed(model(), filled(I))
    with pytest.raises(RnnlabError, match="x is a list of 2"):
        graphed(model(), [1, 2])
