"""Settings of what is fetched and decoded for embedding."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import TypeAlias

from pydantic import Field, model_validator
from typing_extensions import Self

from milvane.media.buckets import BucketSettings
from milvane.sections import Section

Network: TypeAlias = IPv4Network | IPv6Network

_MEBIBYTE = 1024**2


class MediaReaderSettings(Section):
    """Images and videos that callers point at: what is fetched, kept and decoded."""

    fetches_addresses: bool = Field(
        default=True,
        description="Fetch from addresses in the network at all; without it only `data:` URIs and "
        "objects that are here are read.",
    )
    allows_http: bool = Field(
        default=True,
        description="Fetch from `http://` addresses too, as object stores sign them.",
    )
    allowed_domains: tuple[str, ...] = Field(
        default=(),
        description="Hosts that may be fetched from, such as `media.example.com`, or "
        "`*.example.com` for all below it; any if empty.",
    )
    denied_domains: tuple[str, ...] = Field(
        default=(), description="Hosts that are never fetched from, in the same form."
    )
    allowed_networks: tuple[Network, ...] = Field(
        default=(),
        description="Private networks that may be fetched from, such as `10.20.0.0/16`: whoever "
        "may embed can then read pictures there. Addresses where clouds tell machines their "
        "secrets stay closed.",
    )
    denied_networks: tuple[Network, ...] = Field(
        default=(), description="Networks that are never fetched from, public ones too."
    )
    allowed_ports: tuple[int, ...] = Field(
        default=(),
        description="Ports below 1024 that may be fetched from beside 80 and 443.",
    )
    max_redirects: int = Field(
        default=3, ge=0, le=3, description="Redirects that are followed, each checked anew."
    )
    max_image_bytes: int = Field(
        default=50 * _MEBIBYTE, ge=1, description="Largest image, in bytes as it is sent."
    )
    max_video_bytes: int = Field(
        default=500 * _MEBIBYTE, ge=1, description="Largest video, in bytes as it is sent."
    )
    timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="Longest time to fetch one image or video, in seconds, redirects included; as "
        "long may it wait for its turn.",
    )
    connect_timeout_s: float = Field(
        default=5.0, gt=0, description="Longest time for one connection to be made, in seconds."
    )
    max_concurrent: int = Field(default=64, ge=1, description="Fetches at once.")
    max_concurrent_per_host: int = Field(
        default=8, ge=1, description="Fetches at once from one host, so that others get their turn."
    )
    max_concurrent_per_tenant: int = Field(
        default=32, ge=1, description="Fetches at once for one tenant, so that others get theirs."
    )
    max_waiting: int = Field(
        default=4096, ge=1, description="Images and videos that may wait; more are refused."
    )
    fresh_s: float = Field(
        default=300.0,
        ge=0,
        description="How long what an address held is used again without asking whether it has "
        "changed, in seconds.",
    )
    cache_bytes: int = Field(
        default=2048 * _MEBIBYTE,
        ge=_MEBIBYTE,
        description="Bytes of images and videos that are kept in `media-cache` of the data "
        "directory; those unused for longest make room.",
    )
    decoders: int | None = Field(
        default=None,
        ge=1,
        description="Processes that decode, all but one of which may be busy with videos; as many "
        "as the machine has cores, from 2 to 4, if not given.",
    )
    decoder_bytes: int = Field(
        default=1024 * _MEBIBYTE,
        ge=64 * _MEBIBYTE,
        description="Memory that decoding one image or video may take, in bytes (not on macOS).",
    )
    decode_timeout_s: float = Field(
        default=30.0,
        gt=0,
        description="Longest time to decode one image or video, in seconds; the process is ended "
        "after it.",
    )
    max_image_pixels: int = Field(
        default=100_000_000, ge=1, description="Largest image, and largest frame, in pixels."
    )
    max_video_s: float = Field(default=7200.0, gt=0, description="Longest video, in seconds.")
    max_video_frames: int = Field(
        default=500_000, ge=1, description="Most frames that a video may have."
    )

    buckets: Mapping[str, BucketSettings] = Field(
        default={},
        description="Buckets of S3-compatible stores elsewhere, by the name that addresses have "
        "for them; see [Let images and videos be fetched](../how-to/let-media-be-fetched.md).",
    )

    @property
    def decoder_count(self) -> int:
        """Processes that decode."""
        return self.decoders or max(2, min(4, os.cpu_count() or 1))

    @model_validator(mode="after")
    def _largest_fits_into_the_cache(self) -> Self:
        if max(self.max_image_bytes, self.max_video_bytes) > self.cache_bytes:
            raise ValueError(
                "cache_bytes must be at least max_image_bytes and max_video_bytes: whatever is "
                "decoded lies there meanwhile"
            )
        return self
