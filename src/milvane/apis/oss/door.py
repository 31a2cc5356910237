"""
The door of the object store: it takes what is signed as for OSS, whatever its path.

`oss2` keeps only the host and the port of an endpoint, and then asks for `/<bucket>/<key>`. So no
path could be set aside for it; but nothing else that comes to this port is signed in this way.
"""

from __future__ import annotations

import logging

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from milvane.apis.oss import errors, wire
from milvane.domain.errors import FileTooLarge, ServiceError, UpstreamUnavailable
from milvane.media.arriving import Arrival
from milvane.media.contents import Reading
from milvane.media.desk import MediaDesk, read_parameters
from milvane.media.objects import MediaObject, Place, check_bucket, check_key
from milvane.media.signing import SignedRequest

LOG = logging.getLogger(__name__)

PATH = "/{bucket}/{key}"
"""What requests are counted under."""
_SIGNED_HEADERS = ("OSS ", "OSS2 ", "OSS4-")
_SIGNED_QUERIES = (b"OSSAccessKeyId=", b"x-oss-signature-version=")
_LISTED_BY = frozenset({"prefix", "marker", "max-keys", "delimiter", "encoding-type"})


class OssDoor:
    """Answers requests that carry a signature of OSS; passes all others on."""

    def __init__(self, app: ASGIApp, *, desk: MediaDesk | None) -> None:
        """
        Stand before an application.

        Args:
            app: What answers everything else.

            desk: Who keeps media; none to pass everything on.
        """
        self._app = app
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if self._desk is None or scope["type"] != "http" or not _is_for_store(scope):
            await self._app(scope, receive, send)
            return
        request = Request({**scope}, receive)
        # Counted, and if need be answered, as a request to the store, without what a caller wrote.
        scope["endpoint"], scope["path"] = self, PATH
        request_id = scope["state"]["request_id"]
        try:
            response = await _serve(self._desk, request)
        except ServiceError as error:
            response = errors.answer_error(error, request_id=request_id, model=None)
        except HTTPException as refusal:
            response = errors.answer_http_refusal(
                refusal, request_id=request_id, method=request.method, path=PATH
            )
        response.headers["x-oss-request-id"] = request_id
        if response.status_code >= 400 and not _will_end(request, self._desk):
            response.headers["connection"] = "close"
        await response(scope, receive, send)


def _is_for_store(scope: Scope) -> bool:
    claimed = Headers(scope=scope).get("authorization", "")
    query: bytes = scope["query_string"]
    return claimed.startswith(_SIGNED_HEADERS) or any(mark in query for mark in _SIGNED_QUERIES)


def _will_end(request: Request, desk: MediaDesk) -> bool:
    """Say whether what is still to come of a refused body is soon over, and may be passed over."""
    if "transfer-encoding" in request.headers:
        return False
    announced = request.headers.get("content-length", "0")
    return announced.isdecimal() and int(announced) <= desk.store.settings.max_object_bytes


async def _serve(desk: MediaDesk, request: Request) -> Response:
    headers = wire.read_headers(request.headers)
    parameters = read_parameters(request.scope["query_string"].decode("latin-1"))
    asked = SignedRequest(request.method, parameters, headers)
    raw_path = request.scope.get("raw_path") or request.scope["path"].encode()
    place = await desk.admit(asked, host=headers.get("host", ""), raw_path=raw_path)
    check_bucket(place.bucket)
    if not place.key:
        return await _serve_bucket(desk, asked, place)
    check_key(place.key)
    if request.method == "PUT":
        return await _put(desk, request, asked, place)
    if request.method == "DELETE":
        wire.check_offered(asked)
        await desk.store.delete(place)
        return Response(status_code=204)
    if request.method in ("GET", "HEAD"):
        return await _get(desk, asked, place)
    raise HTTPException(405, f"an object does not take {request.method}")


async def _serve_bucket(desk: MediaDesk, asked: SignedRequest, place: Place) -> Response:
    if asked.method == "PUT":  # a bucket is there as soon as something is in it
        wire.check_offered(asked)
        return Response(status_code=200)
    if asked.method != "GET":
        raise HTTPException(405, f"a bucket does not take {asked.method}")
    wire.check_offered(asked, allowed=_LISTED_BY)
    listing = wire.read_listing(asked.parameters, tenant=place.tenant, bucket=place.bucket)
    found = await desk.store.list_objects(listing)
    is_encoded = asked.parameters.get("encoding-type") == "url"
    body = wire.write_listing(listing, found, is_encoded=is_encoded)
    return Response(body, media_type="application/xml")


async def _put(desk: MediaDesk, request: Request, asked: SignedRequest, place: Place) -> Response:
    wire.check_offered(asked)
    max_bytes = desk.store.settings.max_object_bytes
    announced = asked.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise FileTooLarge(max_bytes=max_bytes)
    arrival = Arrival(
        place,
        wire.read_content_type(asked.headers),
        wire.read_told(asked.headers),
        wire.read_md5(asked.headers),
        forbids_overwriting=asked.headers.get("x-oss-forbid-overwrite", "").lower() == "true",
    )
    async with desk.store.receive(arrival) as incoming:
        async for piece in request.stream():
            await incoming.write(piece)
        stored = await incoming.complete()
    return Response(status_code=200, headers=wire.tell_content(stored))


async def _get(desk: MediaDesk, asked: SignedRequest, place: Place) -> Response:
    allowed = frozenset({"objectMeta"}) if asked.method == "HEAD" else frozenset[str]()
    wire.check_offered(asked, allowed=allowed)
    if asked.method == "HEAD":
        found = await desk.store.find(place)
        told = wire.tell_object(found)
        return Response(headers={**told, "content-length": str(found.content.size_bytes)})

    def span_of(found: MediaObject) -> wire.Span | None:
        return wire.read_span(asked.headers.get("range"), found.content.size_bytes)

    def choose(found: MediaObject) -> tuple[int, int]:
        span = span_of(found)
        whole = 0, found.content.size_bytes
        return whole if span is None else (span.first, span.last - span.first + 1)

    found, reading = await desk.store.open(place, choose)
    span, (_, length) = span_of(found), choose(found)
    told = {**wire.tell_object(found), "content-length": str(length)}
    if span is not None:
        told["content-range"] = f"bytes {span.first}-{span.last}/{found.content.size_bytes}"
    return _ReadingResponse(reading, 200 if span is None else 206, told)


class _ReadingResponse(StreamingResponse):
    """An answer out of a content, which it closes however it ends."""

    def __init__(self, reading: Reading, status: int, headers: dict[str, str]) -> None:
        super().__init__(reading.pieces(), status, headers)
        self._reading = reading

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        except UpstreamUnavailable as error:
            # What was sent cannot be taken back: the connection ends before what was announced.
            LOG.warning("an object breaks off: %s", error)
        finally:
            await self._reading.aclose()
