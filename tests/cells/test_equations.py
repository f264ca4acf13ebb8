"""Every cell against a transcription of its documented equation: values, gates and gradients."""

from __future__ import annotations

import importlib
import pkgutil
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import rnnlab.cells
from rnnlab.cells.base import AdditiveCell, Cell
from rnnlab.cells.registry import CELLS
from tests.cells.transcriptions import STATES, TRANSCRIPTIONS, Values, run

I, H, T = 2, 3, 5

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("RNNCell", {"activation": "relu"}),
    ("LeakyRNNCell", {"activation": "tanh", "dt": 5, "tau": 12.5}),
    ("LeakyRNNCell", {"activation": "softplus", "dt": 2.0, "tau": 2.0}),
    ("IndRNNCell", {"activation": "tanh"}),
    ("JANETCell", {"beta": 0.3}),
    ("JANETCell", {"t_max": 50}),
    ("MinGRUCell", {"positive": True}),
    ("MinLSTMCell", {"positive": True}),
    ("CoRNNCell", {"dt": 0.3, "gamma": 1.5, "epsilon": 0.4}),
    ("CoRNNCell", {"dt": 0.3, "gamma": 1.5, "epsilon": 0.4, "implicit": True}),
    ("LEMCell", {"dt": 0.4}),
    ("AntisymmetricRNNCell", {"epsilon": 0.7, "gamma": 0.3}),
    ("GatedAntisymmetricRNNCell", {"epsilon": 0.7, "gamma": 0.3}),
    ("LTCCell", {"activation": "tanh", "dt": 0.5, "unfolds": 1}),
    ("LTCCell", {"activation": "softplus", "dt": 2.5, "unfolds": 4}),
    ("CfCCell", {"activation": "relu", "backbone_size": 4, "dt": 2.5}),
]
CASES = [(cell.__name__, {}) for cell in CELLS] + VARIANTS
by_case = pytest.mark.parametrize(
    ("name", "options"),
    CASES,
    ids=["-".join([name, *(f"{k}={v}" for k, v in options.items())]) for name, options in CASES],
)
by_cell = pytest.mark.parametrize("cls", CELLS, ids=lambda cls: cls.__name__)


def classes() -> Iterator[type[Cell]]:
    """Every concrete public subclass of Cell that the package defines.

    Those in torch_cells wrap the weights of a torch.nn layer and are not made from sizes.
    """
    for module in pkgutil.iter_modules(rnnlab.cells.__path__, "rnnlab.cells."):
        if module.name == "rnnlab.cells.torch_cells":
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if (
                isinstance(value, type)
                and issubclass(value, Cell)
                and value.__module__ == module.name
                and not value.__name__.startswith("_")
                and value.equation is not Cell.equation
                and getattr(value, "combine", None) is not AdditiveCell.combine
            ):
                yield value


def build(name: str, **options: Any) -> Cell:
    """The cell in float64, every parameter and initial state random and none of them zero."""
    (cls,) = [cls for cls in CELLS if cls.__name__ == name]
    cell = cls(I, H, dtype=torch.float64, **options)
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.normal_(0, 0.7, generator=generator)
    return cell


def inputs(*lead: int) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(*lead, I, dtype=torch.float64, generator=generator)


def arrays(cell: Cell) -> Values:
    return {name: value.detach().numpy().copy() for name, value in cell.named_parameters()}


def quantities(cell: Cell, xs: Tensor) -> list[dict[str, Tensor]]:
    """Each step's gates, new state and output; the output as the cell returns it."""
    state, steps = cell.initial_state(), []
    for x in xs:
        values = cell.gates(state, x)
        state, y = cell(state, x)
        steps.append({**values, "y": y})
    return steps


@by_case
def test_values_over_five_steps(name: str, options: dict[str, Any]) -> None:
    cell, xs = build(name, **options), inputs(T)
    expected = run(name, arrays(cell), xs.numpy(), options)
    for step, reference in zip(quantities(cell, xs), expected, strict=True):
        assert step.keys() == reference.keys()
        for key, value in step.items():
            np.testing.assert_allclose(
                value.detach().numpy(), reference[key], rtol=1e-12, atol=1e-14, err_msg=key
            )


