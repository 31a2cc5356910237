"""The remote providers as serving sees them: a function and texts in, vectors out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType

import numpy as np
import orjson
from typing_extensions import Self

from milvane.domain.errors import InvalidInput
from milvane.domain.models import Purpose
from milvane.domain.providers import ProviderFunction, Spending, VectorKind
from milvane.providers.authorizing import Authorizer
from milvane.providers.batches import run_in_order, split
from milvane.providers.calling import Clock, HttpCaller, Outgoing
from milvane.providers.configuration import (
    Configuration,
    ConfigurationFile,
    from_settings,
    merge,
)
from milvane.providers.credentials import Secrets, find_secrets
from milvane.providers.dialect import Dialect, OperatorEntry, Provider
from milvane.providers.parameters import origin_of, read_positive
from milvane.providers.replies import Vectors, read_reply, read_tokens, read_vectors
from milvane.providers.settings import ProvidersSettings
from milvane.providers.table import PROVIDERS

_OWN_URL_KEYS = ("url", "endpoint")
_AZURE_RESOURCE = "AZURE_OPENAI_RESOURCE_NAME"


@dataclass(frozen=True, slots=True)
class _Target:
    """All that is decided for a function before its first request."""

    provider: Provider
    function: ProviderFunction
    dialect: Dialect
    secrets: Secrets | None
    timeout_s: float


class ProviderService:
    """Calls every provider of the table; satisfies `serving.ports.RemoteProviders`."""

    def __init__(
        self,
        settings: ProvidersSettings,
        *,
        environment: Mapping[str, str],
        clock: Clock | None = None,
        providers: Mapping[str, Provider] = PROVIDERS,
    ) -> None:
        """
        Read what the operator keeps.

        Args:
            settings: How providers are called.

            environment: Variables that begin with ``MILVUS``.

            clock: Time and chance; those of the machine if none.

            providers: Who can be called.

        Raises:
            InvalidInput: If the `milvus.yaml` that the settings name cannot be read.
        """
        self._settings = settings
        self._environment = environment
        self._providers = providers
        self._clock = clock or Clock()
        self._http = HttpCaller(settings, self._clock)
        self._authorizer = Authorizer(self._http, self._clock)
        self._own = from_settings(settings)
        self._file = ConfigurationFile(settings.milvus_yaml) if settings.milvus_yaml else None
        self._trusted = frozenset(origin_of(url) for url in settings.trusted_urls)

    async def __aenter__(self) -> Self:
        """Make ready to call."""
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all connections."""
        await self._http.__aexit__(kind, error, traceback)

    @property
    def names(self) -> Sequence[str]:
        """The providers on offer, in the order in which Milvus lists them."""
        return tuple(self._providers)

    def check(self, function: ProviderFunction) -> None:
        """
        Check a function's parameters; nothing is called, and no credential is looked for.

        Raises:
            InvalidInput: With Milvus's message for the first one that is wrong.
        """
        self._open(function, self._configuration())

    def source_of(self, function: ProviderFunction, purpose: Purpose) -> str:
        """
        Name what computes a function's vectors: its server, and what that is asked beside texts.

        Args:
            function: Whose provider and parameters.

            purpose: What for; providers that distinguish are asked differently.

        Returns:
            Equal only for what gives a text equal vectors; whatever a credential or a timeout is.

        Raises:
            InvalidInput: If the function cannot be called as it is.
        """
        _, dialect = self._open(function, self._configuration())
        asked = orjson.dumps(dialect.body([""], purpose), option=orjson.OPT_SORT_KEYS)
        output = f"{function.output.kind.value} {function.output.dimension}"
        return f"{function.provider} {dialect.url} {output} {asked.decode()}"

    async def embed(
        self,
        function: ProviderFunction,
        texts: Sequence[str],
        *,
        purpose: Purpose,
        time_left_s: float | None = None,
        is_fresh: bool = False,  # noqa: ARG002 - named by the port
        spending: Spending | None = None,
    ) -> Vectors:
        """
        Compute the vectors of texts, in as many requests as it takes.

        Args:
            function: Whose provider and parameters.

            texts: At least one.

            purpose: What for.

            time_left_s: Until the caller's deadline.

            is_fresh: Makes no difference here, where nothing is kept.

            spending: What the provider says that it used is added to it, as far as it got.

        Returns:
            Shape ``(texts, dimension)``, in the order of the texts, of the field's kind.

        Raises:
            InvalidInput: If the function cannot be called as it is.
            ProviderUnavailable: If the provider does not answer.
            ProviderRefused: If it refuses, or its answer is not what was asked for.
        """
        target = self._aim(function)
        ends_at = None if time_left_s is None else self._clock.monotonic() + time_left_s
        jobs = [
            partial(self._embed_batch, target, batch, purpose, ends_at, spending or Spending())
            for batch in split(texts, target.dialect.max_batch_texts)
        ]
        parts = await run_in_order(jobs, max_concurrent=self._settings.max_concurrent_batches)
        if len(parts) == 1:
            return parts[0]
        joined: Vectors = np.concatenate(parts)  # type: ignore[assignment]  # all of one kind
        return joined

    async def _embed_batch(
        self,
        target: _Target,
        texts: Sequence[str],
        purpose: Purpose,
        ends_at: float | None,
        spending: Spending,
    ) -> Vectors:
        timeout_s = target.timeout_s
        if ends_at is not None:
            timeout_s = min(timeout_s, max(ends_at - self._clock.monotonic(), 0.0))
        body = orjson.dumps(target.dialect.body(texts, purpose))
        outgoing = Outgoing(
            url=target.dialect.url,
            headers=await self._authorizer.headers(
                target.provider,
                target.secrets,
                target.function,
                url=target.dialect.url,
                body=body,
                timeout_s=timeout_s,
            ),
            content=body,
            hidden=target.secrets.reveal() if target.secrets else (),
        )
        answer = await self._http.post(outgoing, timeout_s=timeout_s)
        reply = read_reply(answer.content)
        spending.tokens += read_tokens(target.provider, reply, answer.headers)
        field = target.function.output
        return read_vectors(target.dialect, reply, texts=len(texts), field=field)

    def _configuration(self) -> Configuration:
        return merge(self._own, self._file.current()) if self._file else self._own

    def _aim(self, function: ProviderFunction) -> _Target:
        configuration = self._configuration()
        provider, dialect = self._open(function, configuration)
        secrets = find_secrets(
            provider,
            function,
            configuration,
            self._environment,
            is_trusted=self._is_trusted(function, dialect, configuration),
        )
        default_s = configuration.request_timeout_s or self._settings.request_timeout_s
        timeout_ms = read_positive(function, "timeout_ms", int(default_s * 1000))
        return _Target(provider, function, dialect, secrets, timeout_ms / 1000)

    def _open(
        self, function: ProviderFunction, configuration: Configuration
    ) -> tuple[Provider, Dialect]:
        """Read a function's parameters."""
        provider = self._providers[function.provider]
        entry = self._entry(provider, configuration)
        if not entry.enabled:
            raise InvalidInput(f"text embedding model provider [{provider.name}] is disabled")
        if function.output.kind is VectorKind.INT8 and not provider.has_int8:
            raise InvalidInput(
                provider.int8_refusal
                or "embedding model output and field type mismatch, model output is FloatVector, "
                f"field type is Int8Vector: field {function.output.name}"
            )
        if _own_url(function) and not self._settings.allow_function_urls:
            raise InvalidInput(
                "functions may not name a server here (providers.allow_function_urls is off): "
                "leave out the parameter url"
            )
        read_positive(function, "timeout_ms", 1)
        dialect = provider.open(function, entry)
        origin_of(dialect.url)
        return provider, dialect

    def _entry(self, provider: Provider, configuration: Configuration) -> OperatorEntry:
        entry = configuration.entry_of(provider.name)
        if entry.resource_name:
            return entry
        for prefix in ("MILVUS_", "MILVUSAI_"):
            if name := self._environment.get(prefix + _AZURE_RESOURCE):
                return OperatorEntry(entry.credential, entry.enabled, entry.url, name)
        return entry

    def _is_trusted(
        self, function: ProviderFunction, dialect: Dialect, configuration: Configuration
    ) -> bool:
        """Say whether a server was chosen by the operator, by us, or with the operator's leave."""
        if not _own_url(function):
            return True
        params = {key: value for key, value in function.params.items() if key not in _OWN_URL_KEYS}
        provider = self._providers[function.provider]
        try:
            usual = provider.open(
                replace(function, params=params), self._entry(provider, configuration)
            ).url
        except InvalidInput:  # it has no server but the one that a function names
            return origin_of(dialect.url) in self._trusted
        return origin_of(dialect.url) in self._trusted | {origin_of(usual)}


def _own_url(function: ProviderFunction) -> str:
    """Find the server that a function names itself."""
    return next((url for key in _OWN_URL_KEYS if (url := function.params.get(key))), "")
