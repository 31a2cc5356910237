"""Routes that few ask for, which are not built before somebody does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, FastAPI


class LateApp(FastAPI):
    """An application that gets its last routes with the first request for one of them."""

    import_late_routes: Callable[[], Callable[[], APIRouter]] | None = None
    """Imports what builds them; none if they are there, or there are none."""

    async def open_late_routes(self) -> None:
        """Have all routes; other requests are served while they are imported."""
        if self.import_late_routes is not None:
            self._include(await asyncio.to_thread(self.import_late_routes))

    def openapi(self) -> dict[str, Any]:
        """Describe all routes."""
        if self.import_late_routes is not None:
            self._include(self.import_late_routes())
        return super().openapi()

    def _include(self, build: Callable[[], APIRouter]) -> None:
        if self.import_late_routes is not None:  # no other request was first
            self.import_late_routes = None
            self.include_router(build())
