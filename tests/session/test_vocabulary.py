"""Tokens and rows in, labelled probabilities out."""

import collections
import copy

import numpy as np
import pytest
import torch
from torch import nn

import rnnlab as rl
from rnnlab.session import Features, Session, Vocabulary
from tests.session.helpers import contents


def refused(text: str):
    return pytest.raises(rl.RnnlabError, match=f"^{text}$")


class TestVocabulary:
    def test_numbers_and_vectors(self):
        v = Vocabulary(["a", "b", "c"])
        assert (v.index("b"), v.encode("c").item(), v.encode(0).item()) == (1, 2, 0)
        assert v.encode("c").dtype == torch.int64
        assert [v.encode(n).item() for n in (np.int64(1), np.uint8(2), torch.tensor(0))] == [
            1,
            2,
            0,
        ]
        assert (v.index(2), v.label(np.int64(1)), v.label("a")) == (2, "b", "a")
        one = Vocabulary("abc", one_hot=True)
        assert one.encode("b").tolist() == [0, 1, 0]
        assert (len(v), list(v), "b" in v, "z" in v) == (3, ["a", "b", "c"], True, False)

    def test_texts(self):
        v = Vocabulary.from_text("The river, the bank's edge.")
        assert v.tokens == (",", ".", "The", "bank's", "edge", "river", "the")
        assert v.split("the river, edge") == ["the", "river", ",", "edge"]
        letters = Vocabulary.from_text("hello world", characters=True)
        assert letters.tokens == (" ", "d", "e", "h", "l", "o", "r", "w")
        assert letters.split("he") == ["h", "e"]
        assert repr(v) == "Vocabulary(7 tokens: ',', '.', 'The', …)"

    def test_how_a_text_is_split_is_remembered(self):
        words = Vocabulary.from_text("a b c")
        assert words.split("a b c") == ["a", "b", "c"]
        assert Vocabulary.from_text("a b", characters=True, unknown="<?>").split("b a") == list(
            "b a"
        )
        assert Vocabulary("ab").split("ab") == ["a", "b"]
        assert Vocabulary("ab", characters=False).split("b a") == ["b", "a"]

    def test_unknown_tokens(self):
        v = Vocabulary(["river", "rivers", "bank"])
        with refused(
            r"Vocabulary: 'rivr' is not one of the 3 tokens\. Near it: 'river', 'rivers'\. "
            r"Vocabulary\(tokens, unknown='…'\) accepts any\."
        ):
            v.encode("rivr")
        for odd in (True, 1.0, ["river"], None, torch.tensor([0, 1])):
            with pytest.raises(rl.RnnlabError, match=r"is not one of the 3 tokens\."):
                v.encode(odd)
        for number in (3, np.int64(3), -1):
            with refused(rf"Vocabulary: there are tokens 0 to 2, no {number}\."):
                v.encode(number)
        open_one = Vocabulary.from_text("river bank", unknown="<?>")
        assert open_one.index("money") == open_one.index("<?>")

    def test_refused(self):
        with refused(r"Vocabulary: 'a' is there twice\. Give each token once\."):
            Vocabulary("aba")
        with refused(r"Vocabulary: there must be at least one token\."):
            Vocabulary([])
        with refused(r"Vocabulary: tokens are a list of texts, not None\."):
            Vocabulary(None)
        with refused(r"Vocabulary: a token is text, got \['a'\]\."):
            Vocabulary([["a"]])
        for split in (Vocabulary("ab").split, Vocabulary.from_text):
            with refused(r"Vocabulary: only a text can be split, not int 3\."):
                split(3)
        with refused(r"Vocabulary: a token is text, got 3\."):
            Vocabulary([3])
        with refused(r"Vocabulary: unknown='z' must be one of the tokens\."):
            Vocabulary("ab", unknown="z")

    def test_decode(self):
        v = Vocabulary("abc")
        shares = v.decode(torch.tensor([0.0, 1.0, 2.0]))
        assert list(shares) == ["a", "b", "c"]
        assert sum(shares.values()) == pytest.approx(1)
        assert shares["c"] / shares["b"] == pytest.approx(2.718281828)
        for odd, told in ((torch.zeros(2), r"\(2,\)"), (1.0, r"\(\)"), ({"a": 1}, "a dict of 1")):
            with refused(rf"Vocabulary: decode takes scores of shape \(…, 3\), got {told}\."):
                v.decode(odd)

    def test_decode_of_one_row_and_of_many(self):
        v = Vocabulary("abc")
        scores = torch.tensor([[0.0, 1.0, 2.0], [3.0, 1.0, 0.0]])
        each = [v.decode(row) for row in scores]
        assert each[0] != each[1]
        assert v.decode(scores[:1]) == v.decode(scores[None, :1]) == each[0]
        assert v.decode(scores) == v.decode(scores[None]) == v.decode(scores[:, None]) == each


