"""From a provider's JSON to an array."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from milvane.domain.errors import ProviderRefused
from milvane.domain.providers import ProviderFunction, VectorField, VectorKind
from milvane.providers.dialect import OperatorEntry
from milvane.providers.replies import MAX_TOKENS, Vectors, read_reply, read_tokens, read_vectors
from milvane.providers.table import PROVIDERS

TEI = PROVIDERS["tei"].open(
    ProviderFunction("tei", {"endpoint": "http://h"}, VectorField("dense", 2)), OperatorEntry()
)


def statistics(tokens: int) -> dict[str, Any]:
    """Write what Vertex AI says of one text."""
    return {"embeddings": {"values": [], "statistics": {"token_count": tokens}}}


def read(content: bytes, *, texts: int = 1, kind: VectorKind = VectorKind.FLOAT) -> Vectors:
    """Read a reply that is a bare list of vectors of dimension 2."""
    return read_vectors(TEI, read_reply(content), texts=texts, field=VectorField("dense", 2, kind))


def test_vectors_are_of_the_fields_kind() -> None:
    """Single precision, or whole numbers."""
    floats = read(b"[[1, 2.5], [3, 4]]", texts=2)
    np.testing.assert_array_equal(floats, np.array([[1, 2.5], [3, 4]], np.float32))
    assert floats.dtype == np.float32
    whole = read(b"[[-128, 127]]", kind=VectorKind.INT8)
    np.testing.assert_array_equal(whole, np.array([[-128, 127]], np.int8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "unmarshal response failed"),
        (b"[[1, 2]", "unmarshal response failed"),
        (b"[[1, NaN]]", "unmarshal response failed"),
        (b'[[1, "x"]]', "a vector is not a list of numbers"),
        (b"[[1, [2]]]", "a vector is not a list of numbers"),
        (b"[5]", "a vector is not a list of numbers"),
        (b"[[1, null]]", "is not a number"),
        (b"[[1, 1e300]]", "too large"),
        (b"[]", "the number of texts and embeddings does not match text:[1], embedding:[0]"),
        (b"[[1, 2, 3]]", "dim is [2], but the embedding obtained from the model is [3]"),
        (b"[[]]", "dim is [2], but the embedding obtained from the model is [0]"),
    ],
)
def test_reply_that_does_not_fit_is_refused(content: bytes, message: str) -> None:
    """Nothing but finite vectors, as many and as wide as they have to be."""
    with pytest.raises(ProviderRefused) as caught:
        read(content)
    assert message in caught.value.message


@pytest.mark.parametrize("content", [b"[[1, 128]]", b"[[1, -129]]", b"[[0.5, 1]]"])
def test_whole_numbers_are_whole(content: bytes) -> None:
    """Floats for an INT8_VECTOR field are not rounded in silence."""
    with pytest.raises(ProviderRefused, match="not a whole number from -128 to 127"):
        read(content, kind=VectorKind.INT8)


@pytest.mark.parametrize(
    ("provider", "reply", "tokens"),
    [
        ("openai", {"usage": {"total_tokens": 7, "prompt_tokens": 6}}, 7),
        ("openai", {"usage": {"prompt_tokens": 6}}, 6),
        ("openai", {"usage": None}, 0),
        ("openai", [], 0),
        ("openai", {"usage": {"total_tokens": -7}}, 0),
        ("openai", {"usage": {"total_tokens": 1e300}}, 0),
        ("openai", {"usage": {"total_tokens": "many"}}, 0),
        ("openai", {"usage": {"total_tokens": MAX_TOKENS}}, MAX_TOKENS),
        ("yc", {"numTokens": "12"}, 12),
        ("cohere", {"meta": {"billed_units": {"input_tokens": 5.0}}}, 5),
        ("vertexai", {"predictions": [statistics(3), {}, statistics(4)]}, 7),
        ("vertexai", {"embedding": {}, "usageMetadata": {"promptTokenCount": 3}}, 3),
        ("huggingface", [[1.0]], 0),
    ],
)
def test_tokens_are_read_where_each_provider_states_them(
    provider: str, reply: Any, tokens: int
) -> None:
    """Whatever cannot be a count of tokens counts nothing, and never fails a call."""
    assert read_tokens(PROVIDERS[provider], reply, {}) == tokens


def test_tokens_of_text_embeddings_inference_stand_in_a_header() -> None:
    """Its replies are bare lists."""
    assert read_tokens(PROVIDERS["tei"], [], {"x-compute-tokens": "21"}) == 21
    assert read_tokens(PROVIDERS["tei"], [], {}) == 0
