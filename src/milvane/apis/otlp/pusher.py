"""The component: pushes metrics at an interval, and is no trouble to anybody where it cannot."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from types import TracebackType
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from milvane.apis.metrics import Measured, open_registry
from milvane.apis.otlp.settings import OtlpSettings
from milvane.domain.errors import InvalidInput

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

LOG = logging.getLogger(__name__)

LAST_PUSH_S = 2.0
"""How long the end of the server waits for a collector."""


class OtlpPusher:
    """
    Pushes all that is measured, while its context is open, and once more at its end.

    One push at a time, each in its own time; what a collector did not take is in the next push,
    which carries sums since the start.
    """

    def __init__(self, settings: OtlpSettings, measured: Measured) -> None:
        """
        Say what is pushed where.

        Args:
            settings: Where to and how often; what they do not say, OpenTelemetry's variables do.

            measured: What is looked at for each push.
        """
        self._settings = settings
        self._measured = measured
        self._begun_ns = time.time_ns()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="otlp")
        self._registry: CollectorRegistry | None = None
        self._exporter: Any = None
        self._resource: Any = None
        self._has_failed = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """
        Load the libraries, and begin.

        Raises:
            InvalidInput: If they are not installed.
        """
        await self._in_thread(self._open)
        self._task = asyncio.create_task(self._run(), name="otlp")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Push once more, if that has worked before, and end without delay."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if not self._has_failed:
            last = asyncio.ensure_future(self.push())
            await asyncio.wait([last], timeout=LAST_PUSH_S)
            last.cancel()
        await asyncio.to_thread(self._exporter.shutdown)  # ends attempts that wait for their turn
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def push(self) -> bool:
        """Push what was counted until now; say whether a collector has it."""
        if self._registry is None:
            return False
        # Read here, where all is counted: what is sent meanwhile is what it was at one moment.
        families = list(self._registry.collect())
        ends_ns = time.time_ns()
        is_taken = bool(await self._in_thread(lambda: self._send(families, ends_ns)))
        if is_taken == self._has_failed:
            self._has_failed = not is_taken
            where = self._settings.metrics_url or "the address of OTEL_EXPORTER_OTLP_ENDPOINT"
            if is_taken:
                LOG.info("metrics are pushed to %s again", where)
            else:
                LOG.warning("metrics cannot be pushed to %s; that is tried on", where)
        return is_taken

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._settings.interval_s)
            try:
                await self.push()
            except Exception:  # pushing outlives whatever one push met
                LOG.exception("unexpected failure while pushing metrics")

    def _open(self) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.sdk.resources import Resource
        except ModuleNotFoundError as error:
            raise InvalidInput(
                "metrics are to be pushed as OTLP, for which the extra is missing: "
                "pip install 'milvane[otlp]', or take otlp.endpoint out of the settings"
            ) from error
        # They would write a line, or a page, for each attempt: one for each change is enough.
        for library in ("opentelemetry.exporter", "opentelemetry.sdk.metrics"):
            logging.getLogger(library).setLevel(logging.CRITICAL)
        headers = {
            name.lower(): value.get_secret_value() for name, value in self._settings.headers.items()
        }
        self._exporter = OTLPMetricExporter(
            endpoint=self._settings.metrics_url,
            headers=headers or None,
            timeout=self._settings.timeout_s,
        )
        self._resource = Resource.create(
            {
                "service.name": "milvane",
                "service.version": version("milvane"),
                "service.instance.id": secrets.token_hex(8),
            }
        )
        self._registry = open_registry(self._measured)

    def _send(self, families: list[Any], ends_ns: int) -> bool:
        from opentelemetry.sdk.metrics.export import MetricExportResult

        from milvane.apis.otlp.translate import Span, to_otlp

        span = Span(self._begun_ns, ends_ns)
        data = to_otlp(families, span, self._resource, version=version("milvane"))
        timeout_ms = self._settings.timeout_s * 1000
        try:
            told = self._exporter.export(data, timeout_millis=timeout_ms)
        except Exception as error:  # noqa: BLE001 - whatever the library meets on the way
            LOG.debug("a push has failed: %s", type(error).__name__)
            return False
        return bool(told is MetricExportResult.SUCCESS)

    async def _in_thread(self, work: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
