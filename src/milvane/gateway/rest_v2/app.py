"""The ASGI application of REST v2."""

from __future__ import annotations

from typing import Any

from milvane.gateway.dispatch import Dispatcher
from milvane.gateway.settings import GatewaySettings


def create_rest_app(_dispatcher: Dispatcher, _settings: GatewaySettings) -> Any:
    """Build the application."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b"404 page not found"})

    return app
