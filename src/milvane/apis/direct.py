"""Routes of what is asked most: the request goes to the function as it came."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute


class DirectRoute(APIRoute):
    """
    A route whose function takes the request alone and gives a response.

    The framework would look for parameters, of which there are none, before each call. For the same
    reason a router with dependencies must not have such routes.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Say that the function is the handler."""
        handler: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return handler
