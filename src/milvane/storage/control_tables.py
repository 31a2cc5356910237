"""Tables of what an operator governs."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from milvane.storage.tables import METADATA, Instant

CONTROL_REVISION = Table(
    "control_revision",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("revision", BigInteger, nullable=False),
)
"""One row, whose number rises with every change: how other servers notice."""

SERVICES = Table(
    "services",
    METADATA,
    Column("service_id", String(32), primary_key=True),
    Column("model", String(256), nullable=False),
    Column("region", String(64), nullable=False),
    Column("is_enabled", Boolean, nullable=False),
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("region", "model", name="uq_services_region"),
)

INSTANCES = Table(
    "instances",
    METADATA,
    Column("name", String(128), primary_key=True),
    Column("region", String(64), nullable=False),
    Column("address", String(512), nullable=False),
    Column("created_at", Instant, nullable=False),
)

ADDED_INSTANCES = Table(
    "added_instances",
    METADATA,
    Column("name", ForeignKey(INSTANCES.c.name, ondelete="CASCADE"), primary_key=True),
    Column("grpc_port", Integer, nullable=False),
    Column("token", Text, nullable=False),
    Column("ca_certificate", Text, nullable=False),
    Column("server_name", String(255), nullable=False),
)
"""Instances that are in no settings: how servers reach and offer them. Tokens are sealed."""

UNLOADED_WEIGHTS = Table(
    "unloaded_weights",
    METADATA,
    Column("weights", String(128), primary_key=True),
    Column("unloaded_at", Instant, nullable=False),
)
"""Weights that no server is to keep in memory, though models are served by them."""

ASSOCIATIONS = Table(
    "associations",
    METADATA,
    Column("instance", ForeignKey(INSTANCES.c.name, ondelete="CASCADE"), primary_key=True),
    Column("service_id", ForeignKey(SERVICES.c.service_id), primary_key=True),
    Column("created_at", Instant, nullable=False),
)

API_KEYS = Table(
    "api_keys",
    METADATA,
    Column("key_id", String(32), primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("label", String(128), nullable=False),
    Column("prefix", String(16), nullable=False),
    Column("tenant", String(128), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("last_used_at", Instant),
    Column("rotated_to", String(32)),
)

QUOTAS = Table(
    "quotas",
    METADATA,
    Column("kind", String(16), primary_key=True),
    Column("name", String(400), primary_key=True),
    Column("requests_per_minute", BigInteger),
    Column("tokens_per_minute", BigInteger),
    Column("tokens_per_month", BigInteger),
    Column("concurrent_requests", BigInteger),
    Column("is_shadow", Boolean, nullable=False),
)

AUDIT_LOG = Table(
    "audit_log",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(512), nullable=False),
    Column("detail", JSON, nullable=False),
    Index("ix_audit_log_at", "at"),
)
"""Every change and who made it; entries are added, never changed."""

OPERATORS = Table(
    "operators",
    METADATA,
    Column("name", String(128), primary_key=True),
    Column("password_hash", String(255), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("changed_at", Instant, nullable=False),
)
"""Who may sign in to the console."""

SESSIONS = Table(
    "operator_sessions",
    METADATA,
    Column("sha256", String(64), primary_key=True),
    Column("operator", ForeignKey(OPERATORS.c.name, ondelete="CASCADE"), nullable=False),
    Column("csrf_token", String(64), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Index("ix_operator_sessions_expires_at", "expires_at"),
)
