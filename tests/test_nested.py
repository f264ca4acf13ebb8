"""Nested states: structure kept, leaves in order, names unique."""

from collections import namedtuple

import pytest
import torch

from rnnlab.nested import children, fill, is_branch, map_leaves, named_leaves, rebuild

Pair = namedtuple("Pair", ["h", "c"])
Triple = namedtuple("Triple", ["a", "b", "c"])

TREES = [
    5,
    (),
    (1, 2),
    [1, [2, 3], ()],
    {"a": 1, "b": (2, 3)},
    {1: 10, 2: 20},
    Pair(1, (2, 3)),
    (Pair(1, 2), [Triple(3, 4, {"x": 5})], {"y": Pair(6, 7)}),
]


@pytest.mark.parametrize("tree", TREES, ids=repr)
def test_mapping_keeps_the_structure_and_the_types(tree):
    def same(a, b):
        assert type(a) is type(b)
        if isinstance(a, dict):
            assert list(a) == list(b)
            a, b = list(a.values()), list(b.values())
        if is_branch(a):
            assert len(a) == len(b)
            for one, other in zip(a, b, strict=True):
                same(one, other)
        else:
            assert b == -a

    mapped = map_leaves(lambda v: -v, tree)
    same(tree, mapped)
    assert map_leaves(lambda v: -v, mapped) == tree


@pytest.mark.parametrize("tree", TREES, ids=repr)
def test_leaves_go_out_and_back_in_the_same_order(tree):
    leaves = [leaf for _, leaf in named_leaves(tree)]
    assert leaves == sorted(leaves)
    assert fill(tree, iter(leaves)) == tree
    assert fill(tree, iter([10 * v for v in leaves])) == map_leaves(lambda v: 10 * v, tree)


@pytest.mark.parametrize(
    ("tree", "top", "names"),
    [
        (5, None, ["h"]),
        (5, ("s",), ["s"]),
        ((1, 2), None, ["h.0", "h.1"]),
        ((1, 2), ("h", "c"), ["h", "c"]),
        ([1, 2], ("h", "c"), ["h", "c"]),
        ((1, 2, 3), ("h", "c"), ["h.0", "h.1", "h.2"]),
        ((1, (2, 3)), ("h", "c"), ["h", "c.0", "c.1"]),
        ((1, (2, (3, 4))), None, ["h.0", "h.1.0", "h.1.1.0", "h.1.1.1"]),
        (Pair(1, 2), None, ["h.h", "h.c"]),
        ({"x": 1, "y": [2, 3]}, None, ["h.x", "h.y.0", "h.y.1"]),
        ({7: 1}, None, ["h.7"]),
        ((), None, []),
    ],
)
def test_names(tree, top, names):
    assert [name for name, _ in named_leaves(tree, top=top)] == names


def test_the_name_of_the_whole():
    assert list(named_leaves((1, 2), "s")) == [("s.0", 1), ("s.1", 2)]


@pytest.mark.parametrize("leaf", [None, "word", 1.5, torch.ones(3), {1, 2}, range(2)], ids=repr)
def test_what_is_not_a_branch_is_a_leaf(leaf):
    assert not is_branch(leaf)
    assert map_leaves(lambda v: [v], leaf)[0] is leaf
    assert next(named_leaves(leaf))[1] is leaf


def test_tensors_are_passed_on_as_they_are():
    h, c = torch.ones(3, requires_grad=True), torch.zeros(3)
    kept = map_leaves(lambda v: v, Pair(h, (c, 4)))
    assert kept.h is h
    assert kept.c[0] is c


def test_children_and_rebuild_are_inverse():
    for tree in TREES[1:]:
        assert rebuild(tree, [part for _, part in children(tree)]) == tree


def test_parts_that_do_not_fit_are_an_error():
    with pytest.raises(ValueError, match="zip"):
        rebuild({"a": 1, "b": 2}, [1])


def test_any_tree_hypothesis():
    hypothesis = pytest.importorskip("hypothesis", reason="pip install hypothesis runs this")
    st = hypothesis.strategies
    trees = st.recursive(
        st.integers(),
        lambda t: st.one_of(
            st.lists(t, max_size=3),
            st.lists(t, max_size=3).map(tuple),
            st.tuples(t, t).map(lambda p: Pair(*p)),
            st.dictionaries(st.sampled_from("xyz"), t, max_size=3),
        ),
        max_leaves=12,
    )

    @hypothesis.settings(max_examples=150, deadline=None)
    @hypothesis.given(trees)
    def check(tree):
        named = list(named_leaves(tree))
        assert len({name for name, _ in named}) == len(named)
        assert fill(tree, iter([leaf for _, leaf in named])) == tree
        assert map_leaves(lambda v: v + 1, map_leaves(lambda v: v - 1, tree)) == tree

    check()
