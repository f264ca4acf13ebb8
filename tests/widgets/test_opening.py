"""What `explore` makes of a model, and what it refuses before there is a widget."""

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab.widgets import Explorer

XS = np.linspace(-1, 1, 36).reshape(12, 3)


def model():
    torch.manual_seed(0)
    return rl.Chain(rl.LSTM(3, 8), rl.Dense(8, 2))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: rl.explore(torch.nn.Linear(2, 2)),
            "Session: Linear(in_features=2, out_features=2, bias=True) has no state to step "
            "through. Give a Recur, a Chain with one inside, rl.adapt(model) of a torch.nn model, "
            "or Recur(cell, init) around a cell function of your own.",
        ),
        (
            lambda: rl.explore(rl.Recur(lambda h, x: (h, x), torch.zeros(2))),
            "explore: cannot tell how many inputs the model takes. Give the data to feed (xs=…) "
            "or the names of the inputs (input_names=[…]).",
        ),
        (
            lambda: rl.explore(rl.RNN(2, 2), decode="argmax"),
            "explore: decode must be 'softmax' or a function, not 'argmax'.",
        ),
        (
            lambda: rl.explore(model(), decode=lambda rows: rows[:, :1]),
            "explore: decode turned outputs of shape (1, 2) into (1, 1); it must give rows of the "
            "same shape.",
        ),
        (
            lambda: rl.explore(model(), decode=lambda rows: rows.nothing),
            "explore: decode failed with AttributeError: 'numpy.ndarray' object has no attribute "
            "'nothing', given outputs of shape (1, 2).",
        ),
        (
            lambda: rl.explore(model(), np.ones((4, 5))),
            "explore: the rows of xs have 5 features, but LSTMCell(3, 8) takes 3; a sequence has "
            "shape (4, 5). Give rows (T, 3).",
        ),
        (
            lambda: rl.explore(rl.RNN(2, 2), [np.ones((4, 2)), np.ones((4, 3))]),
            "explore: the sequences of xs must all have the same number of features, got (4, 2), "
            "(4, 3).",
        ),
        (
            lambda: rl.explore(model(), XS, input_names="ab"),
            "explore: 2 input_names were given, but the model has 3 inputs: ('a', 'b').",
        ),
        (
            lambda: rl.explore(model(), input_names="aba"),
            "explore: 'a' is twice in input_names; give each input a name of its own.",
        ),
        (
            lambda: rl.explore(rl.GRU(1, 2), input_names=[3]),
            "explore: input_names must be texts, but there is 3.",
        ),
        (
            lambda: rl.explore(model(), output_names=["a", "b", "c"]),
            "explore: 3 output_names were given, but the model has 2 outputs: ('a', 'b', 'c').",
        ),
        (
            lambda: rl.explore(model(), output_names=7),
            "explore: output_names must be a list of names, not 7.",
        ),
        (
            lambda: rl.explore(rl.GRU(2, 2), vocabulary=rl.Vocabulary("ab")),
            "explore: GRUCell(2, 2) reads vectors of 2 numbers, but the vocabulary makes whole "
            "numbers of tokens. Make it with one_hot=True, or begin the model with an "
            "nn.Embedding.",
        ),
        (
            lambda: rl.explore(rl.GRU(2, 2), vocabulary=rl.Vocabulary("abc", one_hot=True)),
            "explore: GRUCell(2, 2) reads vectors of 2 numbers, but the vocabulary has 3 tokens. "
            "Give it the tokens that the model was made for.",
        ),
        (
            lambda: rl.explore(reads(2), vocabulary=rl.Vocabulary("ab", one_hot=True)),
            "explore: Embedding(2, 3) reads the numbers of tokens, but the vocabulary makes "
            "vectors of them. Make it without one_hot.",
        ),
        (
            lambda: rl.explore(rl.Session(reads(2), rl.Vocabulary("abc").encode)),
            "explore: the vocabulary has 3 tokens, but Embedding(2, 3) has only 2 rows. Leave out "
            "the tokens that the model has not learnt.",
        ),
        (
            lambda: rl.explore(reads(2), vocabulary=["a", "b"]),
            "explore: vocabulary must be a Vocabulary, as rl.Vocabulary(['the', 'river']); got "
            "['a', 'b'].",
        ),
        (
            lambda: rl.explore(reads(2), [1, 0]),
            "explore: a model that reads tokens is fed texts: xs must be a text or a list of "
            "texts.",
        ),
        (
            lambda: rl.explore(reads(2), input_range=(0, 1)),
            "explore: the inputs of a model that reads tokens are these tokens; leave input_names "
            "and input_range out.",
        ),
    ],
)
def test_what_cannot_be_explored_says_why(make, text, monkeypatch):
    monkeypatch.setattr(Explorer, "__init__", lambda *_: pytest.fail("a widget was made"))
    with pytest.raises(rl.RnnlabError) as raised:
        make()
    assert str(raised.value) == text


