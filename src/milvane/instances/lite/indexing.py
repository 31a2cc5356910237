"""
Which index a field gets, or why it gets none. Pure: the guard asks before Milvus Lite does.

Milvus Lite takes any name of an index and fails when it builds it, and knows no AUTOINDEX for
sparse vectors. Here what cannot be built is refused when it is asked for, in Milvus's words.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from milvane.domain.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

DENSE_TYPES: Final = ("AUTOINDEX", "FLAT", "BRUTE_FORCE", "HNSW", "HNSW_SQ", "IVF_FLAT", "IVF_SQ8")
DENSE_METRICS: Final = ("COSINE", "IP", "L2")
SPARSE_TYPE: Final = "SPARSE_INVERTED_INDEX"

_SPARSE_NAMES: Final = ("", "AUTOINDEX", "SPARSE_WAND", SPARSE_TYPE)
_RANGES: Final = {
    "HNSW": {"M": (2, 2048), "efConstruction": (1, 2**31 - 1)},
    "HNSW_SQ": {"M": (2, 2048), "efConstruction": (1, 2**31 - 1)},
    "IVF_FLAT": {"nlist": (1, 65536)},
    "IVF_SQ8": {"nlist": (1, 65536)},
}
_EXACT_ALGORITHMS: Final = ("DAAT_MAXSCORE", "DAAT_WAND", "TAAT_NAIVE")
"""They find the same rows: what Milvus Lite does instead is slower, and no less right."""
_DROP_RATIOS: Final = ("drop_ratio_build", "drop_ratio_search")
"""Leave to find less for speed: it need not be taken."""
_EXACT_SEARCH: Final = frozenset({"inverted_index_algo", *_DROP_RATIOS})


class FieldKind(Enum):
    """What an index is asked for."""

    DENSE = "FloatVector"
    SPARSE = "SparseFloatVector"
    BM25 = "SparseFloatVector of a BM25 function"
    SCALAR = "scalar"


def settle_index(kind: FieldKind, asked: Mapping[str, str]) -> dict[str, str]:
    """
    Say which index a field gets.

    Args:
        kind: Of the field.

        asked: The parameters as the client sent them; `params` is a JSON object.

    Returns:
        The parameters that Milvus Lite is to get.

    Raises:
        InvalidInput: If Milvus Lite has no such index; in Milvus's words.
    """
    if kind is FieldKind.SCALAR:
        return dict(asked)
    wanted = asked.get("index_type", "").upper()
    if kind is FieldKind.DENSE:
        _check_dense(wanted, asked)
        defaults = {"index_type": "AUTOINDEX", "metric_type": "COSINE"}
        # As in Milvus, whoever names an index names its metric; the Node client names no index.
        return {**defaults, **asked} if wanted in ("", "AUTOINDEX") else dict(asked)
    if wanted not in _SPARSE_NAMES:
        _refuse_type(wanted, kind)
    metric = "BM25" if kind is FieldKind.BM25 else "IP"
    settled = {"metric_type": metric, **asked, "index_type": SPARSE_TYPE}
    if _EXACT_SEARCH & _parameters(asked).keys():
        settled["params"] = json.dumps(_exact(_parameters(asked)))
    return settled


def settle_search(asked: Mapping[str, str]) -> dict[str, str]:
    """
    Say how a search is to be asked of Milvus Lite.

    Args:
        asked: The parameters as the client sent them; `params` is a JSON object.

    Returns:
        The same without an empty metric type, which stands for that of the index and which the Node
        client sends, and without leave to skip small values, which some frameworks give.
    """
    settled = {name: value for name, value in asked.items() if name != "metric_type" or value}
    if _EXACT_SEARCH & _parameters(asked).keys():
        settled["params"] = json.dumps(_exact(_parameters(asked)))
    return settled


def _exact(parameters: Mapping[str, Any]) -> dict[str, Any]:
    algorithm = parameters.get("inverted_index_algo")
    dropped = set(_DROP_RATIOS)
    if algorithm in _EXACT_ALGORITHMS:
        dropped.add("inverted_index_algo")
    return {name: value for name, value in parameters.items() if name not in dropped}


def _check_dense(wanted: str, asked: Mapping[str, str]) -> None:
    if wanted and wanted not in DENSE_TYPES:
        _refuse_type(wanted, FieldKind.DENSE)
    metric = asked.get("metric_type", "").upper()
    if metric and metric not in DENSE_METRICS:
        raise InvalidInput(
            "invalid parameter[expected=valid index params][actual=float vector index does not "
            f"support metric type: {metric}]; supported: {', '.join(DENSE_METRICS)}"
        )
    given = {**asked, **_parameters(asked)}
    for name, (lowest, highest) in _RANGES.get(wanted, {}).items():
        if name in given and not _is_between(given[name], lowest, highest):
            raise InvalidInput(
                f"Out of range in json: param '{name}' ({given[name]}) should be in range "
                f"[{lowest}, {highest}]"
            )


def _refuse_type(wanted: str, kind: FieldKind) -> None:
    if kind is not FieldKind.DENSE and wanted in DENSE_TYPES:
        raise InvalidInput(
            f"data type SparseFloatVector can't build with this index {wanted}; "
            f"use {SPARSE_TYPE} or AUTOINDEX"
        )
    if kind is FieldKind.DENSE and wanted in _SPARSE_NAMES:
        raise InvalidInput(f"data type FloatVector can't build with this index {wanted}")
    possible = DENSE_TYPES if kind is FieldKind.DENSE else ("AUTOINDEX", SPARSE_TYPE)
    raise InvalidInput(
        f"invalid parameter[expected=valid index][actual=invalid index type: {wanted}]; the "
        f"embedded engine has {', '.join(possible)}"
    )


def _parameters(asked: Mapping[str, str]) -> dict[str, Any]:
    try:
        parameters = json.loads(asked.get("params") or "{}")
    except ValueError:
        return {}
    return parameters if isinstance(parameters, dict) else {}


def _is_between(value: object, lowest: int, highest: int) -> bool:
    try:
        return lowest <= int(str(value)) <= highest
    except ValueError:
        return False
