"""From a provider's JSON to an array, with every vector counted, measured and finite. Pure."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from milvane.domain.errors import ProviderRefused
from milvane.domain.providers import VectorField, VectorKind
from milvane.providers.dialect import Dialect, UnreadableReply

Vectors: TypeAlias = NDArray[np.float32] | NDArray[np.int8]


def read_vectors(dialect: Dialect, content: bytes, *, texts: int, field: VectorField) -> Vectors:
    """
    Read the reply to one batch.

    Args:
        dialect: Knows where the vectors are.

        content: The reply's body.

        texts: How many vectors there have to be.

        field: What they have to fit.

    Returns:
        Shape ``(texts, dimension)``, of the field's kind.

    Raises:
        ProviderRefused: With Milvus's message, if the reply is not that.
    """
    try:
        vectors = dialect.vectors(orjson.loads(content))
    except (orjson.JSONDecodeError, UnreadableReply) as error:
        raise _unreadable(str(error)) from None
    if len(vectors) != texts:
        raise ProviderRefused(
            "get embedding failed, the number of texts and embeddings does not match "
            f"text:[{texts}], embedding:[{len(vectors)}]"
        )
    for vector in vectors:
        _check_dimension(vector, field.dimension)
    return _to_array(vectors, field.kind)


def _unreadable(why: str) -> ProviderRefused:
    return ProviderRefused(f"call service failed, unmarshal response failed, errs:[{why}]")


def _check_dimension(vector: Any, dimension: int) -> None:
    if not isinstance(vector, list):
        raise _unreadable("a vector is not a list of numbers")
    if len(vector) != dimension:
        raise ProviderRefused(
            f"the required embedding dim is [{dimension}], but the embedding obtained from the "
            f"model is [{len(vector)}]"
        )


def _to_array(vectors: Any, kind: VectorKind) -> Vectors:
    try:
        wide = np.asarray(vectors, dtype=np.float64)
    except (TypeError, ValueError):
        raise _unreadable("a vector is not a list of numbers") from None
    if kind is VectorKind.INT8:
        bounds = np.iinfo(np.int8)
        if not ((wide >= bounds.min) & (wide <= bounds.max) & (wide == np.round(wide))).all():
            raise _unreadable("a component is not a whole number from -128 to 127")
        return wide.astype(np.int8)
    if not (np.abs(wide) <= np.finfo(np.float32).max).all():
        raise _unreadable("a component is not a number, or too large for one")
    return wide.astype(np.float32)
