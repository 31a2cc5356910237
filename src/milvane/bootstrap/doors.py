"""The ports that clients reach."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

from fastapi import FastAPI

from milvane.apis.listener import HttpListener
from milvane.gateway.dispatch import Dispatcher
from milvane.gateway.port_sharing import SharedPort
from milvane.gateway.rest_v2.late import LateRestApp
from milvane.gateway.server import GatewayServer, MilvusHandler
from milvane.gateway.tls import TlsIdentity
from milvane.instances.selection import InstanceSettings
from milvane.settings import Settings


def http_port(
    app: FastAPI, settings: Settings
) -> AbstractAsyncContextManager[HttpListener | SharedPort]:
    """Describe the port of the HTTP APIs."""
    server, listener = settings.server, _http_listener(app, settings)
    if not settings.tls.is_on:
        return listener(host=server.host, port=server.http_port)
    return SharedPort(
        host=server.host,
        port=server.http_port,
        http2=None,
        http1=lambda path: listener(path=path),
        sniff_timeout_s=server.patience_s,
        tls=TlsIdentity(settings.tls, ["http/1.1"]),
        max_connections=server.max_connections,
        option="--http-port",
    )


def _http_listener(app: FastAPI | LateRestApp, settings: Settings) -> Callable[..., HttpListener]:
    return partial(
        HttpListener,
        app,
        drain_timeout_s=settings.gateway.drain_timeout_s,
        patience_s=settings.server.patience_s,
        max_connections=settings.server.max_connections,
        is_secure=settings.tls.is_on,
    )


def milvus_port(
    dispatcher: Dispatcher, instance: InstanceSettings, settings: Settings
) -> AbstractAsyncContextManager[GatewayServer | SharedPort]:
    """Describe an instance's port: gRPC alone, or REST beside it."""
    handler = MilvusHandler(dispatcher, compat=settings.gateway.compat)
    host = settings.server.host
    port = settings.server.grpc_port if instance.grpc_port is None else instance.grpc_port
    secured, rest = settings.tls.is_on, settings.gateway.rest
    if not rest and not secured:
        return GatewayServer(handler, settings.gateway, host=host, port=port)
    listener = _http_listener(LateRestApp(dispatcher, settings.gateway), settings)
    # A client that takes both is no gRPC client, and REST is not served over HTTP/2.
    protocols = ["http/1.1", "h2"] if rest else ["h2"]
    return SharedPort(
        host=host,
        port=port,
        http2=lambda path: GatewayServer(handler, settings.gateway, path=path),
        http1=(lambda path: listener(path=path)) if rest else None,
        sniff_timeout_s=settings.gateway.sniff_timeout_s,
        tls=TlsIdentity(settings.tls, protocols) if secured else None,
        max_connections=settings.server.max_connections,
    )
