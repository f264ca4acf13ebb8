import math

import pytest
import torch

import rnnlab as rl
from rnnlab.zoo import digits, train_digits
from rnnlab.zoo.saved import load_weights
from rnnlab.zoo.train_digits import accuracy, loss, main, train, warp


@pytest.fixture(scope="module")
def held_out():
    examples = digits().card.examples
    xs = torch.stack([torch.from_numpy(example.xs) for example in examples])
    return xs, torch.tensor([int(example.target) for example in examples])


def weights(model):
    return torch.cat([part.detach().flatten() for part in model.parameters()])


def test_two_epochs_of_training_help(held_out):
    torch.manual_seed(0)
    before = accuracy(train_digits.untrained(), *held_out)[-1]
    after = accuracy(train(2, progress=False), *held_out)[-1]
    assert before < 0.2
    assert after > 0.35


def test_training_is_reproducible_and_leaves_the_global_random_numbers_alone():
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    one = train(1, seed=3, progress=False)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    torch.rand(5)
    again, other = train(1, seed=3, progress=False), train(1, seed=4, progress=False)
    assert torch.equal(weights(one), weights(again))
    assert not torch.equal(weights(one), weights(other))


def test_a_trained_model_stands_at_its_initial_state():
    model = train(1, progress=False)
    assert model[0].state[0] is model[0].cell.h0


def test_no_epochs_are_refused():
    with pytest.raises(rl.RnnlabError) as error:
        train(0)
    assert str(error.value) == "train: epochs must be at least 1, got 0."


def test_the_bar_can_be_silenced(capfd):
    train(1, progress=False)
    assert capfd.readouterr() == ("", "")
    train(1)
    assert "digits" in capfd.readouterr().err


def test_the_loss_is_the_weighted_cross_entropy_of_every_row():
    scores = torch.randn(3, 2, 10, dtype=torch.float64, requires_grad=True)
    digit = torch.tensor([4, 7])
    expected = 0.0
    for t in range(3):
        for b in range(2):
            z = scores[t, b].tolist()
            nats = math.log(sum(map(math.exp, z))) - z[digit[b]]
            expected += (t + 1) / 6 * nats / 2
    assert loss(scores, digit).item() == pytest.approx(expected, rel=1e-12)
    (grad,) = torch.autograd.grad(loss(scores, digit), scores)
    p = scores.detach().softmax(-1)
    p[:, [0, 1], digit] -= 1
    torch.testing.assert_close(grad, p * torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1) / 12)


def test_warps_are_small_and_differ_from_image_to_image():
    torch.manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    blob = torch.exp(-((rows - 3.5) ** 2 + (columns - 3.5) ** 2) / 4)
    warped = warp(blob.expand(200, 8, 8))
    assert warped.shape == (200, 8, 8)
    assert warped.min() >= 0
    assert warped.max() <= 1
    assert len({image.sum().item() for image in warped}) > 190
    ink = warped.sum((1, 2))
    for place in (rows, columns):
        centre = (warped * place).sum((1, 2)) / ink
        assert (centre - 3.5).abs().max() < 0.7  # half a pixel, and what the stretch adds to it
        assert centre.std() > 0.1


def test_no_warp_at_the_middle_of_the_range(monkeypatch):
    monkeypatch.setattr(train_digits, "_uniform", lambda *shape: torch.zeros(*shape))
    pixels = torch.rand(5, 8, 8)
    torch.testing.assert_close(warp(pixels), pixels)


def test_accuracy_counts_row_by_row_and_resets():
    model = rl.Recur(lambda h, x: (h + x, h + x), torch.zeros(2))
    pixels = torch.tensor([[[1.0, 0], [0, 3]], [[0, 1], [0, 1]], [[1, 0], [1, 0]]])
    model(torch.tensor([9.0, 0.0]))
    after = accuracy(model, pixels, torch.tensor([1, 1, 1]))
    torch.testing.assert_close(after, torch.tensor([1 / 3, 2 / 3], dtype=torch.float64))
    assert model.state.tolist() == [0, 0]


def test_the_script_writes_weights_that_load(tmp_path, capsys):
    path = tmp_path / "new.safetensors"
    main(["--epochs", "1", "--out", str(path)])
    expected = train(1, progress=False)
    assert "held-out accuracy after each row: " in capsys.readouterr().out
    model = train_digits.untrained()
    load_weights(model, path)
    assert torch.equal(weights(model), weights(expected))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--epochs", "0"], "epochs must be at least 1, got 0"),
        (["--out", "no/such/folder/x.safetensors"], "there is no folder no/such/folder"),
    ],
)
def test_the_script_refuses_before_it_trains(arguments, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
