"""Who may call the HTTP APIs: a key or a user's password on every path but a few."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from milvane.apis.dialects import dialect_of
from milvane.domain.errors import Unauthenticated
from milvane.serving.access import Authenticator
from milvane.serving.callers import calling

PUBLIC = (
    ("GET", "/health/"),
    # Whoever knows such an address was given it: it cannot be guessed, and it expires. SDKs fetch
    # it without credentials, as they would from an object store.
    ("GET", "/api/v1/results/"),
    # The console's files hold nothing: what it shows comes from the management API.
    ("GET", "/console/"),
)
"""Methods and beginnings of the paths that anybody may call."""

EXACT = (
    ("GET", "/"),
    # Its form carries a signed grant of ours in place of a key.
    ("POST", "/api/v1/uploads"),
)
"""Whole paths that anybody may call."""


def read_token(headers: Headers) -> str:
    """
    Find the key of a request, wherever the SDKs put it.

    Returns:
        An API key or ``user:password``; empty if there is none.
    """
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    return headers.get("x-acs-bearer-token", "") or headers.get("api-key", "")


OWN_DOORS = ("/manage/",)
"""Beginnings of the paths that somebody else guards."""


def is_public(method: str, path: str) -> bool:
    """Say whether a request needs no key."""
    method = "GET" if method == "HEAD" else method
    return (method, path) in EXACT or any(
        method == allowed and path.startswith(prefix) for allowed, prefix in PUBLIC
    )


class KeyCheck:
    """Refuses requests without a known key, before their body is read."""

    def __init__(self, app: ASGIApp, *, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or say in its dialect that the key is not known."""
        if (
            scope["type"] != "http"
            or scope["path"].startswith(OWN_DOORS)
            or is_public(scope["method"], scope["path"])
        ):
            await self._app(scope, receive, send)
            return
        try:
            caller = self._authenticator.check_token(read_token(Headers(scope=scope)))
        except Unauthenticated as error:
            refusal = dialect_of(scope["path"]).answer_error(
                error, request_id=scope["state"]["request_id"], model=None
            )
            await refusal(scope, receive, send)
            return
        with calling(caller):
            await self._app(scope, receive, send)
