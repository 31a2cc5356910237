"""What each provider is asked, as values: parameters in, URL, batch cap, body or refusal out."""

from __future__ import annotations

from typing import Any

import pytest

from milvane.domain.errors import InvalidInput
from milvane.domain.models import Purpose
from milvane.domain.providers import ProviderFunction, VectorField, VectorKind
from milvane.providers.dialect import Dialect, OperatorEntry, UnreadableReply
from milvane.providers.table import PROVIDERS

FIELD = VectorField("dense", 8)
INT8_FIELD = VectorField("dense", 8, VectorKind.INT8)
ROUTER = "https://router.huggingface.co/hf-inference/models"
GENERATIVE = "https://generativelanguage.googleapis.com/v1beta/models"
NEEDED = {
    "bedrock": {"region": "us-east-1"},
    "tei": {"endpoint": "http://tei"},
    "azure_openai": {"url": "https://r.openai.azure.com"},
}


def open_dialect(
    provider: str, *, field: VectorField = FIELD, entry: OperatorEntry | None = None, **params: str
) -> Dialect:
    """Read a function's parameters."""
    function = ProviderFunction(provider, {"provider": provider, **params}, field)
    return PROVIDERS[provider].open(function, entry or OperatorEntry())


def body(dialect: Dialect, *texts: str, purpose: Purpose = Purpose.DOCUMENT) -> Any:
    """Build a body for one text, or these."""
    return dialect.body(texts or ("a",), purpose)


@pytest.mark.parametrize(
    ("provider", "params", "url"),
    [
        (
            "dashscope",
            {},
            "https://dashscope.aliyuncs.com/api/v1/services/embeddings/text-embedding/text-embedding",
        ),
        ("openai", {}, "https://api.openai.com/v1/embeddings"),
        ("siliconflow", {}, "https://api.siliconflow.cn/v1/embeddings"),
        ("voyageai", {}, "https://api.voyageai.com/v1/embeddings"),
        ("cohere", {}, "https://api.cohere.com/v2/embed"),
        ("yc", {}, "https://llm.api.cloud.yandex.net/foundationModels/v1/textEmbedding"),
        ("gemini", {}, f"{GENERATIVE}/m:batchEmbedContents"),
        ("huggingface", {}, f"{ROUTER}/m/pipeline/feature-extraction"),
        (
            "bedrock",
            {"region": "eu-west-1"},
            "https://bedrock-runtime.eu-west-1.amazonaws.com/model/m/invoke",
        ),
        (
            "vertexai",
            {"projectid": "p"},
            "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1"
            "/publishers/google/models/m:predict",
        ),
    ],
)
def test_provider_has_an_address_of_its_own(
    provider: str, params: dict[str, str], url: str
) -> None:
    """Without a URL the vendor's own one is called."""
    assert open_dialect(provider, model_name="m", **params).url == url


@pytest.mark.parametrize(
    ("provider", "given", "url"),
    [
        ("openai", "http://vllm:8000", "http://vllm:8000/v1/embeddings"),
        ("openai", "http://vllm:8000/v1/", "http://vllm:8000/v1/embeddings"),
        ("openai", "http://vllm:8000/special?x=1", "http://vllm:8000/special?x=1"),
        ("siliconflow", "http://h/v1", "http://h/v1/embeddings"),
        ("tei", "http://tei:80", "http://tei:80/embed"),
        ("tei", "http://tei:80/prefix/", "http://tei:80/prefix/embed"),
        ("tei", "http://tei:80/prefix/embed", "http://tei:80/prefix/embed"),
        (
            "dashscope",
            "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
            "https://dashscope-intl.aliyuncs.com"
            "/api/v1/services/embeddings/text-embedding/text-embedding",
        ),
        (
            "azure_openai",
            "https://r.openai.azure.com/whatever",
            "https://r.openai.azure.com/openai/deployments/m/embeddings?api-version=2024-06-01",
        ),
        (
            "huggingface",
            "http://h/p",
            "http://h/p/hf-inference/models/m/pipeline/feature-extraction",
        ),
        ("cohere", "http://h/own/path", "http://h/own/path"),
    ],
)
def test_url_of_a_function_or_of_the_operator_is_completed(
    provider: str, given: str, url: str
) -> None:
    """A base URL gets the path that the provider's requests need; the function's URL wins."""
    assert open_dialect(provider, model_name="m", url=given).url == url
    entry = OperatorEntry(url=given)
    assert open_dialect(provider, model_name="m", entry=entry).url == url
    other = OperatorEntry(url="http://other")
    assert open_dialect(provider, model_name="m", url=given, entry=other).url == url


def test_endpoint_of_tei_loses_its_path_as_in_milvus() -> None:
    """Milvus replaces the path of an `endpoint`, and existing functions rely on it."""
    assert open_dialect("tei", endpoint="http://tei:80/some/path").url == "http://tei:80/embed"


