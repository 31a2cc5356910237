"""
The server's certificate and whom it trusts: settings, checks with causes and cures, and rotation.

One identity serves all ports. Its files are looked at again when a connection comes, at most once
a second, so a rotated certificate is used by the next client and no connection is cut.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, NoReturn

from pydantic import Field, model_validator
from typing_extensions import Self

from milvane.domain.errors import InvalidInput
from milvane.sections import Section

logger = logging.getLogger(__name__)

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_LOOK_AGAIN_S = 1.0
_EXPIRES_SOON_S = 14 * 24 * 3600
_NOT_YET_VALID, _EXPIRED = 9, 10
"""Codes with which X.509 verification fails (OpenSSL, x509_vfy.h)."""


class TlsSettings(Section):
    """The server's certificate, and which clients it asks for one; for every port alike."""

    certificate: Path | None = Field(
        default=None,
        description="PEM file with the server's certificate and those between it and its "
        "authority, in this order. With it every port speaks TLS only; replaced files are "
        "used from the next connection on.",
    )
    private_key: Path | None = Field(
        default=None, description="PEM file with the certificate's private key, without password."
    )
    client_ca: Path | None = Field(
        default=None,
        description="PEM file with the authorities of client certificates. With it a client needs "
        "one to connect at all (mTLS), beside its user or key.",
    )
    min_version: Literal["1.2", "1.3"] = Field(
        default="1.2", description="Oldest version of TLS that is spoken."
    )
    handshake_timeout_s: float = Field(
        default=10.0, gt=0, description="How long a TLS handshake may take, in seconds."
    )

    @model_validator(mode="after")
    def _files_go_together(self) -> Self:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("certificate and private_key go together: give both, or none")
        if self.client_ca is not None and self.certificate is None:
            raise ValueError(
                "client_ca needs certificate and private_key: without, there is no TLS"
            )
        return self

    @property
    def is_on(self) -> bool:
        """Whether ports speak TLS."""
        return self.certificate is not None

    @property
    def files(self) -> dict[str, Path]:
        """The files that are set, by their key."""
        named = {key: getattr(self, key) for key in ("certificate", "private_key", "client_ca")}
        return {key: path for key, path in named.items() if path is not None}


def open_context(settings: TlsSettings, protocols: Sequence[str]) -> ssl.SSLContext:
    """
    Read the files into what handshakes are made with.

    Args:
        settings: With a certificate.

        protocols: What is spoken inside, most wanted first, by its ALPN name.

    Raises:
        InvalidInput: If a file cannot be read or used; the message names it and the cure.
    """
    for key, path in settings.files.items():
        _check_file(key, path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = _VERSIONS[settings.min_version]
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(list(protocols))
    _load_pair(context, settings)
    if settings.client_ca is not None:
        try:
            context.load_verify_locations(settings.client_ca)
        except ssl.SSLError as error:
            raise InvalidInput(
                f"tls.client_ca {settings.client_ca} cannot be used: {error.reason or error}"
            ) from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _check_file(key: str, path: Path) -> None:
    mark = b"PRIVATE KEY-----" if key == "private_key" else b"CERTIFICATE-----"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"tls.{key} {path} cannot be read: {error.strerror}. "
            "Name a PEM file that the server's user may read"
        ) from error
    if mark not in content:
        kind = "private key" if key == "private_key" else "certificate"
        raise InvalidInput(
            f"tls.{key} {path} holds no {kind} in PEM form (-----BEGIN ... {mark.decode()}): "
            "convert it with openssl"
        )


