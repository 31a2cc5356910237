"""
Filters with places for values, filled in. Pure: Milvus Lite knows filters without places only.

A place is a name in braces, as in `colour in {colours}`; within quotes, braces are text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from milvane.domain.errors import InvalidInput

_PIECES: Final = re.compile(
    r"""(?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|\{\s*(?P<name>\w+)\s*\}""", re.DOTALL
)
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r"})
"""What cannot stand for itself within quotes."""


def fill_filter(expression: str, values: Mapping[str, Any]) -> str:
    """
    Write the values of a filter into its places.

    Args:
        expression: The filter.

        values: Milvus's `TemplateValue` messages by name; without any, braces are left alone.

    Returns:
        A filter that says the same without places.

    Raises:
        InvalidInput: If a place has no value, or one that cannot be written; in Milvus's words.
    """
    if not values:
        return expression

    def fill(piece: re.Match[str]) -> str:
        name = piece["name"]
        if name is None:
            return piece[0]
        if name not in values:
            raise InvalidInput(
                f"the value of expression template variable name {{{name}}} is not found"
            )
        return _literal(name, values[name])

    return _PIECES.sub(fill, expression)


def _literal(name: str, value: Any) -> str:
    kind = value.WhichOneof("val")
    if kind == "array_val":
        array = value.array_val
        kind = array.WhichOneof("data")
        if kind == "array_data":
            return f"[{', '.join(_array(name, each) for each in array.array_data.data)}]"
        return _array(name, array)
    if kind in ("bool_val", "int64_val", "float_val", "string_val"):
        return _scalar(getattr(value, kind))
    raise InvalidInput(f"the value of expression template variable name {{{name}}} is of no type")


def _scalar(value: float | str) -> str:
    if isinstance(value, str):
        return f'"{value.translate(_ESCAPES)}"'
    return repr(value).lower()


def _array(name: str, array: Any) -> str:
    kind = array.WhichOneof("data")
    if kind not in (None, "bool_data", "long_data", "double_data", "string_data"):
        raise InvalidInput(
            f"the value of expression template variable name {{{name}}} is a list of other "
            "things than truths, numbers or texts"
        )
    items = [] if kind is None else getattr(array, kind).data
    return f"[{', '.join(_scalar(item) for item in items)}]"
