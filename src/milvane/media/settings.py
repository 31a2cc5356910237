"""Settings of the media store."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from milvane.sections import Section


class MediaSettings(Section):
    """Images and videos that are kept here, reached as an object store is."""

    is_on: bool = Field(
        default=True,
        description="Answer requests that carry a signature of OSS, on the port of the HTTP APIs.",
    )
    folder: Path | None = Field(
        default=None,
        description="Folder of the objects and of the secret that keys are derived from, shared by "
        "all servers on one database; `media` in the data directory if not given.",
    )
    public_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/?#@\s]+$",
        description="Address of the HTTP port as clients reach it, such as "
        "https://media.example.com, for addresses that `milvane media put` makes; that of the "
        "settings `server.host` and `server.http_port` if not given.",
    )
    max_objects: int = Field(default=100_000, ge=1, description="Objects that may be stored.")
    max_object_bytes: int = Field(
        default=500 * 1024 * 1024,
        ge=1,
        description="Largest object, in bytes; a larger one is refused while it arrives.",
    )
    max_total_bytes: int = Field(
        default=50 * 1024**3, ge=1, description="Bytes of all objects together."
    )
    max_tenant_bytes: int | None = Field(
        default=None,
        ge=1,
        description="Bytes of all objects of one tenant; no limit of its own if not given.",
    )
    clock_skew_s: float = Field(
        default=900.0,
        ge=0,
        description="How far a signed request's time may be from the server's, in seconds.",
    )
    max_url_s: float = Field(
        default=7 * 24 * 3600.0,
        gt=0,
        description="How long from now a signed address may be good, in seconds; one that would "
        "be good for longer is refused.",
    )
