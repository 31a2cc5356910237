"""The one schema, as the newest migration leaves it; instants are microseconds since 1970, UTC."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator

from milvane.domain.callers import ANYONE

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, kept as a number so that every database compares it alike."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Write."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Read."""
        return None if value is None else _EPOCH + value * _MICROSECOND


METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

FILES = Table(
    "files",
    METADATA,
    Column("id", String(80), primary_key=True),
    Column("key", String(1024), unique=True),
    Column("name", String(255), nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("tenant", String(255), nullable=False, server_default=ANYONE.tenant),
    Index("ix_files_tenant", "tenant", "created_at", "id"),
    Index("ix_files_expires_at", "expires_at"),
)

UPLOAD_GRANTS = Table(
    "upload_grants",
    METADATA,
    Column("folder", String(255), primary_key=True),
    Column("signature", String(64), nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("tenant", String(255), nullable=False, server_default=ANYONE.tenant),
)

JOBS = Table(
    "jobs",
    METADATA,
    Column("id", String(80), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("state", String(32), nullable=False),
    Column("input_file_id", String(80), nullable=False),
    Column("window_s", Integer, nullable=False),
    Column("completion_window", String(16), nullable=False),
    Column("endpoint", String(128), nullable=False),
    Column("requested_model", String(256), nullable=False),
    Column("model", String(256), nullable=False),
    Column("purpose", String(16), nullable=False),
    Column("request_id", String(128), nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("label", Text, nullable=False),
    Column("problems", JSON, nullable=False),
    Column("lines_total", Integer, nullable=False),
    Column("lines_completed", Integer, nullable=False),
    Column("lines_failed", Integer, nullable=False),
    Column("total_tokens", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("finalizing_at", Instant),
    Column("cancelling_at", Instant),
    Column("ended_at", Instant),
    Column("output_file_id", String(80)),
    Column("error_file_id", String(80)),
    # The checkpoint: pages recorded so far, and where in the input the next one begins.
    Column("pages", Integer, nullable=False),
    Column("input_offset", BigInteger, nullable=False),
    Column("input_line", Integer, nullable=False),
    # The lease: its holder, until when, a number that is another one for each holder, and how many
    # holders in a row have got nowhere.
    Column("lease_owner", String(80)),
    Column("lease_until", Instant),
    Column("attempts", Integer, nullable=False),
    Column("stalls", Integer, nullable=False),
    Column("tenant", String(255), nullable=False, server_default=ANYONE.tenant),
    Index("ix_jobs_tenant", "tenant", "kind", "created_at", "id"),
    Index("ix_jobs_state", "state", "lease_until"),
)

JOB_PAGES = Table(
    "job_pages",
    METADATA,
    Column("job_id", ForeignKey(JOBS.c.id, ondelete="CASCADE"), primary_key=True),
    Column("page", Integer, primary_key=True, autoincrement=False),
    Column("part", String(80), nullable=False),
)
"""Which part of the output each page of lines became; a part on disk without a row never counts."""
