"""The routes of the management API, behind its door."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from milvane.apis.management.alerts import alerts_router
from milvane.apis.management.bundle import Management
from milvane.apis.management.door import PREFIX
from milvane.apis.management.governing import governing_router
from milvane.apis.management.instances import instances_router
from milvane.apis.management.jobs import jobs_router
from milvane.apis.management.keys import keys_router
from milvane.apis.management.looking import looking_router
from milvane.apis.management.playground import playground_router
from milvane.apis.management.sessions import sessions_router
from milvane.apis.management.usage import usage_router

_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "The request cannot succeed as it is: `error.message` says why."},
    "5XX": {"description": "The server cannot do it now."},
}


def management_router(management: Management) -> APIRouter:
    """Build the management API."""
    router = APIRouter(prefix=PREFIX, tags=["Management"], responses=_ERRORS)
    for part in (
        sessions_router,
        governing_router,
        instances_router,
        keys_router,
        usage_router,
        alerts_router,
    ):
        router.include_router(part(management))
    if (insight := management.insight) is not None:
        router.include_router(looking_router(management, insight))
        router.include_router(playground_router(insight))
        router.include_router(jobs_router(management, insight))
    return router
