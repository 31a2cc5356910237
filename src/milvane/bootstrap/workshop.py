"""What works on after an HTTP answer: files and jobs."""

from __future__ import annotations

from milvane.apis.background import Background
from milvane.apis.dashscope.tasks_lines import TextLines
from milvane.apis.openai.batches_lines import BatchLines
from milvane.domain.jobs import JobKind
from milvane.inference.token_ids import LateTokenTexts
from milvane.jobs.cabinet import Cabinet
from milvane.jobs.desk import JobDesk
from milvane.jobs.parts import Parts
from milvane.jobs.runner import Workshop
from milvane.jobs.worker import JobWorker
from milvane.serving.embedding import EmbeddingService
from milvane.settings import Settings
from milvane.storage.database import Database
from milvane.storage.files import FileStore


async def open_files(database: Database, settings: Settings) -> FileStore:
    """Open the store of files."""
    folder = settings.storage.files_dir or settings.server.data_dir / "files"
    files = FileStore(database, folder, settings.storage)
    await files.prepare()
    return files


def open_workshop(
    database: Database,
    files: FileStore,
    embedding: EmbeddingService,
    settings: Settings,
    vocabulary: LateTokenTexts | None,
) -> Workshop:
    """Join what files and jobs are kept in."""
    folder = settings.storage.files_dir or settings.server.data_dir / "files"
    return Workshop(
        database=database,
        files=files,
        parts=Parts(folder / "parts"),
        formats={
            JobKind.BATCH: BatchLines(max_inputs=settings.apis.max_inputs, vocabulary=vocabulary),
            JobKind.TEXT_TASK: TextLines(),
        },
        service=embedding,
        settings=settings.jobs,
    )


def background(workshop: Workshop, worker: JobWorker, settings: Settings) -> Background:
    """Say who does what works on after an HTTP answer."""
    return Background(
        files=Cabinet(workshop.files),
        jobs=JobDesk(
            workshop.database, worker.wake, max_pending_jobs=settings.jobs.max_pending_jobs
        ),
        max_file_bytes=settings.storage.max_file_bytes,
        clock=workshop.clock,
    )
