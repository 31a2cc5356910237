"""Every provider against a server that plays it: the exact request, and every way to fail."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, quote

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from milvane.domain.errors import InvalidInput, ProviderRefused, ProviderUnavailable
from milvane.domain.models import Purpose
from milvane.domain.providers import ProviderFunction, Spending, VectorField, VectorKind
from milvane.providers.calling import Clock
from milvane.providers.service import ProviderService
from milvane.providers.settings import ProvidersSettings
from milvane.providers.table import PROVIDERS
from milvane.testing.provider_servers import (
    DIMENSION,
    TOKEN,
    ProviderServer,
    Reply,
    Trouble,
    int8_vector_of,
    vector_of,
)

KEY = "sk-a-secret-of-the-operator-123"
KEY_ID, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG"
AT = datetime(2026, 5, 4, 12, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Case:
    """What a provider is asked in a function's parameters, and what it must be sent."""

    params: Mapping[str, str]
    path: str
    document: Any
    """The body for the texts `one` and `two` of a batch, as rows."""
    query: Any
    """The body for the same texts, as queries."""
    header: tuple[str, str] = ("authorization", f"Bearer {KEY}")
    kind: VectorKind = VectorKind.FLOAT
    batch: int = 2
    """Texts of one body above."""
    own_url: bool = True
    """Whether the parameters themselves say where to call."""


def _openai(**more: Any) -> dict[str, Any]:
    return {"model": "m", "input": ["one", "two"], **more, "encoding_format": "float"}


def _dashscope(text_type: str) -> dict[str, Any]:
    return {
        "model": "text-embedding-v4",
        "input": {"texts": ["one", "two"]},
        "parameters": {"text_type": text_type, "dimension": DIMENSION, "output_type": "dense"},
    }


def _voyageai(input_type: str, dtype: str) -> dict[str, Any]:
    return {
        "model": "m",
        "input": ["one", "two"],
        "input_type": input_type,
        "truncation": True,
        "output_dimension": DIMENSION,
        "output_dtype": dtype,
    }


def _cohere(input_type: str, kind: str) -> dict[str, Any]:
    return {
        "model": "embed-v4.0",
        "texts": ["one", "two"],
        "input_type": input_type,
        "embedding_types": [kind],
        "truncate": "START",
        "output_dimension": DIMENSION,
    }


def _vertexai(task_type: str) -> dict[str, Any]:
    return {
        "instances": [{"task_type": task_type, "content": text} for text in ("one", "two")],
        "parameters": {"outputDimensionality": DIMENSION},
    }


def _gemini(task_type: str) -> dict[str, Any]:
    return {
        "requests": [
            {
                "model": "models/gemini-embedding-001",
                "content": {"parts": [{"text": text}]},
                "taskType": task_type,
                "outputDimensionality": DIMENSION,
            }
            for text in ("one", "two")
        ]
    }