def _load_pair(context: ssl.SSLContext, settings: TlsSettings) -> None:
    certificate, key = settings.certificate, settings.private_key
    if certificate is None or key is None:
        raise InvalidInput("tls.certificate and tls.private_key are not set")

    def refuse_password() -> NoReturn:
        raise InvalidInput(
            f"tls.private_key {key} is encrypted, and nobody is there to give its password: write "
            f"it without one (openssl pkey -in {key} -out ...) to a file that only the server reads"
        )

    try:
        context.load_cert_chain(certificate, key, password=refuse_password)
    except ssl.SSLError as error:
        if error.reason in {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"}:
            raise InvalidInput(
                f"tls.private_key {key} is not the key of tls.certificate {certificate}: name the "
                "two that were made together, the server's own certificate first in its file"
            ) from error
        raise InvalidInput(
            f"tls.certificate {certificate} and tls.private_key {key} cannot be used: "
            f"{error.reason or error}"
        ) from error


def find_flaws(settings: TlsSettings, *, now: float | None = None) -> list[str]:
    """
    Say why clients may refuse the certificate, though the server can start with it.

    Args:
        settings: With files that `open_context` takes.

        now: Seconds since 1970, for what expires soon; the time of day if not given.
    """
    flaws = []
    if settings.private_key is not None and settings.private_key.stat().st_mode & 0o004:
        flaws.append(f"tls.private_key {settings.private_key} can be read by everyone: chmod 600")
    shown = f"tls.certificate {settings.certificate}"
    try:
        seen = _greet_ourselves(settings)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == _EXPIRED:
            return [*flaws, f"{shown} has expired, and clients refuse it: renew it"]
        if error.verify_code == _NOT_YET_VALID:
            return [*flaws, f"{shown} is not valid yet: compare the machine's clock with its dates"]
        return [*flaws, f"{shown} will be refused by clients: {error.verify_message}"]
    left_s = ssl.cert_time_to_seconds(str(seen["notAfter"])) - (time.time() if now is None else now)
    if left_s < _EXPIRES_SOON_S:
        flaws.append(f"{shown} expires in {max(left_s, 0) / 86400:.1f} days: renew it")
    if not seen.get("subjectAltName"):
        flaws.append(f"{shown} has no subjectAltName, without which most clients refuse it")
    return flaws


def expires_at(settings: TlsSettings) -> datetime | None:
    """Say until when the certificate is valid; none if it is not valid now."""
    try:
        seen = _greet_ourselves(settings)
    except ssl.SSLCertVerificationError:
        return None
    at = ssl.cert_time_to_seconds(str(seen["notAfter"]))
    return datetime.fromtimestamp(at, tz=timezone.utc)


def _greet_ourselves(settings: TlsSettings) -> dict[str, object]:
    """
    Make a handshake in memory, as a client that trusts exactly this certificate.

    The standard library reads a certificate's dates and names nowhere else.

    Raises:
        ssl.SSLCertVerificationError: If even that client refuses it.
    """
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load_pair(serving, settings)
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trusting.load_verify_locations(settings.certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server)
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):  # two round trips at most, in either version
        for side in (client, server):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return dict(client.getpeercert() or {})


class TlsIdentity:
    """The context of the next handshake; follows its files."""

    def __init__(
        self,
        settings: TlsSettings,
        protocols: Sequence[str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Read the files.

        Args:
            settings: With a certificate.

            protocols: What is spoken inside, most wanted first, by its ALPN name.

            clock: Seconds; never goes back.

        Raises:
            InvalidInput: If a file cannot be read or used.
        """
        self._settings = settings
        self._protocols = tuple(protocols)
        self._clock = clock
        self._looked_at = clock()
        self._state = self._read_state()
        self._context = open_context(settings, protocols)
        self.handshake_timeout_s = settings.handshake_timeout_s

    def context(self) -> ssl.SSLContext:
        """Give the context for a new connection, made anew if the files have changed."""
        now = self._clock()
        if now - self._looked_at >= _LOOK_AGAIN_S:
            self._looked_at = now
            state = self._read_state()
            if state != self._state:
                self._state = state
                self._renew()
        return self._context

    def _renew(self) -> None:
        try:
            self._context = open_context(self._settings, self._protocols)
            flaws = find_flaws(self._settings)
        except (InvalidInput, OSError) as error:
            # Between two writes of a rotation the pair does not fit: the next look sees the end.
            logger.warning("the TLS files have changed and are not used yet: %s", error)
            return
        logger.info("the TLS files have changed: new connections use them")
        for flaw in flaws:
            logger.warning("%s", flaw)

    def _read_state(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Tell versions of the files apart."""
        return tuple(_stamp(path) for path in self._settings.files.values())


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
