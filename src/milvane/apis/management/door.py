"""Who may manage: an operator with a session, or a key with the scope `manage`."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from milvane.apis.authentication import read_token
from milvane.apis.management import errors
from milvane.control_plane.operators import SignedIn, find_session
from milvane.control_plane.plane import ControlPlane
from milvane.domain.callers import ANYONE, Caller
from milvane.domain.control import Scope as KeyScope
from milvane.domain.errors import PermissionDenied, ServiceError, Unauthenticated

PREFIX = "/manage/v1"
COOKIE = "milvane_session"
CSRF_HEADER = "x-csrf-token"

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_SIGN_IN = ("POST", f"{PREFIX}/session")


@dataclass(frozen=True, slots=True)
class Manager:
    """Who manages, in this request."""

    name: str
    """What the audit log is to say."""
    session: SignedIn | None = None

    @property
    def caller(self) -> Caller:
        """Whose work it is if a model computes for them."""
        return Caller(name=self.name, tenant=ANYONE.tenant)


class Doorkeeper:
    """Finds out who manages."""

    def __init__(self, plane: ControlPlane, clock: Callable[[], datetime]) -> None:
        self._plane = plane
        self._clock = clock

    async def admit(self, connection: HTTPConnection) -> Manager:
        """
        Say who makes a request.

        Raises:
            Unauthenticated: If there is neither a good session nor a key that may manage.
            PermissionDenied: If a change lacks the session's token.
        """
        token = read_token(connection.headers)
        if token:
            caller = self._plane.find_caller(token, KeyScope.MANAGE)
            if caller is None:
                raise Unauthenticated("the key is not known, or may not manage")
            return Manager(caller.name)
        return await self._admit_session(connection)

    async def _admit_session(self, connection: HTTPConnection) -> Manager:
        cookie = connection.cookies.get(COOKIE, "")
        session = None
        if cookie:
            session = await self._plane.read(partial(find_session, token=cookie, now=self._clock()))
        if session is None:
            raise Unauthenticated("sign in, or send a key that may manage")
        # A page of somebody else's makes the browser send the cookie, but cannot read the token.
        if connection.scope["method"] not in _SAFE_METHODS:
            sent = connection.headers.get(CSRF_HEADER, "")
            if not hmac.compare_digest(sent.encode(), session.csrf_token.encode()):
                raise PermissionDenied(
                    f"the header {CSRF_HEADER} does not have the session's token"
                )
        return Manager(session.operator, session)


class ManagementDoor:
    """Refuses requests to the management API from those who may not manage."""

    def __init__(self, app: ASGIApp, *, doorkeeper: Doorkeeper | None) -> None:
        """
        Wrap an application.

        Args:
            app: What comes behind the door, and all other paths; in a `LateApp`.

            doorkeeper: Knows keys and sessions; none if nothing can be managed.
        """
        self._app = app
        self._doorkeeper = doorkeeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or say why it may not be made."""
        if scope["type"] != "http" or not is_behind_door(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            if (scope["method"], scope["path"]) != _SIGN_IN:
                if self._doorkeeper is None:
                    raise Unauthenticated("nothing can be managed here")
                scope["state"]["manager"] = await self._doorkeeper.admit(HTTPConnection(scope))
        except ServiceError as error:
            request_id = scope["state"]["request_id"]
            await errors.answer_error(error, request_id=request_id, model=None)(
                scope, receive, send
            )
            return
        await scope["app"].open_late_routes()
        await self._app(scope, receive, send)


def is_behind_door(path: str) -> bool:
    """Say whether a path is one of the management API, or looks like it."""
    return path.startswith("/manage/")
