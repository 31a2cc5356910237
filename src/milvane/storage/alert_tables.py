"""Tables of alerts: what is watched, who is told, how each rule stands, what has happened."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
)

from milvane.storage.tables import METADATA, Instant

ALERT_RULES = Table(
    "alert_rules",
    METADATA,
    Column("rule_id", String(32), primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("condition", JSON, nullable=False),
    Column("severity", String(16), nullable=False),
    Column("channels", JSON, nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("is_enabled", Boolean, nullable=False),
    Column("silenced_until", Instant),
    Column("created_at", Instant, nullable=False),
)

ALERT_STANDINGS = Table(
    "alert_standings",
    METADATA,
    Column("rule_id", ForeignKey(ALERT_RULES.c.rule_id, ondelete="CASCADE"), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("since", Instant, nullable=False),
    Column("clear_since", Instant),
    Column("looked_at", Instant, nullable=False),
    Column("value", Float),
    Column("is_announced", Boolean, nullable=False),
    Column("episode", Integer),
)
"""How each rule stood when it was last looked at."""

ALERT_CHANNELS = Table(
    "alert_channels",
    METADATA,
    Column("channel_id", String(32), primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("url", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
)
"""Where notifications go; the address of a channel is its secret."""

ALERT_EPISODES = Table(
    "alert_episodes",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("rule_id", String(32), nullable=False),
    Column("rule", String(128), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("pending_at", Instant, nullable=False),
    Column("fired_at", Instant, nullable=False),
    Column("fired_value", Float),
    Column("resolved_at", Instant),
    Column("resolved_value", Float),
    Index("ix_alert_episodes_fired_at", "fired_at"),
    Index("ix_alert_episodes_rule_id", "rule_id"),
)
"""From firing to resolved, once each; they outlive their rule."""

ALERT_DELIVERIES = Table(
    "alert_deliveries",
    METADATA,
    Column("number", Integer, primary_key=True),
    Column("episode", ForeignKey(ALERT_EPISODES.c.number, ondelete="CASCADE"), nullable=False),
    Column(
        "channel_id", ForeignKey(ALERT_CHANNELS.c.channel_id, ondelete="CASCADE"), nullable=False
    ),
    Column("state", String(16), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("error", String(512), nullable=False),
    Index("ix_alert_deliveries_outcome", "outcome", "channel_id", "number"),
    Index("ix_alert_deliveries_episode", "episode"),
)
"""Notifications, written in the transaction that makes them necessary, and sent afterwards."""

ALERT_TURN = Table(
    "alert_turn",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("holder", String(64), nullable=False),
    Column("until", Instant, nullable=False),
)
"""One row: which of the servers looks, and until when."""
