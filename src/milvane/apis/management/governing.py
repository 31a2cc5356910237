"""Services, associations, quotas, and the log of changes."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query

from milvane.apis.management.bundle import ByManager, Management
from milvane.apis.management.wire import (
    AuditAnswer,
    AuditList,
    BindAnswer,
    BindBody,
    QuotaAnswer,
    QuotaBody,
    QuotaList,
    ServiceAnswer,
    ServiceBody,
    ServiceList,
)
from milvane.control_plane import commands
from milvane.control_plane.commands import MAX_AUDIT_ENTRIES, Change
from milvane.domain.catalogue import MODELS
from milvane.domain.control import Quota, QuotaKind, QuotaSubject, Service
from milvane.domain.models import ModelName
from milvane.domain.prices import HOSTED_PRICES


def governing_router(management: Management) -> APIRouter:
    """Build the routes of what is governed."""
    router = APIRouter()
    _add_services(router, management)
    _add_associations(router, management)
    _add_quotas(router, management)
    _add_audit(router, management)
    return router


def _add_services(router: APIRouter, management: Management) -> None:
    plane = management.plane

    async def show(services: list[Service]) -> list[ServiceAnswer]:
        bound = await plane.read(commands.list_associations)
        users: dict[str, list[str]] = {}
        for each in bound:
            users.setdefault(each.service_id, []).append(each.instance)
        return [
            _show_service(service, management, users.get(service.service_id, []))
            for service in services
        ]

    @router.get("/services")
    async def list_services() -> ServiceList:
        """List the embedding services of this server's region."""
        services = await plane.read(partial(commands.list_services, region=plane.region))
        return ServiceList(region=plane.region, services=await show(services))

    @router.patch("/services/{name}")
    async def change_service(name: str, body: ServiceBody, manager: ByManager) -> ServiceAnswer:
        """Enable or disable a service, named by its id or its model."""

        def work(change: Change) -> Service:
            service = commands.find_service(change.connection, name, plane.region)
            commands.switch_service(change, service, on=body.is_enabled)
            return commands.find_service(change.connection, service.service_id, plane.region)

        service = await plane.change(manager.name, work)
        return (await show([service]))[0]


def _show_service(service: Service, management: Management, instances: list[str]) -> ServiceAnswer:
    name = ModelName(service.model)
    model = MODELS.get(name)
    return ServiceAnswer(
        service_id=service.service_id,
        model=service.model,
        description=model.description if model else "",
        region=service.region,
        is_enabled=service.is_enabled,
        dimensions=str(model.dimensions) if model else "",
        default_dimension=model.default_dimension if model else 0,
        max_input_tokens=model.max_input_tokens if model else 0,
        modalities=sorted(each.value for each in model.modalities) if model else [],
        weights=management.served_by.get(name),
        price_per_million_tokens=HOSTED_PRICES.get(name),
        instances=instances,
    )


def _add_associations(router: APIRouter, management: Management) -> None:
    plane = management.plane

    @router.post("/associations")
    async def bind(body: BindBody, manager: ByManager) -> BindAnswer:
        """Let instances use a service: all of them or, if one cannot, none."""

        def work(change: Change) -> list[str]:
            service = commands.find_service(change.connection, body.service, plane.region)
            return commands.bind(change, service, body.instances)

        return BindAnswer(bound=await plane.change(manager.name, work))

    @router.delete("/associations/{instance}/{service}", status_code=204)
    async def unbind(instance: str, service: str, manager: ByManager) -> None:
        """Take a service, named by its id or its model, from an instance."""

        def work(change: Change) -> None:
            found = commands.find_service(change.connection, service, plane.region)
            commands.unbind(change, found, instance)

        await plane.change(manager.name, work)


def _add_quotas(router: APIRouter, management: Management) -> None:
    plane = management.plane

    @router.get("/quotas")
    async def list_quotas() -> QuotaList:
        """List all quotas, and how they stand in this server."""
        quotas = await plane.read(commands.list_quotas)
        return QuotaList(quotas=[_show_quota(quota, management) for quota in quotas])

    @router.put("/quotas/{kind}/{name:path}", status_code=204)
    async def set_quota(kind: QuotaKind, name: str, body: QuotaBody, manager: ByManager) -> None:
        """Set the limits of a key, a tenant or an association; without any it has no quota."""
        quota = Quota(QuotaSubject(kind, name), **body.model_dump())
        await plane.change(manager.name, partial(commands.set_quota, quota=quota))


def _show_quota(quota: Quota, management: Management) -> QuotaAnswer:
    standing = management.plane.keeper.standings.get(quota.subject)
    limits = asdict(quota)
    del limits["subject"]
    return QuotaAnswer(
        **limits,
        kind=quota.subject.kind,
        name=quota.subject.name,
        month_tokens=standing.month_tokens if standing else None,
        running=standing.running if standing else None,
        would_refuse=standing.would_refuse if standing else None,
    )


def _add_audit(router: APIRouter, management: Management) -> None:
    @router.get("/audit")
    async def list_audit(
        limit: Annotated[int, Query(ge=1, le=MAX_AUDIT_ENTRIES)] = 100,
        before: Annotated[int | None, Query(ge=1)] = None,
    ) -> AuditList:
        """List changes, newest first."""
        entries = await management.plane.read(
            partial(commands.list_audit, limit=limit, before=before)
        )
        return AuditList(entries=[AuditAnswer.of(entry) for entry in entries])
