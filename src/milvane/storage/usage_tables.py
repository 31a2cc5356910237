"""Tables of the ledger of usage and of its sums."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
)

from milvane.storage.tables import METADATA, Instant

USAGE_KEYS = Table(
    "usage_keys",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("model", String(256), nullable=False),
    Column("provider", String(64), nullable=False),
    Column("instance", String(128), nullable=False),
    Column("operation", String(16), nullable=False),
    Column("tenant", String(128), nullable=False),
    Column("caller", String(128), nullable=False),
    UniqueConstraint(
        "model", "provider", "instance", "operation", "tenant", "caller", name="uq_usage_keys"
    ),
)
"""What calls are told apart by, each combination once."""

USAGE_CALLS = Table(
    "usage_calls",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("key_id", ForeignKey(USAGE_KEYS.c.id), nullable=False),
    Column("ended_at", Instant, nullable=False),
    Column("duration_us", BigInteger, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("error", String(32), nullable=False),
    Column("inputs", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("images", BigInteger, nullable=False),
    Index("ix_usage_calls_ended_at", "ended_at"),
)
"""The ledger itself: one row for each call, while single calls are kept."""

USAGE_SUMS = Table(
    "usage_sums",
    METADATA,
    Column("step_s", Integer, primary_key=True, autoincrement=False),
    Column("begins_at", Instant, primary_key=True, autoincrement=False),
    Column("key_id", ForeignKey(USAGE_KEYS.c.id), primary_key=True, autoincrement=False),
    Column("requests", BigInteger, nullable=False),
    Column("successes", BigInteger, nullable=False),
    Column("refusals", BigInteger, nullable=False),
    Column("inputs", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("images", BigInteger, nullable=False),
    Column("duration_us", BigInteger, nullable=False),
)
"""Calls by the step of time that they ended in."""

USAGE_LATENCIES = Table(
    "usage_latencies",
    METADATA,
    Column("step_s", Integer, primary_key=True, autoincrement=False),
    Column("begins_at", Instant, primary_key=True, autoincrement=False),
    Column("key_id", ForeignKey(USAGE_KEYS.c.id), primary_key=True, autoincrement=False),
    Column("bin", Integer, primary_key=True, autoincrement=False),
    Column("calls", BigInteger, nullable=False),
)
"""Successful calls by the bin of their duration, as `metering.latency` numbers them."""

USAGE_PRESENCE = Table(
    "usage_presence",
    METADATA,
    Column("step_s", Integer, primary_key=True, autoincrement=False),
    Column("begins_at", Instant, primary_key=True, autoincrement=False),
)
"""Steps in which a server was there to count: without a call they are zeros, others are gaps."""

USAGE_SEGMENTS = Table(
    "usage_segments",
    METADATA,
    Column("name", String(80), primary_key=True),
    Column("folded_at", Instant, nullable=False),
)
"""Files of records that are in the ledger, so that none is read twice."""
