import copy
import dataclasses
import math
import pickle
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

import rnnlab as rl
from rnnlab import zoo
from rnnlab.zoo import train_digits

# `rnnlab.zoo.digits` is the function; the module of that name
module = sys.modules["rnnlab.zoo.digits"]


@pytest.fixture(scope="module")
def held_out():
    xs, targets = module.images("test")
    return torch.from_numpy(xs), torch.from_numpy(targets)


@pytest.fixture(scope="module")
def scores(held_out):
    """What the shipped model says about every held-out image after each row: (8, 599, 10)."""
    with torch.no_grad():
        return rl.unroll(zoo.digits(), held_out[0].transpose(0, 1))


def python(code):
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


# the data


def test_the_two_parts_are_the_whole_data_and_share_nothing():
    whole = load_digits()
    (train, train_targets), (test, test_targets) = module.images("train"), module.images("test")
    assert train.shape == (1198, 8, 8)
    assert test.shape == (599, 8, 8)
    assert train.dtype == test.dtype == np.float32
    np.testing.assert_array_equal(test, whole.images[2::3].astype(np.float32) / 16)
    np.testing.assert_array_equal(test_targets, whole.target[2::3])
    numbers = [n for n in range(1797) if n % 3 != 2]
    np.testing.assert_array_equal(train, whole.images[numbers].astype(np.float32) / 16)
    np.testing.assert_array_equal(train_targets, whole.target[numbers])
    assert (train.min(), train.max()) == (0, 1)


def test_changing_the_images_does_not_change_the_data():
    xs, targets = module.images("train")
    xs[:], targets[:] = 7, 7
    assert module.images("train")[0].max() == 1
    example = zoo.digits().card.examples[0]
    example.xs[:] = 7
    assert zoo.digits().card.examples[0].xs.max() == example.picture.max() == 1


def test_an_unknown_part_is_refused():
    with pytest.raises(rl.RnnlabError, match="part must be 'train' or 'test', got 'tset'"):
        module.images("tset")


# the shipped weights


def test_at_least_97_percent_of_the_held_out_third_are_named_correctly(scores, held_out):
    correct = (scores[-1].argmax(-1) == held_out[1]).double().mean().item()
    assert correct >= 0.97
    # and the card says how many
    assert f"it names {100 * correct:.0f} % correctly" in zoo.digits().card.about


def test_stepping_row_by_row_gives_the_same_scores(scores, held_out):
    model = zoo.digits()
    with torch.no_grad():
        for image in (0, 299, 598):
            rl.reset(model)
            by_row = torch.stack([model(row) for row in held_out[0][image]])
            torch.testing.assert_close(by_row, scores[:, image], rtol=1e-5, atol=1e-5)


def test_the_probabilities_mean_something_after_every_row(scores, held_out):
    digit = held_out[1]
    nats = torch.stack([cross_entropy(after, digit) for after in scores])
    assert nats[0] < math.log(10)  # better than knowing nothing, from the first row on
    assert (nats[1:5] < nats[:4] - 0.1).all()  # each of the first rows tells more
    assert (nats[5:] < 0.12).all()  # the last two rows are rarely needed
    # as often right as sure; before half the image is read it is rather too careful
    sure, guess = scores.softmax(-1).max(-1)
    right = (guess == digit).double().mean(1)
    claimed = sure.double().mean(1)
    torch.testing.assert_close(claimed[4:], right[4:], rtol=0, atol=0.04)
    assert (right[:4] - 0.12 < claimed[:4]).all()
    assert (claimed[:4] < right[:4] + 0.04).all()


def test_it_is_made_without_drawing_random_numbers():
    before = torch.random.get_rng_state()
    model = zoo.digits()
    assert torch.equal(before, torch.random.get_rng_state())
    assert repr(model) == "Chain(Recur(LSTMCell(8, 32)), Dense(32, 10))"
    assert {part.device.type for part in model.parameters()} == {"cpu"}
    assert {part.dtype for part in model.parameters()} == {torch.float32}
    assert model[0].state[0] is model[0].cell.h0


def test_it_does_not_depend_on_the_default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        model = zoo.digits()
    finally:
        torch.set_default_dtype(torch.float32)
    assert {part.dtype for part in model.parameters()} == {torch.float32}


