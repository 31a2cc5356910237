"""Changes of what is governed: functions of a connection, each with its entry in the audit log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from milvane.domain.control import (
    Association,
    AuditEntry,
    GovernedInstance,
    Quota,
    QuotaKind,
    QuotaSubject,
    Service,
    service_id_of,
)
from milvane.domain.errors import Conflict, InvalidInput, NotFound
from milvane.storage.control_tables import (
    API_KEYS,
    ASSOCIATIONS,
    AUDIT_LOG,
    CONTROL_REVISION,
    INSTANCES,
    QUOTAS,
    SERVICES,
)

MAX_AUDIT_ENTRIES = 1000
"""Entries that one look at the audit log shows."""


@dataclass(frozen=True, slots=True)
class Change:
    """A transaction that changes something: on what, by whom, and when."""

    connection: Connection
    actor: str
    now: datetime

    def note(self, action: str, subject: str, **detail: Any) -> None:
        """Enter what was done in the audit log, and have every server look again."""
        self.connection.execute(
            insert(AUDIT_LOG).values(
                at=self.now, actor=self.actor, action=action, subject=subject, detail=detail
            )
        )
        risen = update(CONTROL_REVISION).values(revision=CONTROL_REVISION.c.revision + 1)
        if not self.connection.execute(risen).rowcount:
            self.connection.execute(insert(CONTROL_REVISION).values(id=1, revision=1))


def read_revision(connection: Connection) -> int:
    """Tell the number that rises with every change."""
    return connection.execute(select(CONTROL_REVISION.c.revision)).scalar() or 0


# --- services ------------------------------------------------------------------------------------


def offer_services(change: Change, region: str, models: Sequence[str]) -> list[Service]:
    """
    Offer models in a region that has no service of them yet; each begins enabled.

    Returns:
        The services that are new.
    """
    known = {service.model for service in list_services(change.connection, region)}
    new = [
        Service(service_id_of(region, model), model, region, is_enabled=True)
        for model in models
        if model not in known
    ]
    for service in new:
        change.connection.execute(
            insert(SERVICES).values(
                service_id=service.service_id,
                model=service.model,
                region=region,
                is_enabled=True,
                created_at=change.now,
            )
        )
        change.note("service.offer", service.service_id, model=service.model, region=region)
    return new


def list_services(connection: Connection, region: str | None = None) -> list[Service]:
    """List services by region and model."""
    statement = select(SERVICES).order_by(SERVICES.c.region, SERVICES.c.model)
    if region is not None:
        statement = statement.where(SERVICES.c.region == region)
    return [
        Service(row.service_id, row.model, row.region, is_enabled=row.is_enabled)
        for row in connection.execute(statement)
    ]


def find_service(connection: Connection, name: str, region: str) -> Service:
    """
    Find a service by its id, or by its model in a region.

    Raises:
        NotFound: If there is none.
    """
    for service in list_services(connection):
        if service.service_id == name or (service.model == name and service.region == region):
            return service
    raise NotFound(f"there is no embedding service {name!r} in the region {region!r}")


def switch_service(change: Change, service: Service, *, on: bool) -> None:
    """Enable or disable a service; calls that run may end."""
    if service.is_enabled == on:
        return
    mine = SERVICES.c.service_id == service.service_id
    change.connection.execute(update(SERVICES).where(mine).values(is_enabled=on))
    action = "service.enable" if on else "service.disable"
    change.note(action, service.service_id, model=service.model, region=service.region)


# --- instances and associations ------------------------------------------------------------------


def add_instance(change: Change, name: str, *, region: str, address: str, **detail: Any) -> bool:
    """
    Make an instance known, or note its new address; what else the log is to say follows.

    Returns:
        Whether it was not known before.
    """
    if not name or "/" in name:
        raise InvalidInput("an instance needs a name without a slash", parameter="name")
    mine = INSTANCES.c.name == name
    found = change.connection.execute(select(INSTANCES).where(mine)).first()
    if found is None:
        change.connection.execute(
            insert(INSTANCES).values(
                name=name, region=region, address=address, created_at=change.now
            )
        )
        change.note("instance.add", name, region=region, address=address, **detail)
        return True
    if (found.region, found.address) != (region, address):
        moved = update(INSTANCES).where(mine).values(region=region, address=address)
        change.connection.execute(moved)
        change.note("instance.change", name, region=region, address=address)
    return False


def remove_instance(change: Change, name: str) -> None:
    """
    Forget an instance and its associations; its usage stays in the ledger.

    Raises:
        NotFound: If there is none.
    """
    if not change.connection.execute(delete(INSTANCES).where(INSTANCES.c.name == name)).rowcount:
        raise NotFound(f"there is no instance {name!r}")
    change.note("instance.remove", name)


def list_instances(connection: Connection) -> list[GovernedInstance]:
    """List instances by name."""
    return [
        GovernedInstance(row.name, row.region, row.address, row.created_at)
        for row in connection.execute(select(INSTANCES).order_by(INSTANCES.c.name))
    ]


def list_associations(connection: Connection) -> list[Association]:
    """List associations by instance and service."""
    ordered = select(ASSOCIATIONS).order_by(ASSOCIATIONS.c.instance, ASSOCIATIONS.c.service_id)
    return [
        Association(row.instance, row.service_id, row.created_at)
        for row in connection.execute(ordered)
    ]


def bind(change: Change, service: Service, instances: Iterable[str]) -> list[str]:
    """
    Let instances use a service: all of them or, if one is not known, none.

    Returns:
        Those that could not before.

    Raises:
        NotFound: If an instance is not known.
        Conflict: If one is in another region than the service.
    """
    known = {instance.name: instance for instance in list_instances(change.connection)}
    bound = {
        each.instance
        for each in list_associations(change.connection)
        if each.service_id == service.service_id
    }
    new = []
    for name in dict.fromkeys(instances):
        if name not in known:
            raise NotFound(f"there is no instance {name!r}")
        if known[name].region != service.region:
            raise Conflict(
                f"instance {name!r} is in the region {known[name].region!r}, "
                f"the service {service.service_id} in {service.region!r}"
            )
        if name not in bound:
            change.connection.execute(
                insert(ASSOCIATIONS).values(
                    instance=name, service_id=service.service_id, created_at=change.now
                )
            )
            change.note("association.bind", f"{name}/{service.model}", service=service.service_id)
            new.append(name)
    return new


def unbind(change: Change, service: Service, instance: str) -> None:
    """
    Take a service from an instance.

    Raises:
        NotFound: If it does not have it.
    """
    mine = delete(ASSOCIATIONS).where(
        ASSOCIATIONS.c.instance == instance, ASSOCIATIONS.c.service_id == service.service_id
    )
    if not change.connection.execute(mine).rowcount:
        raise NotFound(f"instance {instance!r} does not use {service.model}")
    change.note("association.unbind", f"{instance}/{service.model}", service=service.service_id)


# --- quotas ---------------------------------------------------------------------------------------


def set_quota(change: Change, quota: Quota) -> None:
    """
    Set a subject's limits in place of those it has; without any limit it has none.

    Raises:
        InvalidInput: If a limit is not positive.
        NotFound: If it is for a key that does not exist.
    """
    limits = _limits_of(quota)
    for name, limit in limits.items():
        if limit is not None and limit < 1:
            raise InvalidInput(f"{name} is at least 1, or absent for no limit", parameter=name)
    subject = quota.subject
    if subject.kind is QuotaKind.KEY:
        known = select(API_KEYS.c.key_id).where(API_KEYS.c.key_id == subject.name)
        if change.connection.execute(known).first() is None:
            raise NotFound(f"there is no key {subject.name!r}")
    mine = (QUOTAS.c.kind == subject.kind.value, QUOTAS.c.name == subject.name)
    change.connection.execute(delete(QUOTAS).where(*mine))
    if any(limit is not None for limit in limits.values()):
        change.connection.execute(
            insert(QUOTAS).values(
                kind=subject.kind.value, name=subject.name, is_shadow=quota.is_shadow, **limits
            )
        )
    shown = {name: limit for name, limit in limits.items() if limit is not None}
    change.note("quota.set", f"{subject.kind.value}:{subject.name}", **shown)


def list_quotas(connection: Connection) -> list[Quota]:
    """List limits by subject."""
    return [
        Quota(
            QuotaSubject(QuotaKind(row.kind), row.name),
            requests_per_minute=row.requests_per_minute,
            tokens_per_minute=row.tokens_per_minute,
            tokens_per_month=row.tokens_per_month,
            concurrent_requests=row.concurrent_requests,
            is_shadow=row.is_shadow,
        )
        for row in connection.execute(select(QUOTAS).order_by(QUOTAS.c.kind, QUOTAS.c.name))
    ]


def _limits_of(quota: Quota) -> dict[str, int | None]:
    return {
        "requests_per_minute": quota.requests_per_minute,
        "tokens_per_minute": quota.tokens_per_minute,
        "tokens_per_month": quota.tokens_per_month,
        "concurrent_requests": quota.concurrent_requests,
    }


# --- audit ----------------------------------------------------------------------------------------


def list_audit(
    connection: Connection, *, limit: int = 100, before: int | None = None
) -> list[AuditEntry]:
    """
    List changes, newest first.

    Args:
        connection: Where they are.

        limit: How many, at most `MAX_AUDIT_ENTRIES`.

        before: Only those with a smaller number.
    """
    statement = select(AUDIT_LOG).order_by(AUDIT_LOG.c.number.desc())
    if before is not None:
        statement = statement.where(AUDIT_LOG.c.number < before)
    rows = connection.execute(statement.limit(min(limit, MAX_AUDIT_ENTRIES)))
    return [
        AuditEntry(row.at, row.actor, row.action, row.subject, row.detail, row.number)
        for row in rows
    ]
