"""Which secret a provider is sent."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from pydantic import SecretStr

from milvane.domain.errors import InvalidInput
from milvane.domain.providers import ProviderFunction, VectorField
from milvane.providers.configuration import Configuration
from milvane.providers.credentials import find_secrets
from milvane.providers.dialect import OperatorEntry
from milvane.providers.table import PROVIDERS


def find(
    provider: str = "openai",
    *,
    label: str = "",
    configuration: Configuration | None = None,
    environment: dict[str, str] | None = None,
    is_trusted: bool = True,
) -> tuple[str, ...] | None:
    """Find the secrets of a function, and read them."""
    params = {"credential": label} if label else {}
    secrets = find_secrets(
        PROVIDERS[provider],
        ProviderFunction(provider, params, VectorField("dense", 8)),
        configuration or Configuration(),
        environment or {},
        is_trusted=is_trusted,
    )
    return secrets.reveal() if secrets else None


def kept(provider: str = "openai", label: str = "") -> Configuration:
    """Keep two keys, a pair and Google's; one label may be the provider's."""
    document = base64.b64encode(b'{"a": 1}').decode()
    return Configuration(
        credentials={
            "one": {"apikey": SecretStr("first")},
            "two": {"apikey": SecretStr("second")},
            "pair": {"access_key_id": SecretStr("id"), "secret_access_key": SecretStr("hush")},
            "google": {"credential_json": SecretStr(document)},
            "torn": {"credential_json": SecretStr("*")},
        },
        providers={provider: OperatorEntry(credential=label)},
    )


ENVIRONMENT = {"MILVUS_OPENAI_API_KEY": "new", "MILVUSAI_OPENAI_API_KEY": "old"}


def test_order_of_the_sources() -> None:
    """The function's label, then the operator's, then the newer variable, then the older."""
    both = kept(label="two")
    assert find(label="ONE", configuration=both, environment=ENVIRONMENT) == ("first",)
    assert find(configuration=both, environment=ENVIRONMENT) == ("second",)
    assert find(configuration=kept(), environment=ENVIRONMENT) == ("new",)
    del (older := dict(ENVIRONMENT))["MILVUS_OPENAI_API_KEY"]
    assert find(configuration=kept(), environment=older) == ("old",)


def test_pair_and_google_key_have_labels_and_variables(tmp_path: Path) -> None:
    """Each kind of credential is found in both places."""
    assert find("bedrock", label="pair", configuration=kept()) == ("id", "hush")
    pair = {"MILVUS_BEDROCK_ACCESS_KEY_ID": "i", "MILVUS_BEDROCK_SECRET_ACCESS_KEY": "s"}
    assert find("bedrock", environment=pair) == ("i", "s")
    assert find("vertexai", label="google", configuration=kept()) == ('{"a": 1}',)
    file = tmp_path / "key.json"
    file.write_text("{}")
    variable = {"MILVUS_GOOGLE_APPLICATION_CREDENTIALS": str(file)}
    assert find("vertexai", environment=variable) == ("{}",)


@pytest.mark.parametrize(
    ("provider", "label", "message"),
    [
        ("openai", "other", "other is not a apikey crediential, can not find key: other.apikey"),
        ("openai", "pair", "pair is not a apikey crediential, can not find key: pair.apikey"),
        ("bedrock", "one", "one is not a aksk crediential, can not find key: one.access_key_id"),
        ("vertexai", "one", "one is not a gcp crediential, can not find key: one.credential_json"),
        ("vertexai", "torn", "parse gcp credential:torn faild, err: not base64"),
        (
            "dashscope",
            "",
            "missing credentials config or configure the MILVUS_DASHSCOPE_API_KEY environment "
            "variable in the Milvus service",
        ),
        ("bedrock", "", "MILVUS_BEDROCK_ACCESS_KEY_ID and MILVUS_BEDROCK_SECRET_ACCESS_KEY"),
    ],
)
def test_missing_secret_is_told_in_milvus_words(provider: str, label: str, message: str) -> None:
    """The words are Milvus's, its spelling too."""
    with pytest.raises(InvalidInput) as caught:
        find(provider, label=label, configuration=kept())
    assert message in caught.value.message


def test_key_in_place_of_a_label_is_refused_without_repeating_it() -> None:
    """The advice is to give it a label."""
    key = "9f8a7c6b5e4d3c2b1a0f9e8d7c6b5a4f"
    with pytest.raises(InvalidInput, match="looks like a raw key") as caught:
        find(label=key, configuration=kept())
    assert key not in caught.value.message


def test_server_of_ones_own_needs_no_secret() -> None:
    """Text Embeddings Inference may have one, and does without."""
    assert find("tei") is None
    assert find("tei", configuration=kept("tei", "one")) == ("first",)


def test_secret_is_not_sent_where_only_the_function_points() -> None:
    """Without a label the server is called without; with one the call is refused."""
    assert find(environment=ENVIRONMENT, is_trusted=False) is None
    assert find(configuration=kept(label="one"), is_trusted=False) is None
    with pytest.raises(InvalidInput, match=r"providers\.trusted_urls"):
        find(label="one", configuration=kept(), is_trusted=False)
