"""derive of a line on which gates or states were clamped: the held values, and what followed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab.session import Session
from tests.helpers import filled, randomise
from tests.session.helpers import H, I, inputs, make


def remade(trace, kind, path=""):
    """The states of each step from the derived gates and the states before, by the equations."""
    before = {name: trace.before(f"{path}{name}") for name in ("h", "c") if path + name in trace}
    gate = {name: trace[f"{path}{name}"] for name in "ifgorzn" if path + name in trace}
    if kind == "lstm":
        c = gate["f"] * before["c"] + gate["i"] * gate["g"]
        return {"h": gate["o"] * np.tanh(c), "c": c}
    return {"h": (1 - gate["z"]) * gate["n"] + gate["z"] * before["h"]}


def agrees(trace, kind, path=""):
    for name, value in remade(trace, kind, path).items():
        np.testing.assert_allclose(value, trace[path + name], rtol=1e-5, atol=1e-6)


def clamped(name, *clamps, steps=9, at=3):
    s = Session(make(name))
    xs = inputs(steps, model=s.model)
    for x in xs[:at]:
        s.step(x)
    for clamp in clamps:
        s.clamp(*clamp)
    for x in xs[at:]:
        s.step(x)
    return s


def test_a_gate_that_was_held():
    s = clamped("lstm", ("f", [0, 2], [1.0, 0.25], 4))
    trace = rl.derive(s.model, s.trace())
    held = np.array([[1.0, 0.25]] * 4, np.float32)
    assert trace["f"][3:7][:, [0, 2]].tolist() == held.tolist()
    free = rl.derive(s.model, without_edits(s.trace()))
    np.testing.assert_allclose(trace["f"][:3], free["f"][:3], rtol=1e-6)
    np.testing.assert_allclose(trace["f"][7:], free["f"][7:], rtol=1e-6)
    np.testing.assert_allclose(trace["f"][:, [1, 3]], free["f"][:, [1, 3]], rtol=1e-6)
    agrees(trace, "lstm")
    with pytest.raises(AssertionError):  # without the edits it is not what happened
        agrees(free, "lstm")
    main = rl.derive(s.model, s.trace("main"))
    assert len(main) == 3
    agrees(main, "lstm")


def without_edits(trace):
    return rl.Trace({name: trace[name] for name in trace}, initial=trace.initial)


def test_what_follows_from_a_gate_sees_it():
    """r enters n: with r held at 0, n must be formed without the recurrent product."""
    s = clamped("gru", ("r", None, 0.0, 2))
    trace = rl.derive(s.model, s.trace())
    assert not trace["r"][3:5].any()
    agrees(trace, "gru")
    cell = s.model.cell
    alone = torch.tanh(torch.tensor(trace["x"][3:5]) @ cell.weight_ih[2 * H :].T + cell.bias[8:])
    np.testing.assert_allclose(trace["n"][3:5], alone.detach(), rtol=1e-5, atol=1e-6)


def test_several_that_overlap():
    s = clamped("lstm", ("f", None, 1.0, 5), ("f", 1, 0.5, 2), ("i", [0], 0.0, None), ("c", 2, 0.3))
    trace = rl.derive(s.model, s.trace())
    want = np.ones((5, H), np.float32)
    want[:2, 1] = 0.5  # the later one wins while it lasts
    assert trace["f"][3:8].tolist() == want.tolist()
    assert not (trace["f"][8] == 1).any()
    assert not trace["i"][3:, 0].any()
    assert (trace["c"][3:, 2] == np.float32(0.3)).all()
    want = trace["o"] * np.tanh(trace["c"])
    np.testing.assert_allclose(trace["h"][3:], want[3:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("path", ["0.", "1."])
def test_one_layer_of_a_chain(path):
    gate, kind = {"0.": ("f", "lstm"), "1.": ("z", "gru")}[path]
    s = clamped("chain", (f"{path}{gate}", 1, 1.0, 3))
    trace = rl.derive(s.model, s.trace())
    assert (trace[f"{path}{gate}"][3:6, 1] == 1).all()
    agrees(trace, kind, path)


def test_an_adapted_module():
    name = next(name for name in Session(make("adapted"))._gates() if name.endswith(".f"))
    s = clamped("adapted", (name, 1, 1.0, 3))
    found = rl.derive(s.model, s.trace())[name].reshape(9, -1)
    assert (found[3:6, 1] == 1).all()
    assert not (found[:3] == 1).any()
    assert not (found[6:] == 1).any()


def test_a_batch_and_a_memory_that_was_not_recorded():
    model = randomise(rl.LSTM(I, H))
    s = Session(model)
    xs = filled(8, 2, I, seed=2, dtype=torch.float32)
    s.run(xs[:4])
    s.clamp("f", 0, 1.0, 2)
    s.run(xs[4:])
    whole = s.trace()
    trace = rl.derive(model, whole)
    assert (trace["f"][4:6, :, 0] == 1).all()
    agrees(trace, "lstm")
    part = rl.Trace(
        {name: whole[name] for name in "xh"},
        initial={"h": whole.initial["h"]},
        edits=whole.edits,
    )
    found = rl.derive(model, part)
    np.testing.assert_allclose(found["c"], whole["c"], rtol=1e-4, atol=1e-5)


def test_slices_and_files(tmp_path):
    s = clamped("lstm", ("f", [0], 1.0, 3))
    whole = rl.derive(s.model, s.trace())
    s.trace().save(tmp_path / "trace.npz")
    loaded = rl.derive(s.model, rl.Trace.load(tmp_path / "trace.npz"))
    assert loaded["f"].tobytes() == whole["f"].tobytes()
    for start, stop in ((4, 9), (5, 7), (6, 9), (0, 5), (2, 3)):
        part = rl.derive(s.model, s.trace()[start:stop])
        np.testing.assert_allclose(part["f"], whole["f"][start:stop], rtol=1e-6)
        held = [t for t in range(start, stop) if 3 <= t < 6]
        assert (part["f"][[t - start for t in held], 0] == 1).all()


def test_switched_off_it_is_free_again():
    s = clamped("lstm", ("f", None, 1.0, 2))
    s.switch(1, False)
    trace = rl.derive(s.model, s.trace())
    assert len(trace) == 9
    assert not (trace["f"] == 1).any()
    agrees(trace, "lstm")
    s.switch(1, True)
    assert (rl.derive(s.model, s.trace())["f"][3:5] == 1).all()
