"""What all results keep to."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

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
    assert arrays == set(kind.axes)
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
