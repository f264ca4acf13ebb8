import itertools
import math
from collections import Counter
from sys import modules

import pytest
import torch

import rnnlab as rl
from rnnlab import zoo
from rnnlab.zoo import train_bank
from rnnlab.zoo.saved import load_weights
from rnnlab.zoo.train_bank import main, nats_per_word, train

module = modules["rnnlab.zoo.bank"]  # `rnnlab.zoo.bank` is the function


def predicted(text):
    """The probabilities of the next word after a text."""
    model = zoo.bank()
    words = model.card.vocabulary
    session = rl.Session(model, words.encode, words.decode)
    session.run(words.split(text))
    return session.output()


def share(p, words):
    return sum(p[word] for word in words)


@pytest.mark.parametrize(
    ("text", "sense"),
    [
        ("the river bank was", module.RIVER),
        ("the grassy bank was", module.RIVER),
        ("the bank of the lake was", module.RIVER),
        ("tom fished at the bank until it was", module.RIVER),
        ("the investment bank was", module.MONEY),
        ("the bank of the town was", module.MONEY),
        ("they saved at the bank until it was", module.MONEY),
        ("the river bank was steep . she paid at the bank until it was", module.MONEY),
    ],
)
def test_what_the_bank_was_depends_on_the_word_that_tells_which(text, sense):
    p = predicted(text)
    assert share(p, sense.was) > 0.98
    for word, frequency in zip(sense.was, module.WAS, strict=True):
        assert p[word] == pytest.approx(frequency, abs=0.06)


def test_where_nothing_tells_it_both_are_possible():
    p = predicted("the bank was")
    assert share(p, module.RIVER.was) == pytest.approx(0.5, abs=0.08)
    assert share(p, module.MONEY.was) == pytest.approx(0.5, abs=0.08)


def test_it_is_hardly_more_uncertain_than_the_grammar():
    ours, best = nats_per_word(zoo.bank())
    assert best < ours < 1.01 * best
    assert f"uncertainty is {best:.2f} nats a word; so is the model's" in zoo.bank().card.about
    assert f"{ours:.2f}" == f"{best:.2f}"


def test_information_is_that_of_the_sentences_drawn():
    drawn = list(itertools.islice(module.sentences(5), 20_000))
    for start in (["the"], ["the", "bank"], ["the", "bank", "was"], ["she", "paid", "at", "the"]):
        n = len(start)
        begun = [words for words in drawn if words[:n] == start]
        counted = Counter(words[n] for words in begun)
        room = 4 * math.sqrt(0.25 / len(begun))
        for word, count in counted.items():
            p = math.exp(-module.information([*start, word])[-1])
            assert count / len(begun) == pytest.approx(p, abs=room)


def test_no_word_tells_both_senses_and_the_vocabulary_has_each_once():
    river, money = ({*s.kinds, *s.places, *s.deeds, *s.was} for s in (module.RIVER, module.MONEY))
    assert not river & money
    assert len(module.VOCABULARY) == 42
    drawn = {word for words in itertools.islice(module.sentences(0), 3000) for word in words}
    assert drawn == set(module.VOCABULARY)


def test_the_card_fits_the_model():
    model = zoo.bank()
    card = model.card
    assert getattr(zoo, card.name) is zoo.bank
    assert repr(model) == "Chain(Embedding(42, 16), Recur(LSTMCell(16, 32)), Dense(32, 42))"
    assert card.outputs == card.vocabulary.tokens
    for example in card.examples:
        assert [card.outputs[n] for n in example.xs] == example.label.split()
        rl.reset(model)
        scores = rl.unroll(model, torch.from_numpy(example.xs))
        top = card.outputs[scores[-1].argmax()]
        assert top == example.target or example.label == "the bank was"
        assert scores[-1].softmax(-1)[card.outputs.index(example.target)] > 0.15


def test_it_is_made_without_drawing_random_numbers():
    before = torch.random.get_rng_state()
    zoo.bank()
    assert torch.equal(before, torch.random.get_rng_state())
    assert module.WEIGHTS.stat().st_size < 200_000


def weights(model):
    return torch.cat([part.detach().flatten() for part in model.parameters()])


def test_training_is_reproducible_and_helps():
    state = torch.random.get_rng_state()
    one = train(30, seed=3, progress=False)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(weights(one), weights(train(30, seed=3, progress=False)))
    torch.manual_seed(0)
    before = nats_per_word(train_bank.untrained(), count=50)[0]
    assert before > 3.5 > 2 > nats_per_word(one, count=50)[0]
    assert one[1].state[0] is one[1].cell.h0
    with pytest.raises(rl.RnnlabError, match=r"^train: steps must be at least 1, got 0\.$"):
        train(0)


def test_the_script_writes_weights_that_load(tmp_path, capsys):
    path = tmp_path / "new.safetensors"
    main(["--steps", "1", "--out", str(path)])
    assert "nats a word: " in capsys.readouterr().out
    model = train_bank.untrained()
    load_weights(model, path)
    assert torch.equal(weights(model), weights(train(1, progress=False)))
    for bad in (["--steps", "0"], ["--out", "no/such/folder/x.safetensors"]):
        with pytest.raises(SystemExit):
            main(bad)
