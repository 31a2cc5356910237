"""The unmodified `dashscope` package, both its classic calls and its client, on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import dashscope
import numpy as np
import pytest
from dashscope.v2.errors import DashScopeError

from loopback import served_app
from milvane.apis.app import create_app
from milvane.apis.settings import ApisSettings
from milvane.domain.catalogue import ALL_MINILM_L6_V2, MODELS
from milvane.domain.models import Platform
from milvane.domain.readiness import Readiness
from milvane.serving.embedding import EmbeddingService
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import CountingWeigher, HashingEngine

MODEL = "text-embedding-v4"
WEIGHTS = ALL_MINILM_L6_V2.name
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Serve one hashing engine to all tests of this module."""
    service = EmbeddingService(
        {WEIGHTS: HashingEngine()}, ServingSettings(), weighers={WEIGHTS: CountingWeigher()}
    )
    with served_app(create_app(service, ApisSettings(), Readiness)) as address:
        yield address
    dashscope.close_shared_sync_session()


@pytest.fixture(autouse=True)
def classic(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the classic calls at the server, as their documentation says."""
    monkeypatch.setattr(dashscope, "base_http_api_url", f"{address}/api/v1")
    monkeypatch.setattr(dashscope, "api_key", "any")


@pytest.fixture
def client(address: str) -> Iterator[dashscope.Client]:
    """Use the newer client with nothing but another address."""
    with dashscope.Client(api_key="any", base_url=f"{address}/api/v1", max_retries=0) as client:
        yield client


def rows_of(answer: Any) -> np.ndarray:
    """Read the dense vectors of a classic answer."""
    return np.array([item["embedding"] for item in answer.output["embeddings"]], np.float32)


def test_classic_call_embeds_one_text_or_several() -> None:
    """The documents' first example, with a string and with a list."""
    one = dashscope.TextEmbedding.call(model=MODEL, input="hello world")
    several = dashscope.TextEmbedding.call(model=MODEL, input=["b", "hello world"])
    assert one.status_code == several.status_code == HTTPStatus.OK
    assert rows_of(one).shape == (1, 1024)
    np.testing.assert_array_equal(rows_of(one)[0], rows_of(several)[1])
    assert [item["text_index"] for item in several.output["embeddings"]] == [0, 1]
    assert one.usage == {"total_tokens": 2}
    assert one.request_id


@pytest.mark.parametrize("dimension", [64, 512, 2048])
def test_classic_call_honours_its_parameters(dimension: int) -> None:
    """Dimension, kinds of vectors and instruction arrive; what was ignored is told."""
    answer = dashscope.TextEmbedding.call(
        model=MODEL,
        input=["a b", "c"],
        dimension=dimension,
        output_type="dense&sparse",
        text_type="query",
        instruct="Given a query, find passages",
    )
    assert rows_of(answer).shape == (2, dimension)
    terms = answer.output["embeddings"][0]["sparse_embedding"]
    assert [term["value"] for term in terms] == [2.0, 2.0]
    assert answer.usage["milvane"] == {"ignored": ["instruct"]}


def test_classic_call_takes_sparse_vectors_alone() -> None:
    """There is no dense vector, and nothing that stands for one."""
    answer = dashscope.TextEmbedding.call(model=MODEL, input="a", output_type="sparse")
    (item,) = answer.output["embeddings"]
    assert "embedding" not in item
    assert len(item["sparse_embedding"]) == 1


def test_documented_example_with_nested_parameters_works() -> None:
    """The example that nests its instruction in the wrong place is answered as if it did not."""
    answer = dashscope.TextEmbedding.call(
        model=MODEL,
        input="机器学习是实现人工智能的一种方法。",
        parameters={"instruction": "Represent the document for retrieval."},
    )
    assert answer.usage["milvane"] == {"ignored": ["instruct"]}


def test_classic_call_reads_lines_of_a_file(tmp_path: Path) -> None:
    """A file is a list of texts; a blank line is refused by its number."""
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_text("line one\n第二行\nline three", encoding="utf-8")
    bad.write_text("line one\n\nline three", encoding="utf-8")
    with good.open(encoding="utf-8") as lines:
        assert rows_of(dashscope.TextEmbedding.call(model=MODEL, input=lines)).shape == (3, 1024)
    with bad.open(encoding="utf-8") as lines:
        refused = dashscope.TextEmbedding.call(model=MODEL, input=lines)
    assert refused.status_code == HTTPStatus.BAD_REQUEST
    assert "input 1 is an empty string" in refused.message


@pytest.mark.parametrize(
    ("model", "texts", "code", "words"),
    [
        ("no-such", ["a"], "InvalidParameter", "Model not exist."),
        (MODEL, ["a", ""], "InvalidParameter", "Range of input length should be [1, 8192]"),
        (MODEL, [], "BadRequest.EmptyInput", "Required input parameter missing"),
        (MODEL, [1, 2], "InvalidParameter", "contents is neither str nor list of str"),
    ],
)
def test_classic_call_keeps_code_and_message(model: str, texts: Any, code: str, words: str) -> None:
    """A refusal reaches the caller whole; the client reads only flat errors."""
    refused = dashscope.TextEmbedding.call(model=model, input=texts)
    assert (refused.status_code, refused.code) == (HTTPStatus.BAD_REQUEST, code)
    assert words in refused.message
    assert refused.output is None
    assert refused.request_id


def test_classic_multimodal_call_says_what_is_missing() -> None:
    """Weights that are not here are a state of the server, and the cure is named."""
    refused = dashscope.MultiModalEmbedding.call(
        model="multimodal-embedding-v1", input=[{"image": "https://a.example/b.png"}]
    )
    assert (refused.status_code, refused.code) == (503, "ModelUnavailable")
    assert "no weights here serve it" in refused.message


def test_models_of_each_address_do_not_mix() -> None:
    """A text model under the other address, and the other way round, is a wrong address."""
    for refused in (
        dashscope.MultiModalEmbedding.call(model=MODEL, input=[{"text": "a"}]),
        dashscope.TextEmbedding.call(model="qwen3-vl-embedding", input="a"),
    ):
        assert (refused.status_code, refused.code) == (400, "InvalidParameter")
        assert refused.message.startswith("url error, please check url！")  # noqa: RUF001


def test_classic_listing_and_look_at_a_model() -> None:
    """The catalogue is paged, and one model is found by name."""
    names = [name for name in MODELS if MODELS[name].platform is Platform.MODEL_STUDIO]
    listed = dashscope.Models.list(page=1, page_size=100)
    assert [entry["model"] for entry in listed.output["models"]] == names
    assert dashscope.Models.get(MODEL).output["model"] == MODEL
    assert dashscope.Models.get("no-such").status_code == 404


def test_client_embeds(client: dashscope.Client) -> None:
    """The newer client sees the vectors that the classic calls see."""
    answer = client.embeddings.create(model=MODEL, input=["a", "b"], dimension=64)
    classic = dashscope.TextEmbedding.call(model=MODEL, input=["a", "b"], dimension=64)
    found = np.array([item.embedding for item in answer.embeddings], np.float32)
    np.testing.assert_array_equal(found, rows_of(classic))
    assert [item.index for item in answer.embeddings] == [0, 1]
    assert answer.request_id


def test_client_takes_sparse_vectors_alone(client: dashscope.Client) -> None:
    """An absent dense vector is an empty one to this client; the terms are beside it."""
    answer = client.embeddings.create(model=MODEL, input="a", output_type="sparse")
    (item,) = answer.embeddings
    assert item.embedding == []
    assert len((item.model_extra or {})["sparse_embedding"]) == 1


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [("no-such", 400, "InvalidParameter"), ("text-embedding-async-v2", 403, "AccessDenied")],
)
def test_client_raises_typed_errors(
    client: dashscope.Client, model: str, status: int, code: str
) -> None:
    """Status, code and request id are on the exception."""
    with pytest.raises(DashScopeError) as refusal:
        client.embeddings.create(model=model, input="a")
    assert (refusal.value.status_code, refusal.value.code) == (status, code)
    assert refusal.value.request_id


