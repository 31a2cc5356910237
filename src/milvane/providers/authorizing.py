"""The headers that prove to a provider who pays."""

from __future__ import annotations

import time
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import urlencode

import orjson

from milvane.domain.errors import ProviderRefused
from milvane.domain.providers import ProviderFunction
from milvane.providers.calling import Clock, HttpCaller, Outgoing
from milvane.providers.credentials import Secrets
from milvane.providers.dialect import CredentialKind, Provider
from milvane.providers.parameters import read_place
from milvane.providers.signing import (
    GOOGLE_GRANT,
    google_assertion,
    read_google_key,
    sign_for_bedrock,
)

_JSON = {"Content-Type": "application/json"}
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_TOKEN_MARGIN_S = 60.0


class Authorizer:
    """Writes the headers of each request; keeps Google's tokens as long as they last."""

    def __init__(self, http: HttpCaller, clock: Clock) -> None:
        self._http = http
        self._clock = clock
        self._tokens: dict[bytes, tuple[str, float]] = {}
        """A token and its end on the clock, by the digest of the key that it was given for."""

    async def headers(
        self,
        provider: Provider,
        secrets: Secrets | None,
        function: ProviderFunction,
        *,
        url: str,
        body: bytes,
        timeout_s: float,
    ) -> Mapping[str, str]:
        """
        Write the headers of one request.

        Raises:
            InvalidInput: If a library is missing that the provider needs, or a key is damaged.
            ProviderRefused: If there is no token to be had.
        """
        if secrets is None:
            return _JSON
        values = secrets.reveal()
        if secrets.kind is CredentialKind.API_KEY:
            name, form = provider.key_header
            return {**_JSON, name: form.format(values[0])}
        if secrets.kind is CredentialKind.KEY_PAIR:
            return sign_for_bedrock(
                url,
                body,
                region=read_place(function, "region", ""),
                access_key_id=values[0],
                secret_access_key=values[1],
            )
        token = await self._google_token(values[0], timeout_s)
        return {**_JSON, "Authorization": f"Bearer {token}"}

    async def _google_token(self, document: str, timeout_s: float) -> str:
        """Exchange a service account key for a token; one is used until shortly before its end."""
        fingerprint = sha256(document.encode()).digest()
        token, ends_at = self._tokens.get(fingerprint, ("", 0.0))
        asked_at = self._clock.monotonic()
        if token and asked_at < ends_at:
            return token
        key = read_google_key(document)
        assertion = google_assertion(key, now_s=time.time())
        form = urlencode({"grant_type": GOOGLE_GRANT, "assertion": assertion}).encode()
        outgoing = Outgoing(key["token_uri"], _FORM, form, hidden=(assertion,))
        answer = await self._http.post(outgoing, timeout_s=timeout_s)
        try:
            reply = orjson.loads(answer.content)
            token, lifetime_s = str(reply["access_token"]), float(reply["expires_in"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            raise ProviderRefused(
                "call service failed, unmarshal response failed, errs:[no access_token in the "
                "reply of the token server]"
            ) from None
        self._tokens = {known: kept for known, kept in self._tokens.items() if kept[1] > asked_at}
        self._tokens[fingerprint] = (token, asked_at + lifetime_s - _TOKEN_MARGIN_S)
        return token