def test_azure_finds_its_resource_by_name() -> None:
    """A resource's name is its host's first part, and a model's name cannot leave its place."""
    entry = OperatorEntry(resource_name="mine")
    dialect = open_dialect("azure_openai", model_name="../x", entry=entry)
    assert dialect.url == (
        "https://mine.openai.azure.com/openai/deployments/..%2Fx/embeddings?api-version=2024-06-01"
    )


@pytest.mark.parametrize(
    ("provider", "model", "cap"),
    [
        ("dashscope", "text-embedding-v4", 10),
        ("dashscope", "text-embedding-v3", 10),
        ("dashscope", "text-embedding-v2", 25),
        ("dashscope", "text-embedding-v1", 25),
        ("dashscope", "text-embedding-of-tomorrow", 10),
        ("openai", "m", 128),
        ("azure_openai", "m", 128),
        ("bedrock", "m", 1),
        ("vertexai", "text-embedding-005", 128),
        ("vertexai", "gemini-embedding-2", 1),
        ("voyageai", "m", 128),
        ("cohere", "m", 96),
        ("siliconflow", "m", 32),
        ("tei", "m", 32),
        ("gemini", "m", 32),
        ("huggingface", "m", 128),
        ("yc", "m", 128),
    ],
)
def test_batch_cap_is_the_providers_own(provider: str, model: str, cap: int) -> None:
    """A request never has more texts than the API takes."""
    params = NEEDED.get(provider, {})
    assert open_dialect(provider, model_name=model, **params).max_batch_texts == cap


@pytest.mark.parametrize("provider", ["tei", "huggingface"])
def test_batch_cap_of_ones_own_server_may_be_set(provider: str) -> None:
    """`max_client_batch_size` is the server's own limit."""
    params = {**NEEDED.get(provider, {}), "max_client_batch_size": "7"}
    assert open_dialect(provider, model_name="m", **params).max_batch_texts == 7


def test_parameters_that_are_not_given_are_not_sent() -> None:
    """The provider's defaults stay the provider's; a dimension of 0 is none."""
    assert body(open_dialect("openai", model_name="m", dim="0")) == {
        "model": "m",
        "input": ["a"],
        "encoding_format": "float",
    }
    assert body(open_dialect("tei", endpoint="http://tei")) == {"inputs": ["a"]}
    assert body(open_dialect("dashscope", model_name="m"))["parameters"] == {
        "text_type": "document",
        "output_type": "dense",
    }
    assert body(open_dialect("huggingface", model_name="m")) == {"inputs": ["a"]}
    assert body(open_dialect("vertexai", model_name="m"))["parameters"] == {}


def test_whole_numbers_are_asked_for_by_the_fields_kind() -> None:
    """Voyage and Cohere are told what the field holds."""
    voyage = open_dialect("voyageai", field=INT8_FIELD, model_name="m")
    assert body(voyage)["output_dtype"] == "int8"
    assert body(voyage)["truncation"] is False
    cohere = open_dialect("cohere", field=INT8_FIELD, model_name="m")
    assert body(cohere)["embedding_types"] == ["int8"]
    assert body(cohere)["truncate"] == "END"
    assert cohere.vectors({"embeddings": {"int8": [[1]], "float": [[0.5]]}}) == [[1]]


def test_old_models_of_cohere_know_no_input_type() -> None:
    """A name that ends in v2.0 is sent none."""
    old = open_dialect("cohere", model_name="embed-english-v2.0")
    assert "input_type" not in body(old)
    assert body(open_dialect("cohere", model_name="m"), purpose=Purpose.QUERY)["input_type"] == (
        "search_query"
    )


@pytest.mark.parametrize(
    ("task", "document", "query"),
    [
        ("DOC_RETRIEVAL", "RETRIEVAL_DOCUMENT", "RETRIEVAL_QUERY"),
        ("CODE_RETRIEVAL", "RETRIEVAL_DOCUMENT", "CODE_RETRIEVAL_QUERY"),
        ("STS", "SEMANTIC_SIMILARITY", "SEMANTIC_SIMILARITY"),
    ],
)
def test_task_of_vertex_decides_both_sides(task: str, document: str, query: str) -> None:
    """Rows and queries get the task types that belong together, in both of its dialects."""
    for model, find in (
        ("text-embedding-005", lambda sent: sent["instances"][0]["task_type"]),
        ("gemini-embedding-2", lambda sent: sent["taskType"]),
    ):
        dialect = open_dialect("vertexai", model_name=model, task=task)
        assert find(body(dialect)) == document
        assert find(body(dialect, purpose=Purpose.QUERY)) == query


def test_gemini_models_of_vertex_take_one_content() -> None:
    """They have another method, another body and another reply."""
    dialect = open_dialect("vertexai", model_name="gemini-embedding-2", dim="8")
    assert dialect.url.endswith("gemini-embedding-2:embedContent")
    assert body(dialect) == {
        "content": {"parts": [{"text": "a"}]},
        "taskType": "RETRIEVAL_DOCUMENT",
        "outputDimensionality": 8,
    }
    assert dialect.vectors({"embedding": {"values": [1.0]}}) == [[1.0]]


