"""Tables of media: who may reach the store, and what it has."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Index, String, Table

from milvane.storage.tables import METADATA, Instant

MEDIA_KEYS = Table(
    "media_keys",
    METADATA,
    Column("access_key_id", String(32), primary_key=True),
    Column("tenant", String(255), nullable=False),
    Column("label", String(128), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Index("ix_media_keys_tenant", "tenant"),
)
"""Access keys without their secrets, which are nowhere in SQL."""

MEDIA_OBJECTS = Table(
    "media_objects",
    METADATA,
    Column("tenant", String(255), primary_key=True),
    Column("bucket", String(63), primary_key=True),
    Column("key", String(1023), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("md5", String(32), nullable=False),
    Column("crc64", String(20), nullable=False),
    Column("content_type", String(255), nullable=False),
    Column("headers", JSON, nullable=False),
    Column("modified_at", Instant, nullable=False),
    Index("ix_media_objects_sha256", "sha256"),
)
"""Which object has which content, by its digest."""

MEDIA_CONTENTS = Table(
    "media_contents",
    METADATA,
    Column("name", String(128), primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("since", Instant, nullable=False),
    Index("ix_media_contents_sha256", "sha256"),
    Index("ix_media_contents_state", "state"),
)
"""Contents in a bucket: those that arrive, are kept, or are to be removed. Names are used once."""
