"""What is read off recorded gates: waterfall, saturation, time constants."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab.analysis import saturation, timescales, waterfall
from rnnlab.analysis.gating import KINDS
from rnnlab.cells.registry import CELLS
from rnnlab.derive import derive
from tests.analysis.helpers import inputs, varied

F64 = torch.float64
OTHER = "GatedAntisymmetricRNNCell"  # gates z and n as minGRU, but h' = h + ε z∘n
GATED = {kind.gates: kind for kind in KINDS}


def traced(kind, *, steps=30, dtype=F64, batch=None, size=1.0, hidden=4):
    model = varied(rl.Recur(kind(2, hidden, dtype=dtype)), size=size)
    session = rl.Session(model)
    xs = inputs(steps * (batch or 1), 2).reshape(steps, *([batch] if batch else []), 2)
    session.run(torch.as_tensor(xs).to(dtype))
    return session, derive(model, session.trace())


@pytest.mark.parametrize(
    "kind",
    [kind for kind in CELLS if frozenset(kind.gate_names) in GATED and kind.__name__ != OTHER],
    ids=lambda kind: kind.__name__,
)
def test_waterfall_of_every_gated_cell(kind):
    hidden = 2 if kind.__name__ == "LightRUCell" else 4
    _, trace = traced(kind, hidden=hidden)
    name = GATED[frozenset(kind.gate_names)].carried
    for unit in range(hidden):
        for t in (1, 2, 30):
            found = waterfall(trace, name, unit, t)
            assert found.value == trace[name][t - 1, unit]
            assert abs(found.error) < 1e-13 * max(1, np.abs(found.contributions).max())
            assert not found.edited.any()
            assert len(found.contributions) == t


def test_most_gated_cells_are_known():
    known = [kind.__name__ for kind in CELLS if frozenset(kind.gate_names) in GATED]
    assert {"LSTMCell", "GRUCell", "GRUv3Cell", "PeepholeLSTMCell", "MGUCell"} <= set(known)
    assert {"UGRNNCell", "JANETCell", "MinGRUCell", "MinLSTMCell", "LightRUCell"} <= set(known)


def test_gates_of_another_formula_are_not_mistaken():
    _, trace = traced(next(kind for kind in CELLS if kind.__name__ == OTHER))
    for call in (lambda: timescales(trace), lambda: waterfall(trace, "h", 0, 1)):
        with pytest.raises(rl.RnnlabError, match="the gates do not make the recorded h"):
            call()
    assert set(saturation(trace).gates) == {"z"}


def test_waterfall_by_hand():
    _, trace = traced(rl.LSTMCell, steps=3)
    f, i, g = (trace[name][:, 1] for name in ("f", "i", "g"))
    found = waterfall(trace, "c", 1, 3)
    want = [f[2] * f[1] * i[0] * g[0], f[2] * i[1] * g[1], i[2] * g[2]]
    np.testing.assert_allclose(found.contributions, want, rtol=1e-14)
    np.testing.assert_allclose(found.written, i * g, rtol=1e-14)
    np.testing.assert_allclose(found.kept, [f[2] * f[1], f[2], 1.0], rtol=1e-14)
    want = f.prod() * trace.initial["c"][1]
    assert found.initial == pytest.approx(want, rel=1e-13)


def test_waterfall_in_float32_and_in_a_batch():
    _, trace = traced(rl.LSTMCell, dtype=torch.float32, batch=3)
    found = waterfall(trace, "c", 2, 30, batch=1)
    assert found.value == trace["c"][29, 1, 2]
    assert abs(found.error) < 1e-5


def test_waterfall_of_an_edited_run():
    session, _ = traced(rl.LSTMCell, steps=6)
    session.rewind(2)
    session.poke("c", 1, 5.0)
    session.refeed()
    trace = derive(session.model, session.trace())
    found = waterfall(trace, "c", 1, 6)
    assert abs(found.error) < 1e-13
    assert np.flatnonzero(found.edited).tolist() == [1]
    kept = trace["f"][2:6, 1].prod()
    natural = rl.Session(session.model)
    natural.run(torch.as_tensor(np.array(trace["x"][:2])))
    jump = 5.0 - natural.trace()["c"][1, 1]
    assert found.edited[1] == pytest.approx(kept * jump)


def test_gates_of_another_run_are_refused():
    _, trace = traced(rl.LSTMCell, steps=4)
    arrays = {name: np.array(trace[name]) for name in trace}
    arrays["f"][2, 1] += 0.1
    other = rl.Trace(arrays, initial=trace.initial)
    with pytest.raises(rl.RnnlabError, match=r"the gates do not make c\[1\] at step 3"):
        waterfall(other, "c", 1, 4)
    assert abs(waterfall(other, "c", 0, 4).error) < 1e-14


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("h", 0, 1), "waterfall: no gates that write into 'h'. States that can be split: c."),
        (("c", 4, 1), "waterfall: unit must be a whole number from 0 to 3, got 4."),
        (("c", 0, 0), "waterfall: t must be a whole number from 1 to 4, got 0."),
        (("c", 0, 5), "waterfall: t must be a whole number from 1 to 4, got 5."),
    ],
)
def test_waterfall_wrong_arguments(arguments, text):
    _, trace = traced(rl.LSTMCell, steps=4)
    with pytest.raises(rl.RnnlabError) as error:
        waterfall(trace, *arguments)
    assert str(error.value) == text


@pytest.mark.parametrize("function", [saturation, timescales])
def test_no_gates(function):
    session = rl.Session(rl.LSTM(2, 3))
    session.run(torch.ones(3, 2))
    with pytest.raises(rl.RnnlabError) as error:
        function(session.trace())
    assert str(error.value) == (
        f"{function.__name__}: the trace has no gates of a known cell; it has: x, h, c, y. "
        "rnnlab.derive(model, trace) adds them."
    )


def test_saturation_by_hand():
    model = varied(rl.Chain(rl.LSTM(2, 3, dtype=F64), rl.GRU(3, 2, dtype=F64)), size=3.0)
    session = rl.Session(model)
    session.run(torch.as_tensor(inputs(50, 2)))
    trace = derive(model, session.trace())
    found = saturation(trace)
    table = found.to_pandas()
    assert list(dict.fromkeys(found.gates)) == ["0.i", "0.f", "0.o", "1.r", "1.z"]
    for gate, unit in (("0.f", 1), ("1.z", 0)):
        values = trace[gate][:, unit]
        assert table.loc[(gate, unit), "low"] == np.mean(values < 0.1)
        assert table.loc[(gate, unit), "high"] == np.mean(values > 0.9)
        assert table.loc[(gate, unit), "mean"] == pytest.approx(values.mean())
    assert found.steps == 50


def test_padding_is_left_out():
    _, trace = traced(rl.LSTMCell, steps=10, batch=2)
    mask = np.zeros((10, 2), bool)
    mask[:4, 0] = mask[:7, 1] = True
    found = saturation(trace, mask=mask)
    assert found.steps == 11
    values = np.concatenate([trace["f"][:4, 0], trace["f"][:7, 1]])
    chosen = np.array(found.gates) == "f"
    np.testing.assert_allclose(found.mean[chosen], values.mean(axis=0))
    tau = timescales(trace, mask=mask).tau
    np.testing.assert_allclose(tau, -1 / np.log(values).mean(axis=0))


def test_wrong_mask():
    _, trace = traced(rl.LSTMCell, steps=10, batch=2)
    with pytest.raises(rl.RnnlabError) as error:
        saturation(trace, mask=np.ones(9, bool))
    assert str(error.value) == (
        "saturation: mask must be boolean of shape (10,) or (10, 2), true for steps that count; "
        "got bool of shape (9,)."
    )


def test_timescales_of_chosen_gates():
    cell = rl.LSTMCell(1, 3, dtype=F64)
    with torch.no_grad():
        cell.weight_ih.zero_()
        cell.weight_hh.zero_()
        cell.bias[3:6] = torch.tensor([0.0, 100.0, -1000.0])
    session = rl.Session(rl.Recur(cell))
    session.run(torch.ones(5, 1, dtype=F64))
    found = timescales(derive(session.model, session.trace()))
    assert found.tau.tolist() == [pytest.approx(1 / np.log(2)), np.inf, 0.0]
    assert found.units == (("c", 0), ("c", 1), ("c", 2))


def test_nan_gates_are_named():
    _, trace = traced(rl.GRUCell, steps=4)
    arrays = {name: np.array(trace[name]) for name in trace}
    arrays["z"][1, 0] = np.nan
    other = rl.Trace(arrays, initial=trace.initial)
    assert saturation(other).failed == ("z has values that are not finite.",)
    assert np.isfinite(saturation(other).mean).all()
    assert timescales(other).failed == ("The gates of h have values that are not finite.",)
