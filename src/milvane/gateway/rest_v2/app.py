"""The ASGI application of REST v2: reads a body, answers it by the table, and tells failures."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson
from pydantic import ValidationError

from milvane.domain.errors import ServiceError
from milvane.gateway.dispatch import Dispatcher
from milvane.gateway.rest_v2.failures import (
    NOT_AUTHENTICATED,
    NOT_JSON,
    UNEXPECTED,
    Refusal,
    from_service,
    from_upstream,
    missing,
    not_json,
)
from milvane.gateway.rest_v2.path import Answer, Path
from milvane.gateway.rest_v2.paths import PATHS, PREFIX, REFUSED
from milvane.gateway.rest_v2.session import Session, choose_database, read_metadata
from milvane.gateway.rest_v2.wire import Body
from milvane.gateway.settings import Compat, GatewaySettings
from milvane.instances.upstream import UpstreamStatus

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_ABSENT = frozenset({"missing", "string_too_short", "too_short"})
"""What pydantic calls a value that Milvus calls missing."""
_NO_PAGE = b"404 page not found"
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY
_MAX_PATIENCE_S = 1e6
_ROWS_PER_PIECE = 32
"""As many rows with a vector each are written in about a millisecond."""


class _Gone(Exception):
    """The client has left."""


class RestApp:
    """Answers `POST /v2/vectordb/...`."""

    def __init__(
        self, dispatcher: Dispatcher, *, max_body_bytes: int, compat: Compat = "2.6"
    ) -> None:
        """
        Describe the application.

        Args:
            dispatcher: What gRPC calls go to as well.

            max_body_bytes: Largest body; a larger one is refused as it arrives.

            compat: Which version of Milvus the error codes are of.
        """
        self._dispatcher = dispatcher
        self._compat: Compat = compat
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        name = scope["path"].removeprefix(PREFIX) if scope["path"].startswith(PREFIX) else ""
        if scope["method"] != "POST" or (name not in PATHS and name not in REFUSED):
            await _send(send, 404, _NO_PAGE, b"text/plain")
            return
        try:
            content = await self._answer(name, scope, receive)
            status = 200
        except _Gone:
            return
        except Refusal as refusal:
            content = orjson.dumps({"code": refusal.code, "message": refusal.message})
            status = 401 if refusal.code == NOT_AUTHENTICATED else 200
        await _send(send, status, content, b"application/json; charset=utf-8")

    async def _answer(self, name: str, scope: MutableMapping[str, Any], receive: Receive) -> bytes:
        headers = {
            key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]
        }
        try:
            # Who is not known does not get to send us a body.
            self._dispatcher.admit(read_metadata(headers, ""))
            body = await self._read(headers, receive)
            given = _parse(_path(name), body)
            session = self._session(headers, given)
            return await _render(await _unless_gone(PATHS[name].answer(session, given), receive))
        except (Refusal, _Gone):
            raise
        except UpstreamStatus as error:
            raise from_upstream(error) from error
        except ServiceError as error:
            raise from_service(error, self._compat) from error
        except Exception as error:  # the one catch-all of this front door: a defect ends one call
            logger.exception("unexpected failure in %s", name)
            raise Refusal(UNEXPECTED, "internal error; see the log") from error

    def _session(self, headers: dict[str, str], given: Body) -> Session:
        database = choose_database(given.db_name, headers)
        return Session(
            dispatcher=self._dispatcher,
            metadata=read_metadata(headers, database),
            database=database,
            time_left_s=_time_left(headers.get("request-timeout", "")),
            int64_as_text=headers.get("accept-type-allow-int64", "").lower() in {"0", "f", "false"},
        )

    async def _read(self, headers: dict[str, str], receive: Receive) -> bytes:
        """Collect the body, and stop as soon as it is known to be too large."""
        announced = headers.get("content-length", "")
        self._check_size(int(announced) if announced.isdecimal() else 0)
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Gone
            piece = message.get("body", b"")
            size += len(piece)
            self._check_size(size)
            pieces.append(piece)
            if not message.get("more_body"):
                return b"".join(pieces)

    def _check_size(self, size: int) -> None:
        if size > self._max_body_bytes:
            raise Refusal(
                NOT_JSON,
                f"the request body is larger than {self._max_body_bytes} bytes: send fewer rows "
                "at once",
            )


def create_rest_app(dispatcher: Dispatcher, settings: GatewaySettings) -> RestApp:
    """Build the application."""
    return RestApp(dispatcher, max_body_bytes=settings.max_rest_body_bytes, compat=settings.compat)


def _path(name: str) -> Path:
    if name in REFUSED:
        raise Refusal(UNEXPECTED, f"{PREFIX}{name} is not served here. {REFUSED[name]}")
    return PATHS[name]


def _parse(path: Path, body: bytes) -> Body:
    if not body.strip():
        raise not_json("the request body should be nil, however {} is valid")
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise not_json(str(error)) from error
    if not isinstance(content, dict):
        raise not_json("the request body has to be an object")
    try:
        return path.body.model_validate(content)
    except ValidationError as error:
        raise _misfit(path.body.__name__, error) from error


def _misfit(body: str, error: ValidationError) -> Refusal:
    """Tell what is missing from a body, or else what is of another type, in Milvus's words."""
    absent = [entry for entry in error.errors() if entry["type"] in _ABSENT]
    if not absent:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return not_json(f"{place}: {first['msg']}")
    lines = []
    for entry in absent:
        steps = [str(part) for part in entry["loc"]]
        names = [step[:1].upper() + step[1:] for step in steps]
        lines.append(
            f"Key: '{'.'.join([body, *names])}' Error:Field validation for '{names[-1]}' failed on "
            "the 'required' tag"
        )
    return missing("\n".join(lines))


def _time_left(given: str) -> Callable[[], float | None]:
    """Count down from what the `Request-Timeout` header says, in seconds; none without it."""
    try:
        patience_s = float(given)
    except ValueError:
        return lambda: None
    if not 0 < patience_s < _MAX_PATIENCE_S:
        return lambda: None
    until = time.monotonic() + patience_s
    return lambda: max(0.0, until - time.monotonic())


async def _render(answer: Answer) -> bytes:
    """
    Write an answer; a long list goes piece by piece, and other calls run in between.

    Raises:
        Refusal: If a value cannot be written.
    """
    try:
        return await _write(answer)
    except orjson.JSONEncodeError as error:
        raise Refusal(
            UNEXPECTED,
            "a JSON value of the answer is nested too deeply to be written: read it over gRPC",
        ) from error


async def _write(answer: Answer) -> bytes:
    rows = answer["data"]
    if not isinstance(rows, list) or len(rows) <= _ROWS_PER_PIECE:
        return orjson.dumps({"code": 0, **answer}, option=_OPTIONS)
    beside = {key: value for key, value in answer.items() if key != "data"}
    pieces = []
    for start in range(0, len(rows), _ROWS_PER_PIECE):
        piece = orjson.dumps(rows[start : start + _ROWS_PER_PIECE], option=_OPTIONS)
        pieces.append(piece[1:-1])
        await asyncio.sleep(0)
    head = orjson.dumps({"code": 0, **beside}, option=_OPTIONS)
    return b"".join([head[:-1], b',"data":[', b",".join(pieces), b"]}"])


async def _unless_gone(work: Awaitable[Answer], receive: Receive) -> Answer:
    """Wait for an answer, but end the work if its client leaves before."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise _Gone
        return await working
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


async def _send(send: Send, status: int, content: bytes, kind: bytes) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
