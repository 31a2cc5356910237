"""Which Milvus endpoints are served, each on a port of its own."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from typing_extensions import Self

from milvane.domain.errors import InvalidInput
from milvane.sections import Section


class InstanceSettings(Section):
    """One Milvus endpoint behind a port of the gateway."""

    name: str = Field(
        default="embedded",
        pattern="^[a-z0-9][a-z0-9-]{0,62}$",
        description="What it is called in logs and messages.",
    )
    uri: str | None = Field(
        default=None,
        description="Where a remote Milvus listens, `http://host:19530` or `https://...`; none for "
        "the embedded Milvus Lite.",
    )
    grpc_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Port of the gateway for it; `server.grpc_port` if none, which only one may "
        "have.",
    )
    token: SecretStr | None = Field(
        default=None,
        description="`user:password` or key shown to the remote Milvus in place of the client's; "
        "the client's own are passed on if none.",
    )
    ca_file: Path | None = Field(
        default=None, description="Certificates that the remote server's is checked against."
    )
    ca_certificate: str | None = Field(
        default=None, description="Those certificates themselves, as PEM, in place of a file."
    )
    cert_file: Path | None = Field(
        default=None, description="Certificate that is shown to the remote server."
    )
    key_file: Path | None = Field(default=None, description="Private key of that certificate.")
    server_name: str | None = Field(
        default=None,
        description="Name in the remote server's certificate, where it is not the host.",
    )

    @field_validator("uri")
    @classmethod
    def _is_an_address(cls, uri: str | None) -> str | None:
        if uri is None:
            return None
        parts = urlsplit(uri)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/"):
            raise ValueError("must look like http://host:19530 or https://host:19530")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("has an address alone; who asks is said by token")
        return uri

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file belong together: give both or none")
        return self

    @property
    def is_embedded(self) -> bool:
        """Say whether it is the embedded Milvus Lite."""
        return self.uri is None


def check_remote(
    *,
    name: str,
    uri: str,
    grpc_port: int | None = None,
    token: str = "",
    ca_certificate: str = "",
    server_name: str = "",
) -> InstanceSettings:
    """
    Describe a Milvus elsewhere.

    Raises:
        InvalidInput: If it cannot be one; the message names no value.
    """
    try:
        return InstanceSettings(
            name=name,
            uri=uri,
            grpc_port=grpc_port,
            token=SecretStr(token) if token else None,
            ca_certificate=ca_certificate or None,
            server_name=server_name or None,
        )
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = str(first["loc"][0]) if first["loc"] else "instance"
        why = first["msg"].removeprefix("Value error, ")
        raise InvalidInput(f"{field}: {why}", parameter=field) from None