DIM = {"dim": str(DIMENSION)}
VERTEX_PATH = "/v1/projects/p/locations/europe-west4/publishers/google/models"
CASES: Mapping[str, Case] = {
    "openai": Case(
        params={"model_name": "m", "user": "u", **DIM},
        path="/v1/embeddings",
        document=_openai(user="u", dimensions=DIMENSION),
        query=_openai(user="u", dimensions=DIMENSION),
    ),
    "azure_openai": Case(
        params={"model_name": "m"},
        path="/openai/deployments/m/embeddings?api-version=2024-06-01",
        header=("api-key", KEY),
        document=_openai(),
        query=_openai(),
    ),
    "siliconflow": Case(
        params={"model_name": "m", **DIM},
        path="/v1/embeddings",
        document=_openai(dimensions=DIMENSION),
        query=_openai(dimensions=DIMENSION),
    ),
    "dashscope": Case(
        params={"model_name": "text-embedding-v4", **DIM},
        path="/api/v1/services/embeddings/text-embedding/text-embedding",
        document=_dashscope("document"),
        query=_dashscope("query"),
    ),
    "bedrock": Case(
        params={"model_name": "amazon.titan-embed-text-v2:0", "region": "us-east-1", **DIM},
        path="/model/amazon.titan-embed-text-v2%3A0/invoke",
        header=("content-type", "application/json"),
        document={"inputText": "one", "dimensions": DIMENSION, "normalize": True},
        query={"inputText": "one", "dimensions": DIMENSION, "normalize": True},
        batch=1,
    ),
    "vertexai": Case(
        params={
            "model_name": "text-embedding-005",
            "projectid": "p",
            "location": "europe-west4",
            **DIM,
        },
        path=f"{VERTEX_PATH}/text-embedding-005:predict",
        header=("authorization", f"Bearer {TOKEN}"),
        document=_vertexai("RETRIEVAL_DOCUMENT"),
        query=_vertexai("RETRIEVAL_QUERY"),
    ),
    "voyageai": Case(
        params={"model_name": "m", "truncation": "true", **DIM},
        path="/v1/embeddings",
        document=_voyageai("document", "float"),
        query=_voyageai("query", "float"),
    ),
    "cohere": Case(
        params={"model_name": "embed-v4.0", "truncate": "START", **DIM},
        path="/v2/embed",
        header=("authorization", f"bearer {KEY}"),
        document=_cohere("search_document", "float"),
        query=_cohere("search_query", "float"),
    ),
    "tei": Case(
        params={
            "ingestion_prompt": "passage: ",
            "search_prompt": "query: ",
            "truncate": "true",
            "truncation_direction": "Left",
            **DIM,
        },
        path="/embed",
        document={
            "inputs": ["passage: one", "passage: two"],
            "truncate": True,
            "truncation_direction": "Left",
            "dimensions": DIMENSION,
        },
        query={
            "inputs": ["query: one", "query: two"],
            "truncate": True,
            "truncation_direction": "Left",
            "dimensions": DIMENSION,
        },
    ),
    "gemini": Case(
        params={"model_name": "models/gemini-embedding-001", **DIM},
        path="/v1beta/models/gemini-embedding-001:batchEmbedContents",
        header=("x-goog-api-key", KEY),
        document=_gemini("RETRIEVAL_DOCUMENT"),
        query=_gemini("RETRIEVAL_QUERY"),
    ),
    "huggingface": Case(
        params={"model_name": "org/model", "normalize": "true", "prompt_name": "query"},
        path="/hf-inference/models/org/model/pipeline/feature-extraction",
        document={"inputs": ["one", "two"], "normalize": True, "prompt_name": "query"},
        query={"inputs": ["one", "two"], "normalize": True, "prompt_name": "query"},
    ),
    "yc": Case(
        params={"model_name": "emb://folder/text-search-doc/latest"},
        path="/foundationModels/v1/textEmbedding",
        header=("authorization", f"Api-Key {KEY}"),
        document={"modelUri": "emb://folder/text-search-doc/latest", "texts": ["one", "two"]},
        query={"modelUri": "emb://folder/text-search-doc/latest", "texts": ["one", "two"]},
    ),
}


@dataclass
class Hand:
    """A clock that a test moves: sleeping takes no time, and is remembered."""

    now_s: float = 1000.0
    slept_s: list[float] = field(default_factory=list)

    async def sleep(self, wait_s: float) -> None:
        """Move on at once."""
        self.slept_s.append(wait_s)
        self.now_s += wait_s

    def clock(self) -> Clock:
        """Show the time, without chance."""
        return Clock(
            monotonic=lambda: self.now_s,
            now=lambda: AT,
            sleep=self.sleep,
            jitter=lambda: 0.0,
        )


@pytest.fixture(scope="module")
def google_key() -> dict[str, str]:
    """Make a service account key; where its tokens come from is put in later."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return {"client_email": "robot@p.example", "private_key": pem.decode(), "private_key_id": "1"}


@pytest.fixture(params=sorted(PROVIDERS))
def provider(request: pytest.FixtureRequest) -> str:
    """Take every provider of the table."""
    return str(request.param)


@pytest.fixture
def server(provider: str) -> Iterator[ProviderServer]:
    """Play the provider."""
    with ProviderServer(provider) as server:
        yield server


@dataclass
class Bench:
    """A service of providers, and the server that one of them is."""

    service: ProviderService
    server: ProviderServer
    function: ProviderFunction
    hand: Hand
    spending: Spending = field(default_factory=Spending)

    async def embed(
        self, *texts: str, purpose: Purpose = Purpose.DOCUMENT, **params: str
    ) -> np.ndarray:
        """Embed with the case's function, and more parameters."""
        function = ProviderFunction(
            self.function.provider, {**self.function.params, **params}, self.function.output
        )
        return await self.service.embed(function, texts, purpose=purpose, spending=self.spending)


