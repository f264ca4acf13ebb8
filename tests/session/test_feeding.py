"""Sequences of tokens and numbers: fed at once where that is possible, and replayed to the bit."""

import copy

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab.session import Session, Vocabulary, replay
from tests.helpers import randomise
from tests.session.helpers import accumulator, bits, contents, inputs, make

V = Vocabulary("abcdefg")
TEXT = list("abacadaebfcgdefgabca")
NUMBERS = [V.index(token) for token in TEXT]


def speller(hidden=33):
    """Tokens in, a number for each token out."""
    return randomise(
        rl.Chain(torch.nn.Embedding(7, 16), rl.LSTM(16, hidden), rl.Dense(hidden, 7))
    ).float()


def counter():
    """Tokens of torch's own: tensors without a dimension."""
    return randomise(rl.Chain(torch.nn.Embedding(7, 16), rl.GRU(16, 33))).float()


FED = {
    "vocabulary": (speller, V.encode, lambda: TEXT),
    "whole numbers": (counter, None, lambda: NUMBERS),
    "numpy's": (counter, None, lambda: np.array(NUMBERS)),
    "tensors": (counter, None, lambda: list(torch.tensor(NUMBERS).unbind())),
    "a tensor": (counter, None, lambda: torch.tensor(NUMBERS)),
    "a generator": (counter, None, lambda: (n for n in NUMBERS)),
    "numbers": (accumulator, None, lambda: [0.5, 2, -1.25] * 5),
    "a line": (accumulator, None, lambda: np.linspace(-1, 1, 9)),
    "scalars": (lambda: rl.Recur(lambda h, x: (h + x, h), torch.zeros(())), None,
                lambda: [torch.tensor(0.1 * n) for n in range(9)]),
}  # fmt: skip


@pytest.mark.parametrize("way", FED)
def test_the_log_replayed_is_the_same_bit_for_bit(way):
    make_model, encode, given = FED[way]
    model = make_model()
    s = Session(model, encode)
    s.run(given())
    for x in list(given())[:3]:
        s.step(x)
    s.rewind(2)
    s.run(list(given())[4:8])
    s.refeed("main", 3)
    again = replay(copy.deepcopy(model), s.log, encode)
    assert contents(again) == contents(s)
    assert again.log == s.log


class HeadFirst(torch.nn.Module):
    """Uses its parts in another order than it lists them in, and has a weight of its own."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(16))
        self.head = rl.Dense(5, 7)
        self.rnn = rl.GRU(16, 5)
        self.table = torch.nn.Embedding(7, 16)

    def forward(self, x):
        return self.head(self.rnn(self.scale * self.table(x)))


class TableCell(torch.nn.Module):
    """A cell of somebody's own that looks its input up."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(7, 5)

    def forward(self, h, x):
        h = torch.tanh(h + self.table(x))
        return h, h


READERS = {
    "listed later": HeadFirst,
    "inside": lambda: rl.Chain(HeadFirst(), rl.Dense(7, 2)),
    "a cell": lambda: rl.Recur(TableCell(), torch.zeros(5)),
}


@pytest.mark.parametrize("name", READERS)
def test_a_table_anywhere_in_a_module_is_given_token_numbers(name):
    model = READERS[name]()
    s, tensors = Session(model), Session(copy.deepcopy(model))
    for x in (3, np.int64(1), [2], np.array([4])):
        assert bits(s.step(x)) == bits(tensors.step(torch.tensor(x)))
        s.reset()
        tensors.reset()
    s.run([1, 2, 3])
    tensors.run(torch.tensor([1, 2, 3]))
    assert contents(s)[-1]["run 5"] == contents(tensors)[-1]["run 5"]


def test_numbers_are_numbers_where_the_table_comes_later():
    inner = rl.Chain(rl.RNN(3, 4), lambda h: (h > 0).long().sum(), torch.nn.Embedding(5, 2))
    s = Session(inner)
    s.step([1, 0, 2])
    assert s.fed(1)[0].dtype == torch.float32


