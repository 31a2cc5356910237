"""What is checked before a provider is called."""

from __future__ import annotations

import sys

import pytest

from milvane.domain.errors import InvalidInput
from milvane.domain.models import Purpose
from milvane.domain.providers import ProviderFunction, VectorField, VectorKind
from milvane.providers.service import ProviderService
from milvane.providers.settings import ProvidersSettings
from milvane.providers.table import PROVIDERS


def check(provider: str, *, kind: VectorKind = VectorKind.FLOAT, **params: str) -> None:
    """Check a function's parameters where OpenAI is disabled."""
    service = service_of({"text_embedding": {"openai": {"enable": False}}})
    service.check(ProviderFunction(provider, params, VectorField("dense", 8, kind)))


def service_of(section: dict[str, object]) -> ProviderService:
    """Build a service."""
    return ProviderService(ProvidersSettings.model_validate(section), environment={})


def test_names_stand_in_the_order_of_milvus() -> None:
    """They are listed to whoever names another one."""
    assert service_of({}).names[:3] == ("openai", "azure_openai", "dashscope")
    assert set(service_of({}).names) == set(PROVIDERS)


@pytest.mark.parametrize(
    ("provider", "kind", "params", "message"),
    [
        ("openai", VectorKind.FLOAT, {}, "text embedding model provider [openai] is disabled"),
        (
            "dashscope",
            VectorKind.INT8,
            {},
            "embedding model output and field type mismatch, model output is FloatVector, field "
            "type is Int8Vector",
        ),
        (
            "gemini",
            VectorKind.INT8,
            {},
            "Gemini embedding only supports FloatVector field, got Int8Vector",
        ),
        (
            "cohere",
            VectorKind.INT8,
            {"timeout_ms": "x"},
            "[timeout_ms param's value: x] is not a valid number",
        ),
        (
            "cohere",
            VectorKind.INT8,
            {"timeout_ms": "0"},
            "[timeout_ms param's value: 0] must be greater than 0",
        ),
    ],
)
def test_function_that_cannot_work_is_refused(
    provider: str, kind: VectorKind, params: dict[str, str], message: str
) -> None:
    """What the operator or the field rules out is told before anything else."""
    with pytest.raises(InvalidInput) as caught:
        check(provider, kind=kind, **params)
    assert message in caught.value.message


def test_unknown_parameters_are_ignored() -> None:
    """Milvus ignores them, and so do existing functions rely on it."""
    check("cohere", model_name="m", something="else", integration_id="i")


def test_operator_may_forbid_servers_that_functions_name() -> None:
    """Then only the vendor's and the operator's own servers are called."""
    service = service_of({"allow_function_urls": False})
    field = VectorField("dense", 8)
    service.check(ProviderFunction("openai", {"model_name": "m"}, field))
    for key in ("url", "endpoint"):
        with pytest.raises(InvalidInput, match="functions may not name a server here"):
            service.check(ProviderFunction("tei", {key: "http://h"}, field))


@pytest.mark.parametrize(
    ("provider", "module", "credential"),
    [
        ("bedrock", "awscrt", {"access_key_id": "i", "secret_access_key": "s"}),
        (
            "vertexai",
            "google.auth",
            {
                "credential_json": "eyJjbGllbnRfZW1haWwiOiAiYSIsICJwcml2YXRlX2tleSI6ICJiIiwgIn"
                "Rva2VuX3VyaSI6ICJjIn0="
            },
        ),
    ],
)
async def test_missing_library_is_named_with_its_cure(
    provider: str, module: str, credential: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What signing needs comes with an extra; the message says which."""
    monkeypatch.setitem(sys.modules, module, None)
    service = service_of({"credential": {"label": credential}})
    function = ProviderFunction(
        provider, {"credential": "label", "region": "r"}, VectorField("dense", 8)
    )
    with pytest.raises(InvalidInput, match=rf"pip install 'milvane\[{provider}\]'"):
        await service.embed(function, ["a"], purpose=Purpose.DOCUMENT)


CHANGES = [
    (Purpose.DOCUMENT, VectorField("dense", 8), {"model_name": "other"}),
    (Purpose.DOCUMENT, VectorField("dense", 9), {}),
    (Purpose.DOCUMENT, VectorField("dense", 8, VectorKind.INT8), {}),
    (Purpose.DOCUMENT, VectorField("dense", 8), {"url": "http://127.0.0.1:9/embed"}),
    (Purpose.QUERY, VectorField("dense", 8), {}),
]
"""What gives a text another vector at Cohere."""


@pytest.mark.parametrize(("purpose", "output", "params"), CHANGES)
def test_source_is_another_where_vectors_are(
    purpose: Purpose, output: VectorField, params: dict[str, str]
) -> None:
    """Model, dimension, kind, server and purpose tell sources apart."""
    usual = {"model_name": "embed-v4"}
    before = ProviderFunction("cohere", usual, VectorField("dense", 8))
    after = ProviderFunction("cohere", {**usual, **params}, output)
    service = service_of({})
    assert service.source_of(before, Purpose.DOCUMENT) != service.source_of(after, purpose)


def test_source_is_the_same_whatever_does_not_change_vectors() -> None:
    """Neither a credential nor a timeout makes a vector another one, nor does the field's name."""
    params = {"model_name": "m"}
    some = ProviderFunction("openai", params, VectorField("one", 8))
    other = ProviderFunction(
        "openai", {**params, "credential": "mine", "timeout_ms": "5"}, VectorField("two", 8)
    )
    service = service_of({})
    assert service.source_of(some, Purpose.QUERY) == service.source_of(other, Purpose.QUERY)
