"""Settings of the remote providers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, SecretStr

from milvane.sections import Section


class CredentialSettings(Section):
    """One credential, under a label that functions and providers name."""

    apikey: SecretStr = Field(default=SecretStr(""), description="An API key.")
    access_key_id: SecretStr = Field(default=SecretStr(""), description="The id of a key pair.")
    secret_access_key: SecretStr = Field(default=SecretStr(""), description="Its secret.")
    credential_json: SecretStr = Field(
        default=SecretStr(""), description="A Google service account key, JSON in base64."
    )


class ProviderSettings(Section):
    """What is set for one provider."""

    credential: str = Field(default="", description="Label of the credential that it is sent.")
    enable: bool = Field(default=True, description="Functions may use it.")
    url: str = Field(default="", description="Where it is called, instead of its own address.")
    resource_name: str = Field(default="", description="Resource of Azure OpenAI.")


class ProvidersSettings(Section):
    """Remote services that compute vectors: credentials, and how they are called."""

    milvus_yaml: Path | None = Field(
        default=None,
        description="A `milvus.yaml`, whose `credential` and `function` sections are read as "
        "Milvus reads them, and again when the file changes. It wins over the two settings below.",
    )
    credential: Mapping[str, CredentialSettings] = Field(
        default={}, description="Credentials by label, as in `milvus.yaml`."
    )
    text_embedding: Mapping[str, ProviderSettings] = Field(
        default={},
        description="Providers by name, as `function.textEmbedding.providers` in `milvus.yaml`.",
    )
    allow_function_urls: bool = Field(
        default=True,
        description="Functions may name the server that is called for them (`url`, `endpoint`).",
    )
    trusted_urls: tuple[str, ...] = Field(
        default=(),
        description="Servers that are sent credentials when a function names them; only scheme, "
        "host and port count. Others are called without.",
    )
    request_timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="Time for one batch with its retries, in seconds; `timeout_ms` of a function "
        "wins.",
    )
    max_attempts: int = Field(
        default=3, ge=1, description="How often one batch is sent at most; 4xx is never repeated."
    )
    max_concurrent_batches: int = Field(
        default=4, ge=1, description="Batches of one request that are under way at once."
    )
    max_concurrent_per_endpoint: int = Field(
        default=32, ge=1, description="Batches of all requests that one server is sent at once."
    )
    max_reply_bytes: int = Field(
        default=64 * 1024 * 1024, ge=1024, description="Largest reply that is read, in bytes."
    )
    breaker_failures: int = Field(
        default=8, ge=1, description="Failures in a row after which a server is left alone."
    )
    breaker_open_s: float = Field(
        default=10.0, gt=0, description="How long it is left alone before one try, in seconds."
    )
    proxy_url: SecretStr | None = Field(
        default=None, description="HTTP proxy through which providers are called."
    )
