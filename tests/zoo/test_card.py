import dataclasses

import numpy as np
import pytest

import rnnlab as rl
from rnnlab.zoo import Card, Example

EXAMPLE = Example("impulse", np.ones((2, 3), np.float32), "yes")
FIELDS = {
    "name": "toy",
    "title": "A toy",
    "about": "It does nothing.",
    "inputs": ("a", "b", "c"),
    "input_range": (-1.0, 1.0),
    "outputs": ("yes", "no"),
    "decode": "softmax",
    "examples": (EXAMPLE,),
}


def test_a_card_is_frozen_and_compares_by_value():
    card = Card(**FIELDS)
    assert card == Card(**FIELDS)
    assert card != Card(**FIELDS | {"title": "Another"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        card.title = "Another"


def test_an_example_without_a_picture():
    assert EXAMPLE.picture is None
    assert Example("impulse", np.ones((2, 3), np.float32), "yes") != EXAMPLE  # by identity


def test_an_unknown_decode_is_refused():
    with pytest.raises(rl.RnnlabError) as error:
        Card(**FIELDS | {"decode": "argmax"})
    assert str(error.value) == "Card 'toy': decode must be 'softmax', got 'argmax'."


@pytest.mark.parametrize("bad", [(1.0, 1.0), (1.0, 0.0), (0.0, float("nan"))])
def test_an_empty_input_range_is_refused(bad):
    with pytest.raises(rl.RnnlabError, match=r"'toy': input_range must be \(low, high\)"):
        Card(**FIELDS | {"input_range": bad})