def test_two_models_share_no_weights():
    one, other = zoo.digits(), zoo.digits()
    before = other[1].bias.clone()
    with torch.no_grad():
        one[1].bias += 1
    assert torch.equal(other[1].bias, before)


def test_it_can_be_trained_further(held_out):
    model = zoo.digits()
    xs, digit = held_out
    train_digits.loss(rl.unroll(model, xs[:20].transpose(0, 1)), digit[:20]).backward()
    assert all(part.grad is not None and part.grad.abs().sum() > 0 for part in model.parameters())


def test_damaged_weights_fail_when_the_model_is_made(tmp_path, monkeypatch):
    path = tmp_path / "digits.safetensors"
    shutil.copy(module.WEIGHTS, path)
    saved = load_file(path)
    saved["0.cell.wieght_hh"] = saved.pop("0.cell.weight_hh")
    save_file(saved, path)
    monkeypatch.setattr(module, "WEIGHTS", path)
    said = r"missing: 0\.cell\.weight_hh; unknown: 0\.cell\.wieght_hh"
    with pytest.raises(rl.RnnlabError, match=said):
        zoo.digits()
    monkeypatch.setattr(module, "WEIGHTS", tmp_path / "nowhere.safetensors")
    with pytest.raises(rl.RnnlabError, match="there is no such file"):
        zoo.digits()


# the card


def test_the_card_fits_the_model():
    model = zoo.digits()
    card = model.card
    assert getattr(zoo, card.name) is zoo.digits
    assert card.inputs == tuple(f"pixel {i}" for i in range(8))
    assert card.outputs == tuple("0123456789")
    assert (card.input_range, card.decode) == ((0.0, 1.0), "softmax")
    assert model[0].cell.input_size == len(card.inputs)
    assert model[1].output_size == len(card.outputs)


def test_the_examples_are_the_held_out_images(held_out):
    examples = zoo.digits().card.examples
    assert len(examples) == 599
    for number, (example, xs, digit) in enumerate(zip(examples, *held_out, strict=True)):
        assert example.label == f"image {3 * number + 2}"
        assert example.target == str(digit.item())
        assert example.xs.dtype == example.picture.dtype == np.float32
        np.testing.assert_array_equal(example.xs, xs)
        np.testing.assert_array_equal(example.picture, xs)


def test_examples_count_from_the_end_and_stop():
    examples = zoo.digits().card.examples
    assert examples[-1].label == examples[598].label == "image 1796"
    for past in (599, -600):
        with pytest.raises(IndexError):
            examples[past]
    with pytest.raises(TypeError):
        examples[0.0]


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, copy.copy, lambda model: pickle.loads(pickle.dumps(model))]
)
def test_the_card_survives_copies(copied):
    model = zoo.digits()
    again = copied(model)
    assert again.card == model.card
    assert again.card.examples[3].label == "image 11"
    assert "card" not in again.state_dict()
    x = torch.rand(8)
    assert torch.equal(again(x), zoo.digits()(x))


def test_the_card_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        zoo.digits().card.title = "Another"


def test_scikit_learn_is_imported_only_when_an_image_is_asked_for():
    said = python("""
        import sys, torch
        import rnnlab
        assert "rnnlab.zoo" not in sys.modules
        from rnnlab import zoo
        model = zoo.digits()
        model(torch.zeros(8)); repr(model.card)
        print("sklearn" in sys.modules)
        model.card.examples[0]
        print("sklearn" in sys.modules)
    """)
    assert said.split() == ["False", "True"]


def test_without_scikit_learn_the_images_say_what_to_install():
    said = python("""
        import sys, torch
        sys.modules["sklearn"] = None
        import rnnlab as rl
        from rnnlab import zoo
        model = zoo.digits()
        model(torch.zeros(8))
        for use in (len, list, lambda examples: examples[0]):
            try:
                use(model.card.examples)
            except rl.RnnlabError as error:
                print(error)
    """)
    line = (
        "The images of handwritten digits are part of scikit-learn, which is not installed. "
        'Install it with: pip install "rnnlab[lab]"'
    )
    assert said.splitlines() == [line] * 3
