"""An S3-compatible store on loopback that takes nothing but what is signed to the last byte."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from io import BytesIO
from typing import Any
from urllib.parse import unquote

import anyio
from awscrt import auth, http
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from loopback import served_app
from milvane.media.settings import MediaBucketSettings

ID, SECRET, REGION, BUCKET = "an-id", "s3cret+/=", "here-1", "pictures"


@dataclass
class Elsewhere:
    """The store; what it does may be changed at any time."""

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    """By bucket and key."""
    asked: list[str] = field(default_factory=list)
    """Method and path of every request that was signed well."""
    refusals: list[str] = field(default_factory=list)
    """Why requests were taken for forged."""
    failing: set[str] = field(default_factory=set)
    """Methods that are answered with status 503."""
    hides: bool = False
    """Says of what is not there that it may not be seen, as Amazon's does to keys like ours."""
    cut: set[str] = field(default_factory=set)
    """Methods whose answers end too early."""
    reached: threading.Event = field(default_factory=threading.Event)
    """Set where the store stands still."""
    halts_at: str = ""
    """``body``: in the middle of one; ``answer``: when an object is stored, before it says so;
    ``get``: before it looks an object up."""
    goes_on: threading.Event = field(default_factory=threading.Event)

    def settings(self, **changes: Any) -> MediaBucketSettings:
        """Describe the bucket to a media store."""
        told = {
            "endpoint": self.url,
            "bucket": BUCKET,
            "region": REGION,
            "access_key_id": ID,
            "secret_access_key": SECRET,
        }
        return MediaBucketSettings(**{**told, **changes})

    def environment(self) -> dict[str, str]:
        """Describe the bucket to a server."""
        start = "MILVANE_MEDIA__BUCKET__"
        return {
            f"{start}ENDPOINT": self.url,
            f"{start}BUCKET": BUCKET,
            f"{start}REGION": REGION,
            f"{start}ACCESS_KEY_ID": ID,
            f"{start}SECRET_ACCESS_KEY": SECRET,
        }

    def contents(self) -> list[bytes]:
        """Say what is in the bucket."""
        return list(self.objects.values())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        if request.method in self.cut:
            response.body = response.body[:-1]
            response.headers["content-length"] = str(len(response.body))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        forged = _forgery(request)
        if forged:
            self.refusals.append(forged)
            return _error(403, "SignatureDoesNotMatch")
        path = unquote(request.scope["raw_path"].decode())
        host = request.headers["host"].partition(".")[0]
        name = f"/{host}{path}" if host == BUCKET else path
        self.asked.append(f"{request.method} {name}")
        if request.method in self.failing:
            return _error(503, "SlowDown")
        if not name.startswith(f"/{BUCKET}/"):
            return _error(404, "NoSuchBucket")
        if request.method == "PUT":
            return await self._put(request, name)
        if request.method == "DELETE":
            self.objects.pop(name, None)
            return Response(status_code=204)
        if self.halts_at == "get":
            await self._halt()
        return self._get(request, name)

    async def _put(self, request: Request, name: str) -> Response:
        content = b""
        async for piece in request.stream():
            content += piece
            if self.halts_at == "body" and len(content) > 1000:
                await self._halt()
        if hashlib.sha256(content).hexdigest() != request.headers["x-amz-content-sha256"]:
            return _error(400, "XAmzContentSHA256Mismatch")
        if "content-length" not in request.headers:
            return _error(411, "MissingContentLength")
        self.objects[name] = content
        if self.halts_at == "answer":
            await self._halt()
        return Response()

    def _get(self, request: Request, name: str) -> Response:
        content = self.objects.get(name)
        if content is None:
            return _error(403, "AccessDenied") if self.hides else _error(404, "NoSuchKey")
        asked = request.headers.get("range")
        if asked is None:
            return Response(content)
        first, last = map(int, asked.removeprefix("bytes=").split("-"))
        told = {"content-range": f"bytes {first}-{last}/{len(content)}"}
        return Response(content[first : last + 1], 206, told)

    async def _halt(self) -> None:
        self.reached.set()
        await anyio.to_thread.run_sync(self.goes_on.wait)


def _forgery(request: Request) -> str:
    """Sign a request anew, with Amazon's own library; gives what differs."""
    claimed = request.headers.get("authorization", "")
    names = claimed.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    if not {"host", "x-amz-date", "x-amz-content-sha256"} <= set(names):
        return "it is not signed, or not all of it"
    stamp = request.headers["x-amz-date"]
    at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    if abs(datetime.now(timezone.utc) - at) > timedelta(minutes=15):
        return "it was signed at another time"
    config = auth.AwsSigningConfig(
        algorithm=auth.AwsSigningAlgorithm.V4,
        signature_type=auth.AwsSignatureType.HTTP_REQUEST_HEADERS,
        credentials_provider=auth.AwsCredentialsProvider.new_static(ID, SECRET),
        region=REGION,
        service="s3",
        date=at,
        signed_body_value=request.headers["x-amz-content-sha256"],
        signed_body_header_type=auth.AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
        use_double_uri_encode=False,
        should_normalize_uri_path=False,
    )
    told = [("host", request.headers["host"])]
    path = request.scope["raw_path"].decode()
    asked = http.HttpRequest(request.method, path, http.HttpHeaders(told), BytesIO())
    signed = auth.aws_sign_request(asked, config).result(timeout=10)
    expected = dict(signed.headers)["Authorization"]
    return "" if claimed == expected else f"{claimed} is not {expected}"


def _error(status: int, code: str) -> Response:
    return Response(f"<Error><Code>{code}</Code></Error>", status, media_type="application/xml")


@contextmanager
def served_elsewhere() -> Iterator[Elsewhere]:
    """Serve an empty store on a free port."""
    store = Elsewhere()
    with served_app(store) as url:
        store.url = url
        try:
            yield store
        finally:
            store.goes_on.set()