TABLE = torch.ones(7, 3)
MISFED = {
    "number": (lambda x: torch.nn.functional.embedding(x, TABLE), 3,
               r"TypeError: .* It was fed the number 3; .* feed torch\.tensor\(3\)\. The session"),
    "list": (lambda x: TABLE[x], [3, 1, 2],
             r"IndexError: .* It was fed float32; .* feed an int64 tensor\. The session"),
    "tokens": (lambda x: x @ TABLE, torch.arange(7),
               r"RuntimeError: .* It was fed int64 token numbers; .* feed floats\. The session"),
    "fractions": (lambda x: TABLE[x], [0.5], r"IndexError: [^.]*\. The session"),
    "something else": (lambda x: 1 / 0, 3, r"ZeroDivisionError: division by zero\. The session"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFED)
def test_a_failure_says_what_else_whole_numbers_could_be(name):
    look, x, said = MISFED[name]
    for feed in (lambda s: s.step(x), lambda s: s.run([x, x])):
        with pytest.raises(rl.RnnlabError, match=said):
            feed(Session(rl.Recur(lambda h, x: (h + look(x), h), torch.zeros(3))))


def test_a_failure_says_where_the_input_and_the_weights_are():
    class Elsewhere(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = torch.nn.GRU(3, 4)

        def forward(self, x):
            return self.gru(x)[0]

    s = Session(rl.adapt(Elsewhere()))
    s.model.to("meta")  # stands for a GPU
    said = (
        r"^Session: Adapted\(Elsewhere: gru\) failed with RuntimeError: .* It was fed a tensor on "
        r"cpu, and the weights are on meta; x\.to\('meta'\) moves it\. Arrays and lists the "
        r"session moves itself\. The session stands where it stood\.$"
    )
    for feed in (s.step, lambda x: s.run(x[None])):
        with pytest.raises(rl.RnnlabError, match=said):
            feed(torch.ones(1, 3))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            torch.Tensor.to_sparse,
            r"a tensor of shape .* that is torch\.sparse_coo\. Feed x\.to_dense\(\)\.",
        ),
        (
            lambda x: x.to("meta"),
            r"a tensor of shape .* that is meta, without numbers\. Feed one with numbers\.",
        ),
    ],
    ids=["sparse", "meta"],
)
def test_tensors_without_numbers_at_hand_are_refused(other, said):
    s = Session(make("lstm").float())
    s.run(torch.ones(3, 3))
    for _ in range(3):
        s.step(torch.ones(3))
    before = contents(s)
    x = torch.ones(2, 3)
    with pytest.raises(rl.RnnlabError, match=r"(?i)tensor"):
        s.step(other(x[0]))  # by the short way, which leaves it to torch to say what it is
    for feed in (s.step, lambda x: s.run([x]), lambda x: s.run(x[None])):
        with pytest.raises(rl.RnnlabError, match=rf"^Session: the input is {said}$"):
            feed(other(x[0]))
    assert contents(s) == before


@pytest.mark.parametrize("way", ["vocabulary", "whole numbers", "numpy's", "tensors"])
def test_tokens_are_fed_at_once(way):
    """A list of them goes the way of one tensor of the same numbers."""
    make_model, encode, given = FED[way]
    s, at_once = Session(make_model(), encode), Session(make_model())
    ys = s.run(given())
    want = at_once.run(torch.tensor(NUMBERS))
    assert [bits(y) for y in ys] == [bits(y) for y in want]
    assert s._branch.runs == at_once._branch.runs == [(0, len(TEXT))]
    assert s.trace()["1.h"].tobytes() == at_once.trace()["1.h"].tobytes()


def test_a_number_of_numpys_is_a_number():
    s = Session(rl.Recur(lambda h, x: (h + x, h), 0.0))
    assert s.run(np.arange(3.0)) == [0.0, 0.0, 1.0]
    s.step(np.float64(1))
    s.step(np.float32(0.5))
    s.step(np.int64(2))
    s.step(1.0)
    assert [type(s.fed(t)[0]) for t in range(1, 8)] == [float] * 5 + [int, float]
    assert s.output() == 6.5


@pytest.mark.parametrize("name", ["lstm", "chain", "adapted"])
def test_an_empty_sequence_gives_an_empty_result(name):
    s = Session(make(name))
    xs = torch.stack(inputs(3, model=s.model))
    for steps in (0, 2):
        s.run(xs[:steps])
        before, log = contents(s), list(s.log)
        ys = s.run(xs[:0])
        assert isinstance(ys, torch.Tensor)
        assert (len(ys), ys.dtype) == (0, xs.dtype)
        assert s.run([]) == []
        assert s.run(xs[:0].numpy()).shape == ys.shape
        assert (contents(s), list(s.log)) == (before, log)
    assert Session(make("chain")).run(torch.zeros(0, 5, 3)).shape == (0, 5, 2)
    with pytest.raises(rl.RnnlabError, match="x has 7 features, expected 3"):
        Session(make("lstm")).run(torch.zeros(0, 7))


