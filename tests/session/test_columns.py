"""Column: rows in, rows out, whatever was gathered, merged or cut in between."""

import numpy as np
import pytest
import torch

import rnnlab.session.columns as columns
from rnnlab.errors import RnnlabError
from rnnlab.session.columns import Column, as_numpy


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(columns, "PENDING", 4)
    monkeypatch.setattr(columns, "MERGED", 128)


def row(t: int) -> torch.Tensor:
    return torch.tensor([t + 0.25, -t - 0.5])


def filled(count: int) -> Column:
    column = Column()
    for t in range(count):
        column.append(row(t))
    return column


def want(start: int, stop: int) -> list[list[float]]:
    return [[t + 0.25, -t - 0.5] for t in range(start, stop)]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 9, 37, 100])
def test_rows_come_back(small, count):
    column = filled(count)
    assert len(column) == count
    for t in range(count):
        assert torch.equal(column.row(t), row(t)), t
    assert column.read(0, count).tolist() == want(0, count)


def test_single_rows(small):
    column = filled(37)
    rows = np.array([[0, 36], [15, 16], [3, 3]])
    assert column.take(rows).tolist() == [[want(t, t + 1)[0] for t in pair] for pair in rows]
    assert column.take(rows, slice(1, 2)).shape == (3, 2, 1)
    assert column.take(rows[1], slice(1, 2)).tolist() == [[-15.5], [-16.5]]


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 5), (3, 4), (7, 30), (29, 37), (37, 37)])
def test_ranges(small, start, stop):
    got = filled(37).read(start, stop)
    assert got.tolist() == want(start, stop)
    assert got.dtype == np.float32


def test_what_is_read_cannot_be_written(small):
    column = filled(9)
    for stop in (3, 9):
        with pytest.raises(ValueError, match="read-only"):
            column.read(0, stop)[0] = 1


@pytest.mark.parametrize("length", [0, 1, 4, 6, 16, 20, 36, 37])
def test_truncate_then_go_on(small, length):
    column = filled(37)
    column.cut(length)
    assert len(column) == length
    assert column.read(0, length).tolist() == want(0, length)
    for t in range(length, 45):
        column.append(row(t))
    assert column.read(0, 45).tolist() == want(0, 45)
    assert torch.equal(column.row(44), row(44))


def test_what_was_read_outlives_truncation(small):
    column = filled(10)
    before = column.read(0, 10)
    column.cut(2)
    for _ in range(20):
        column.append(torch.zeros(2))
    assert before.tolist() == want(0, 10)


def test_extend_between_rows(small):
    column = filled(3)
    column.extend(torch.stack([row(t) for t in range(3, 30)]))
    column.append(row(30))
    assert column.read(0, 31).tolist() == want(0, 31)
    column.extend(torch.empty(0, 2))
    assert len(column) == 31


def test_chunks_stay_few_and_memory_close_to_the_numbers():
    column = Column()
    for t in range(10_000):
        column.append(torch.full((8,), float(t)))
    column.read(0, 1)
    assert column.nbytes <= 1.2 * 10_000 * 8 * 4
    assert len(column._chunks) < 20


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool]
)
def test_every_dtype_comes_back(small, dtype):
    values = [(torch.arange(3) * 1.37 + t).to(dtype) for t in range(9)]
    column = Column()
    for value in values:
        column.append(value)
    column.read(0, 9)
    for t, value in enumerate(values):
        assert column.row(t).dtype == dtype
        assert torch.equal(column.row(t), value)


def test_numbers_keep_their_kind(small):
    column = Column()
    values = [1, 2, 3.5, 4, 2**60 + 1, 0.1, 7, 8, 9, 10, 11.5]
    for value in values:
        column.append(value)
    column.read(0, len(values))
    got = [column.row(t) for t in range(len(values))]
    assert got == values
    assert [type(value) for value in got] == [type(value) for value in values]


@pytest.mark.parametrize("value", ["word", None, 2**70, object])
def test_only_numbers(value):
    with pytest.raises(RnnlabError, match="which is not a number to be recorded"):
        Column().append(value)


def test_what_was_cut_can_be_pasted(small):
    column = filled(37)
    pieces = column.cut(10)
    assert sum(map(len, pieces)) == 27
    column.append(row(99))
    column.cut(10)
    column.paste(pieces)
    assert column.read(0, 37).tolist() == want(0, 37)
    numbers = Column()
    for value in (1, 2.5, 3, 4, 5):
        numbers.append(value)
    numbers.paste(numbers.cut(1))
    assert [type(numbers.row(t)) for t in range(5)] == [int, float, int, int, int]


def test_pieces_are_everything_by_kind(small):
    column = Column()
    for value in (1, 2, 3.5, 4.5, 5):
        column.append(value)
    assert [piece.tolist() for piece in column.pieces()] == [[1, 2], [3.5, 4.5], [5]]
    assert [len(piece) for piece in filled(37).pieces()] == [37]


def test_an_empty_column_has_the_shape_and_dtype_of_its_rows(small):
    column = filled(5)
    column.cut(0)
    empty = column.read(0, 0)
    assert (empty.shape, empty.dtype) == ((0, 2), np.float32)


def test_as_numpy():
    assert as_numpy(torch.tensor([1.5], dtype=torch.bfloat16)).dtype == np.float32
    assert as_numpy(2.5) == 2.5
    assert as_numpy(torch.ones(2, requires_grad=True)).tolist() == [1, 1]