@asynccontextmanager
async def a_bench(
    provider: str, server: ProviderServer, google_key: dict[str, str], **settings: Any
) -> AsyncIterator[Bench]:
    """Build the bench; the secrets stand in the settings, under labels."""
    document = json.dumps({**google_key, "token_uri": f"{server.url}/token"}).encode()
    credential = {
        "label": {
            "apikey": KEY,
            "access_key_id": KEY_ID,
            "secret_access_key": SECRET,
            "credential_json": base64.b64encode(document).decode(),
        }
    }
    section = ProvidersSettings.model_validate(
        {"credential": credential, "trusted_urls": [server.url], **settings}
    )
    hand = Hand()
    case = CASES[provider]
    function = ProviderFunction(
        provider,
        {"credential": "Label", "url": server.url, **case.params},
        VectorField("dense", DIMENSION, case.kind),
    )
    async with ProviderService(section, environment={}, clock=hand.clock()) as service:
        yield Bench(service, server, function, hand)


@pytest.fixture
async def bench(
    provider: str, server: ProviderServer, google_key: dict[str, str]
) -> AsyncIterator[Bench]:
    """Put a service before the server."""
    async with a_bench(provider, server, google_key) as bench:
        yield bench


def test_every_provider_is_held_to_this_suite() -> None:
    """A new row of the table needs a case."""
    assert set(CASES) == set(PROVIDERS)


@pytest.mark.parametrize("purpose", Purpose)
async def test_request_is_exactly_what_the_provider_documents(
    bench: Bench, purpose: Purpose
) -> None:
    """Path, proof of identity and body; and the vectors belong to their texts."""
    case = CASES[bench.function.provider]
    vectors = await bench.embed("one", "two", purpose=purpose)
    request = min(bench.server.received, key=lambda sent: bench.server.script.texts(sent.body))
    assert request.path == case.path
    assert request.headers[case.header[0]] == case.header[1]
    assert request.headers["content-type"] == "application/json"
    assert request.body == (case.query if purpose is Purpose.QUERY else case.document)
    prompts = [text for texts in bench.server.texts for text in texts]
    np.testing.assert_array_equal(vectors, [vector_of(text) for text in sorted(prompts)])
    assert vectors.dtype == np.float32


async def test_texts_are_cut_into_batches_and_stay_in_order(bench: Bench) -> None:
    """No request is above the provider's cap, and no text is sent twice or lost."""
    texts = [f"text {number:03}" for number in range(150)]
    vectors = await bench.embed(*texts, ingestion_prompt="")
    sent = bench.server.texts
    case = CASES[bench.function.provider]
    caps = {"dashscope": 10, "siliconflow": 32, "tei": 32, "gemini": 32, "cohere": 96, "bedrock": 1}
    assert max(map(len, sent)) == caps.get(bench.function.provider, 128)
    assert sorted(text for batch in sent for text in batch) == texts
    np.testing.assert_array_equal(vectors, [vector_of(text) for text in texts])
    assert case.batch <= max(map(len, sent))


async def test_tokens_are_those_that_the_provider_states(bench: Bench) -> None:
    """The sum over all batches; a failed attempt says nothing, and some providers never do."""
    bench.server.play(Reply(status=503))
    await bench.embed(*["one two three"] * 150, ingestion_prompt="")
    says_nothing = bench.function.provider == "huggingface"
    assert bench.spending.tokens == (0 if says_nothing else 450)


async def test_passing_failure_is_tried_again(bench: Bench) -> None:
    """Two failures and an answer are an answer, with a longer pause each time."""
    bench.server.play(Reply(status=503), Trouble.DROP)
    vectors = await bench.embed("one", ingestion_prompt="")
    np.testing.assert_array_equal(vectors, [vector_of("one")])
    assert bench.hand.slept_s == [1.0, 2.0]


async def test_wait_that_the_provider_asks_for_is_kept(bench: Bench) -> None:
    """`Retry-After` counts, in seconds and as a date."""
    date = format_datetime(AT + timedelta(seconds=11), usegmt=True)
    bench.server.play(
        Reply(status=429, headers={"Retry-After": "7"}),
        Reply(status=429, headers={"Retry-After": date}),
    )
    await bench.embed("one")
    assert bench.hand.slept_s == [7.0, 11.0]


async def test_wait_beyond_the_time_limit_is_not_begun(bench: Bench) -> None:
    """Who would be answered too late is told at once."""
    bench.server.play(Reply(429, b"slow down", {"Retry-After": "60"}))
    with pytest.raises(ProviderUnavailable) as caught:
        await bench.embed("one")
    assert caught.value.message == "call service failed, errs:[429 Too Many Requests, slow down]"
    assert bench.hand.slept_s == []


