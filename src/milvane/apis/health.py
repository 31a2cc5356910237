"""Whether the server lives, and whether a raw-text search would succeed."""

from collections.abc import Callable
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from milvane.domain.readiness import Readiness


class Liveness(BaseModel):
    """The answer of a process that can answer."""

    status: Literal["live"] = "live"


class ReadinessAnswer(BaseModel):
    """The answer of a server that knows its own state."""

    status: Literal["ready", "not_ready"]
    reasons: tuple[str, ...]


def health_router(readiness: Callable[[], Readiness]) -> APIRouter:
    """
    Build the routes that probes ask.

    Args:
        readiness: Says how things stand now; called for each probe, so it must be quick.
    """
    router = APIRouter(prefix="/health", tags=["Health"])

    @router.get("/live")
    async def live() -> Liveness:
        """Say that the process answers at all."""
        return Liveness()

    @router.get("/ready", responses={503: {"model": ReadinessAnswer}})
    async def ready(response: Response) -> ReadinessAnswer:
        """Say whether a request would succeed now, and if not, why."""
        state = readiness()
        if state.is_ready:
            return ReadinessAnswer(status="ready", reasons=())
        response.status_code = 503
        return ReadinessAnswer(status="not_ready", reasons=state.reasons)

    return router
