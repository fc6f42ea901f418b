"""Sizes of several parts that mix shapes within a budget."""

import pytest

from isoflop.planning.shapes import shape_notes
from isoflop.runs import RunSpec


def specs(*sizes, budget=1e6):
    return [
        RunSpec(size=size, num_params=100.0 * (k + 1), num_tokens=1e3, flops=budget, budget=budget)
        for k, size in enumerate(sizes)
    ]


def test_sizes_that_grow_in_one_part_and_shrink_in_another_are_said_to_mix_shapes():
    (note,) = shape_notes(specs((16, 1), (8, 6), (32, 2)))

    assert note.startswith(
        "Sizes mix shapes: (8, 6) has more params than (16, 1), but is not larger in each part"
    )


@pytest.mark.parametrize(
    "sizes",
    [[(8, 1), (16, 1), (16, 2)], [8, 16, 4], [("tiny", 1), ("small", 2)], [("b", 2), ("a", 2)]],
)
def test_sizes_that_grow_together_or_have_one_part_are_not(sizes):
    assert shape_notes(specs(*sizes)) == ()


def test_each_budget_is_looked_at_by_itself():
    assert shape_notes([*specs((8, 6)), *specs((16, 1), budget=1e7)]) == ()