@pytest.mark.parametrize("status", [400, 401, 404, 422, 501])
async def test_permanent_refusal_is_not_tried_again(bench: Bench, status: int) -> None:
    """The same request would be refused again; what is said is passed on."""
    bench.server.play(Reply(status, b'{"error": "no such thing"}'))
    with pytest.raises(ProviderRefused) as caught:
        await bench.embed("one")
    assert len(bench.server.received) == 1
    assert f"call service failed, errs:[{status} " in caught.value.message
    assert '{"error": "no such thing"}]' in caught.value.message
    assert not caught.value.retryable


async def test_secret_that_a_provider_repeats_is_not_shown(bench: Bench) -> None:
    """Not even the provider's own words carry it on."""
    bench.server.play(Reply(401, f"wrong key: {KEY} {SECRET} {KEY_ID}".encode()))
    with pytest.raises(ProviderRefused) as caught:
        await bench.embed("one")
    secrets = {"bedrock": (SECRET, KEY_ID), "vertexai": ()}
    for secret in secrets.get(bench.function.provider, (KEY,)):
        assert secret not in caught.value.message


async def test_lasting_failure_is_told_with_the_url(
    provider: str, google_key: dict[str, str]
) -> None:
    """After the last attempt the message says who did not answer."""
    with ProviderServer(provider) as gone:
        pass
    async with a_bench(provider, gone, google_key) as bench:
        with pytest.raises(ProviderUnavailable) as caught:
            await bench.embed("one")
    assert f'call service failed, errs:[Post "{gone.url}' in caught.value.message
    assert bench.hand.slept_s == [1.0, 2.0]


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (Trouble.BAD_JSON, "call service failed, unmarshal response failed, errs:["),
        (Trouble.NO_VECTORS, "call service failed, unmarshal response failed, errs:["),
        (
            Trouble.WRONG_DIMENSION,
            "the required embedding dim is [8], but the embedding obtained from the model is [9]",
        ),
        (
            Trouble.WRONG_COUNT,
            "get embedding failed, the number of texts and embeddings does not match text:[2], "
            "embedding:[1]",
        ),
    ],
)
async def test_reply_that_is_none_is_refused(bench: Bench, trouble: Trouble, message: str) -> None:
    """Nothing that does not fit the field is taken, and asking again would not help."""
    if trouble is Trouble.WRONG_COUNT and CASES[bench.function.provider].batch == 1:
        pytest.skip("its reply has room for one vector only")
    bench.server.play(trouble)
    with pytest.raises(ProviderRefused) as caught:
        await bench.embed("one", "two")
    assert message in caught.value.message
    assert bench.hand.slept_s == []


async def test_caller_that_leaves_ends_the_request(
    provider: str, server: ProviderServer, google_key: dict[str, str]
) -> None:
    """A cancelled call closes its connection, and says nothing of the server's health."""
    async with a_bench(provider, server, google_key, breaker_failures=1) as bench:
        server.play(Trouble.HANG)
        call = asyncio.create_task(bench.embed("one"))
        await asyncio.to_thread(server.hanging.wait, 5)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await asyncio.to_thread(server.abandoned.wait, 5)
        await bench.embed("two")


async def test_silent_server_is_left_after_the_functions_own_time(bench: Bench) -> None:
    """`timeout_ms` ends a call that nobody answers, with the words of a passed deadline."""
    bench.server.play(*[Trouble.HANG] * 3)
    with pytest.raises(ProviderUnavailable) as caught:
        await bench.embed("one", timeout_ms="100")
    assert f'Post "{bench.server.url}' in caught.value.message
    assert "context deadline exceeded" in caught.value.message
    assert len(bench.server.received) <= 1
    assert bench.hand.slept_s == []


async def test_sick_server_is_left_alone_until_a_probe_succeeds(
    provider: str, server: ProviderServer, google_key: dict[str, str]
) -> None:
    """After enough failures in a row nothing is sent for a while; then one request finds out."""
    limits = {"breaker_failures": 3, "breaker_open_s": 10.0}
    async with a_bench(provider, server, google_key, **limits) as bench:
        server.play(*[Reply(500, b"oh")] * 3)
        with pytest.raises(ProviderUnavailable):
            await bench.embed("one")
        with pytest.raises(ProviderUnavailable) as caught:
            await bench.embed("one")
        assert f"{server.url} failed 3 times in a row" in caught.value.message
        assert "500 Internal Server Error, oh" in caught.value.message
        assert len(server.received) == 3
        bench.hand.now_s += 10.0
        await bench.embed("one")
        assert len(server.received) == 4


async def test_function_names_its_credential_in_any_case(bench: Bench) -> None:
    """A label that is not there is told in Milvus's words."""
    await bench.embed("one", credential="LABEL")
    kind = PROVIDERS[bench.function.provider].credential.value
    with pytest.raises(InvalidInput, match=f"^other is not a {kind} crediential, can not find key"):
        await bench.embed("one", credential="other")


