"""What holds for every request, whatever its dialect: an id, a size, and an answer."""

import logging
import re
import uuid
from collections.abc import Callable, Mapping
from types import MappingProxyType

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from milvane.domain.models import Model

LOG = logging.getLogger(__name__)

_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def choose_request_id(offered: str | None) -> str:
    """Take the caller's own id if it is safe to log and to send back, else make one."""
    if offered is not None and _SANE_ID.fullmatch(offered):
        return offered
    return str(uuid.uuid4())


class RequestIds:
    """Names each request in its scope (`state.request_id`) and on its answer (`x-request-id`)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request under its id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = choose_request_id(Headers(scope=scope).get("x-request-id"))
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        await self._app(scope, receive, send_named)


class WeightsNames:
    """
    Says on each answer of a model (`x-milvane-weights`) which weights serve it here.

    The names of models are those of hosted services, whose own weights they hardly ever are.
    """

    def __init__(self, app: ASGIApp, *, weights_of: Callable[[Model], str | None]) -> None:
        """
        Wrap an application.

        Args:
            app: What leaves the model in its request's state.

            weights_of: Says which weights serve a model; none if none do.
        """
        self._app = app
        self._weights_of = weights_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_named(message: Message) -> None:
            model = scope["state"].get("model")
            if message["type"] == "http.response.start" and model is not None:
                weights = self._weights_of(model)
                if weights is not None:
                    MutableHeaders(scope=message)["x-milvane-weights"] = weights
            await send(message)

        await self._app(scope, receive, send_named)


class LastResort:
    """Answers what nothing else answered, and keeps the details in the log."""

    def __init__(self, app: ASGIApp, *, answer: Callable[[str, str], Response]) -> None:
        """
        Wrap an application.

        Args:
            app: What may fail.

            answer: Says "internal error" in the caller's dialect, given the request's id and path.
        """
        self._app = app
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, whatever happens."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        request_id = scope["state"]["request_id"]
        try:
            await self._app(scope, receive, send_noted)
        except ClientDisconnect:
            LOG.info("caller hung up request_id=%s path=%r", request_id, scope["path"])
        except Exception:
            LOG.exception(
                "unexpected failure request_id=%s method=%s path=%r",
                request_id,
                scope["method"],
                scope["path"],
            )
            if started:  # Half an answer is out: only breaking the connection tells the caller.
                raise
            await self._answer(request_id, scope["path"])(scope, receive, send)


class BodyCap:
    """Stops reading a request body as soon as it is known to be too large."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body_bytes: int,
        uploads: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """
        Wrap an application.

        Args:
            app: What reads bodies.

            max_body_bytes: Of a request that is held in memory.

            uploads: Paths whose bodies go to the disk as they arrive, and their own limits.
        """
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request with a capped body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        announced_bytes = int(announced) if announced.isdecimal() else 0
        received_bytes = 0
        limit = self._uploads.get(scope["path"], self._max_body_bytes)

        async def receive_capped() -> Message:
            nonlocal received_bytes
            _check(announced_bytes, limit)
            message = await receive()
            received_bytes += len(message.get("body", b""))
            _check(received_bytes, limit)
            return message

        await self._app(scope, receive_capped, send)


def _check(body_bytes: int, limit_bytes: int) -> None:
    if body_bytes > limit_bytes:
        raise HTTPException(
            413,
            f"Payload Too Large. A request body may have {limit_bytes} bytes: "
            "send fewer inputs at once",
        )
