"""Attribution: complete, and the same as the reference implementation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import rnnlab as rl
from rnnlab.analysis import attribution
from tests.analysis import captum_reference
from tests.analysis.helpers import inputs, varied
from tests.helpers import numeric_jacobian

F64 = torch.float64


def model(kind=rl.LSTM):
    return varied(rl.Chain(kind(3, 5, dtype=F64), rl.Dense(5, 2, dtype=F64)))


def unrolled(net, xs, target):
    """The output of the last step through the model itself, as torch sees it."""
    rl.reset(net)
    return rl.unroll(net, xs)[-1][target]


@pytest.mark.parametrize("kind", [rl.RNN, rl.GRU, rl.LSTM])
@pytest.mark.parametrize("target", [0, 1])
def test_integrated_gradients_are_complete_at_50_points(kind, target):
    xs = inputs(12, 3)
    found = attribution(model(kind), xs, target, "integrated", points=50)
    assert found.completeness_error < 1e-6
    total = found.values.sum()
    assert total == pytest.approx(found.output - found.baseline_output, abs=1e-6)


def test_the_midpoint_rule_converges_with_the_square():
    xs = inputs(12, 3)
    errors = [
        attribution(model(), xs, 0, "integrated", points=n, rule="midpoint").completeness_error
        for n in (25, 50, 100, 200)
    ]
    for one, two in itertools.pairwise(errors):
        assert one / two == pytest.approx(4, rel=0.1)


def test_the_rules_agree():
    xs = inputs(6, 3)
    one = attribution(model(), xs, 1, "integrated")
    other = attribution(model(), xs, 1, "integrated", rule="midpoint", points=1000)
    np.testing.assert_allclose(one.values, other.values, atol=1e-5)


def test_gradient_against_differences_and_autograd():
    net, xs = model(), inputs(5, 3)
    found = attribution(net, xs, 1)
    given = torch.tensor(xs, requires_grad=True)
    (want,) = torch.autograd.grad(unrolled(net, given, 1), given)
    np.testing.assert_allclose(found.values, want.numpy(), atol=1e-12)

    def output(flat):
        with torch.no_grad():
            return unrolled(net, torch.tensor(flat.reshape(5, 3)), 1).numpy()[None]

    differences = numeric_jacobian(output, xs.ravel(), eps=1e-5).reshape(5, 3)
    np.testing.assert_allclose(found.values, differences, rtol=1e-6, atol=1e-9)


def test_input_x_gradient():
    net, xs = model(), inputs(5, 3)
    np.testing.assert_allclose(
        attribution(net, xs, 1, "input_x_gradient").values, xs * attribution(net, xs, 1).values
    )


def test_an_earlier_step_and_a_baseline():
    net, xs = model(), inputs(6, 3)
    found = attribution(net, xs, 0, "integrated", at=4, baseline=xs.mean(axis=0))
    np.testing.assert_array_equal(found.values[4:], 0)
    assert found.completeness_error < 1e-9
    assert found.log10_magnitude[4] == -np.inf
    with torch.no_grad():
        want = unrolled(net, torch.tensor(xs[:4]), 0)
    assert found.output == pytest.approx(float(want))


def test_a_function_as_target():
    net, xs = model(), inputs(5, 3)

    def margin(y):
        return y[0] - y[1]

    found = attribution(net, xs, margin)
    each = [attribution(net, xs, k).values for k in (0, 1)]
    np.testing.assert_allclose(found.values, each[0] - each[1], atol=1e-14)
    assert found.target == "margin"


def transcription(output, x, baseline, points):
    """Captum's documented algorithm: Σ_k w_k ∂output/∂x at x' + α_k (x − x'), times x − x', with
    the Gauss–Legendre α and w of numpy on [0, 1]. Its own words, not its code or ours."""
    places, weights = np.polynomial.legendre.leggauss(points)
    total = torch.zeros_like(x)
    for alpha, weight in zip((1 + places) / 2, weights / 2, strict=True):
        at = (baseline + alpha * (x - baseline)).requires_grad_()
        total += weight * torch.autograd.grad(output(at), at)[0]
    return (total * (x - baseline)).numpy()


@pytest.mark.parametrize("kind", [rl.RNN, rl.GRU, rl.LSTM])
def test_against_a_transcription(kind):
    net, xs = model(kind), inputs(7, 3)
    found = attribution(net, xs, 1, "integrated", points=50)
    x = torch.tensor(xs)
    want = transcription(lambda at: unrolled(net, at, 1), x, torch.zeros_like(x), 50)
    np.testing.assert_allclose(found.values, want, atol=1e-12)


RULES = {"gausslegendre": "gauss", "riemann_middle": "midpoint"}


@pytest.mark.parametrize(("kind", "method"), captum_reference.TABLE)
def test_against_captum(kind, method):
    net, xs = captum_reference.model(kind), inputs(captum_reference.STEPS, 3)
    options = {"points": captum_reference.POINTS, "rule": RULES[method]}
    found = attribution(net, xs, captum_reference.TARGET, "integrated", **options)
    np.testing.assert_allclose(
        found.values, captum_reference.TABLE[kind, method], rtol=0, atol=1e-7
    )


def test_a_vanishing_gradient_stays_visible():
    net = rl.Recur(lambda h, x: (0.01 * h + x, h), torch.zeros(1, dtype=F64))
    found = attribution(net, np.ones((60, 1)), 0)
    assert found.log10_magnitude[0] == pytest.approx(-2 * 58, abs=1e-6)


def test_tokens_are_refused():
    class Embedded(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(5, 2)
            self.rnn = rl.RNN(2, 3)

        def forward(self, token):
            return self.rnn(self.table(token))

    with pytest.raises(rl.RnnlabError) as error:
        attribution(Embedded(), torch.tensor([1, 2, 3]), 0)
    assert str(error.value) == (
        "attribution: the inputs are whole numbers (tokens), of which there is no derivative. Give "
        "the part of the model behind the embedding, and embedded inputs."
    )


def test_nan():
    xs = inputs(5, 3)
    xs[3, 1] = np.nan
    found = attribution(model(), xs, 0)
    assert found.failed == ("The output or its gradient is not finite; 5 steps from step 1 on.",)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"method": "shap"},
            "attribution: unknown method 'shap'. Known: gradient, integrated, input_x_gradient.",
        ),
        ({"rule": "trapezoid"}, "attribution: unknown rule 'trapezoid'. Known: gauss, midpoint."),
        ({"at": 9}, "attribution: at must be a step from 1 to 5, got 9."),
        (
            {"target": 2},
            "attribution: target must be a function of y or a place from 0 to 1 in it, got 2.",
        ),
        (
            {"target": lambda y: y},
            "attribution: the target function must give one number, got a tensor of shape (2,).",
        ),
        (
            {"method": "integrated", "baseline": np.zeros((2, 2))},
            "attribution: baseline of shape (2, 2) does not fit inputs of shape (5, 3).",
        ),
    ],
)
def test_wrong_arguments(options, text):
    with pytest.raises(rl.RnnlabError) as error:
        attribution(model(), inputs(5, 3), **options)
    assert str(error.value) == text


def test_table_and_repr():
    found = attribution(model(), inputs(4, 3), 1, "integrated")
    assert list(found.to_pandas().columns) == ["x[0]", "x[1]", "x[2]"]
    assert list(found.to_pandas().index) == [1, 2, 3, 4]
    assert "integrated of y[1]" in repr(found)