class TestInASession:
    def session(self):
        v = Vocabulary("abc", one_hot=True)
        return Session(rl.Chain(rl.RNN(3, 4), rl.Dense(4, 3)), v.encode, v.decode)

    def test_tokens_label_the_steps(self):
        session = self.session()
        assert session.output() is None
        session.run("abca")
        assert session.trace().labels == tuple("abca")
        assert list(session.output()) == ["a", "b", "c"]
        last = session.output()
        session.back(2)
        assert session.output() != last
        session.step("c")
        session.back()
        session.forward()
        assert session.output() == session.decode(torch.tensor(session.trace()["y"][-1]))

    def test_a_number_is_labelled_with_its_token(self):
        session = self.session()
        session.step(1)
        session.run([np.int64(2), "a"])
        assert session.trace().labels == ("b", "c", "a")

    def test_a_label_is_text(self):
        session = self.session()
        with refused(r"Session: a label is text, or None; got int 5\."):
            session.step("a", label=5)
        assert (session.t, len(session.log)) == (0, 0)
        session.step("a", label="first")
        assert session.trace().labels == ("first",)

    def test_inputs_have_the_dtype_of_the_model(self):
        v = Vocabulary("abc", one_hot=True)
        features = Features(["u", "v", "w"])
        for encode, x in ((v.encode, "b"), (features.encode, {"u": 0, "v": 1, "w": 0})):
            model = rl.Chain(rl.RNN(3, 4), rl.Dense(4, 3)).double()
            session = Session(model, encode)
            y = session.step(x)
            assert y.dtype == torch.float64
            assert session.fed(1)[0].dtype == torch.float64
            other = Session(copy.deepcopy(model))
            assert torch.equal(other.step([0, 1, 0]), y)
        numbers = Session(
            rl.Chain(nn.Embedding(3, 2), rl.RNN(2, 2)).double(), Vocabulary("abc").encode
        )
        numbers.step("b")
        assert numbers.fed(1)[0].dtype == torch.int64

    def test_an_adapted_model(self):
        """Its output `(1, 1, V)` is one row, that of a batch a list of them."""

        class Next(nn.Module):
            def __init__(self):
                super().__init__()
                self.table = nn.Embedding(3, 4)
                self.lstm = nn.LSTM(4, 5, batch_first=True)
                self.head = nn.Linear(5, 3)

            def forward(self, x):
                return self.head(self.lstm(self.table(x))[0])

        v, model = Vocabulary("abc"), rl.adapt(Next())
        session = Session(model, lambda token: v.encode(token).reshape(1, 1), v.decode)
        y = session.step("b")
        assert y.shape == (1, 1, 3)
        assert session.output() == v.decode(y[0, 0])
        many = Session(
            model, lambda text: torch.stack(list(map(v.encode, text)))[:, None], v.decode
        )
        y = many.step("bca")
        assert many.output() == [v.decode(row) for row in y[:, 0]]
        assert many.output()[0] == pytest.approx(session.output())
        plain = Session(model)  # whole numbers are tokens: the model begins with a table
        plain.step([[1]])
        plain.run(np.array([[[2]], [[0]]]))
        session.run("ca")
        assert plain.trace()["x"].tolist() == session.trace()["x"].tolist()
        assert plain.trace()["y"].tobytes() == session.trace()["y"].tobytes()

    def test_tokens_name_the_outputs(self):
        session = self.session()
        assert session.trace().outputs is None  # nothing recorded
        session.run("ab")
        assert session.trace().outputs == ("a", "b", "c")
        session.decode = None
        assert session.trace().outputs is None
        narrow = Session(rl.RNN(3, 2), decode=session._stepper.encode.__self__.decode)
        narrow.step([1.0, 0, 0])
        assert narrow.trace().outputs is None

    def test_the_vocabulary_itself_is_no_function(self):
        v = Vocabulary("abc", one_hot=True)
        for name in ("encode", "decode"):
            with refused(
                rf"Session: {name} must be a function, got Vocabulary .*its method \.{name}\."
            ):
                Session(rl.RNN(3, 4), **{name: v})
        with refused(r"Session: encode must be a function, got a list of 1\."):
            Session(rl.RNN(3, 4), ["a"])

    def test_an_unknown_token_changes_nothing(self):
        session = self.session()
        session.run("ab")
        before = contents(session)
        for bad in (lambda: session.step("z"), lambda: session.run("abz")):
            with pytest.raises(rl.RnnlabError, match="'z' is not one of the 3 tokens"):
                bad()
            assert contents(session) == before

    def test_without_decode_the_output_is_as_recorded(self):
        session = Session(rl.Recur(lambda h, x: (h + x, {"a": h, "b": x}), 0.0))
        session.step(2.0)
        assert session.output() == {"y.a": 0.0, "y.b": 2.0}

    def test_a_decode_that_fails(self):
        session = Session(rl.RNN(1, 1), decode=lambda y: 1 / 0)
        session.step([1.0])
        with pytest.raises(rl.RnnlabError, match=r"^Session: decode failed with ZeroDivisionError"):
            session.output()


class TestFeatures:
    def test_rows_by_name(self):
        f = Features(["b", "a"])
        assert f.encode({"a": 1, "b": 2.5, "c": "word"}).tolist() == [2.5, 1]
        assert repr(f) == "Features(b, a)"
        for names in (None, "speed"):
            with refused(r"Features: names are a list of columns, not .*\."):
                Features(names)
        with refused(r"Features: the row has no b\. It has: a\."):
            f.encode({"a": 1})
        with refused(r"Features: b is 'word', not a number\."):
            f.encode({"a": 1, "b": "word"})
        row = collections.namedtuple("Row", ["b", "a"])(2.5, 1)
        assert f.encode(row).tolist() == [2.5, 1]
        with refused(
            r"Features: a row has named columns, as a dict or a Series; got a list of 2\."
        ):
            f.encode([1, 2])

    def test_a_data_frame(self):
        pandas = pytest.importorskip("pandas", reason="pandas is in rnnlab[test]")
        frame = pandas.DataFrame(
            {"place": ["n", "s"], "wind": [1.0, 2.0], "speed": [3.0, 4.0]}, index=["mon", "tue"]
        )
        session = Session(rl.RNN(2, 3), Features(["speed", "wind"]).encode)
        session.run(frame)
        assert session.trace()["x"].tolist() == [[3, 1], [4, 2]]
        assert session.trace().labels == ("mon", "tue")
        plain = Session(rl.RNN(2, 3))
        plain.run(frame[["wind", "speed"]])
        assert plain.trace()["x"].tolist() == [[1, 3], [2, 4]]
