"""Settings of one remote deployment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from milvane.sections import Section

DialectName = Literal["vllm", "tei", "infinity", "openai"]


class RemoteSettings(Section):
    """Servers elsewhere that run one set of weights, all of them the same."""

    urls: tuple[str, ...] = Field(
        min_length=1,
        description="Replicas: scheme, host and port each, and a path if the API is under one.",
    )
    dialect: DialectName = Field(
        description="What the servers are: `vllm`, `tei`, `infinity`, or `openai` for any other "
        "that answers `POST /v1/embeddings`.",
    )
    weights: str = Field(
        description="The set of weights that they run, as in `[deployments]`. Its tokenizer and "
        "settings must be here; of a folder, the tensors need not be.",
    )
    model: str = Field(default="", description="What the servers call it; not sent if empty.")
    api_key: SecretStr = Field(default=SecretStr(""), description="Sent as a bearer token.")
    ca_file: Path | None = Field(
        default=None, description="Certificates that the servers' own are checked against (PEM)."
    )
    sends: Literal["auto", "token_ids", "texts"] = Field(
        default="auto",
        description="What a window of a text is sent as: as token ids to vLLM, as texts to the "
        "others, if `auto`.",
    )
    ask_dimension: bool = Field(
        default=False,
        description="Send `dimensions`, the weights' own width, for servers whose default is "
        "another.",
    )
    precision: Literal["bf16", "f16", "f32", "int8"] = Field(
        default="bf16",
        description="What the servers compute in: part of the deployment's fingerprint.",
    )
    window_tokens: int | None = Field(
        default=None,
        ge=8,
        description="Tokens that the servers take at once, if fewer than the weights do.",
    )
    max_pass_tokens: int = Field(
        default=8192, ge=64, description="Tokens of one pass; it may become several requests."
    )
    max_request_inputs: int = Field(
        default=32, ge=1, description="Inputs of one request. TEI takes 32 unless told otherwise."
    )
    max_concurrent: int = Field(
        default=4, ge=1, description="Requests that one replica is sent at once."
    )
    max_attempts: int = Field(
        default=3, ge=1, description="How often one request is sent at most, hedges not counted."
    )
    request_timeout_s: float = Field(
        default=60.0, gt=0, description="Time for one request with its retries, in seconds."
    )
    attempt_timeout_s: float = Field(
        default=30.0, gt=0, description="Time for one of its attempts, in seconds."
    )
    hedge_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="How many requests, of all, may be sent to a second replica because the first "
        "takes longer than it takes for 95 of 100; 0 for none.",
    )
    health_interval_s: float = Field(
        default=5.0, gt=0, description="Seconds between two looks at a replica."
    )
    breaker_failures: int = Field(
        default=5, ge=1, description="Failures in a row after which a replica is left alone."
    )
    breaker_open_s: float = Field(
        default=5.0, gt=0, description="How long it is left alone before one try, in seconds."
    )
    start_timeout_s: float = Field(
        default=60.0, gt=0, description="How long a start waits for the first replica, in seconds."
    )

    @field_validator("urls")
    @classmethod
    def _are_of_http(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("each of urls needs http:// or https:// and a host")
            if "@" in parts.netloc or parts.query or parts.fragment:
                raise ValueError("urls hold no user, query or fragment; the key is api_key")
        if len(set(urls)) < len(urls):
            raise ValueError("urls: each replica once")
        return tuple(url.rstrip("/") for url in urls)

    @property
    def sends_token_ids(self) -> bool:
        """Whether windows are sent as token ids."""
        return self.sends == "token_ids" or (self.sends == "auto" and self.dialect == "vllm")
