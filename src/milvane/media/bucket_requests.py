"""Requests to a bucket: put, get and delete one object, signed, and held to their times."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator
from functools import cache
from http import HTTPStatus
from types import TracebackType
from typing import NoReturn

import anyio
import httpx2
from typing_extensions import Self

from milvane.domain.errors import UpstreamUnavailable
from milvane.media.buckets import EMPTY_SHA256, sign_request
from milvane.media.contents import PIECE_BYTES, Reading, cut_short
from milvane.media.fetching.fetcher import USER_AGENT
from milvane.media.objects import ContentFacts
from milvane.media.settings import MediaBucketSettings
from milvane.storage.files import utc_now

LOG = logging.getLogger(__name__)

UPLOAD_S = 1800.0
"""Longest time to put one object; far below the hour after which it is taken for left over."""
_CONNECT_S = 5.0
_CONNECTIONS = 64
_SAID_BYTES = 4096
_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")
_UNAVAILABLE = (
    "the bucket that media is kept in does not answer as it should, and nothing has changed; try "
    "again"
)
_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_FAILURES = (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError)
"""A TimeoutError is an OSError."""


class NothingPut(UpstreamUnavailable):
    """The bucket has not got what it was to be given, for certain."""


class Bucket:
    """Asks for objects of a bucket; usable while entered."""

    def __init__(self, settings: MediaBucketSettings) -> None:
        self._settings = settings
        self._client: httpx2.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        """Make ready; certificates are read with the first request."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()

    async def put(self, name: str, source: Reading, content: ContentFacts) -> None:
        """
        Put an object, and wait until the bucket has it.

        Args:
            name: Without the prefix.

            source: Its bytes, which the caller closes.

            content: How many, and their digest, which the bucket compares.

        Raises:
            NothingPut: If it has not got it.
            UpstreamUnavailable: If it did not say that it has it; it may have it all the same.
        """
        try:
            with anyio.fail_after(UPLOAD_S):
                response = await self._send(
                    "PUT",
                    name,
                    {"content-length": str(content.size_bytes)},
                    sha256=content.sha256,
                    source=source,
                )
                await self._expect(response, HTTPStatus.OK)
        except _FAILURES as error:
            _fail("put", error)

    async def get(self, name: str, first: int, length: int, of_bytes: int) -> Reading | None:
        """
        Ask for some bytes of an object.

        Args:
            name: Without the prefix.

            first: The first byte's number, from 0.

            length: How many.

            of_bytes: Of how many there are.

        Returns:
            The bytes; none if there is no such object.

        Raises:
            UpstreamUnavailable: If it does not answer.
        """
        is_part = length < of_bytes
        asked = {"range": f"bytes={first}-{first + length - 1}"} if is_part else {}
        try:
            response = await self._send("GET", name, asked)
            if response.status_code == HTTPStatus.NOT_FOUND:
                await response.aclose()
                return None
            wanted = HTTPStatus.PARTIAL_CONTENT if is_part else HTTPStatus.OK
            if response.status_code != wanted:
                await self._expect(response, wanted)
        except _FAILURES as error:
            _fail("get", error)
        return _Download(response, length)

    async def delete(self, name: str) -> None:
        """
        Remove an object, if it is there.

        Raises:
            UpstreamUnavailable: If it did not say that it is gone.
        """
        try:
            response = await self._send("DELETE", name, {})
            await self._expect(response, HTTPStatus.NO_CONTENT, HTTPStatus.OK, HTTPStatus.NOT_FOUND)
        except _FAILURES as error:
            _fail("delete", error)

    async def _send(
        self,
        method: str,
        name: str,
        headers: dict[str, str],
        *,
        sha256: str = EMPTY_SHA256,
        source: Reading | None = None,
    ) -> httpx2.Response:
        key, now = f"{self._settings.prefix}{name}", utc_now()
        signed = sign_request(self._settings, method, key, now, sha256=sha256)
        client = await self._connected()
        request = client.build_request(
            method,
            signed.url,
            headers={**signed.headers, **headers, "accept-encoding": "identity"},
            content=None if source is None else source.pieces(),
        )
        return await client.send(request, stream=True)

    async def _expect(self, response: httpx2.Response, *wanted: HTTPStatus) -> None:
        """Take an answer whose body says nothing, or log which error it is, and close it."""
        try:
            if response.status_code in wanted:
                return
            said = b""
            async for piece in response.aiter_raw(_SAID_BYTES):
                said += piece
                break
            code = _CODE.search(said)
            LOG.error(
                "the bucket of the media store answers %s with status %s %s",
                response.request.method,
                response.status_code,
                code.group(1).decode() if code else "",
            )
            is_refused = response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR
            raise (NothingPut if is_refused else UpstreamUnavailable)(_UNAVAILABLE)
        finally:
            await response.aclose()

    async def _connected(self) -> httpx2.AsyncClient:
        if self._client is None:
            is_tls = self._settings.endpoint.startswith("https:")
            certificates = await asyncio.to_thread(_usual_certificates) if is_tls else False
            # Somebody else may have made one meanwhile.
            self._client = self._client or httpx2.AsyncClient(
                verify=certificates,
                headers={"user-agent": USER_AGENT},
                trust_env=False,
                timeout=httpx2.Timeout(self._settings.timeout_s, connect=_CONNECT_S),
                limits=httpx2.Limits(max_connections=_CONNECTIONS),
            )
        return self._client


class _Download:
    """Bytes of an answer; satisfies `contents.Reading`."""

    def __init__(self, response: httpx2.Response, length: int) -> None:
        self._response = response
        self._length = length

    async def pieces(self) -> AsyncIterator[bytes]:
        """Read on; see the port."""
        left = self._length
        try:
            async for piece in self._response.aiter_raw(PIECE_BYTES):
                left -= len(piece)
                if left < 0:
                    break
                yield piece
        except _FAILURES as error:
            _fail("get", error)
        if left:
            raise cut_short()

    async def aclose(self) -> None:
        """Let go of the answer; see the port."""
        await self._response.aclose()


def _fail(verb: str, error: Exception) -> NoReturn:
    LOG.error(
        "the bucket of the media store does not answer a request to %s: %s",
        verb,
        type(error).__name__,
    )
    kind = NothingPut if isinstance(error, _UNSENT) else UpstreamUnavailable
    raise kind(_UNAVAILABLE) from error


@cache
def _usual_certificates() -> ssl.SSLContext:
    return httpx2.create_ssl_context()
