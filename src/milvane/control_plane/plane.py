"""The component: what is governed here, in memory, following the database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Protocol, TypeVar

import anyio
from sqlalchemy import Connection
from typing_extensions import Self

from milvane.control_plane import additions, commands, keys, loading
from milvane.control_plane.commands import Change
from milvane.control_plane.keeper import QuotaKeeper, Reservation
from milvane.control_plane.keys import digest_of
from milvane.control_plane.quotas import begin_of_month
from milvane.control_plane.settings import ControlSettings
from milvane.control_plane.snapshot import Snapshot, subjects_of
from milvane.domain.callers import Caller
from milvane.domain.control import QuotaSubject, Scope
from milvane.domain.errors import ServiceError
from milvane.storage.database import Database

LOG = logging.getLogger(__name__)

Result = TypeVar("Result")

SYSTEM = "milvane"
"""Who changes what no person asked for."""

_CATCH_UP_EVERY = 30
"""Looks at the database between two sums of the month."""


class MonthlyUsage(Protocol):
    """Knows what has been used."""

    async def tokens_since(self, since: datetime) -> Mapping[tuple[str, str, str, str], int]:
        """
        Sum up tokens since the beginning of an hour, by tenant, caller, instance and model.

        What this process has settled before it is asked is among them.
        """


class ControlPlane:
    """Answers calls from a snapshot, and makes changes."""

    def __init__(
        self,
        database: Database,
        settings: ControlSettings,
        usage: MonthlyUsage,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        """
        Say what it stands on.

        Args:
            database: Where everything is kept; may be shared with other servers.

            settings: The region, and how often to look.

            usage: What months' quotas begin with.

            clock: Tells the time of day.
        """
        self._database = database
        self._settings = settings
        self._usage = usage
        self._clock = clock
        self._snapshot: Snapshot | None = None
        self._keeper = QuotaKeeper(clock)
        self._used_at: dict[str, datetime] = {}
        self._refreshing = (
            asyncio.Lock()
        )  # guards the order of snapshots: none replaces a newer one
        self._loop_task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Read what there is, and begin to follow it."""
        await self.refresh()
        self._loop_task = asyncio.create_task(self._follow(), name="control-plane")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop following, and note when keys were used."""
        with anyio.CancelScope(shield=True):
            if self._loop_task is not None:
                self._loop_task.cancel()
                await asyncio.gather(self._loop_task, return_exceptions=True)
            try:
                await self._note_uses()
            except ServiceError as failure:
                LOG.warning("when keys were used is not noted: %s", failure)

    @property
    def region(self) -> str:
        """Where this server is."""
        return self._settings.region

    @property
    def binds_new_instances(self) -> bool:
        """Whether an instance may use every service from the first, where nobody says which."""
        return self._settings.bind_new_instances

    @property
    def snapshot(self) -> Snapshot:
        """What is known now; nothing is offered before the context is entered."""
        return self._snapshot or Snapshot()

    @property
    def keeper(self) -> QuotaKeeper:
        """How quotas stand."""
        return self._keeper

    def month_shares(self) -> Mapping[str, float]:
        """Say how full each month's quota of tokens is, by its kind and name: ``tenant:north``."""
        return self._keeper.month_shares()

    async def prepare(self, models: Sequence[str], instances: Mapping[str, str]) -> None:
        """
        Offer the models of this version, and make the instances of the settings known.

        Args:
            models: Each begins enabled, where it is new.

            instances: Addresses by name. One that is new may use every service, if the settings
                say so; what an operator takes from it later stays taken.
        """

        def seed(change: Change) -> None:
            new_services = commands.offer_services(change, self.region, models)
            for name, address in instances.items():
                is_new = commands.add_instance(change, name, region=self.region, address=address)
                additions.take_over(change, name)
                if not self._settings.bind_new_instances:
                    continue
                new = None if is_new else [service.service_id for service in new_services]
                additions.bind_new(change, name, region=self.region, services=new)

        await self.change(SYSTEM, seed)

    async def change(self, actor: str, work: Callable[[Change], Result]) -> Result:
        """Make a change in one transaction; calls are judged by it from then on."""

        def transact(connection: Connection) -> Result:
            return work(Change(connection, actor, self._clock()))

        result = await self._database.write(transact)
        await self.refresh()
        return result

    async def read(self, work: Callable[[Connection], Result]) -> Result:
        """Look something up in the database."""
        return await self._database.read(work)

    async def refresh(self) -> None:
        """Read everything again, if anything has changed."""
        async with self._refreshing:
            known = None if self._snapshot is None else self._snapshot.revision
            snapshot = await self._database.read(
                partial(read_snapshot, region=self.region, known_revision=known)
            )
            if snapshot is not None:
                self._snapshot = snapshot
                self._news.set()
                self._news = asyncio.Event()
                self._keeper.set_quotas(snapshot.quotas)
                await self._catch_up()

    async def wait_for_news(self, revision: int) -> Snapshot:
        """Wait until something is governed otherwise than at a revision, and say how."""
        while self.snapshot.revision == revision:
            await self._news.wait()
        return self.snapshot

    def check_service(self, model: str, instance: str) -> None:
        """
        Let a model be used; by an instance, if one is named.

        Raises:
            PermissionDenied: If its service is not enabled, or the instance has no association.
        """
        self.snapshot.check_service(model, instance)

    def find_caller(self, secret: str, scope: Scope) -> Caller | None:
        """Say whose key a secret is, if it is good for something."""
        now = self._clock()
        key = self.snapshot.find_key(digest_of(secret), scope, now)
        if key is None:
            return None
        self._used_at[key.key_id] = now
        return Caller(name=key.key_id, tenant=key.tenant)

    def reserve(self, caller: Caller, instance: str, model: str, tokens: int) -> Reservation:
        """
        Reserve what a call is about to use.

        Raises:
            QuotaExceeded: If a quota that it is counted on is spent.
        """
        return self._keeper.reserve(
            subjects_of(caller.name, caller.tenant, instance, model), tokens
        )

    async def _follow(self) -> None:
        looks = 0
        while True:
            await asyncio.sleep(self._settings.poll_interval_s)
            looks += 1
            try:
                await self.refresh()
                await self._note_uses()
                if looks % _CATCH_UP_EVERY == 0:
                    await self._catch_up()
            except ServiceError as error:
                LOG.warning("changes of the control plane are not seen: %s", error)
            except Exception:  # following outlives whatever one look met
                LOG.exception("unexpected failure while following the control plane")

    async def _note_uses(self) -> None:
        if self._used_at:
            used_at, self._used_at = self._used_at, {}
            await self._database.write(partial(keys.note_uses, used_at=used_at))

    async def _catch_up(self) -> None:
        """Begin the month where the ledger stands, with what other servers have counted."""
        if not self._keeper.standings:
            return
        now, settled = self._clock(), self._keeper.settled()
        sums: dict[QuotaSubject, int] = {}
        found = await self._usage.tokens_since(begin_of_month(now))
        for (tenant, caller, instance, model), tokens in found.items():
            for subject in subjects_of(caller, tenant, instance, model):
                sums[subject] = sums.get(subject, 0) + tokens
        self._keeper.catch_up(sums, settled, now)


def read_snapshot(
    connection: Connection, *, region: str, known_revision: int | None = None
) -> Snapshot | None:
    """Read what is governed in a region; nothing if it is as it was at a revision."""
    revision = commands.read_revision(connection)
    if revision == known_revision:
        return None
    services = commands.list_services(connection, region)
    models = {service.service_id: service.model for service in services}
    return Snapshot(
        revision=revision,
        enabled=frozenset(service.model for service in services if service.is_enabled),
        offered=frozenset(models.values()),
        bound=frozenset(
            (each.instance, models[each.service_id])
            for each in commands.list_associations(connection)
            if each.service_id in models
        ),
        keys=keys.read_keys(connection),
        quotas=commands.list_quotas(connection),
        added=additions.list_added(connection, region),
        unloaded=loading.list_unloaded(connection),
    )