@by_case
def test_gradients_over_five_steps(name: str, options: dict[str, Any]) -> None:
    """Of a random projection of all gates, states and outputs, to everything that goes in."""
    cell, xs = build(name, **options), inputs(T).requires_grad_()
    steps = quantities(cell, xs)
    rng = np.random.default_rng(11)
    weights = [{key: rng.normal(size=H) for key in step} for step in steps]
    loss = sum(
        (torch.from_numpy(weights[t][key]) * value).sum()
        for t, step in enumerate(steps)
        for key, value in step.items()
    )
    assert isinstance(loss, Tensor)
    loss.backward()
    gradients = {name: p.grad for name, p in cell.named_parameters()} | {"x": xs.grad}
    given = arrays(cell) | {"x": xs.detach().numpy().copy()}

    def projection() -> float:
        reference = run(name, given, given["x"], options)
        return sum(
            float(weight @ reference[t][key])
            for t, step in enumerate(weights)
            for key, weight in step.items()
        )

    for key, values in given.items():
        numeric, step = np.empty_like(values), 1e-5
        for index in np.ndindex(values.shape):
            kept = values[index]
            values[index] = kept + step
            above = projection()
            values[index] = kept - step
            numeric[index] = (above - projection()) / (2 * step)
            values[index] = kept
        gradient = gradients[key]
        assert gradient is not None, f"no gradient reaches {key}"
        scale = np.abs(numeric).max()
        assert scale > 0, f"the transcription does not use {key}"
        np.testing.assert_allclose(
            gradient.numpy(), numeric, rtol=1e-6, atol=1e-6 * scale, err_msg=key
        )


@by_cell
def test_without_bias_the_bias_is_zero(cls: type[Cell]) -> None:
    cell = build(cls.__name__)
    without = cls(I, H, bias=False, dtype=torch.float64)
    biases = [name for name, _ in cell.named_parameters() if name.startswith("bias")]
    kept = {name: value for name, value in cell.state_dict().items() if name not in biases}
    without.load_state_dict(kept)  # strict: nothing else differs
    with torch.no_grad():
        for name in biases:
            getattr(cell, name).zero_()
    assert biases
    assert repr(without) == repr(cell)[:-1] + ", bias=False)"
    for step, reference in zip(
        quantities(without, inputs(T)), quantities(cell, inputs(T)), strict=True
    ):
        for key, value in step.items():
            torch.testing.assert_close(value, reference[key], rtol=1e-12, atol=1e-14)


@by_cell
def test_gates_take_time_and_batch_as_leading_dimensions(cls: type[Cell]) -> None:
    cell, xs = build(cls.__name__), inputs(T, 4)
    generator = torch.Generator().manual_seed(3)
    parts = tuple(
        torch.randn(T, 4, H, dtype=torch.float64, generator=generator) for _ in cell.state_names
    )
    whole = cell.gates(parts if len(parts) > 1 else parts[0], xs)
    assert list(whole) == [*cell.gate_names, *cell.state_names, *(["y"] if "y" in whole else [])]
    for t in range(T):
        for b in range(4):
            state = tuple(part[t, b] for part in parts)
            one = cell.gates(state if len(state) > 1 else state[0], xs[t, b])
            for key, value in one.items():
                torch.testing.assert_close(whole[key][t, b], value, rtol=1e-12, atol=1e-14)


@by_cell
def test_jacobian_by_functional_transforms(cls: type[Cell]) -> None:
    cell, xs = build(cls.__name__), inputs(4)
    generator = torch.Generator().manual_seed(3)
    h = torch.randn(4, len(cell.state_names) * H, dtype=torch.float64, generator=generator)

    def following(flat: Tensor, x: Tensor) -> Tensor:
        parts = flat.chunk(len(cell.state_names))
        values = cell.gates(parts if len(parts) > 1 else parts[0], x)
        return torch.cat([values[name] for name in cell.state_names])

    jacobians = torch.func.vmap(torch.func.jacrev(following))(h, xs)
    for one, flat, x in zip(jacobians, h, xs, strict=True):
        expected = torch.autograd.functional.jacobian(lambda f, x=x: following(f, x), flat)
        torch.testing.assert_close(one, expected, rtol=1e-10, atol=1e-12)


def test_every_cell_has_a_transcription() -> None:
    assert set(TRANSCRIPTIONS) == {cls.__name__ for cls in CELLS}
    for cls in CELLS:
        assert cls.state_names == STATES.get(cls.__name__, ("h",))


def test_registry_lists_every_cell_once() -> None:
    assert len(set(CELLS)) == len(CELLS)
    assert set(CELLS) == set(classes())
    for cls in CELLS:
        assert cls.__name__ in rnnlab.cells.__all__
        assert getattr(rnnlab.cells, cls.__name__) is cls
