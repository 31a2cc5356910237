"""From a provider's JSON to an array."""

from __future__ import annotations

import numpy as np
import pytest

from milvane.domain.errors import ProviderRefused
from milvane.domain.providers import ProviderFunction, VectorField, VectorKind
from milvane.providers.dialect import OperatorEntry
from milvane.providers.replies import Vectors, read_vectors
from milvane.providers.table import PROVIDERS

TEI = PROVIDERS["tei"].open(
    ProviderFunction("tei", {"endpoint": "http://h"}, VectorField("dense", 2)), OperatorEntry()
)


def read(content: bytes, *, texts: int = 1, kind: VectorKind = VectorKind.FLOAT) -> Vectors:
    """Read a reply that is a bare list of vectors of dimension 2."""
    return read_vectors(TEI, content, texts=texts, field=VectorField("dense", 2, kind))


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
