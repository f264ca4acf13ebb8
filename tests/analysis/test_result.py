"""What all results keep to."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest

import rnnlab as rl
from rnnlab import analysis
from rnnlab.analysis.result import Result
from tests.analysis.helpers import rnn

RESULTS = [
    value
    for value in vars(analysis).values()
    if isinstance(value, type) and issubclass(value, Result)
]


@pytest.mark.parametrize("kind", RESULTS, ids=lambda kind: kind.__name__)
def test_frozen_with_axes_and_docs(kind):
    assert dataclasses.is_dataclass(kind)
    fields = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    arrays = {name for name, kind_ in fields.items() if "ndarray" in kind_}
    assert arrays == set(kind.axes) == set(kind.measures)
    assert "failed" in fields
    for name in fields:
        if name != "failed":
            assert name in (kind.__doc__ or ""), f"{kind.__name__}.{name} is not explained"
    assert callable(kind.to_pandas)
    assert "Example:" in kind.__doc__


def test_nothing_can_be_assigned():
    found = analysis.jacobian(rnn(np.eye(2)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.matrix = np.zeros(1)  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        found.matrix[0, 0] = 1


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))]
)
def test_nor_in_a_copy(again):
    found = again(analysis.flow(rnn(np.eye(2)), (("h", 0), ("h", 1)), grid=3))
    for array in (found.velocity, found.plane.origin, found.plane.axes):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 7
    points = again(analysis.fixed_points(rnn(2 * np.eye(2))))
    with pytest.raises(ValueError, match="read-only"):
        points.points[0] = 7
    before = dict(points.rejected)
    for change in (
        lambda counts: counts.update(x=1),
        lambda counts: counts.__setitem__("x", 1),
        lambda counts: counts.pop("not finite"),
        lambda counts: counts.clear(),
    ):
        with pytest.raises(TypeError, match="read-only"):
            change(points.rejected)
    assert points.rejected == before
    assert dataclasses.asdict(points)["rejected"] == before


def test_what_was_fed_is_in_the_result():
    x = np.array([0.25])
    cell = rnn(np.eye(2))
    assert analysis.jacobian(cell, x=x).x.tolist() == [0.25]
    assert analysis.cycles(cell, x=x, period=2, rounds=1, starts=4).x.tolist() == [0.25]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"origin": np.zeros((2, 3))}, "Plane: origin must be a state (n,) and axes (2, n)"),
        ({"origin": "here"}, "Plane: origin is not numeric: str 'here'."),
        ({"axes": np.ones((2, 3))}, "Plane: the two axes must be orthonormal."),
        ({"axes": np.full((2, 3), np.nan)}, "Plane: the two axes must be orthonormal."),
        ({"extent": ((0, np.inf), (0, 1))}, "Plane: extent must be"),
    ],
)
def test_what_is_no_plane(values, text):
    good = {"origin": np.zeros(3), "axes": np.eye(3)[:2], "labels": ("a", "b")}
    good["extent"] = [[0, 1], [0, 1]]
    assert analysis.Plane(**good).extent == ((0.0, 1.0), (0.0, 1.0))
    with pytest.raises(rl.RnnlabError) as error:
        analysis.Plane(**{**good, **values})
    assert str(error.value).startswith(text)