def reads(tokens):
    return rl.Chain(torch.nn.Embedding(tokens, 3), rl.GRU(3, 2))


@pytest.mark.parametrize(
    "wrong", [(1, -1), (0, 0), (0, float("inf")), (float("nan"), 1), 5, "ab", (0, 1, 2), (None, 1)]
)
def test_a_range_of_inputs_is_two_numbers_the_lower_first(wrong):
    with pytest.raises(rl.RnnlabError) as raised:
        rl.explore(model(), input_range=wrong)
    assert str(raised.value) == (
        "explore: input_range must be two finite numbers, the lower first, as (-1, 1); got "
        f"{wrong!r}."
    )


def test_a_recording_tells_how_many_inputs_a_cell_function_takes(open_page):
    def cell(h, x):
        return h + x.sum(), h

    session = rl.Session(rl.Recur(cell, torch.zeros(4)))
    session.step(torch.ones(3))
    session.reset()
    page = open_page(lambda: rl.explore(session))
    assert page.explorer.feed["names"] == ["x[0]", "x[1]", "x[2]"]
    page.press("step")
    assert page.explorer.error == ""
    with pytest.raises(rl.RnnlabError, match="2 features, but the recorded run takes 3"):
        rl.explore(session, np.ones((4, 2)))

    session = rl.Session(rl.Recur(lambda h, x: (h + x, h), torch.zeros(4)))
    session.step(2.0)  # a number, though the state is a vector
    page = open_page(lambda: rl.explore(session))
    page.press("feed", input=0, value=0.5)
    page.press("step")
    assert page.explorer.error == ""
    assert session.trace()["h"][-1].tolist() == [2.5] * 4


def test_what_a_model_does_before_its_cell_is_not_taken_for_granted(open_page):
    class Squeezed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.squeeze, self.rnn = torch.nn.Linear(5, 3), rl.RNN(3, 4)

        def forward(self, x):
            return self.rnn(self.squeeze(x))

    assert len(rl.explore(Squeezed()).feed["names"]) == 5
    page = open_page(lambda: rl.explore(Squeezed(), np.ones((2, 5))))
    page.press("step")
    assert page.explorer.error == ""
    session = rl.Session(rl.RNN(2, 2), lambda x: x[:2])  # encode may make anything of its input
    page = open_page(lambda: rl.explore(session, XS))
    page.press("step")
    assert page.explorer.error == ""


class Reader(torch.nn.Module):
    """Reads sequences, as modules do: `(B, T)` or `(B, T, I)`."""

    def __init__(self, first):
        super().__init__()
        self.first = first
        self.lstm = torch.nn.LSTM(4, 5, num_layers=2, batch_first=True)
        self.head = torch.nn.Linear(5, 3)

    def forward(self, xs):
        return self.head(self.lstm(self.first(xs))[0][:, -1])


def test_a_whole_module_adapted_is_fed_by_hand_as_its_forward_reads(open_page):
    torch.manual_seed(0)
    reader = Reader(torch.nn.Linear(3, 4))
    page = open_page(lambda: rl.explore(rl.adapt(reader), XS))
    for _ in XS:
        page.press("step")
    session = page.explorer.session
    assert page.explorer.error == ""
    with torch.no_grad():
        whole = reader(torch.tensor(XS[None], dtype=torch.float32))
    np.testing.assert_allclose(session.trace()["y"][-1], whole, atol=1e-6)
    page.press("poke", step=3, name="lstm.0.h", unit=2, value=0.5)
    page.press("feed", **{"from": 1})  # sliders
    for action in ("step", "again", "reset", "step"):
        page.press(action)
        assert page.explorer.error == ""
    assert session.trace()["x"].shape == (1, 1, 1, 3)


def test_a_whole_module_that_reads_tokens_is_fed_text(open_page):
    reader = Reader(torch.nn.Embedding(3, 4))
    words = rl.Vocabulary(["the", "river", "bank"])
    page = open_page(lambda: rl.explore(rl.adapt(reader), vocabulary=words))
    page.press("feed", add="the bank")
    page.press("step")
    page.press("step")
    assert page.explorer.error == ""
    assert page.explorer.session.labels() == ["the", "bank"]
    with torch.no_grad():
        whole = reader(torch.tensor([[0, 2]]))
    np.testing.assert_allclose(page.explorer.session.trace()["y"][-1], whole, atol=1e-6)
