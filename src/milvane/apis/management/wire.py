"""Bodies and answers of the management API; times are ISO 8601 in UTC, durations seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from milvane.control_plane.operators import SignedIn
from milvane.domain.control import ApiKey, AuditEntry, QuotaKind, Scope
from milvane.metering.series import Curve, Point


class Body(BaseModel):
    """What a client sends: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid")


class SignInBody(Body):
    """Who signs in."""

    name: str = Field(max_length=128)
    password: str = Field(max_length=1024)


class SessionAnswer(BaseModel):
    """Who is signed in."""

    name: str
    csrf_token: str
    """To be sent as `x-csrf-token` with whatever changes something."""
    expires_at: datetime

    @classmethod
    def of(cls, session: SignedIn) -> SessionAnswer:
        """Show a session."""
        return cls(
            name=session.operator, csrf_token=session.csrf_token, expires_at=session.expires_at
        )


class PasswordBody(Body):
    """A new password."""

    password: str = Field(max_length=1024)


class ServiceAnswer(BaseModel):
    """An embedding service: a model that is offered in a region."""

    service_id: str
    model: str
    description: str
    region: str
    is_enabled: bool
    dimensions: str
    default_dimension: int
    max_input_tokens: int
    modalities: Sequence[str]
    weights: str | None
    """Which weights serve the model here; none if nothing does."""
    price_per_million_tokens: float | None
    """What the hosted model of this name costs, in US dollars."""
    instances: Sequence[str]
    """Those that use it."""


class ServiceList(BaseModel):
    """All services of the region."""

    region: str
    services: Sequence[ServiceAnswer]


class ServiceBody(Body):
    """What to change of a service."""

    is_enabled: bool


class InstanceAnswer(BaseModel):
    """A Milvus endpoint."""

    name: str
    region: str
    address: str
    """Empty for the embedded one."""
    created_at: datetime
    models: Sequence[str]
    """Those that it uses."""
    is_served: bool
    """Whether this server has a port for it."""
    grpc_port: int | None
    """Where this server offers it; none if it does not."""
    is_added: bool
    """Whether an operator has added it, rather than the settings."""
    has_token: bool
    """Whether its Milvus is shown a token in place of clients' credentials."""
    trouble: str | None
    """Why calls to it would fail now, as far as is known of one that was added."""


class InstanceList(BaseModel):
    """All instances."""

    instances: Sequence[InstanceAnswer]


class InstanceBody(Body):
    """A Milvus elsewhere that is to be served."""

    name: str = Field(max_length=128)
    uri: str = Field(max_length=512)
    """Such as ``http://host:19530``."""
    grpc_port: int | None = Field(default=None, ge=0, le=65535)
    """The first free one after the server's own if none."""
    token: SecretStr = Field(default=SecretStr(""), max_length=4096)
    """What it is shown in place of clients' credentials; shown to nobody again."""
    ca_certificate: str = Field(default="", max_length=200_000)
    """PEM."""
    server_name: str = Field(default="", max_length=255)
    services: list[str] | None = Field(default=None, max_length=1000)
    """Which it may use, by id or model; if none, all of them, or as the settings say."""


class BindBody(Body):
    """Which instances are to use a service."""

    service: str
    """Its id, or its model."""
    instances: Sequence[str] = Field(min_length=1, max_length=1000)


class BindAnswer(BaseModel):
    """What has come of it."""

    bound: Sequence[str]
    """Those that did not use it before."""


class KeyBody(Body):
    """A key to be made."""

    label: str = Field(max_length=128)
    tenant: str = Field(default="default", max_length=128)
    scopes: Sequence[Scope] = (Scope.EMBED, Scope.MILVUS)
    expires_in_s: float | None = Field(default=None, gt=0, le=3.2e9)


class RotateBody(Body):
    """How long the old key stays good."""

    overlap_s: float = Field(default=3600.0, ge=0, le=3.2e7)


class KeyAnswer(BaseModel):
    """A key without its secret."""

    key_id: str
    label: str
    prefix: str
    tenant: str
    scopes: Sequence[Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    rotated_to: str | None
    is_good: bool

    @classmethod
    def of(cls, key: ApiKey, now: datetime) -> KeyAnswer:
        """Show a key."""
        return cls(
            key_id=key.key_id,
            label=key.label,
            prefix=key.prefix,
            tenant=key.tenant,
            scopes=sorted(key.scopes, key=lambda scope: scope.value),
            created_at=key.created_at,
            expires_at=key.expires_at,
            last_used_at=key.last_used_at,
            rotated_to=key.rotated_to,
            is_good=key.expires_at is None or now < key.expires_at,
        )


class NewKeyAnswer(BaseModel):
    """A key that was just made."""

    key: KeyAnswer
    secret: str
    """Shown once: nobody can tell it again."""


class KeyList(BaseModel):
    """All keys, oldest first."""

    keys: Sequence[KeyAnswer]


class QuotaBody(Body):
    """Limits; what is left out has none."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_month: int | None = None
    concurrent_requests: int | None = None
    is_shadow: bool = False


class QuotaAnswer(QuotaBody):
    """Limits, and how they stand in this server."""

    kind: QuotaKind
    name: str
    month_tokens: int | None = None
    """Used and reserved this month; unknown where this server has not seen the quota yet."""
    running: int | None = None
    would_refuse: int | None = None


class QuotaList(BaseModel):
    """All quotas."""

    quotas: Sequence[QuotaAnswer]


class AuditAnswer(BaseModel):
    """A change."""

    number: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any]

    @classmethod
    def of(cls, entry: AuditEntry) -> AuditAnswer:
        """Show an entry."""
        return cls(
            number=entry.number,
            at=entry.at,
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            detail=entry.detail,
        )


class AuditList(BaseModel):
    """Changes, newest first."""

    entries: Sequence[AuditAnswer]


class PointAnswer(BaseModel):
    """One step of a curve; null where there is nothing to say."""

    at: datetime
    requests: int | None
    refusals: int | None
    tokens: int | None
    cached_tokens: int | None
    images: int | None
    queries_per_s: float | None
    tokens_per_s: float | None
    success_rate: float | None
    average_s: float | None
    median_s: float | None
    p99_s: float | None

    @classmethod
    def of(cls, point: Point) -> PointAnswer:
        """Show a point."""
        return cls(
            at=point.begins_at,
            requests=point.requests,
            refusals=point.refusals,
            tokens=point.tokens,
            cached_tokens=point.cached_tokens,
            images=point.images,
            queries_per_s=point.queries_per_s,
            tokens_per_s=point.tokens_per_s,
            success_rate=point.success_rate,
            average_s=point.average_s,
            median_s=point.median_s,
            p99_s=point.p99_s,
        )


class CurveAnswer(BaseModel):
    """One group's points, and what they come to together."""

    group: str
    points: Sequence[PointAnswer]
    total: PointAnswer

    @classmethod
    def of(cls, curve: Curve, total: Point) -> CurveAnswer:
        """Show a curve."""
        return cls(
            group=curve.group,
            points=[PointAnswer.of(point) for point in curve.points],
            total=PointAnswer.of(total),
        )


class UsageAnswer(BaseModel):
    """The curves of the five charts."""

    since: datetime
    until: datetime
    step_s: int
    """Coarser than asked for where only that is still kept."""
    curves: Sequence[CurveAnswer]


class UsageNames(BaseModel):
    """What usage can be filtered by."""

    models: Sequence[str]
    instances: Sequence[str]
    operations: Sequence[str]
    tenants: Sequence[str]
    callers: Sequence[str]
