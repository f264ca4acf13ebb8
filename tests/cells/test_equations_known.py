"""What is known of each cell beside its formula: limits, special cases, exact solutions, bounds."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rnnlab.cells import (
    AntisymmetricRNNCell,
    Cell,
    CfCCell,
    CoRNNCell,
    GatedAntisymmetricRNNCell,
    IndRNNCell,
    JANETCell,
    LeakyRNNCell,
    LEMCell,
    LightRUCell,
    LSTMCell,
    LTCCell,
    MGUCell,
    MinGRUCell,
    MinLSTMCell,
    PeepholeLSTMCell,
    RNNCell,
    UGRNNCell,
)
from rnnlab.errors import RnnlabError

I, H = 4, 3
HUGE = 60.0  # a bias that shuts or opens a gate to the last bit of a float64


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def make(cls: type[Cell], **options: Any) -> Any:
    return cls(I, H, dtype=torch.float64, **options)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def zero_weights(cell: Cell) -> None:
    with torch.no_grad():
        for name, parameter in cell.named_parameters():
            if name.startswith("weight"):
                parameter.zero_()


def close(a: Tensor, b: Tensor, atol: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def test_leaky_depends_on_the_ratio_of_dt_and_tau_alone() -> None:
    slow, same = make(LeakyRNNCell, dt=2, tau=10), make(LeakyRNNCell, dt=30, tau=150)
    same.load_state_dict(slow.state_dict())
    h, x = draw(H), draw(I)
    close(slow(h, x)[0], same(h, x)[0], atol=1e-15)


def test_leaky_without_weights_forgets_at_its_time_constant() -> None:
    cell = make(LeakyRNNCell, dt=1, tau=1000)
    zero_weights(cell)
    h = start = draw(H)
    for _ in range(1000):
        h, _ = cell(h, draw(I))
    close(h, start * 0.999**1000)
    close(h, start / math.e, atol=1e-3)


def test_leaky_of_one_time_constant_a_step_keeps_only_the_rate() -> None:
    cell = make(LeakyRNNCell, activation="tanh", dt=3, tau=3)
    h, x = draw(H), draw(I)
    state, y = cell(h, x)
    close(state, cell.weight_hh @ torch.tanh(h) + cell.weight_ih @ x + cell.bias)
    close(y, torch.tanh(state), atol=0)


def test_indrnn_is_a_plain_cell_with_a_diagonal_matrix() -> None:
    cell, plain = make(IndRNNCell, activation="tanh"), make(RNNCell)
    state = cell.state_dict()
    plain.load_state_dict(state | {"weight_hh": torch.diag(state["weight_hh"])})
    h, x = draw(5, H), draw(5, I)
    close(cell(h, x)[0], plain(h, x)[0])


def test_indrnn_units_do_not_see_each_other() -> None:
    cell, x = make(IndRNNCell, activation="tanh"), draw(I)
    jacobian = torch.func.jacrev(lambda h: cell(h, x)[0])(draw(H))
    close(jacobian, torch.diag(torch.diag(jacobian)), atol=0)
    assert torch.diag(jacobian).abs().min() > 0


def test_peephole_starts_as_an_lstm() -> None:
    cell, plain = make(PeepholeLSTMCell), make(LSTMCell)
    state = cell.state_dict()
    del state["weight_peephole"]
    plain.load_state_dict(state)
    assert torch.equal(cell.bias, LSTMCell(I, H, dtype=torch.float64).bias)
    h, c, x = draw(H), draw(H), draw(I)
    (h_1, c_1), _ = cell((h, c), x)
    (h_2, c_2), _ = plain((h, c), x)
    close(h_1, h_2)
    close(c_1, c_2)


def test_output_gate_sees_the_new_cell_state_and_the_others_the_old() -> None:
    cell = make(PeepholeLSTMCell, bias=False)
    zero_weights(cell)
    with torch.no_grad():
        cell.weight_peephole.copy_(torch.tensor([1.0, 2.0, 3.0]).repeat_interleave(H))
    c = draw(H)
    values = cell.gates((draw(H), c), draw(I))
    close(values["i"], torch.sigmoid(c))
    close(values["f"], torch.sigmoid(2 * c))
    close(values["c"], torch.sigmoid(2 * c) * c)  # the candidate is zero
    close(values["o"], torch.sigmoid(3 * values["c"]))


def test_open_mgu_is_a_plain_cell_and_a_shut_one_keeps_its_state() -> None:
    cell, plain, h, x = make(MGUCell), make(RNNCell), draw(H), draw(I)
    with torch.no_grad():
        cell.bias[:H] = HUGE
        plain.weight_ih.copy_(cell.weight_ih[H:])
        plain.weight_hh.copy_(cell.weight_hh[H:])
    close(cell(h, x)[0], plain(h, x)[0])
    with torch.no_grad():
        cell.bias[:H] = -HUGE
    close(cell(h, x)[0], h)


def test_ugrnn_starts_by_remembering_and_its_gate_weighs_the_old_state() -> None:
    cell, h, x = make(UGRNNCell), draw(H), draw(I)
    assert torch.equal(cell.bias, torch.tensor([1.0] * H + [0.0] * H, dtype=torch.float64))
    with torch.no_grad():
        cell.bias[:H] = HUGE
    close(cell(h, x)[0], h)
    with torch.no_grad():
        cell.bias[:H] = -HUGE
    values = cell.gates(h, x)
    close(values["h"], values["c"])


def test_janet_without_beta_couples_its_gates_and_beta_opens_the_input() -> None:
    coupled, cell, h, x = make(JANETCell, beta=0), make(JANETCell), draw(9, H), draw(9, I)
    values = coupled.gates(h, x)
    close(values["f"] + values["i"], torch.ones_like(h))
    coupled.beta = 1.0
    cell.load_state_dict(coupled.state_dict())
    wider = cell.gates(h, x)
    assert (wider["i"] > values["i"]).all()
    assert torch.equal(wider["f"], values["f"])


def test_janet_output_is_its_cell_state() -> None:
    cell = make(JANETCell)
    state, y = cell(draw(H), draw(I))
    assert y is state
    values = cell.gates(state, draw(I))
    close(values["h"], values["f"] * state + values["i"] * values["g"], atol=0)


def test_janet_chrono_bias_spans_the_dependencies() -> None:
    cell = JANETCell(1, 4000, t_max=100, dtype=torch.float64)
    assert cell.bias is not None
    steps = cell.bias[:4000].exp()
    assert 1 <= steps.min() < 1.2
    assert 98.8 < steps.max() <= 99
    assert 48 < steps.mean() < 52
    assert torch.equal(cell.bias[4000:], torch.zeros(4000, dtype=torch.float64))


def test_lightru_candidate_sees_the_input_alone() -> None:
    cell, x = make(LightRUCell), draw(I)
    one, other = cell.gates(draw(H), x), cell.gates(draw(H), x)
    assert torch.equal(one["n"], other["n"])
    assert not torch.equal(one["f"], other["f"])


@pytest.mark.parametrize(("cls", "keep"), [(MinGRUCell, "z"), (MinLSTMCell, "f")])
def test_minimal_cells_are_linear_in_their_state(cls: type[Cell], keep: str) -> None:
    cell, x, h = make(cls), draw(I), draw(H)
    gate = cell.gates(h, x)[keep]
    jacobian = torch.func.jacrev(lambda s: cell(s, x)[0])(h)
    close(jacobian, torch.diag(1 - gate if keep == "z" else gate))


@pytest.mark.parametrize("cls", [MinGRUCell, MinLSTMCell])
def test_positive_candidate_keeps_the_state_positive_and_is_continuous(cls: type[Cell]) -> None:
    cell = make(cls, positive=True)
    h = cell.initial_state()
    for x in 5 * draw(20, 8, I):
        h, _ = cell(h, x)
        assert (h > 0).all()
    with torch.no_grad():
        cell.weight_ih.zero_()
    near = []
    for a in (-1e-9, 1e-9):
        with torch.no_grad():
            cell.bias[-H:] = a
        near.append(cell.gates(h, x)["n"])
    close(near[0], torch.full_like(near[0], 0.5), atol=1e-8)
    close(near[1], torch.full_like(near[1], 0.5), atol=1e-8)


def test_minlstm_gates_survive_underflow() -> None:
    cell = MinLSTMCell(1, 1)
    with torch.no_grad():
        cell.weight_ih.copy_(torch.tensor([[-300.0], [-301.0], [1.0]]))
    values = cell.gates(torch.zeros(1), torch.ones(1))  # both sigmoids are 0 in float32
    torch.testing.assert_close(values["f"], torch.sigmoid(torch.ones(1)))
    torch.testing.assert_close(values["f"] + values["i"], torch.ones(1))


@pytest.mark.parametrize("implicit", [False, True])
def test_uncoupled_cornn_is_a_damped_oscillator(implicit: bool) -> None:
    dt, gamma, epsilon, steps = 1e-3, 9.0, 0.4, 4000
    cell = make(CoRNNCell, dt=dt, gamma=gamma, epsilon=epsilon, implicit=implicit)
    zero_weights(cell)
    start = h = draw(H)
    z = torch.zeros_like(h)
    for _ in range(steps):
        (h, z), _ = cell((h, z), draw(I))
    t, decay = steps * dt, epsilon / 2
    omega = math.sqrt(gamma - decay**2)
    wave = math.cos(omega * t) + decay / omega * math.sin(omega * t)
    close(h, start * math.exp(-decay * t) * wave, atol=5 * dt)
    energy = (z**2 + gamma * h**2).sum() / (gamma * start**2).sum()
    assert energy < math.exp(-0.8 * epsilon * t)


def test_cornn_force_is_bounded_whatever_the_input() -> None:
    cell = make(CoRNNCell)
    state = cell.initial_state()
    for x in 1e6 * draw(2000, I):
        state, y = cell(state, x)
    assert y.abs().max() < 2 / cell.gamma


def test_cornn_takes_parts_of_different_shapes() -> None:
    cell, h, z, x = make(CoRNNCell), draw(5, H), draw(H), draw(5, I)
    (h_1, z_1), _ = cell((h, z), x)
    (h_2, z_2), _ = cell((h, z.expand(5, H)), x)
    assert torch.equal(h_1, h_2)
    assert torch.equal(z_1, z_2)


def test_lem_steps_are_bounded_by_dt_and_states_by_one() -> None:
    cell = make(LEMCell, dt=0.3)
    state = cell.initial_state()
    for x in 10 * draw(200, I):
        values = cell.gates(state, x)
        state, _ = cell(state, x)
        for name in ("d_z", "d_h"):
            assert 0 <= values[name].min() <= values[name].max() <= 0.3
    for part in state:
        assert part.abs().max() <= 1


def test_lem_output_takes_the_new_memory() -> None:
    cell, h, z, x = make(LEMCell), draw(H), draw(H), draw(I)
    values = cell.gates((h, z), x)
    W, V = cell.weight_hh[3 * H :], cell.weight_ih[3 * H :]
    target = torch.tanh(W @ values["z"] + V @ x)
    close(values["h"], h + values["d_h"] * (target - h))


@pytest.mark.parametrize("cls", [AntisymmetricRNNCell, GatedAntisymmetricRNNCell])
def test_antisymmetric_eigenvalues_lie_on_one_vertical_line(cls: type[Cell]) -> None:
    cell = cls(I, 8, gamma=0.3, dtype=torch.float64)
    values = torch.linalg.eigvals(cell.recurrent_weight())  # type: ignore[operator]
    close(values.real, torch.full((8,), -0.3, dtype=torch.float64), atol=1e-12)
    assert values.imag.abs().max() > 0.5


def test_antisymmetric_jacobian_is_a_step_from_the_identity() -> None:
    cell, h, x = make(AntisymmetricRNNCell, epsilon=0.2), draw(H), draw(I)
    n = cell.gates(h, x)["n"]
    expected = torch.eye(H, dtype=torch.float64)
    expected = expected + 0.2 * (1 - n**2)[:, None] * cell.recurrent_weight()
    close(torch.func.jacrev(lambda s: cell(s, x)[0])(h), expected)


def test_gated_antisymmetric_contains_the_plain_one() -> None:
    gated, plain, h, x = (
        make(GatedAntisymmetricRNNCell),
        make(AntisymmetricRNNCell),
        draw(H),
        draw(I),
    )
    with torch.no_grad():
        plain.weight_hh.copy_(gated.weight_hh)
        plain.weight_ih.copy_(gated.weight_ih[H:])
        gated.bias[:H] = HUGE
    close(gated(h, x)[0], plain(h, x)[0])
    with torch.no_grad():
        gated.bias[:H] = -HUGE
    close(gated(h, x)[0], h)


def test_ltc_solver_converges_to_the_exact_solution_at_first_order() -> None:
    h, x, errors = draw(H), draw(I), []
    for unfolds in (50, 100):
        cell = make(LTCCell, dt=1.5, unfolds=unfolds)
        zero_weights(cell)  # f is then constant and the equation linear
        with torch.no_grad():
            cell.bias.copy_(torch.tensor([-1.0, 0.0, 2.0]))
            cell.log_tau.copy_(torch.tensor([0.5, -0.5, 0.0]))
            cell.reversal.copy_(torch.tensor([2.0, -1.0, 0.5]))
            f, rate = torch.sigmoid(cell.bias), torch.exp(-cell.log_tau) + torch.sigmoid(cell.bias)
            rest = f * cell.reversal / rate
            exact = rest + (h - rest) * torch.exp(-rate * 1.5)
            errors.append((cell(h, x)[0] - exact).abs().max().item())
    assert errors[0] < 0.02
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)


def test_ltc_state_and_time_constant_are_bounded() -> None:
    cell = make(LTCCell, dt=3.0, unfolds=2)
    with torch.no_grad():
        cell.log_tau.normal_()
    tau, low, high = cell.log_tau.exp(), cell.reversal.clamp(max=0), cell.reversal.clamp(min=0)
    h = cell.initial_state()
    for x in 100 * draw(100, I):
        values = cell.gates(h, x)
        assert (values["tau"] <= tau).all()
        assert (values["tau"] >= tau / (1 + tau)).all()
        h, _ = cell(h, x)
        assert (low <= h).all()
        assert (h <= high).all()


def test_cfc_goes_from_the_mean_to_one_target_as_time_passes() -> None:
    early, late, h, x = make(CfCCell, dt=1e-9), make(CfCCell, dt=1e9), draw(H), draw(I)
    late.load_state_dict(early.state_dict())
    values = early.gates(h, x)
    close(values["h"], (values["g"] + values["k"]) / 2, atol=1e-8)
    close(late(h, x)[0], torch.where(values["f"] > 0, values["k"], values["g"]))


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (LeakyRNNCell(4, 3), "LeakyRNNCell(4, 3)"),
        (
            LeakyRNNCell(4, 3, activation="tanh", dt=5, bias=False),
            "LeakyRNNCell(4, 3, bias=False, activation=tanh, dt=5)",
        ),
        (IndRNNCell(4, 3, activation=torch.tanh), "IndRNNCell(4, 3, activation=tanh)"),
        (JANETCell(4, 3, beta=0.5, t_max=9), "JANETCell(4, 3, beta=0.5, t_max=9)"),
        (MinGRUCell(4, 3, positive=True), "MinGRUCell(4, 3, positive=True)"),
        (CoRNNCell(4, 3, implicit=True, gamma=1.0), "CoRNNCell(4, 3, gamma=1.0, implicit=True)"),
        (CfCCell(4, 3, backbone_size=7), "CfCCell(4, 3, backbone_size=7)"),
        (MGUCell(4, 3, train_init=False), "MGUCell(4, 3)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_printing_shows_what_is_not_the_default(cell: Cell, text: str) -> None:
    assert repr(cell) == text


@pytest.mark.parametrize(
    ("cls", "options", "text"),
    [
        (LeakyRNNCell, {"dt": 0}, "LeakyRNNCell: dt must be a finite number > 0, got 0."),
        (
            LeakyRNNCell,
            {"dt": 20, "tau": 5},
            "LeakyRNNCell: tau must be at least dt, got tau = 5 and dt = 20. "
            "A step longer than the time constant overshoots: take a smaller dt.",
        ),
        (
            LeakyRNNCell,
            {"activation": "tang"},
            "LeakyRNNCell: unknown activation 'tang'. Did you mean 'tanh'? ",
        ),
        (IndRNNCell, {"activation": 3}, "IndRNNCell: the activation must be a name or a function"),
        (
            JANETCell,
            {"beta": math.inf},
            "JANETCell: beta must be a finite number, got inf.",
        ),
        (JANETCell, {"t_max": 2}, "JANETCell: t_max must be above 2 steps, got 2."),
        (
            JANETCell,
            {"t_max": 9, "bias": False},
            "JANETCell: t_max = 9 sets the bias of the forget gate, and bias=False leaves none. "
            "Drop one of the two.",
        ),
        (
            CoRNNCell,
            {"epsilon": -1.0},
            "CoRNNCell: epsilon must be a finite number > 0, got -1.0.",
        ),
        (CoRNNCell, {"gamma": True}, "CoRNNCell: gamma must be a finite number > 0, got True."),
        (LEMCell, {"dt": math.nan}, "LEMCell: dt must be a finite number > 0, got nan."),
        (
            AntisymmetricRNNCell,
            {"gamma": 0},
            "AntisymmetricRNNCell: gamma must be a finite number > 0, got 0.",
        ),
        (
            GatedAntisymmetricRNNCell,
            {"epsilon": "1"},
            "GatedAntisymmetricRNNCell: epsilon must be a finite number > 0, got '1'.",
        ),
        (LTCCell, {"unfolds": 0}, "LTCCell: unfolds must be a whole number ≥ 1, got 0."),
        (
            CfCCell,
            {"backbone_size": 0},
            "CfCCell: backbone_size must be a whole number ≥ 1, got 0.",
        ),
        (MinGRUCell, {"hidden_size": 0}, "MinGRUCell: hidden_size must be a whole number ≥ 1"),
    ],
)
def test_bad_arguments_are_refused_at_construction(
    cls: type[Cell], options: dict[str, Any], text: str
) -> None:
    arguments = {"input_size": 4, "hidden_size": 3} | options
    with pytest.raises(RnnlabError) as error:
        cls(**arguments)
    assert str(error.value).startswith(text)