def test_client_lists_models(client: dashscope.Client) -> None:
    """The page counts what there is in all."""
    page = client.models.list(page_no=1, page_size=2)
    assert [model.model for model in page.models] == [MODEL, "text-embedding-v3"]
    assert page.total_count == len(
        [model for model in MODELS.values() if model.platform is Platform.MODEL_STUDIO]
    )


async def test_asynchronous_client_embeds(address: str) -> None:
    """The client for event loops gives the same vectors."""
    async with dashscope.AsyncClient(api_key="any", base_url=f"{address}/api/v1") as client:
        answer = await client.embeddings.create(model=MODEL, input="a", dimension=64)
    classic = dashscope.TextEmbedding.call(model=MODEL, input="a", dimension=64)
    np.testing.assert_array_equal(
        np.array(answer.embeddings[0].embedding, np.float32), rows_of(classic)[0]
    )


def test_oldest_and_newest_classic_calls_see_the_same(address: str) -> None:
    """The calls of 1.x work as those of 2.x do, from vectors to the words of refusals."""
    seen = []
    for folder in ("", str(ROOT / ".venv" / "oldest-client")):
        run = subprocess.run(
            [sys.executable, ROOT / "tests/conformance/scripts/dashscope_session.py", address],
            env={**os.environ, "PYTHONPATH": folder},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        seen.append(json.loads(run.stdout))
    newest, oldest = seen
    assert (newest["version"][0], oldest["version"][0]) == ("2", "1")
    assert newest["answers"] == oldest["answers"]
    statuses = [answer["status"] for answer in newest["answers"]]
    assert statuses == [200, 200, 200, 200, 200, 400, 400, 400, 400, 503, 400, 200]
    assert all(answer["has_request_id"] for answer in newest["answers"])
