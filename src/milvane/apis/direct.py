"""Routes of what is asked most: the request goes to the function as it came."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

Endpoint: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]


class DirectRoute(APIRoute):
    """
    A route whose function takes the request alone and gives a response.

    The framework would look for parameters, of which there are none, before each call. For the same
    reason a router with dependencies must not have such routes.
    """

    def get_route_handler(self) -> Endpoint:
        """Say that the function is the handler."""
        handler: Endpoint = self.endpoint
        return handler


class DirectPaths:
    """
    Calls the functions of `DirectRoute`s before the framework looks for a route.

    That search, and what stands around each route, would be a tenth of what a request costs.
    """

    def __init__(
        self, app: ASGIApp, *, endpoints: DirectEndpoints, answer_failure: AnswerFailure
    ) -> None:
        """
        Stand before an application.

        Args:
            app: What answers everything else; it has the same routes, for its description.

            endpoints: Whom to call.

            answer_failure: Answers what such a function raises, or raises what it does not know.
        """
        self._app = app
        self._endpoints = endpoints
        self._answer_failure = answer_failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        endpoint = self._endpoints.find(scope)
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        scope["endpoint"] = endpoint
        request = Request(scope, receive, send)
        try:
            response = await endpoint(request)
        except Exception as failure:  # noqa: BLE001 - raised again by whoever does not know it
            response = await self._answer_failure(request, failure)
        await response(scope, receive, send)


AnswerFailure: TypeAlias = Callable[[Request, Exception], Awaitable[Response]]


class DirectEndpoints:
    """The functions of `DirectRoute`s by method and path."""

    def __init__(self) -> None:
        self._endpoints: dict[tuple[str, str], Endpoint] = {}

    def add(self, router: APIRouter, prefix: str = "") -> None:
        """Take in the routes of a router."""
        for route in router.routes:
            if isinstance(route, DirectRoute):
                for method in route.methods or ():
                    self._endpoints[method, f"{prefix}{route.path}"] = route.endpoint

    def find(self, scope: Scope) -> Endpoint | None:
        """Say whom a request is for; none if the framework is to find out."""
        if scope["type"] != "http":
            return None
        return self._endpoints.get((scope["method"], scope["path"]))
