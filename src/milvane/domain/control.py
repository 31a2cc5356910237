"""What an operator governs: services, instances, who may use which, keys and quotas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from hashlib import sha256
from typing import Any

DEFAULT_REGION = "local"


class Scope(Enum):
    """What a key opens."""

    EMBED = "embed"
    """The HTTP APIs of the models, with their files and jobs."""
    MILVUS = "milvus"
    """The ports of the instances."""
    MANAGE = "manage"
    """The management API."""


@dataclass(frozen=True, slots=True)
class Service:
    """A model that is offered in a region."""

    service_id: str
    model: str
    region: str
    is_enabled: bool


@dataclass(frozen=True, slots=True)
class GovernedInstance:
    """A Milvus endpoint as the operator knows it."""

    name: str
    region: str
    address: str
    """Empty for the embedded one."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AddedInstance:
    """An instance that an operator has added while servers ran: how it is reached and offered."""

    name: str
    address: str
    grpc_port: int
    """Of every server that offers it; 0 for any that is free."""
    sealed_token: str = field(default="", repr=False)
    """What the Milvus is shown in place of clients' credentials, sealed; empty to pass those on."""
    ca_certificate: str = ""
    """PEM; empty for the machine's own list of authorities."""
    server_name: str = ""
    """In the Milvus's certificate, where it is not the host."""


@dataclass(frozen=True, slots=True)
class Association:
    """That an instance may use a service."""

    instance: str
    service_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret, which nobody but its holder has."""

    key_id: str
    label: str
    prefix: str
    """The beginning of the secret, to be recognised by."""
    tenant: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    """It opens nothing from then on, like one that was revoked."""
    last_used_at: datetime | None = None
    rotated_to: str | None = None
    """The id of the key that takes its place."""

    def opens(self, scope: Scope, now: datetime) -> bool:
        """Say whether the key is good for something at a time."""
        return scope in self.scopes and (self.expires_at is None or now < self.expires_at)


class QuotaKind(Enum):
    """Whose use a quota limits."""

    KEY = "key"
    TENANT = "tenant"
    ASSOCIATION = "association"
    """An instance's use of a model, named ``instance/model``."""


@dataclass(frozen=True, slots=True)
class QuotaSubject:
    """Whose use is limited."""

    kind: QuotaKind
    name: str


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits of one subject; none where there is none."""

    subject: QuotaSubject
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_month: int | None = None
    concurrent_requests: int | None = None
    is_shadow: bool = False
    """Only counts what it would refuse."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """What somebody changed."""

    at: datetime
    actor: str
    action: str
    """Such as ``service.enable``."""
    subject: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0
    """Rises with time."""


def service_id_of(region: str, model: str) -> str:
    """Name the service of a model in a region: the same name in every server."""
    return f"es-{sha256(f'{region}/{model}'.encode()).hexdigest()[:12]}"
