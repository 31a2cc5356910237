"""From a provider's answer to an array, all its vectors counted, measured and finite. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from milvane.domain.errors import ProviderRefused
from milvane.domain.providers import VectorField, VectorKind
from milvane.providers.dialect import Dialect, Provider, UnreadableReply

Vectors: TypeAlias = NDArray[np.float32] | NDArray[np.int8]


MAX_TOKENS = 1_000_000_000
"""Of one reply: more is not believed."""


def read_reply(content: bytes) -> Any:
    """
    Read the JSON of a reply.

    Raises:
        ProviderRefused: With Milvus's message, if it is none.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise _unreadable(str(error)) from None


def read_tokens(provider: Provider, reply: Any, headers: Mapping[str, str]) -> int:
    """
    Read how many tokens a provider says that a batch has used.

    Args:
        provider: Knows where that stands.

        reply: The reply's JSON.

        headers: Those of the reply; whatever the case of their names.

    Returns:
        0 where nothing is said, or nothing that can be believed.
    """
    if provider.tokens_header:
        return _count(headers.get(provider.tokens_header))
    for path in provider.tokens_at:
        if found := list(_walk(reply, path.split("."))):
            return min(sum(map(_count, found)), MAX_TOKENS)
    return 0


def _walk(value: Any, keys: list[str]) -> Iterator[Any]:
    if not keys:
        yield value
    elif keys[0] == "*":
        for each in value if isinstance(value, list) else ():
            yield from _walk(each, keys[1:])
    elif isinstance(value, Mapping) and keys[0] in value:
        yield from _walk(value[keys[0]], keys[1:])


def _count(said: Any) -> int:
    """Read a number, also one that is written as text or with a point."""
    try:
        tokens = float(said)
    except (TypeError, ValueError):
        return 0
    return int(tokens) if 0 <= tokens <= MAX_TOKENS else 0


def read_vectors(dialect: Dialect, reply: Any, *, texts: int, field: VectorField) -> Vectors:
    """
    Read the reply to one batch.

    Args:
        dialect: Knows where the vectors are.

        reply: The reply's JSON.

        texts: How many vectors there have to be.

        field: What they have to fit.

    Returns:
        Shape ``(texts, dimension)``, of the field's kind.

    Raises:
        ProviderRefused: With Milvus's message, if the reply is not that.
    """
    try:
        vectors = dialect.vectors(reply)
    except UnreadableReply as error:
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
