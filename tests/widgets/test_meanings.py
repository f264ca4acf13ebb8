"""What the inspector says of gates: read off the cells' own documentation."""

import pytest
import torch
from torch import Tensor, nn

import rnnlab as rl
from rnnlab.cells.registry import CELLS
from rnnlab.widgets.meanings import bounded, meaning


def words(cell):
    return {gate: meaning(cell, gate)["means"] for gate in cell.gate_names}


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.__name__)
def test_what_is_told_of_the_range_of_a_gate_is_so(cell):
    torch.manual_seed(0)
    made = cell(3, 4)
    state = made.initial_state()
    for x in 3 * torch.randn(50, 3):
        gates = made.gates(state, x)
        for gate in made.gate_names:
            told = meaning(made, gate)
            assert not (told["sigmoid"] and told["tanh"])
            if told["sigmoid"] or told["tanh"]:
                least = 0 if told["sigmoid"] else -1
                assert least <= gates[gate].min() <= gates[gate].max() <= 1
        state, _ = made(state, x)
        parts = state if isinstance(state, tuple) else (state,)
        for name, part in zip(made.state_names, parts, strict=True):
            if name in bounded(rl.Recur(made)):
                assert (part.abs() <= 1).all(), name


def test_the_words_of_the_cells_that_people_know():
    lstm = {"i": "input gate", "f": "forget gate", "g": "candidate", "o": "output gate"}
    assert words(rl.LSTMCell(2, 3)) == lstm
    gru = {"r": "reset gate", "z": "update gate", "n": "candidate"}
    assert words(rl.GRUCell(2, 3)) == gru
    assert words(rl.RNNCell(2, 3)) == {"a": "pre-activation"}
    assert meaning(rl.UGRNNCell(2, 3), "g")["sigmoid"], "the letter alone would not tell"
    assert not meaning(rl.CfCCell(2, 3), "f")["sigmoid"], "a rate, no forget gate"


def test_every_gate_of_the_library_but_the_only_one_of_its_cell_has_a_word():
    for cell in CELLS:
        if len(cell.gate_names) > 1:
            assert all(words(cell(2, 3)).values()), cell.__name__


def test_cells_of_torch_have_the_words_of_ours():
    for theirs, ours in (
        (nn.LSTM(2, 3), rl.LSTMCell(2, 3)),
        (nn.LSTM(2, 3, proj_size=2), rl.LSTMCell(2, 3)),
        (nn.GRU(2, 3), rl.GRUCell(2, 3)),
        (nn.RNN(2, 3), rl.RNNCell(2, 3)),
    ):
        ((_, recur),) = rl.recur.recurs(rl.adapt(theirs))
        assert words(recur.cell) == words(ours)


def test_a_state_saturates_if_its_equation_does():
    assert bounded(rl.LSTM(2, 3)) == ["h"], "c has no bound"
    assert bounded(rl.Chain(rl.RNN(2, 3), rl.RNN(3, 3, "relu"), rl.GRU(3, 3))) == ["0.h", "2.h"]
    assert bounded(rl.Recur(lambda h, x: (h + x, h), torch.zeros(2))) == []


def test_a_cell_of_ones_own_is_read_by_its_documentation():
    class Kept(rl.RNNCell):
        """Half of the state stays.

        k = σ(W x + U h)     share that is kept
        h' = k∘h + (1 − k)∘tanh(W x)
        """

        gate_names = ("k",)

        def equation(self, state: Tensor, u: Tensor) -> dict[str, Tensor]:
            k = torch.sigmoid(u)
            return {"k": k, "h": k * state + (1 - k) * torch.tanh(u)}

    expected = {"means": "share that is kept", "sigmoid": True, "tanh": False}
    assert meaning(Kept(2, 3), "k") == expected
    assert bounded(rl.Recur(Kept(2, 3))) == ["h"]
