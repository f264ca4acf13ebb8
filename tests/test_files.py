"""save and load: weights and running states in one safetensors file."""

import os

import pytest
import torch
from torch import nn

import rnnlab as rl
from rnnlab import Chain, Dense, Recur, RnnlabError
from tests.helpers import F64, close, filled, randomise

pytest.importorskip("safetensors", reason="pip install safetensors runs this")
from rnnlab.files import load, save

I, H, B = 3, 4, 2


def model(seed=1, **options):
    layers = rl.LSTM(I, H, dtype=F64, **options), rl.GRU(H, H, dtype=F64), Dense(H, 2, dtype=F64)
    return randomise(Chain(*layers), seed)


def test_a_run_goes_on_where_it_stood(tmp_path):
    m, other, xs = model(), model(seed=7), filled(6, B, I)
    for x in xs[:3]:
        m(x)
    save(m, tmp_path / "m.safetensors")
    load(other, tmp_path / "m.safetensors")
    for x in xs[3:]:
        close(other(x), m(x), 0)
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_training_goes_on_where_it_stood(tmp_path):
    def train(m, optimizer, xs):
        for x in xs:
            loss = m(x).square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rl.detach(m)

    m, other, xs = model(), model(seed=7), filled(8, B, I)
    optimizer = torch.optim.Adam(m.parameters())
    train(m, optimizer, xs[:4])
    save(m, tmp_path / "m")
    torch.save(optimizer.state_dict(), tmp_path / "o")
    load(other, tmp_path / "m")
    resumed = torch.optim.Adam(other.parameters())
    resumed.load_state_dict(torch.load(tmp_path / "o"))
    train(m, optimizer, xs[4:])
    train(other, resumed, xs[4:])
    close(rl.states(other), rl.states(m), 0)
    close(list(other.parameters()), list(m.parameters()), 0)


def test_at_the_initial_state_it_is_the_initial_state(tmp_path):
    m, other = model(), model(seed=7)
    m[0](filled(B, I))
    other(filled(5, I))
    save(m, tmp_path / "m")
    load(other, tmp_path / "m")
    close(rl.states(other)["0.h"], rl.states(m)["0.h"], 0)
    assert rl.states(other)["1.h"] is other[1].cell.h0
    close(rl.states(other)["1.h"], m[1].cell.h0, 0)


def test_recurs_alone_numbers_buffers_and_tied_weights(tmp_path):
    path = tmp_path / "m"
    count = Recur(lambda h, x: (h + x, h), 0)
    count(3)
    save(count, path)
    again = Recur(lambda h, x: (h + x, h), 0)
    load(again, path)
    assert again.state == 3
    m, other = rl.LSTM(I, H, train_init=False), rl.LSTM(I, H, train_init=False)
    m(torch.ones(I))
    save(m, path)
    load(other, path)
    close(other(torch.ones(I)), m(torch.ones(I)), 0)
    tied = Chain(rl.RNN(H, H), Dense(H, H))
    tied[1].weight = tied[0].cell.weight_hh
    save(tied, path)
    untied = Chain(rl.RNN(H, H), Dense(H, H))
    load(untied, path)
    close(untied(torch.ones(H)), tied(torch.ones(H)), 0)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Chain(rl.LSTM(I, H, dtype=F64), rl.GRU(H, H, dtype=F64)), "unknown weight 2.bias"),
        (lambda: Chain(*model(), Dense(2, 1, dtype=F64)), "no weight 3.bias in the file"),
        (lambda: model().float(), r"torch.float64, the model's is \(4,\) torch.float32"),
        (lambda: Chain(rl.LSTM(I, H), rl.GRU(H, 5), Dense(5, 2)), r"is \(12, 4\) torch.float64"),
        (lambda: nn.ModuleDict({"a": rl.LSTM(I, H)}), "unknown state 0.c"),
    ],
)
def test_another_model_is_refused_and_stays(make, text, tmp_path):
    m = model()
    m(filled(B, I))
    save(m, tmp_path / "m")
    other = make()
    before = {name: part.clone() for name, part in other.state_dict().items()}
    with pytest.raises(RnnlabError, match=text):
        load(other, tmp_path / "m")
    close(other.state_dict(), before, 0)
    assert all(recur.__dict__["_state"] is rl.recur.AT_INIT for _, recur in rl.recur.recurs(other))


def test_states_that_do_not_fit_change_nothing(tmp_path):
    m, other = Recur(rl.RNNCell(I, H), torch.zeros(B, H)), rl.RNN(I, H)
    m(torch.ones(B, I))
    save(m, tmp_path / "m")
    with pytest.raises(RnnlabError, match="unknown weight init_h"):
        load(other, tmp_path / "m")


def test_files_that_are_not_ours(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "m"
    with pytest.raises(RnnlabError, match=r"^load: the model comes first, then the path; got str "):
        load(str(path), model())
    with pytest.raises(RnnlabError, match="there is no such file"):
        load(model(), path)
    path.write_bytes(b"nonsense" * 9)
    with pytest.raises(RnnlabError, match="not a safetensors file"):
        load(model(), path)
    save_file({"a": torch.ones(2)}, path)
    with pytest.raises(RnnlabError, match="not written by"):
        load(model(), path)


def test_a_file_is_replaced_as_a_whole_or_stays(tmp_path, monkeypatch):
    m, path = model(), tmp_path / "m"
    save(m, path)
    before = path.read_bytes()
    with pytest.raises(RnnlabError, match=r"^save: the model comes first, then the path; got str "):
        save(str(path), m)
    bad = Recur(lambda h, x: (h, x), "word")
    bad(1)
    with pytest.raises(RnnlabError, match="state h is str 'word'"):
        save(bad, path)

    def full(*args):
        args[1].write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("rnnlab.files.save_file", full)
    with pytest.raises(RnnlabError, match="disk full"):
        save(m, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m"]
