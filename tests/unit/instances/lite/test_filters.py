"""Filters with places for values."""

from __future__ import annotations

from typing import Any

import pytest
from milvus_lite.search.filter.parser import parse_expr
from pymilvus.client.prepare import Prepare
from pymilvus.grpc_gen import schema_pb2

from milvane.domain.errors import InvalidInput
from milvane.instances.lite.filters import fill_filter


def filled(expression: str, **values: Any) -> str:
    """Fill a filter with values as pymilvus sends them."""
    sent = Prepare.prepare_expression_template(values)
    return fill_filter(expression, sent)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (7, "7"),
        (-7, "-7"),
        (0.25, "0.25"),
        (1e-9, "1e-09"),
        (True, "true"),
        ("red", '"red"'),
        ('a "b" \\ c', r'"a \"b\" \\ c"'),
        ("two\nlines", r'"two\nlines"'),
        ("{x}", '"{x}"'),
        ([1, 2], "[1, 2]"),
        (["a", "b"], '["a", "b"]'),
        ([0.5, 1.5], "[0.5, 1.5]"),
        ([True, False], "[true, false]"),
        ([], "[]"),
    ],
)
def test_value_is_written_as_a_literal(value: Any, written: str) -> None:
    """What Milvus Lite reads is the value that the client gave."""
    expression = filled("field in {x}" if isinstance(value, list) else "field == {x}", x=value)
    assert expression == ("field in " if isinstance(value, list) else "field == ") + written
    parse_expr(expression)


def test_every_place_is_filled_and_quotes_are_left_alone() -> None:
    """A place may stand twice and hold blanks; within quotes it is text."""
    expression = """a == {x} and b > { y } and c == "{x}" and d == '\\'{x}' and e == {x}"""
    assert filled(expression, x=1, y=2.5) == (
        """a == 1 and b > 2.5 and c == "{x}" and d == '\\'{x}' and e == 1"""
    )


def test_filter_without_values_is_left_alone() -> None:
    """What is wrong with it, Milvus Lite says."""
    assert fill_filter("a == {x}", {}) == "a == {x}"


def test_place_without_a_value_is_refused() -> None:
    """The refusal names the place."""
    with pytest.raises(InvalidInput, match=r"variable name \{y\} is not found"):
        filled("a == {x} and b == {y}", x=1)


def test_value_of_no_type_is_refused() -> None:
    """Nothing is guessed for what cannot be written."""
    blob = schema_pb2.TemplateValue(bytes_val=b"filter")
    nested = schema_pb2.TemplateValue()
    nested.array_val.json_data.data.append(b"{}")
    for value in (schema_pb2.TemplateValue(), blob, nested):
        with pytest.raises(InvalidInput, match=r"\{x\} is"):
            fill_filter("a == {x}", {"x": value})
