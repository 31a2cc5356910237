"""One request to one replica: vectors, or whose fault it is that there are none."""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone
from enum import Enum
from http import HTTPStatus

import httpx2
import numpy as np
import orjson
from numpy.typing import NDArray

from milvane.domain.retrying import is_passing_status, parse_retry_after
from milvane.inference.remote.dialects import DIALECTS, Inputs, UnusableAnswer, read_answer
from milvane.inference.remote.settings import RemoteSettings

LOOK_TIMEOUT_S = 2.0
USUAL_BUSY_S = 1.0
"""How long a replica is left alone that is busy and does not say for how long."""
MAX_SHOWN_CHARACTERS = 300
BYTES_PER_COMPONENT = 32
"""As much as JSON spends on a number, and more than base64 does."""
_REFUSALS = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)
_TOO_LATE = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.GATEWAY_TIMEOUT)


class Blame(Enum):
    """Whose fault a failure is, and so what is done next."""

    REQUEST = "request"
    """Refused for what it holds: every replica would, now and later."""
    ACCESS = "access"
    """Refused for who asks or what is asked for: this replica's settings are not ours."""
    CONNECTION = "connection"
    """It broke, or none could be made."""
    TIME = "time"
    """It did not answer in time."""
    LATE = "late"
    """It said itself that the time is not enough."""
    SERVER = "server"
    """It said itself that it failed."""
    BUSY = "busy"
    ANSWER = "answer"
    """It was no vector for each input."""


class AttemptFailed(Exception):
    """One attempt got no vectors."""

    def __init__(self, message: str, blame: Blame, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.blame = blame
        self.retry_after_s = retry_after_s


class Sender:
    """Speaks one dialect over one client's connections."""

    def __init__(self, settings: RemoteSettings, width: int, client: httpx2.AsyncClient) -> None:
        """
        Prepare; nothing is sent.

        Args:
            settings: What the servers are.

            width: Components of a vector.

            client: Connects; outlives this.
        """
        self.dialect = DIALECTS[settings.dialect]
        self._settings = settings
        self._width = width
        self._client = client
        self._key = settings.api_key.get_secret_value()

    async def embed(self, url: str, inputs: Inputs, timeout_s: float) -> NDArray[np.float32]:
        """
        Ask one replica for the vectors of some inputs.

        Args:
            url: The replica's, with its path.

            inputs: Token ids or texts.

            timeout_s: How long the answer is waited for; the replica is told.

        Returns:
            Shape ``(inputs, width)``, finite and not zero, of any length.

        Raises:
            AttemptFailed: If it does not give them.
        """
        body = orjson.dumps(self.dialect.body(inputs, self._settings, self._width))
        status, headers, content = await self._exchange(
            "POST", url + self.dialect.path, body, len(inputs), timeout_s
        )
        if status != HTTPStatus.OK:
            raise judge(status, headers, self._said(content))
        try:
            return read_answer(self.dialect, content, inputs=len(inputs), width=self._width)
        except UnusableAnswer as error:
            raise AttemptFailed(f"its answer cannot be used: {error}", Blame.ANSWER) from None

    async def look(self, url: str) -> None:
        """
        Ask one replica whether it lives.

        Raises:
            AttemptFailed: If it says that it does not, or says nothing.
        """
        health = self.dialect.health(url)
        status, _, _ = await self._exchange("GET", health, None, 0, LOOK_TIMEOUT_S)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise AttemptFailed(f"its health is {status}", Blame.SERVER)

    async def _exchange(
        self, method: str, url: str, body: bytes | None, inputs: int, timeout_s: float
    ) -> tuple[int, httpx2.Headers, bytes]:
        most_bytes = 1_048_576 + inputs * self._width * BYTES_PER_COMPONENT
        content = bytearray()

        async def exchange() -> tuple[int, httpx2.Headers, bytes]:
            async with self._client.stream(
                method, url, headers=self._headers(timeout_s), content=body
            ) as response:
                async for chunk in response.aiter_bytes():
                    content.extend(chunk)
                    if len(content) > most_bytes:
                        raise AttemptFailed("its answer is far too large", Blame.ANSWER)
                return response.status_code, response.headers, bytes(content)

        try:
            return await asyncio.wait_for(exchange(), timeout_s)
        except (TimeoutError, asyncio.TimeoutError):
            raise AttemptFailed(f"no answer within {timeout_s:.3g} s", Blame.TIME) from None
        except httpx2.ConnectTimeout:
            raise AttemptFailed("cannot connect in time", Blame.CONNECTION) from None
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            said = str(error) or type(error).__name__
            raise AttemptFailed(f"the connection failed: {said}", Blame.CONNECTION) from None

    def _headers(self, timeout_s: float) -> dict[str, str]:
        # Another Milvane reads how long it is waited for, and ends what would come too late.
        headers = {"content-type": "application/json", "x-request-timeout": f"{timeout_s:.3f}"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        return headers

    def _said(self, content: bytes) -> str:
        said = content.decode(errors="replace")
        if self._key:
            said = said.replace(self._key, "***")
        return said[:MAX_SHOWN_CHARACTERS]


def judge(status: int, headers: httpx2.Headers, said: str) -> AttemptFailed:
    """
    Say what an answer without vectors means.

    Args:
        status: Any but 200.

        headers: For ``Retry-After``.

        said: The beginning of the body, without what is secret.
    """
    message = f"it answered {status}: {said}"
    retry_after_s = parse_retry_after(headers.get("retry-after"), now=datetime.now(timezone.utc))
    is_closed = status == HTTPStatus.SERVICE_UNAVAILABLE and retry_after_s is not None
    if status == HTTPStatus.TOO_MANY_REQUESTS or is_closed:
        pause_s = USUAL_BUSY_S if retry_after_s is None else retry_after_s
        return AttemptFailed(message, Blame.BUSY, retry_after_s=pause_s)
    if status in _TOO_LATE:
        return AttemptFailed(message, Blame.LATE, retry_after_s=retry_after_s)
    if status in _REFUSALS:
        return AttemptFailed(message, Blame.REQUEST)
    if is_passing_status(status):
        return AttemptFailed(f"it answered {status}", Blame.SERVER, retry_after_s=retry_after_s)
    return AttemptFailed(message, Blame.ACCESS)
