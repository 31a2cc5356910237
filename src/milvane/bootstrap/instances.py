"""Every instance behind a port of its own: those of the settings, and those that are added."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from pydantic import SecretStr
from typing_extensions import Self

from milvane.bootstrap.doors import milvus_port
from milvane.bootstrap.ports import port_plan
from milvane.bootstrap.upstreams import shown_to
from milvane.control_plane.additions import PortPlan
from milvane.control_plane.plane import ControlPlane
from milvane.domain.control import AddedInstance
from milvane.domain.errors import ServiceError
from milvane.gateway.dispatch import Dispatcher
from milvane.gateway.rpcs.services import Services
from milvane.instances.remote import CredentialMapping, RemoteEndpoint
from milvane.instances.selection import InstanceSettings
from milvane.instances.upstream import Upstream
from milvane.measures import Operations
from milvane.serving.access import Authenticator
from milvane.settings import Settings
from milvane.storage.sealing import unseal

if TYPE_CHECKING:
    from milvane.gateway.inspecting import CollectionInspector

logger = logging.getLogger(__name__)

TRY_AGAIN_S = 5.0
"""After an instance could not be served, such as for a port that another program has."""

SETTLE_S = 10.0
"""How long an operator waits at most to see what became of an instance."""


@dataclass(slots=True)
class Doors:
    """Opens the ports of instances, and knows which are open."""

    settings: Settings
    authenticator: Authenticator
    operations: Operations
    ports: dict[str, int] = field(default_factory=dict)
    """By the instance's name, once it is open."""
    inspectors: dict[str, Callable[[], CollectionInspector]] = field(default_factory=dict)

    @asynccontextmanager
    async def open(
        self,
        instance: InstanceSettings,
        upstream: Upstream | CredentialMapping,
        services: Services,
    ) -> AsyncIterator[None]:
        """Serve an instance while the context is open; running calls may finish at its end."""
        name = instance.name
        dispatcher = Dispatcher(
            upstream, services, self.authenticator, self.operations, instance=name
        )
        try:
            async with milvus_port(dispatcher, instance, self.settings) as door:
                self.ports[name] = door.port
                self.inspectors[name] = partial(_inspect, upstream, services, name)
                yield
        finally:
            self.ports.pop(name, None)
            self.inspectors.pop(name, None)


def _inspect(
    upstream: Upstream | CredentialMapping, services: Services, instance: str
) -> CollectionInspector:
    from milvane.gateway.inspecting import CollectionInspector  # for consoles; REST comes with it

    return CollectionInspector(upstream, services, instance=instance)


