"""The unmodified `openai` package against a real server on loopback."""

import asyncio
import base64
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

import httpx
import numpy as np
import openai
import pytest

from loopback import served_app
from milvane.apis.app import create_app
from milvane.apis.settings import ApisSettings
from milvane.domain.catalogue import ALL_MINILM_L6_V2, MODELS, SERVED_BY
from milvane.domain.errors import Overloaded
from milvane.domain.readiness import Readiness
from milvane.serving.embedding import EmbeddingService
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import HashingEngine

MODEL = "text-embedding-v4"
MAX_BODY_BYTES = 1_000_000


@contextlib.contextmanager
def served(engine: HashingEngine) -> Iterator[str]:
    """Serve an engine on a free loopback port; gives the address without a path."""
    service = EmbeddingService({ALL_MINILM_L6_V2.name: engine}, ServingSettings())
    app = create_app(service, ApisSettings(max_body_bytes=MAX_BODY_BYTES), Readiness)
    with served_app(app) as address:
        yield address


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Serve one hashing engine to all tests of this module."""
    with served(HashingEngine()) as address:
        yield address


@pytest.fixture(params=["/compatible-mode/v1", "/v1"])
def client(address: str, request: pytest.FixtureRequest) -> Iterator[openai.OpenAI]:
    """Use the client as its documentation says, with nothing but another address."""
    with openai_client(address + request.param) as client:
        yield client


def openai_client(base_url: str, *, max_retries: int = 0) -> openai.OpenAI:
    """Make a client that does not hide refusals behind retries."""
    return openai.OpenAI(base_url=base_url, api_key="any", max_retries=max_retries)


def test_one_text_has_one_vector(client: openai.OpenAI) -> None:
    """The default call, which asks for base64 and decodes it, gives a vector of length 1."""
    answer = client.embeddings.create(model=MODEL, input="hello world")
    (item,) = answer.data
    assert (item.index, item.object, answer.model, answer.object) == (0, "embedding", MODEL, "list")
    assert len(item.embedding) == 1024
    assert np.isclose(np.linalg.norm(item.embedding), 1, atol=1e-6)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 2


def test_encodings_agree(client: openai.OpenAI) -> None:
    """Decoded by the client, by hand, and sent as numbers: the same vectors in the same order."""
    texts = ["a", "b", "中文", "a"]
    default = client.embeddings.create(model=MODEL, input=texts)
    floats = client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
    packed = client.embeddings.create(model=MODEL, input=texts, encoding_format="base64")
    expected = np.array([item.embedding for item in floats.data], np.float32)
    np.testing.assert_array_equal(
        np.array([item.embedding for item in default.data], np.float32), expected
    )
    by_hand = [np.frombuffer(base64.b64decode(str(item.embedding)), "<f4") for item in packed.data]
    np.testing.assert_array_equal(by_hand, expected)
    assert len(np.unique(expected, axis=0)) == 3


@pytest.mark.parametrize("dimensions", [64, 100, 2048])
def test_dimensions_are_honoured(client: openai.OpenAI, dimensions: int) -> None:
    """Every dimension that the model offers is served."""
    answer = client.embeddings.create(model=MODEL, input=["a", "b"], dimensions=dimensions)
    assert [len(item.embedding) for item in answer.data] == [dimensions] * 2


def test_large_request_is_answered_whole(client: openai.OpenAI) -> None:
    """As many inputs as other clients send at once come back, each with its vector."""
    texts = [f"text {number}" for number in range(2048)]
    answer = client.embeddings.create(model=MODEL, input=texts, dimensions=64)
    assert [item.index for item in answer.data] == list(range(2048))
    (alone,) = client.embeddings.create(model=MODEL, input="text 2047", dimensions=64).data
    assert answer.data[2047].embedding == alone.embedding


def test_lines_of_a_file_are_texts(client: openai.OpenAI, tmp_path: Any) -> None:
    """A file handle is a list of lines to the client; a line with only its end is a text too."""
    path = tmp_path / "texts.txt"
    path.write_text("line one\n第二行\n\nline four\n", encoding="utf-8")
    with path.open(encoding="utf-8") as lines:
        answer = client.embeddings.create(model=MODEL, input=lines, dimensions=64)  # type: ignore[arg-type]
    assert len(answer.data) == 4


def test_extras_in_the_body_do_no_harm(client: openai.OpenAI) -> None:
    """What the dialect does not have is ignored, as the hosted service does."""
    plain = client.embeddings.create(model=MODEL, input="a", user="u")
    extra = client.embeddings.create(
        model=MODEL,
        input="a",
        extra_body={"text_type": "query", "instruct": "x", "dimension": "512", "output_type": "d"},
    )
    assert len(plain.data[0].embedding) == len(extra.data[0].embedding) == 1024


@pytest.mark.parametrize(
    ("arguments", "param", "words"),
    [
        ({"input": ["a", ""]}, "input", "Range of input length should be [1, 8192]: input 1 "),
        ({"input": "x " * 8193}, "input", "Range of input length should be [1, 8192]: input 0 "),
        ({"input": []}, "input", "Required input parameter missing"),
        ({"input": [[15339, 1917]]}, "input", "check_embedding_ctx_length=False"),
        ({"input": [15339, 1917]}, "input", "check_embedding_ctx_length=False"),
        ({"input": "a", "dimensions": 3000}, "dimensions", "dimension for embedding v4"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", "'float' or 'base64'"),
    ],
)
def test_bad_input_is_a_bad_request(
    client: openai.OpenAI, arguments: dict[str, Any], param: str, words: str
) -> None:
    """The client's own exception carries the parameter, the code, the words and the id."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=MODEL, **arguments)
    assert words in caught.value.message
    assert (caught.value.param, caught.value.code) == (param, "InvalidParameter")
    assert caught.value.request_id
    assert caught.value.request_id == caught.value.response.headers["x-request-id"]


