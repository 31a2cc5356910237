"""REST v2 for those who never ask for it: imported with the first request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from milvane.gateway.dispatch import Dispatcher
    from milvane.gateway.rest_v2.app import Message, Receive, RestApp, Send
    from milvane.gateway.settings import GatewaySettings


class LateRestApp:
    """An ASGI application that becomes `RestApp` when somebody asks it."""

    def __init__(self, dispatcher: Dispatcher, settings: GatewaySettings) -> None:
        self._dispatcher = dispatcher
        self._settings = settings
        self._app: RestApp | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if self._app is None:
            create = await asyncio.to_thread(_import_app)
            self._app = self._app or create(self._dispatcher, self._settings)
        await self._app(scope, receive, send)


def _import_app() -> Callable[[Dispatcher, GatewaySettings], RestApp]:
    from milvane.gateway.rest_v2.app import create_rest_app

    return create_rest_app
