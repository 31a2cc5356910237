"""What servers are asked, and which of their answers are vectors."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx2
import numpy as np
import pytest
from pydantic import ValidationError

from milvane.inference.remote.dialects import DIALECTS, UnusableAnswer, read_answer
from milvane.inference.remote.sending import Blame, judge
from milvane.inference.remote.settings import DialectName, RemoteSettings

GIVEN = {"urls": ["http://gpu:8000"], "dialect": "vllm", "weights": "tiny"}


def settings(**chosen: Any) -> RemoteSettings:
    """Settings with some of their keys."""
    return RemoteSettings.model_validate(GIVEN | chosen)


@pytest.mark.parametrize(
    ("dialect", "url", "requests", "health"),
    [
        ("vllm", "http://h:8000", "http://h:8000/v1/embeddings", "http://h:8000/health"),
        ("vllm", "http://h/a/v1", "http://h/a/v1/embeddings", "http://h/health"),
        ("tei", "http://h", "http://h/embed", "http://h/health"),
        ("tei", "https://h/tei", "https://h/tei/embed", "https://h/tei/health"),
        ("infinity", "http://h:7997", "http://h:7997/embeddings", "http://h:7997/health"),
        ("infinity", "http://h/v1", "http://h/v1/embeddings", "http://h/health"),
        ("openai", "http://h", "http://h/v1/embeddings", "http://h/v1/models"),
        ("openai", "http://h/x/v1", "http://h/x/v1/embeddings", "http://h/x/v1/models"),
    ],
)
def test_addresses_are_those_of_the_server(
    dialect: DialectName, url: str, requests: str, health: str
) -> None:
    """A path of the operator's takes the place of the usual one."""
    spoken = DIALECTS[dialect]
    assert spoken.base_url(url) + spoken.path == requests
    assert spoken.health(spoken.base_url(url)) == health


@pytest.mark.parametrize("dialect", DIALECTS)
def test_body_has_what_is_set_and_nothing_else(dialect: DialectName) -> None:
    """A model and a dimension are sent only if they were asked for."""
    spoken = DIALECTS[dialect]
    bare = spoken.body(["a"], settings(dialect=dialect), 8)
    assert "model" not in bare
    assert "dimensions" not in bare
    full = spoken.body(["a"], settings(dialect=dialect, model="m", ask_dimension=True), 8)
    assert full["dimensions"] == 8
    assert full.get("model") == (None if dialect == "tei" else "m")


def openai(*vectors: Any) -> bytes:
    """Write an answer of OpenAI's form."""
    data = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    return json.dumps({"data": data}).encode()


def test_vectors_are_read_from_numbers_and_from_base64() -> None:
    """Both forms give the same rows, in the order of their index."""
    written = base64.b64encode(np.array([3, 4], "<f4").tobytes()).decode()
    answer = {"data": [{"index": 1, "embedding": [3, 4]}, {"index": 0, "embedding": written}]}
    read = read_answer(DIALECTS["vllm"], json.dumps(answer).encode(), inputs=2, width=2)
    assert read.dtype == np.float32
    assert read.tolist() == [[3, 4], [3, 4]]
    assert read_answer(DIALECTS["tei"], b"[[1,2]]", inputs=1, width=2).tolist() == [[1, 2]]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1,",
        b"null",
        b"{}",
        b'{"data": null}',
        b'{"data": [1]}',
        b'{"data": [{"embedding": [1, 2]}]}',
        b'{"data": [{"index": 1, "embedding": [1, 2]}]}',
        b'{"data": [{"index": 0, "embedding": [1, 2]}, {"index": 0, "embedding": [1, 2]}]}',
        openai(),
        openai([1, 2], [1, 2]),
        openai([1]),
        openai([1, 2, 3]),
        openai([[1, 2]]),
        openai([1, None]),
        openai([1, "x"]),
        openai([1, 1e60]),
        openai([0, 0]),
        openai(5),
        openai("no base64!"),
        openai("AAAA"),
        openai(base64.b64encode(np.array([1, np.nan], "<f4").tobytes()).decode()),
        openai(base64.b64encode(np.array([1, np.inf], "<f4").tobytes()).decode()),
    ],
)
def test_what_is_no_vector_is_refused(content: bytes) -> None:
    """One finite vector of the width that is not zero, for each input, or nothing."""
    with pytest.raises(UnusableAnswer):
        read_answer(DIALECTS["openai"], content, inputs=1, width=2)


@pytest.mark.parametrize("content", [b"{}", b"[]", b"[[1]]", b"[1, 2]", b"[[1, 2], [1, 2]]"])
def test_what_is_no_list_of_vectors_is_refused(content: bytes) -> None:
    """TEI's answer is a list of vectors and nothing else."""
    with pytest.raises(UnusableAnswer):
        read_answer(DIALECTS["tei"], content, inputs=1, width=2)


@pytest.mark.parametrize(
    ("status", "headers", "blame", "retry_after_s"),
    [
        (400, {}, Blame.REQUEST, None),
        (413, {"retry-after": "5"}, Blame.REQUEST, None),
        (422, {}, Blame.REQUEST, None),
        (401, {}, Blame.ACCESS, None),
        (404, {}, Blame.ACCESS, None),
        (301, {}, Blame.ACCESS, None),
        (501, {}, Blame.ACCESS, None),
        (429, {}, Blame.BUSY, 1.0),
        (429, {"retry-after": "7"}, Blame.BUSY, 7.0),
        (503, {"retry-after": "7"}, Blame.BUSY, 7.0),
        (503, {}, Blame.SERVER, None),
        (500, {}, Blame.SERVER, None),
        (500, {"retry-after": "7"}, Blame.SERVER, 7.0),
        (408, {}, Blame.LATE, None),
        (504, {"retry-after": "7"}, Blame.LATE, 7.0),
    ],
)
def test_blame_follows_the_status(
    status: int, headers: dict[str, str], blame: Blame, retry_after_s: float | None
) -> None:
    """What is done next depends on whose fault it was, and on how long the server asks for."""
    failure = judge(status, httpx2.Headers(headers), "words")
    assert (failure.blame, failure.retry_after_s) == (blame, retry_after_s)
    assert str(status) in failure.message


@pytest.mark.parametrize(
    "urls",
    [[], ["gpu:8000"], ["ftp://gpu"], ["http://"], ["http://key@gpu"], ["http://gpu?key=1"],
     ["http://gpu", "http://gpu"]],
)  # fmt: skip
def test_urls_that_are_none_are_refused(urls: list[str]) -> None:
    """An address has a scheme and a host, and no secrets; each replica is named once."""
    with pytest.raises(ValidationError):
        settings(urls=urls)


def test_key_is_hidden_in_settings() -> None:
    """Printing the settings does not print the key."""
    assert "a-secret" not in repr(settings(api_key="a-secret"))


@pytest.mark.parametrize(
    ("chosen", "sends_ids"),
    [
        ({"dialect": "vllm"}, True),
        ({"dialect": "tei"}, False),
        ({"dialect": "infinity"}, False),
        ({"dialect": "openai"}, False),
        ({"dialect": "openai", "sends": "token_ids"}, True),
        ({"dialect": "vllm", "sends": "texts"}, False),
    ],
)
def test_ids_are_sent_where_they_are_taken(chosen: dict[str, str], sends_ids: bool) -> None:
    """vLLM takes ids; to others they are sent only if the operator says so."""
    assert settings(**chosen).sends_token_ids == sends_ids
