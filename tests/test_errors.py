"""RnnlabError: one class, a ValueError, with its text kept through copies."""

import copy
import pickle

import pytest
import torch

import rnnlab as rl
from rnnlab.cells.base import batch_changed, describe


def test_it_is_a_value_error_and_the_only_class():
    assert issubclass(rl.RnnlabError, ValueError)
    assert rl.RnnlabError is rl.errors.RnnlabError
    with pytest.raises(ValueError, match="expected 10"):
        rl.LSTM(10, 15)(torch.ones(4, 12))


def test_the_text_of_the_style_guide():
    with pytest.raises(rl.RnnlabError) as caught:
        rl.LSTM(10, 15)(torch.ones(4, 12))
    assert str(caught.value) == (
        "LSTMCell(10, 15): x has 12 features, expected 10; x.shape = (4, 12)"
    )


@pytest.mark.parametrize("copied", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
def test_it_survives_a_pickle(copied):
    twin = copied(rl.RnnlabError("x has 12 features"))
    assert type(twin) is rl.RnnlabError
    assert str(twin) == "x has 12 features"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (torch.ones(2, 3), "a tensor of shape (2, 3)"),
        (torch.tensor(1.0), "a tensor of shape ()"),
        ((1, 2), "a tuple of 2"),
        ([], "a list of 0"),
        ({"a": 1}, "a dict of 1"),
        (None, "None"),
        (0.5, "float 0.5"),
        ("ab", "str 'ab'"),
    ],
)
def test_how_a_value_is_described(value, text):
    assert describe(value) == text


@pytest.mark.parametrize(
    ("before", "now", "text"),
    [
        ((4,), (5,), "the state is for a batch of 4, x has a batch of 5."),
        ((4,), (), "the state is for a batch of 4, x is unbatched."),
        ((), (4,), "the state is unbatched, x has a batch of 4."),
        ((2, 3), (4, 3), "the state is for a batch of 2 × 3, x has a batch of 4 × 3."),
    ],
)
def test_a_changed_batch_names_both_sizes_and_reset(before, now, text):
    error = batch_changed("m", before, now)
    assert type(error) is rl.RnnlabError
    assert str(error) == f"m: {text} Call reset(model) before starting with another batch size."