@dataclass(slots=True, eq=False)
class _Serving:
    """One added instance, and the task that serves it."""

    added: AddedInstance
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it is open, or is known not to be."""
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    trouble: str = ""
    upstream: Upstream | None = None
    task: asyncio.Task[None] | None = None


class AddedInstances:
    """Follows the control plane: what operators add is served until they remove it."""

    def __init__(self, doors: Doors, plane: ControlPlane, services: Callable[[], Services]) -> None:
        """
        Say what it stands on.

        Args:
            doors: Where ports are opened.

            plane: Who knows what is to be served.

            services: Makes what each gateway needs beside its upstream.
        """
        self._doors = doors
        self._plane = plane
        self._services = services
        self._serving: dict[str, _Serving] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Open what was added before, as far as that can be done, and follow."""
        self._apply()
        await asyncio.gather(*(self.settled(name) for name in self._serving))
        self._following = asyncio.create_task(self._follow(), name="added-instances")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all ports; running calls may finish."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        for name in list(self._serving):
            self._stop(name)
        if self._ending:
            await asyncio.wait(self._ending)

    @property
    def in_settings(self) -> Collection[str]:
        """Instances that the settings name."""
        return [each.name for each in self._doors.settings.instances]

    @property
    def port_plan(self) -> PortPlan:
        """Which ports added instances may get."""
        return port_plan(self._doors.settings)

    @property
    def troubles(self) -> Mapping[str, str]:
        """Why calls to an added instance would fail now, by its name; only those that would."""
        found = {name: _trouble_of(serving) for name, serving in self._serving.items()}
        return {name: why for name, why in found.items() if why}

    async def settled(self, name: str) -> None:
        """Wait until it is known whether an instance can be served, for some seconds at most."""
        if self._following is not None and not self._following.done():
            self._apply()  # also of a change that was made just now
        serving = self._serving.get(name)
        if serving is not None:
            await _wait(serving.settled, SETTLE_S)

    async def _follow(self) -> None:
        while True:
            revision = self._plane.snapshot.revision
            self._apply()
            await self._plane.wait_for_news(revision)

    def _apply(self) -> None:
        in_settings = set(self.in_settings)
        wanted = {
            each.name: each for each in self._plane.snapshot.added if each.name not in in_settings
        }
        for name, serving in list(self._serving.items()):
            if wanted.get(name) != serving.added:
                self._stop(name)
        for name, added in wanted.items():
            if name not in self._serving:
                serving = self._serving[name] = _Serving(added)
                serving.task = asyncio.create_task(self._serve(serving), name=f"instance-{name}")

    def _stop(self, name: str) -> None:
        serving = self._serving.pop(name)
        serving.is_over.set()
        serving.settled.set()
        if serving.task is not None:
            self._ending.add(serving.task)
            serving.task.add_done_callback(self._ending.discard)

    async def _serve(self, serving: _Serving) -> None:
        """Serve an instance until it is over, however often it has to be tried."""
        if earlier := set(self._ending):  # whose ports or name this one may have
            await asyncio.wait(earlier)
        while not serving.is_over.is_set():
            try:
                await self._serve_once(serving)
            except ServiceError as error:
                self._note(serving, error.message)
            except Exception:  # the other instances are served on, whatever one met
                logger.exception("unexpected failure of the instance %s", serving.added.name)
                self._note(serving, "it failed; the server's log says how")
            await _wait(serving.is_over, TRY_AGAIN_S)

    async def _serve_once(self, serving: _Serving) -> None:
        added = serving.added
        instance = await self._describe(added)
        async with AsyncExitStack() as stack:
            wait_s = self._doors.settings.lite.wait_for_restart_s
            endpoint = RemoteEndpoint(instance)
            upstream = await stack.enter_async_context(
                Upstream(endpoint, wait_for_restart_s=wait_s)
            )
            shown = shown_to(upstream, instance)
            await stack.enter_async_context(self._doors.open(instance, shown, self._services()))
            serving.trouble, serving.upstream = "", upstream
            serving.settled.set()
            logger.info(
                "instance %s is served at port %d", added.name, self._doors.ports[added.name]
            )
            await serving.is_over.wait()
            serving.upstream = None
            logger.info("instance %s is served no more", added.name)

    async def _describe(self, added: AddedInstance) -> InstanceSettings:
        """Open its secret; a port that the settings gave away since is not taken from anybody."""
        token = ""
        if added.sealed_token:
            token = await self._plane.read(
                lambda connection: unseal(connection, added.sealed_token)
            )
        return InstanceSettings(
            name=added.name,
            uri=added.address,
            grpc_port=added.grpc_port,
            token=SecretStr(token) if token else None,
            ca_certificate=added.ca_certificate or None,
            server_name=added.server_name or None,
        )

    def _note(self, serving: _Serving, trouble: str) -> None:
        if trouble != serving.trouble:
            logger.warning("instance %s is not served: %s", serving.added.name, trouble)
        serving.trouble, serving.upstream = trouble, None
        serving.settled.set()


def _trouble_of(serving: _Serving) -> str:
    if serving.trouble or serving.upstream is None:
        return serving.trouble
    return serving.upstream.unready_reason or ""


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait([waiting], timeout=timeout_s)
    waiting.cancel()