def test_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    """A model that is not in the catalogue is the client's NotFoundError, in both calls."""
    with pytest.raises(openai.NotFoundError, match="The model gpt does not exist") as caught:
        client.embeddings.create(model="gpt", input="a")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError, match="The model a/b does not exist"):
        client.models.retrieve("a/b")


def test_models_are_listed_with_their_weights(client: openai.OpenAI) -> None:
    """The client reads the list and each card; the weights are in an extra field."""
    cards = list(client.models.list())
    assert [card.id for card in cards] == list(MODELS)
    for card in cards:
        assert client.models.retrieve(card.id) == card
        assert (card.model_extra or {})["milvane"]["weights"] == SERVED_BY.get(card.id)


async def test_asynchronous_client_is_served_too(address: str) -> None:
    """The asynchronous client gets what the synchronous one gets."""
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="any") as client:
        answer = await client.embeddings.create(model=MODEL, input=["a", "b"])
        assert [item.index for item in answer.data] == [0, 1]


class BusyEngine(HashingEngine):
    """Is overloaded for a number of calls, then works."""

    def __init__(self, *, refusals: int) -> None:
        super().__init__()
        self._refusals = refusals

    async def embed(self, *args: Any, **keywords: Any) -> Any:
        """Refuse or embed."""
        if self._refusals:
            self._refusals -= 1
            raise Overloaded("the queue is full", retry_after_s=0.001)
        return await super().embed(*args, **keywords)


def test_overload_is_a_rate_limit_that_passes() -> None:
    """The client waits as long as it is told, and succeeds when the server can work again."""
    with served(BusyEngine(refusals=2)) as address:
        with (
            openai_client(f"{address}/v1") as impatient,
            pytest.raises(openai.RateLimitError) as caught,
        ):
            impatient.embeddings.create(model=MODEL, input="a")
        assert caught.value.code == "limit_requests"
        assert caught.value.response.headers["retry-after-ms"] == "1"
        with openai_client(f"{address}/v1", max_retries=1) as patient:
            assert patient.embeddings.create(model=MODEL, input="a").data


class BrokenEngine(HashingEngine):
    """Has a defect."""

    async def embed(self, *_: Any, **__: Any) -> NoReturn:
        """Fail."""
        raise RuntimeError("a secret")


def test_defect_is_an_internal_server_error() -> None:
    """The client sees its own exception with an id, and nothing of the defect."""
    with (
        served(BrokenEngine()) as address,
        openai_client(f"{address}/v1") as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.embeddings.create(model=MODEL, input="a")
    assert caught.value.request_id
    assert "secret" not in caught.value.response.text


class HangingEngine(HashingEngine):
    """Never finishes, and says when it is started and cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.started = threading.Event()
        self.cancelled = threading.Event()

    async def embed(self, *_: Any, **__: Any) -> NoReturn:
        """Wait to be cancelled."""
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        raise AssertionError


def test_caller_who_hangs_up_stops_the_work() -> None:
    """A closed connection cancels what was computed for it."""
    engine = HangingEngine()
    body = b'{"model":"text-embedding-v4","input":"a"}'
    with served(engine) as address:
        url = httpx.URL(address)
        with socket.create_connection((url.host, url.port)) as connection:
            connection.sendall(
                b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
                % (len(body), body)
            )
            assert engine.started.wait(30)
        assert engine.cancelled.wait(30)


def announced() -> bytes:
    """Give a body whose size is in the header."""
    return b"x" * (8 * MAX_BODY_BYTES)


def unannounced() -> Iterator[bytes]:
    """Give a body in chunks."""
    for _ in range(80):
        yield b"x" * (MAX_BODY_BYTES // 10)


@pytest.mark.parametrize("body", [announced, unannounced])
def test_too_large_a_body_is_refused_while_it_is_sent(address: str, body: Any) -> None:
    """The caller gets the refusal rather than a broken connection, and can go on afterwards."""
    with httpx.Client(base_url=address) as http:
        answer = http.post("/v1/embeddings", content=body())
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "BadRequest.TooLarge"
        assert http.get("/health/live").status_code == 200