class Named(torch.nn.Module):
    """A model with a layer called y, as its outputs are."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs, self.y = outputs, rl.RNN(3, 4)

    def forward(self, x):
        return self.outputs(self.y(x))


def test_two_arrays_of_one_name_are_refused():
    """Going back would put an output in the place of the state."""
    x = torch.ones(3)
    s = Session(Named(lambda h: {"h": 2 * h}))
    for feed in (lambda: s.step(x), lambda: s.run(torch.ones(2, 3)), lambda: s.run([x, x])):
        with pytest.raises(rl.RnnlabError, match=r"two arrays .* named 'y\.h'\. .* rename"):
            feed()
        assert (s.t, s.recorded()) == (0, {})


def test_a_layer_called_y_is_no_output():
    s = Session(Named(lambda h: (2 * h, h.sum())))
    x = torch.ones(3)
    y, total = s.step(x)
    assert s.output().keys() == {"y.0", "y.1"}
    assert bits(s.output()["y.0"]) == bits(y)
    assert bits(s.output()["y.1"]) == bits(total)
    kept = s.states()["y.h"]
    s.back()
    s.forward()
    assert bits(s.states()["y.h"]) == bits(kept) == bits(y / 2)


@pytest.mark.parametrize("name", ["lstm", "chain"])
def test_the_remedy_for_another_batch_works(name):
    s = Session(make(name).float())
    for steps in range(3):
        for _ in range(steps):
            s.step(torch.ones(5, 3))
        if steps:
            for feed in (s.step, lambda x: s.run(x[None])):
                with pytest.raises(rl.RnnlabError, match=r"5, .* Call the session's reset\(\) bef"):
                    feed(torch.ones(3, 3))
    s.reset()
    assert len(s.step(torch.ones(3, 3))) == 3


def broken(count):
    """A stream that ends in a failure."""
    yield from inputs(count)
    raise OSError("the disk is gone")


class Unreadable:
    def __array__(self, dtype=None, copy=None):
        raise OSError("the disk is gone")


@pytest.mark.parametrize(
    ("feed", "said"),
    [
        (lambda s: s.run(broken(3)), r"run was given \(after 3 inputs\) failed with OSError"),
        (lambda s: s.run([*inputs(1), Unreadable()]), "cannot turn Unreadable .* into an input"),
        (lambda s: s.step(Unreadable()), "cannot turn Unreadable .* into an input"),
    ],
)
def test_inputs_that_cannot_be_had_are_refused_with_the_cause(feed, said):
    s = Session(make("gru"))
    s.step(inputs(1)[0])
    before = contents(s)
    with pytest.raises(rl.RnnlabError, match=said) as caught:
        feed(s)
    assert isinstance(caught.value.__cause__, OSError)
    assert contents(s) == before
    assert len(s.log) == 1


def test_what_is_no_one_model_is_refused_at_once():
    with pytest.raises(rl.RnnlabError, match=r"cannot be called .* rl\.Chain\(\*layers\)"):
        Session([rl.RNN(3, 4), rl.Dense(4, 2)])


def in_place():
    def walk(h, x):
        h.add_(x)
        return h, h

    return rl.Recur(walk, torch.zeros(3))


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize("kind", [list, torch.stack])
def test_a_cell_that_works_in_place_is_recorded_step_for_step(kind, steps):
    """Its state and output are one piece of memory, that of the initial state at first."""
    xs = inputs(4)
    whole, single = Session(in_place()), Session(in_place())
    for x in xs[:steps]:
        whole.step(x)
    ys = whole.run(kind(xs[steps:]))
    wanted = [single.step(x) for x in xs]
    assert [bits(y) for y in ys] == [bits(y) for y in wanted[steps:]]
    for name in ("h", "y"):
        assert bits(whole.trace()[name]) == bits(single.trace()[name])
    assert not whole.model.init.any()


def test_a_part_of_no_units_is_recorded_as_such():
    cell = rl.Recur(lambda s, x: ((s[0] + x, s[1]), s[0] + x), (torch.zeros(3), torch.zeros(0)))
    session = Session(cell)
    for _ in range(4):
        session.step(torch.ones(3))
    session.rewind(2)
    assert {name: value.tolist() for name, value in session.states().items()} == {
        "h.0": [2, 2, 2],
        "h.1": [],
    }
    assert session.trace()["h.1"].shape == (4, 0)
    assert session.step(torch.ones(3)).tolist() == [3, 3, 3]
