"""Bodies and answers of the alerts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, Field

from milvane.apis.management.wire import Body
from milvane.domain.usage import Operation
from milvane.metering.alerts.episodes import Delivery, Episode, Outcome
from milvane.metering.alerts.rules import (
    MAX_FILTER,
    Channel,
    Condition,
    Operator,
    Rule,
    Severity,
    Watched,
)
from milvane.metering.alerts.shelf import RuleOrder
from milvane.metering.alerts.states import AlertState, Standing


class ConditionBody(Body):
    """When a rule is broken, and when it is well again; an empty choice is everything."""

    watched: Watched
    operator: Operator
    threshold: float
    resolve_threshold: float | None = None
    """Firing ends on the other side of this; null for `threshold` itself."""
    window_s: int = 60
    for_s: float = 0.0
    resolve_for_s: float = 60.0
    min_requests: int = Field(default=0, ge=0)
    """With fewer calls in the window there is nothing to say."""
    models: Sequence[str] = Field(default=(), max_length=MAX_FILTER)
    instances: Sequence[str] = Field(default=(), max_length=MAX_FILTER)
    operations: Sequence[Operation] = Field(default=(), max_length=MAX_FILTER)
    quotas: Sequence[str] = Field(default=(), max_length=MAX_FILTER)
    """Such as `tenant:north`; only for `quota_share`."""

    def to_condition(self) -> Condition:
        """Read the body."""
        return Condition(**{name: getattr(self, name) for name in type(self).model_fields})

    @classmethod
    def of(cls, condition: Condition) -> ConditionBody:
        """Show a condition."""
        return cls(**{name: getattr(condition, name) for name in cls.model_fields})


class RuleBody(Body):
    """What is to be watched, and who is told how."""

    name: str = Field(max_length=128)
    condition: ConditionBody
    severity: Severity = Severity.WARNING
    channels: Sequence[str] = Field(default=(), max_length=MAX_FILTER)
    """Ids or names of channels; empty for all that there are."""
    title: str = ""
    """A template; empty for the usual one."""
    body: str = ""
    is_enabled: bool = True

    def to_order(self) -> RuleOrder:
        """Read the body."""
        return RuleOrder(
            name=self.name,
            condition=self.condition.to_condition(),
            severity=self.severity,
            channels=self.channels,
            title=self.title,
            body=self.body,
            is_enabled=self.is_enabled,
        )


class RuleAnswer(BaseModel):
    """A rule, and how it stands."""

    rule_id: str
    name: str
    condition: ConditionBody
    severity: Severity
    channels: Sequence[str]
    title: str
    body: str
    is_enabled: bool
    silenced_until: datetime | None
    is_silent: bool
    created_at: datetime
    state: AlertState
    since: datetime | None
    """When the state began; null before the first look, as the following two."""
    looked_at: datetime | None
    value: float | None
    """The number at the last look; null too where there was nothing to say."""

    @classmethod
    def of(cls, rule: Rule, standing: Standing | None, now: datetime) -> RuleAnswer:
        """Show a rule."""
        return cls(
            rule_id=rule.rule_id,
            name=rule.name,
            condition=ConditionBody.of(rule.condition),
            severity=rule.severity,
            channels=rule.channels,
            title=rule.title,
            body=rule.body,
            is_enabled=rule.is_enabled,
            silenced_until=rule.silenced_until,
            is_silent=rule.is_silent(now),
            created_at=rule.created_at,
            state=standing.state if standing else AlertState.QUIET,
            since=standing.since if standing else None,
            looked_at=standing.looked_at if standing else None,
            value=standing.value if standing else None,
        )


class RuleList(BaseModel):
    """All rules by name."""

    rules: Sequence[RuleAnswer]


class SilenceBody(Body):
    """Until when nobody is told: one of the two."""

    until: datetime | None = None
    for_s: float | None = Field(default=None, gt=0, le=3.2e7)


class ChannelBody(Body):
    """A way to tell somebody."""

    name: str = Field(max_length=128)
    url: str
    """As Apprise has them, such as `json://host/path`; it is never shown again."""


class ChannelChangeBody(Body):
    """What to change of a channel."""

    name: str = Field(max_length=128)
    url: str | None = None
    """Left out, it stays as it is."""


class ChannelAnswer(BaseModel):
    """A channel without its address."""

    channel_id: str
    name: str
    kind: str
    """The scheme of its address."""
    created_at: datetime

    @classmethod
    def of(cls, channel: Channel) -> ChannelAnswer:
        """Show a channel."""
        return cls(
            channel_id=channel.channel_id,
            name=channel.name,
            kind=channel.kind,
            created_at=channel.created_at,
        )


class ChannelList(BaseModel):
    """All channels by name."""

    channels: Sequence[ChannelAnswer]


class TrialAnswer(BaseModel):
    """Whether a channel took a test."""

    is_sent: bool
    error: str
    """Why it did not; empty if it did."""


class DeliveryAnswer(BaseModel):
    """A notification to one channel."""

    channel_id: str
    channel: str
    state: AlertState
    """What it tells: firing, or resolved."""
    outcome: Outcome
    attempts: int
    due_at: datetime
    """While it waits: when it is tried next."""
    ended_at: datetime | None
    error: str

    @classmethod
    def of(cls, delivery: Delivery) -> DeliveryAnswer:
        """Show a notification."""
        return cls(**{name: getattr(delivery, name) for name in cls.model_fields})


class EpisodeAnswer(BaseModel):
    """An alert, from firing to resolved."""

    number: int
    rule_id: str
    rule: str
    severity: Severity
    pending_at: datetime
    fired_at: datetime
    fired_value: float | None
    resolved_at: datetime | None
    resolved_value: float | None
    deliveries: Sequence[DeliveryAnswer]

    @classmethod
    def of(cls, episode: Episode) -> EpisodeAnswer:
        """Show an alert."""
        facts = {name: getattr(episode, name) for name in cls.model_fields if name != "deliveries"}
        return cls(
            **facts, deliveries=[DeliveryAnswer.of(delivery) for delivery in episode.deliveries]
        )


class EpisodeList(BaseModel):
    """What has happened, newest first."""

    episodes: Sequence[EpisodeAnswer]


class AlertChoices(BaseModel):
    """What a rule can be made of."""

    watched: Sequence[Watched]
    operators: Sequence[Operator]
    severities: Sequence[Severity]
    operations: Sequence[Operation]
    template_fields: Sequence[str]
    title: str
    """The usual template."""
    body: str
