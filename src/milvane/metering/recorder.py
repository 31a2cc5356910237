"""The component that takes records, and brings them into the ledger a moment later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import TracebackType

import anyio
from typing_extensions import Self

from milvane.domain.errors import ServiceError
from milvane.domain.usage import UsageRecord
from milvane.metering import ledger
from milvane.metering.journal import Journal, read_lines
from milvane.metering.reports import read_tokens
from milvane.metering.settings import MeteringSettings
from milvane.storage.database import Database

LOG = logging.getLogger(__name__)

_SWEEP_INTERVAL = timedelta(hours=1)


class UsageRecorder:
    """Records usage between entering and leaving its context."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        settings: MeteringSettings,
        *,
        clock: Callable[[], datetime],
    ) -> None:
        """
        Say where records go.

        Args:
            database: Where the ledger is; may be shared with other servers.

            folder: Where records wait; of this server alone.

            settings: How often, and for how long.

            clock: Tells the time of day.
        """
        self._database = database
        self._settings = settings
        self._clock = clock
        self._journal = Journal(folder, fsync=settings.fsync, max_unwritten=settings.max_unwritten)
        self._counting_since = clock()
        self._swept_at: datetime | None = None
        self._folding = asyncio.Lock()  # guards the closed files: each is read by one fold
        self._loop_task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Bring in what an earlier process has left, and begin."""
        await self._try_fold()
        self._loop_task = asyncio.create_task(self._run(), name="usage-recorder")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Bring in everything; what the database does not take now, the next start brings in."""
        with anyio.CancelScope(shield=True):
            if self._loop_task is not None:
                self._loop_task.cancel()
                await asyncio.gather(self._loop_task, return_exceptions=True)
            await self._try_fold()

    def record(self, record: UsageRecord) -> None:
        """
        Take a record; when this returns, the death of the process does not lose it.

        Raises:
            UpstreamUnavailable: If the disk has taken no records for too long.
        """
        self._journal.append(record)

    async def fold(self) -> None:
        """
        Bring everything recorded so far into the ledger.

        Raises:
            UpstreamUnavailable: If the database does not answer; nothing is lost.
        """
        async with self._folding:
            now = self._clock()
            self._journal.close_segment()
            for path in self._journal.list_segments():
                await self._fold_segment(path, now)
            await self._database.write(
                partial(ledger.note_presence, since=self._counting_since, now=now)
            )
            self._counting_since = now
            if self._swept_at is None or now - self._swept_at >= _SWEEP_INTERVAL:
                await self._sweep(now)

    async def tokens_since(self, since: datetime) -> Mapping[tuple[str, str, str, str], int]:
        """
        Sum up tokens of whole hours, everything recorded so far included.

        Args:
            since: The beginning of an hour.

        Returns:
            Tokens by tenant, caller, instance and model.

        Raises:
            UpstreamUnavailable: If the database does not answer.
        """
        await self.fold()
        return await self._database.read(partial(read_tokens, since=since))

    async def _fold_segment(self, path: Path, now: datetime) -> None:
        def enter() -> list[UsageRecord]:
            with path.open("rb") as lines:
                return list(read_lines(lines))

        records = await self._database.run(enter)
        await self._database.write(
            partial(ledger.add_segment, name=path.name, records=records, now=now)
        )
        await self._database.run(partial(path.unlink, missing_ok=True))

    async def _sweep(self, now: datetime) -> None:
        await self._database.write(partial(ledger.forget, settings=self._settings, now=now))
        names = [path.name for path in self._journal.list_segments()]
        await self._database.write(partial(ledger.forget_segments, still_there=names, now=now))
        self._swept_at = now

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._settings.fold_interval_s)
            await self._try_fold()

    async def _try_fold(self) -> None:
        try:
            await self.fold()
        except ServiceError as error:
            LOG.warning("usage waits for the database: %s", error)
        except Exception:  # recording outlives whatever one fold met; the files are still there
            LOG.exception("usage could not be brought into the ledger")
