"""Everything that works on after the answer, in front of a hashing engine, for tests of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

from fastapi import FastAPI

from milvane.apis.app import create_app
from milvane.apis.background import Background
from milvane.apis.dashscope.tasks_lines import TextLines
from milvane.apis.listener import HttpListener
from milvane.apis.openai.batches_lines import BatchLines
from milvane.apis.settings import ApisSettings
from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.files import FilePurpose, StoredFile
from milvane.domain.jobs import Job, JobKind, JobOrder
from milvane.domain.readiness import Readiness
from milvane.jobs import ledger
from milvane.jobs.cabinet import Cabinet
from milvane.jobs.desk import JobDesk
from milvane.jobs.leasing import Lease, lease_end
from milvane.jobs.parts import Parts
from milvane.jobs.runner import JobRunner, Workshop
from milvane.jobs.settings import JobsSettings
from milvane.jobs.worker import JobWorker
from milvane.serving.access import AccessSettings, Authenticator
from milvane.serving.embedding import EmbeddingService
from milvane.serving.settings import ServingSettings
from milvane.storage.database import Database
from milvane.storage.files import Clock, FileStore, utc_now
from milvane.storage.settings import StorageSettings
from milvane.testing.engines import HashingEngine

OpenService = Callable[[FileStore], AbstractAsyncContextManager[EmbeddingService]]
"""Opens another use case, which may read what the office's files are."""


class FakeClock:
    """A time of day that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


@dataclass(frozen=True)
class Office:
    """Files, jobs, and what runs them."""

    workshop: Workshop
    desk: JobDesk
    worker: JobWorker
    app: FastAPI
    folder: Path

    @property
    def files(self) -> Cabinet:
        """Where the caller's files are kept."""
        return Cabinet(self.workshop.files)

    async def store(
        self, content: bytes, name: str = "in.jsonl", purpose: FilePurpose = FilePurpose.BATCH
    ) -> StoredFile:
        """Keep a file."""
        async with self.files.receive(name, purpose) as incoming:
            await incoming.write(content)
            return await incoming.complete()

    async def order_batch(self, content: bytes, window_s: float = 86_400) -> Job:
        """Hand a batch in."""
        file = await self.store(content)
        return await self.desk.submit(
            JobOrder(
                kind=JobKind.BATCH,
                input_file_id=file.id,
                window_s=window_s,
                window="24h",
                endpoint="/v1/embeddings",
            )
        )

    async def take(self, owner: str = "tester") -> Lease | None:
        """Take the lease of the next job, as a worker of this name."""
        now = self.workshop.clock()
        until = lease_end(now, self.workshop.settings.lease_s)
        return await self.workshop.database.write(
            lambda connection: ledger.claim(connection, owner, now=now, until=until)
        )

    async def run_next(self, owner: str = "tester") -> None:
        """Run the next job as far as it goes."""
        lease = await self.take(owner)
        assert lease is not None
        await JobRunner(self.workshop, lease).run()

    async def find(self, job: Job) -> Job:
        """See how a job stands."""
        return await self.desk.find(job.order.kind, job.id)

    async def settled(self, job: Job) -> Job:
        """Wait until a job has ended."""
        while not (now := await self.find(job)).state.is_final:
            pass
        return now

    async def content(self, file_id: str | None) -> bytes:
        """Read a file."""
        assert file_id is not None
        return self.files.path_of(await self.files.find(file_id)).read_bytes()


@asynccontextmanager
async def open_office(
    folder: Path,
    *,
    engine: HashingEngine | None = None,
    clock: Clock = utc_now,
    jobs: JobsSettings | None = None,
    storage: StorageSettings | None = None,
    apis: ApisSettings | None = None,
    access: AccessSettings | None = None,
    embedding: OpenService | None = None,
) -> AsyncIterator[Office]:
    """Open an office in a folder; its worker is not running yet."""
    storage = storage or StorageSettings()
    apis = apis or ApisSettings()
    jobs = jobs or JobsSettings(page_lines=8, lease_s=2, poll_interval_s=0.2)
    async with Database(storage, folder) as database, AsyncExitStack() as stack:
        files = FileStore(database, folder / "files", storage, clock=clock)
        await files.prepare()
        service = EmbeddingService(
            {ALL_MINILM_L6_V2.name: engine or HashingEngine()}, ServingSettings()
        )
        if embedding is not None:
            service = await stack.enter_async_context(embedding(files))
        workshop = Workshop(
            database=database,
            files=files,
            parts=Parts(folder / "files" / "parts"),
            formats={
                JobKind.BATCH: BatchLines(max_inputs=apis.max_inputs),
                JobKind.TEXT_TASK: TextLines(),
            },
            service=service,
            settings=jobs,
            clock=clock,
        )
        worker = JobWorker(workshop)
        desk = JobDesk(database, worker.wake, max_pending_jobs=jobs.max_pending_jobs, clock=clock)
        background = Background(Cabinet(files), desk, storage.max_file_bytes, clock)
        authenticator = Authenticator(access or AccessSettings())
        app = create_app(
            service,
            apis,
            Readiness,
            background=background,
            authenticator=authenticator,
            clock=lambda: clock().timestamp(),
        )
        yield Office(workshop, desk, worker, app, folder)


@contextmanager
def served_office(folder: Path, embedding: OpenService | None = None) -> Iterator[str]:
    """Serve an office on a free port of this machine; gives the address without a path."""
    started: Future[str] = Future()
    stopping: Future[None] = Future()

    async def serve() -> None:
        async with open_office(folder, embedding=embedding) as office:
            listener = HttpListener(office.app, host="127.0.0.1", port=0, drain_timeout_s=5)
            async with listener, office.worker:
                started.set_result(f"http://127.0.0.1:{listener.port}")
                await asyncio.wrap_future(stopping)

    thread = threading.Thread(target=asyncio.run, args=[serve()], daemon=True)
    thread.start()
    try:
        yield started.result(30)
    finally:
        stopping.set_result(None)
        thread.join(30)
    assert not thread.is_alive()


def with_settings(office: Office, settings: JobsSettings) -> Office:
    """See the same office with other settings of its runners."""
    return replace(office, workshop=replace(office.workshop, settings=settings))
