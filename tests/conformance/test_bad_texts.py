"""Texts that no client should send, beside good ones; and vectors that outlive the server."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from milvane.testing.servers import MilvaneProcess

MODEL = "text-embedding-v4"


@pytest.fixture
def client(server: MilvaneProcess) -> Iterator[httpx.Client]:
    """Talk to a real server."""
    with httpx.Client(base_url=server.http_url, timeout=60) as opened:
        yield opened


def embed(client: httpx.Client, inputs: object) -> httpx.Response:
    """Ask for vectors."""
    body = {"model": MODEL, "input": inputs, "encoding_format": "base64", "dimensions": 64}
    return client.post("/v1/embeddings", json=body)


@pytest.mark.parametrize(
    ("inputs", "status", "said"),
    [
        ([], 400, "input"),
        ([""], 400, "empty"),
        (["river", ""], 400, "empty"),
        (["river " * 1_700_000], 400, "tokens"),  # 10 MB
        (["river"] * 10_000, 400, "larger than 2048"),
        (["river"] * 2_047 + [""], 400, "empty"),
    ],
    ids=[
        "empty list",
        "empty text",
        "empty among others",
        "10 MB",
        "10,000 texts",
        "many texts, one bad",
    ],
)
def test_bad_input_is_said_to_its_sender_alone(
    client: httpx.Client, inputs: list[str], status: int, said: str
) -> None:
    """The one who sends it is told what is wrong; the next one is served as ever."""
    before = embed(client, ["a neighbour's text"])
    refusal = embed(client, inputs)
    assert refusal.status_code == status, refusal.text[:300]
    assert said in refusal.json()["error"]["message"]
    after = embed(client, ["a neighbour's text"])
    assert before.status_code == after.status_code == 200
    assert before.json()["data"] == after.json()["data"]


def test_as_many_texts_as_may_be_sent_are_embedded(client: httpx.Client) -> None:
    """Of a request that is as large as they come, each text has its vector, in its place."""
    different = [f"river {number}" for number in range(20)]
    vectors = [item["embedding"] for item in embed(client, different).json()["data"]]
    answer = embed(client, [different[number * 7 % 20] for number in range(2_048)])
    assert answer.status_code == 200, answer.text[:300]
    items = answer.json()["data"]
    assert [item["index"] for item in items] == list(range(2_048))
    assert all(item["embedding"] == vectors[at * 7 % 20] for at, item in enumerate(items))


@pytest.mark.parametrize("text", ["a\0b", "\0", "\ud800", "\u202e\ufeff", "😀" * 500, "語" * 3000])
def test_odd_text_is_embedded(client: httpx.Client, text: str) -> None:
    """NUL bytes, halves of characters and invisible ones are texts like others."""
    body = b'{"model": "%s", "input": [%s]}' % (MODEL.encode(), _escaped(text))
    answer = client.post(
        "/v1/embeddings", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 400:  # JSON readers may refuse half a character
        assert "\ud800" in text


def _escaped(text: str) -> bytes:
    units = struct.unpack(
        f"<{len(text.encode('utf-16-le', 'surrogatepass')) // 2}H",
        text.encode("utf-16-le", "surrogatepass"),
    )
    return b'"' + b"".join(b"\\u%04x" % unit for unit in units) + b'"'


def test_vectors_outlive_the_server(tmp_path: Path) -> None:
    """A text that was embedded before a restart is not embedded again, and has the same vector."""
    server = MilvaneProcess(tmp_path / "data")
    answers, counts = [], []
    for _ in range(2):
        with server, httpx.Client(base_url=server.http_url, timeout=60) as client:
            answers.append(embed(client, ["a text that is paid for once, " * 9]).json()["data"])
            counts.append(kept(client))
    assert answers[0] == answers[1]
    assert len(base64.b64decode(answers[0][0]["embedding"])) == 64 * 4
    assert (counts[0]["computed"], counts[0]["disk"]) == (1, 0)
    assert (counts[1]["computed"], counts[1]["disk"]) == (0, 1)


def kept(client: httpx.Client) -> dict[str, float]:
    """Read from the metrics where vectors came from."""
    return {
        sample.labels["source"]: sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name == "milvane_cache_vectors_total"
    }
