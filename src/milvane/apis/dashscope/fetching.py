"""
Input files of tasks that are elsewhere: fetched only from origins that the operator has named.

An origin is compared as a whole, redirects are not followed, proxies of the environment are not
used, and a file is held to its size while it arrives.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import SplitResult, urlsplit

import anyio
from anyio import to_thread

from milvane.apis.dashscope.errors import Refused
from milvane.apis.ports import Files
from milvane.domain.errors import FileTooLarge
from milvane.domain.files import FilePurpose, StoredFile

FETCH_TIMEOUT_S = 60.0
_SOCKET_TIMEOUT_S = 10.0
_PIECE_BYTES = 256 * 1024
_AT_ONCE = 4
_PORTS = {"http": 80, "https": 443}


class InputFetcher:
    """Takes files from trusted origins into the store."""

    def __init__(self, files: Files, origins: Sequence[str], *, max_file_bytes: int) -> None:
        """
        Trust some origins.

        Args:
            files: Where fetched files go; they stay until they are deleted.

            origins: Such as ``https://files.example.com``; the port counts.

            max_file_bytes: Of one file.
        """
        self._files = files
        self._origins = frozenset(filter(None, (origin_of(urlsplit(each)) for each in origins)))
        self._max_file_bytes = max_file_bytes
        self._threads = anyio.CapacityLimiter(_AT_ONCE)

    def may_fetch(self, url: str) -> bool:
        """Say whether an address is one of a trusted origin."""
        origin = origin_of(urlsplit(url))
        return origin is not None and origin in self._origins

    async def fetch(self, url: str) -> StoredFile:
        """
        Fetch a file from a trusted origin.

        Raises:
            Refused: If it cannot be had, or is too large.
        """
        name = urlsplit(url).path.rpartition("/")[2]
        try:
            with anyio.fail_after(FETCH_TIMEOUT_S):
                response = await self._run(partial(_open, url))
                with closing(response):
                    return await self._store(response, name)
        except TimeoutError as error:
            raise Refused(
                f"Download {url[:200]} timeout, please check network connection.",
                code="InvalidURL.Timeout",
            ) from error
        except (OSError, HTTPException, ValueError) as error:
            raise Refused(f"Download {url[:200]} failed. ({error})", code="InvalidURL") from error
        except FileTooLarge as error:
            raise Refused(error.message, code="InvalidFile.TooLarge") from error

    async def _store(self, response: HTTPResponse, name: str) -> StoredFile:
        incoming_file = self._files.receive(
            name, FilePurpose.UPLOAD, max_bytes=self._max_file_bytes
        )
        async with incoming_file as incoming:
            while piece := await self._run(partial(response.read, _PIECE_BYTES)):
                await incoming.write(piece)
            return await incoming.complete()

    async def _run(self, work: Any) -> Any:
        return await to_thread.run_sync(work, limiter=self._threads)


def origin_of(parts: SplitResult) -> str | None:
    """Name the origin of an address; none if it has none, or names a user."""
    try:
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        return None
    return f"{parts.scheme}://{parts.hostname}:{port}"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Takes a redirect as the failure that it is here."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _open(url: str) -> HTTPResponse:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())
    try:
        response: HTTPResponse = opener.open(url, timeout=_SOCKET_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:  # it holds the connection
            raise OSError(f"it answers {error.code}") from error
    return response
