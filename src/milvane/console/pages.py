"""Hands out the console's files, and the library of its charts out of the package that has it."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from fastapi import APIRouter, HTTPException, Request, Response

PREFIX = "/console/"
"""Where all files but the page itself are."""
CHARTS = "library/plotly.min.js"

HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "content-security-policy": (
            "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
            "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        ),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": "no-cache",  # kept, but asked about each time: a new version is seen
        "vary": "accept-encoding",
    }
)
"""
Nothing from elsewhere; scripts are files of this server alone. The chart library writes the styles
that it draws with into the page, so those may be inline.
"""

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent."""

    content: bytes
    packed: bytes
    """The same, compressed."""
    media_type: str
    tag: str
    """Another one if the content is another."""


def console_router() -> APIRouter:
    """Build the console's routes; they hold nothing, so anybody may load them."""
    router = APIRouter(include_in_schema=False)
    assets = read_assets()

    @router.api_route("/", methods=["GET", "HEAD"])
    async def show(request: Request) -> Response:
        """Show the console."""
        return _send(assets["console.html"], request)

    @router.api_route(PREFIX + "{path:path}", methods=["GET", "HEAD"])
    async def load(path: str, request: Request) -> Response:
        """Hand out a file of the console."""
        asset = assets.get(path)
        if path == CHARTS:
            asset = await asyncio.to_thread(read_charts)
        if asset is None:
            raise HTTPException(404)
        return _send(asset, request)

    return router


def read_assets() -> dict[str, Asset]:
    """Read the console's own files, by their paths."""
    folder = Path(__file__).parent / "static"
    found = sorted(file for file in folder.rglob("*") if file.suffix in _TYPES)
    names = [file.relative_to(folder).as_posix() for file in found]
    return {name: _asset(name, file.read_bytes()) for name, file in zip(names, found, strict=True)}


@lru_cache(maxsize=1)
def read_charts() -> Asset:
    """Read the library of the charts: five megabytes, so only when somebody wants to see one."""
    return _asset(CHARTS, (files("plotly") / "package_data" / "plotly.min.js").read_bytes())


def _asset(path: str, content: bytes) -> Asset:
    return Asset(
        content=content,
        packed=gzip.compress(content, 6, mtime=0),
        media_type=_TYPES[Path(path).suffix],
        tag=f'"{sha256(content).hexdigest()[:24]}"',
    )


def _send(asset: Asset, request: Request) -> Response:
    headers = {**HEADERS, "etag": asset.tag}
    if request.headers.get("if-none-match") == asset.tag:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        return Response(asset.packed, media_type=asset.media_type, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)
