"""Settings of the media store."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, model_validator
from typing_extensions import Self

from milvane.media.buckets import BucketAccess
from milvane.sections import Section

_LARGEST_PUT_BYTES = 5 * 1024**3
"""Of one request, by the rules of S3."""


class MediaBucketSettings(BucketAccess):
    """The bucket that new objects of the media store are kept in, instead of its folder."""

    bucket: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,62}$", description="Its name there.")
    access_key_id: SecretStr = Field(
        description="The id of a key pair that may put, get and delete objects of the bucket."
    )
    prefix: str = Field(
        default="milvane/",
        max_length=512,
        pattern=r"^([A-Za-z0-9_-][A-Za-z0-9._-]*/)*$",
        description="What the names of its objects begin with: nothing, or folders that end in a "
        "slash.",
    )
    timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="How long nothing may come from the store or go to it, in seconds, before a "
        "request is given up.",
    )


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
    bucket: MediaBucketSettings | None = Field(
        default=None,
        description="Bucket of an S3-compatible store that new objects are kept in instead of the "
        "folder, through which they still pass; see "
        "[Keep images and videos here](../how-to/keep-media-here.md#in-a-bucket).",
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

    @model_validator(mode="after")
    def _largest_object_fits_into_one_request(self) -> Self:
        if self.bucket is not None and self.max_object_bytes > _LARGEST_PUT_BYTES:
            raise ValueError(
                f"max_object_bytes may be at most {_LARGEST_PUT_BYTES} with a bucket: an object "
                "goes there in one request"
            )
        return self
