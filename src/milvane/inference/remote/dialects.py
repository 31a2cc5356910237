"""
What each kind of server is sent, and what it answers. Pure.

Sources: vLLM's `EmbeddingCompletionRequest` (ids in `input` are used as they are, special tokens
included), TEI's `EmbedRequest`, Infinity's `/embeddings`. TEI also takes ids, but decodes them and
tokenizes the text anew, and its versions before 1.3 do not.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import orjson
from numpy.typing import NDArray

from milvane.inference.remote.settings import DialectName, RemoteSettings

Inputs: TypeAlias = Sequence[str] | Sequence[list[int]]


class UnusableAnswer(Exception):
    """An answer that is not one vector for each input."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind of server."""

    path: str
    """Of the requests, below a replica's own path."""
    usual_path: str
    """What a replica's URL without a path stands for."""
    health: Callable[[str], str]
    """Where a replica says that it lives, given its URL with the path."""
    body: Callable[[Inputs, RemoteSettings, int], dict[str, Any]]
    """The JSON of a request, given the width of the weights."""
    vectors: Callable[[Any], list[Any]]
    """The vectors of an answer, in the order of the inputs."""

    def base_url(self, url: str) -> str:
        """Complete a replica's URL."""
        return url if urlsplit(url).path else url + self.usual_path


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, "", "", ""))


def _openai_body(inputs: Inputs, settings: RemoteSettings, width: int) -> dict[str, Any]:
    body: dict[str, Any] = {"input": inputs, "encoding_format": "base64"}
    if settings.model:
        body["model"] = settings.model
    if settings.ask_dimension:
        body["dimensions"] = width
    return body


def _tei_body(inputs: Inputs, settings: RemoteSettings, width: int) -> dict[str, Any]:
    body: dict[str, Any] = {"inputs": inputs, "normalize": True, "truncate": False}
    if settings.ask_dimension:
        body["dimensions"] = width
    return body


def _openai_vectors(answer: Any) -> list[Any]:
    try:
        numbered = {item["index"]: item["embedding"] for item in answer["data"]}
        count = len(answer["data"])
    except (TypeError, KeyError):
        raise UnusableAnswer("it has no vectors with their index") from None
    if numbered.keys() != set(range(count)):
        raise UnusableAnswer("its vectors are not numbered from 0")
    return [numbered[index] for index in range(count)]


def _tei_vectors(answer: Any) -> list[Any]:
    if not isinstance(answer, list):
        raise UnusableAnswer("it is no list of vectors")
    return answer


DIALECTS: Mapping[DialectName, Dialect] = MappingProxyType(
    {
        "vllm": Dialect(
            "/embeddings",
            "/v1",
            lambda url: f"{_origin(url)}/health",
            _openai_body,
            _openai_vectors,
        ),
        "tei": Dialect("/embed", "", lambda url: f"{url}/health", _tei_body, _tei_vectors),
        "infinity": Dialect(
            "/embeddings", "", lambda url: f"{_origin(url)}/health", _openai_body, _openai_vectors
        ),
        "openai": Dialect(
            "/embeddings", "/v1", lambda url: f"{url}/models", _openai_body, _openai_vectors
        ),
    }
)


def read_answer(
    dialect: Dialect, content: bytes, *, inputs: int, width: int
) -> NDArray[np.float32]:
    """
    Read the answer to one request.

    Args:
        dialect: Knows where the vectors are.

        content: The answer's body.

        inputs: How many vectors there have to be.

        width: How many components each has to have.

    Returns:
        Shape ``(inputs, width)``, every row finite and not zero, of any length.

    Raises:
        UnusableAnswer: If the answer is not that.
    """
    try:
        found = dialect.vectors(orjson.loads(content))
    except orjson.JSONDecodeError:
        raise UnusableAnswer("it is no JSON") from None
    if len(found) != inputs:
        raise UnusableAnswer(f"it has {len(found)} vectors for {inputs} inputs")
    vectors = np.empty((inputs, width), np.float32)
    for row, vector in enumerate(found):
        vectors[row] = _read_vector(vector, width)
    if not np.isfinite(vectors).all():
        raise UnusableAnswer("a component is not a number")
    if not vectors.any(axis=1).all():
        raise UnusableAnswer("a vector is all zeros")
    return vectors


def _read_vector(vector: Any, width: int) -> NDArray[np.float32]:
    try:
        if isinstance(vector, str):
            read = np.frombuffer(base64.b64decode(vector, validate=True), "<f4")
        else:
            with np.errstate(over="ignore"):  # too large for it becomes infinite, and is refused
                read = np.asarray(vector, np.float32)
    except (TypeError, ValueError, binascii.Error, OverflowError):
        raise UnusableAnswer("a vector is not a list of numbers") from None
    if read.shape != (width,):
        raise UnusableAnswer(f"a vector has the shape {read.shape}, the weights' own is ({width},)")
    return read
