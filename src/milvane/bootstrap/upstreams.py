"""The Milvus endpoints behind the ports, and how the whole stands."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

from milvane.apis.health import Readiness
from milvane.gateway.calls import SERVICE
from milvane.instances.lite.supervisor import LiteInstance, LiteState
from milvane.instances.remote import CredentialMapping, RemoteEndpoint
from milvane.instances.selection import InstanceSettings
from milvane.instances.upstream import Upstream, UpstreamStatus
from milvane.settings import Settings

Reason = Callable[[], str | None]
"""Says why a request would fail now; none if it would not."""


@dataclass(slots=True)
class Condition:
    """What the readiness probe answers from: the state of the start, then of each part."""

    starting: bool = True
    reasons: list[Reason] = field(default_factory=list)

    def readiness(self) -> Readiness:
        """Say how things stand now."""
        if self.starting:
            return Readiness(("the server is starting",))
        return Readiness(tuple(said for reason in self.reasons if (said := reason())))


@asynccontextmanager
async def upstream_of(
    instance: InstanceSettings, settings: Settings, condition: Condition
) -> AsyncIterator[Upstream | CredentialMapping]:
    """Have an instance's Milvus run, or be connected, while the context is open."""
    async with AsyncExitStack() as stack:
        yield await _open(stack, instance, settings, condition)


async def _open(
    stack: AsyncExitStack, instance: InstanceSettings, settings: Settings, condition: Condition
) -> Upstream | CredentialMapping:
    """Start the embedded Milvus Lite, or connect to a remote Milvus that must answer."""
    wait_s = settings.lite.wait_for_restart_s
    if instance.is_embedded:
        lite = await stack.enter_async_context(
            LiteInstance(settings.lite, settings.server.data_dir)
        )
        condition.reasons.append(lambda: _unready_reason(lite))
        return await stack.enter_async_context(Upstream(lite, wait_for_restart_s=wait_s))
    remote = RemoteEndpoint(instance)
    upstream = await stack.enter_async_context(Upstream(remote, wait_for_restart_s=wait_s))
    condition.reasons.append(lambda: upstream.unready_reason)
    token = instance.token.get_secret_value() if instance.token else None
    shown = CredentialMapping(upstream, token) if token else upstream
    with suppress(UpstreamStatus):  # it answers, if only to say that it wants to know who asks
        await shown.call(f"{SERVICE}GetVersion", b"", timeout_s=10)
    return shown


def _unready_reason(lite: LiteInstance) -> str | None:
    return None if lite.state is LiteState.READY else f"{lite.name} is {lite.state.value}"