async def test_credential_is_not_sent_where_only_the_function_points(
    provider: str, server: ProviderServer, google_key: dict[str, str]
) -> None:
    """Who may create a collection cannot have the operator's secrets sent to a server of theirs."""
    async with a_bench(provider, server, google_key, trusted_urls=[]) as bench:
        with pytest.raises(InvalidInput, match=r"ask the operator to add its address"):
            await bench.embed("one")
        await bench.embed("one", credential="")
    (request,) = server.received
    assert not {"authorization", "api-key", "x-goog-api-key"} & set(request.headers)


@pytest.mark.parametrize("provider", ["voyageai", "cohere"])
async def test_whole_numbers_are_asked_for_where_the_field_holds_them(
    provider: str, server: ProviderServer, google_key: dict[str, str]
) -> None:
    """An INT8_VECTOR field gets the provider's own int8 vectors."""
    async with a_bench(provider, server, google_key) as bench:
        function = ProviderFunction(
            provider, bench.function.params, VectorField("dense", DIMENSION, VectorKind.INT8)
        )
        vectors = await bench.service.embed(function, ["one"], purpose=Purpose.DOCUMENT)
    np.testing.assert_array_equal(vectors, [int8_vector_of("one")])
    assert vectors.dtype == np.int8


@pytest.mark.parametrize("provider", ["bedrock"])
async def test_amazons_signature_is_one_that_amazon_computes_too(bench: Bench) -> None:
    """Signature Version 4 of path, headers and body, by its published rules."""
    await bench.embed("one")
    (request,) = bench.server.received
    stamp = request.headers["x-amz-date"]
    scope = f"{stamp[:8]}/us-east-1/bedrock/aws4_request"
    start, _, signature = request.headers["authorization"].rpartition("Signature=")
    names = start.partition("SignedHeaders=")[2].rstrip(", ").split(";")
    assert {"host", "x-amz-date"} <= set(names)
    canonical = "\n".join(
        [
            "POST",
            quote(request.path),
            "",
            *(f"{name}:{request.headers[name]}" for name in names),
            "",
            ";".join(names),
            hashlib.sha256(request.content).hexdigest(),
        ]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{SECRET}".encode()
    for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    assert signature == key.hex()
    assert start.startswith(f"AWS4-HMAC-SHA256 Credential={KEY_ID}/{scope}")


@pytest.mark.parametrize("provider", ["vertexai"])
async def test_googles_token_is_fetched_once_while_it_lasts(bench: Bench) -> None:
    """A signed statement is exchanged for a token, which serves until shortly before its end."""
    await bench.embed("one")
    await bench.embed("two")
    bench.hand.now_s += 3600
    await bench.embed("three")
    assert len(bench.server.token_requests) == 2
    form = parse_qs(bench.server.token_requests[0].content.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    claims = form["assertion"][0].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    assert (claims["iss"], claims["aud"]) == ("robot@p.example", f"{bench.server.url}/token")


@pytest.mark.parametrize("provider", ["openai"])
async def test_batches_of_one_request_are_bounded(
    provider: str, server: ProviderServer, google_key: dict[str, str]
) -> None:
    """No more batches are under way than the operator allows, and a failure stops the rest."""
    async with a_bench(provider, server, google_key, max_concurrent_batches=2) as bench:
        server.play(Trouble.HANG, Trouble.HANG)
        call = asyncio.create_task(bench.embed(*(str(number) for number in range(1000))))
        await asyncio.to_thread(server.hanging.wait, 5)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert len(server.received) <= 2
        server.clear()
        server.play(*[Reply(400)] * 2)
        with pytest.raises(ProviderRefused):
            await bench.embed(*(str(number) for number in range(1000)))
        assert len(server.received) <= 3


async def test_sick_server_does_not_hold_up_another(google_key: dict[str, str]) -> None:
    """While one server hangs with all its places taken, the other one answers."""
    with ProviderServer("tei") as sick, ProviderServer("tei") as well:
        async with a_bench("tei", sick, google_key, max_concurrent_per_endpoint=1) as bench:
            sick.play(Trouble.HANG)
            first = asyncio.create_task(bench.embed("one"))
            await asyncio.to_thread(sick.hanging.wait, 5)
            second = asyncio.create_task(bench.embed("waits"))
            await bench.embed("two", url=well.url, credential="")
            assert not first.done()
            assert not second.done()
            first.cancel()
            await second
            with pytest.raises(asyncio.CancelledError):
                await first
