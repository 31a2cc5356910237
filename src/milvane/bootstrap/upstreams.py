"""The Milvus endpoints behind the ports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from milvane.bootstrap.condition import Condition
from milvane.gateway.calls import SERVICE
from milvane.instances.lite.supervisor import LiteInstance, LiteState
from milvane.instances.remote import CredentialMapping, RemoteEndpoint
from milvane.instances.selection import InstanceSettings
from milvane.instances.upstream import Upstream, UpstreamStatus
from milvane.settings import Settings


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
        lite = LiteInstance(settings.lite, settings.server.data_dir)
        condition.reasons.append(lambda: _unready_reason(lite))
        await stack.enter_async_context(lite)
        return await stack.enter_async_context(Upstream(lite, wait_for_restart_s=wait_s))
    remote = RemoteEndpoint(instance)
    upstream = await stack.enter_async_context(Upstream(remote, wait_for_restart_s=wait_s))
    condition.reasons.append(lambda: upstream.unready_reason)
    shown = shown_to(upstream, instance)
    with suppress(UpstreamStatus):  # it answers, if only to say that it wants to know who asks
        await shown.call(f"{SERVICE}GetVersion", b"", timeout_s=10)
    return shown


def shown_to(upstream: Upstream, instance: InstanceSettings) -> Upstream | CredentialMapping:
    """Say who a Milvus is shown: the client, or whom the instance's token names."""
    token = instance.token.get_secret_value() if instance.token else None
    return CredentialMapping(upstream, token) if token else upstream


def _unready_reason(lite: LiteInstance) -> str | None:
    return None if lite.state is LiteState.READY else f"{lite.name} is {lite.state.value}"
