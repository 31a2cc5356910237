"""Counting by size."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from milvane.measures import Distribution


@given(st.lists(st.floats(-10, 100, allow_nan=False)))
@example([1.0, 1.0, 2.0])  # as large as a bound is not larger
@example([2.5])
def test_each_value_is_counted_below_its_bound(values: list[float]) -> None:
    """A value stands at the first bound that is not smaller, or behind all of them."""
    distribution = Distribution((1.0, 2.0))
    for value in values:
        distribution.add(value)
    assert distribution.counts == [
        sum(value <= 1 for value in values),
        sum(1 < value <= 2 for value in values),
        sum(value > 2 for value in values),
    ]
    # From Python 3.12 on, `sum` makes up for rounding.
    assert distribution.total == pytest.approx(sum(values, 0.0))
