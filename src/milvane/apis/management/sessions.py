"""Signing in and out."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from milvane.apis.management.bundle import ByManager, Management
from milvane.apis.management.door import COOKIE, PREFIX
from milvane.apis.management.throttling import SignInThrottle
from milvane.apis.management.wire import PasswordBody, SessionAnswer, SignInBody
from milvane.control_plane.operators import Operators
from milvane.control_plane.operators import sign_out as sign_out_of
from milvane.domain.errors import NotFound


def sessions_router(management: Management) -> APIRouter:
    """Build the routes of sessions."""
    router = APIRouter(prefix="/session")
    plane, operators = management.plane, Operators(management.plane)
    throttle = SignInThrottle(management.clock)

    @router.post("", status_code=201)
    async def sign_in(body: SignInBody, request: Request, response: Response) -> SessionAnswer:
        """Begin a session; the browser is given it as a cookie that scripts cannot read."""
        async with throttle.one_try(body.name):
            session, token = await operators.sign_in(
                body.name, body.password, lasts_s=management.session_s
            )
        response.set_cookie(
            COOKIE,
            token,
            max_age=int(management.session_s),
            path=PREFIX,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return SessionAnswer.of(session)

    @router.get("")
    async def show(manager: ByManager) -> SessionAnswer:
        """Say who is signed in."""
        if manager.session is None:
            raise NotFound("a key has no session")
        return SessionAnswer.of(manager.session)

    @router.delete("", status_code=204)
    async def sign_out(request: Request, response: Response) -> None:
        """End the session."""
        token = request.cookies.get(COOKIE, "")
        await plane.change("", lambda change: sign_out_of(change.connection, token))
        response.delete_cookie(COOKIE, path=PREFIX)

    @router.put("/password", status_code=204)
    async def change_password(body: PasswordBody, manager: ByManager) -> None:
        """Set one's own password; every session of one's own ends."""
        if manager.session is None:
            raise NotFound("a key has no password")
        await operators.set_password(manager.name, body.password, actor=manager.name)

    return router