def test_task_of_gemini_stands_for_both_sides() -> None:
    """A task that is named is sent as it is."""
    dialect = open_dialect("gemini", model_name="m", task="CLUSTERING")
    for purpose in Purpose:
        assert body(dialect, purpose=purpose)["requests"][0]["taskType"] == "CLUSTERING"


def test_bedrock_may_leave_vectors_as_they_are() -> None:
    """`normalize` is passed on."""
    dialect = open_dialect("bedrock", model_name="m", region="us-east-1", normalize="False")
    assert body(dialect) == {"inputText": "a", "normalize": False}


def test_yandex_takes_one_text_by_another_name() -> None:
    """One text and several have fields of their own, in the request and in the reply."""
    dialect = open_dialect("yc", model_name="emb://f/m")
    assert body(dialect) == {"modelUri": "emb://f/m", "text": "a"}
    assert body(dialect, "a", "b") == {"modelUri": "emb://f/m", "texts": ["a", "b"]}
    assert dialect.vectors({"embedding": [1.0]}) == [[1.0]]
    assert dialect.vectors({"embeddings": [[1.0], [2.0]]}) == [[1.0], [2.0]]


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "[::ffff:169.254.169.254]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "metadata.google.internal",
    ],
)
def test_identity_of_the_machine_is_out_of_reach(host: str) -> None:
    """However the address is written, a function cannot have it called."""
    with pytest.raises(InvalidInput, match="is an address that functions may not call"):
        open_dialect("tei", url=f"http://{host}/latest")


REFUSALS = [
    ("openai", {"dim": "x"}, "dimension [x] provided in Function params is not a valid int"),
    ("openai", {"dim": "1_0"}, "dimension [1_0] provided in Function params is not a valid int"),
    (
        "cohere",
        {"dim": "16"},
        "Function output field:[dense]'s dimension [8] does not match the dimension [16] provided "
        "in Function params.",
    ),
    ("openai", {"url": "ftp://h"}, "endpoint: [ftp://h] is not a valid http/https link"),
    ("tei", {}, "endpoint: [] is not a valid http/https link"),
    ("tei", {"endpoint": "tei:80"}, "endpoint: [tei:80] is not a valid http/https link"),
    ("tei", {"endpoint": "http://"}, "endpoint: [http://] is not a valid http/https link"),
    (
        "tei",
        {"endpoint": "http://h", "max_client_batch_size": "x"},
        "[max_client_batch_size param's value: x] is not a valid number",
    ),
    (
        "huggingface",
        {"model_name": "m", "max_client_batch_size": "0"},
        "[max_client_batch_size param's value: 0] must be greater than 0",
    ),
    (
        "tei",
        {"endpoint": "http://h", "truncate": "yes"},
        "[truncate param's value: yes] is invalid, only supports: [true/false]",
    ),
    (
        "tei",
        {"endpoint": "http://h", "truncation_direction": "left"},
        "[truncation_direction param's value: left] is not invalid, only supports [Left/Right]",
    ),
    ("bedrock", {}, "missing AWS Service region. Please pass `region` param"),
    ("bedrock", {"region": "x.evil.example/"}, "is not a valid region"),
    ("vertexai", {"location": "evil.example#"}, "is not a valid region"),
    ("bedrock", {"region": "r", "normalize": "no"}, "illegal [normalize:no] param"),
    (
        "cohere",
        {"truncate": "end"},
        "illegal parameters, truncate only supports [NONE, START, END]",
    ),
    ("gemini", {}, "model_name is required for Gemini embedding provider"),
    ("yc", {}, "yc embedding model name is required"),
    ("huggingface", {}, "huggingface embedding model name is required"),
    ("huggingface", {"model_name": "a/../b"}, "model name contains invalid path segment"),
    (
        "huggingface",
        {"model_name": "m", "hf_provider": "other"},
        "Hugging Face hf_provider only supports hf-inference",
    ),
    (
        "azure_openai",
        {},
        "must configure the MILVUS_AZURE_OPENAI_RESOURCE_NAME environment variable in the Milvus "
        "service",
    ),
]


@pytest.mark.parametrize(("provider", "params", "message"), REFUSALS)
def test_wrong_parameter_is_refused_in_milvus_words(
    provider: str, params: dict[str, str], message: str
) -> None:
    """Clients and tests match on the messages."""
    with pytest.raises(InvalidInput) as caught:
        open_dialect(provider, **params)
    assert message in caught.value.message


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
@pytest.mark.parametrize(
    "reply", [None, 5, "x", {}, {"data": 5}, {"embeddings": {}}, {"output": []}]
)
def test_reply_of_another_form_is_unreadable(provider: str, reply: Any) -> None:
    """Whatever JSON comes back, it is vectors or it is refused."""
    dialect = open_dialect(provider, model_name="m", **NEEDED.get(provider, {}))
    with pytest.raises(UnreadableReply):
        dialect.vectors(reply)
