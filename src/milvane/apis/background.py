"""What works on after the answer: files, batches and tasks, joined to the application."""

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import FastAPI

from milvane.apis.dashscope.files import files_router as native_files_router
from milvane.apis.dashscope.tasks import TextTasks, tasks_router
from milvane.apis.dashscope.uploads import PREFIX, uploads_router
from milvane.apis.multipart import FRAMING_BYTES
from milvane.apis.openai.batches import batches_router
from milvane.apis.openai.files import files_router
from milvane.apis.openai.routes import PREFIXES
from milvane.apis.ports import Clock, Files, Jobs
from milvane.apis.rates import StrictRates
from milvane.apis.settings import ApisSettings


@dataclass(frozen=True, slots=True)
class Background:
    """Who keeps files and runs jobs."""

    files: Files
    jobs: Jobs
    max_file_bytes: int
    """What `files` takes at most."""
    clock: Clock


def join_background(
    app: FastAPI, background: Background, settings: ApisSettings, rates: StrictRates
) -> TextTasks:
    """
    Add the routes of files, batches, tasks and uploads.

    Returns:
        What takes requests for tasks that come to the address of synchronous ones.
    """
    files, jobs = background.files, background.jobs
    for prefix in PREFIXES:
        app.include_router(files_router(files, rates), prefix=prefix)
        app.include_router(batches_router(files, jobs, rates), prefix=prefix)
    app.include_router(tasks_router(files, jobs))
    app.include_router(native_files_router(files, rates))
    app.include_router(
        uploads_router(
            files, rates, max_file_bytes=background.max_file_bytes, clock=background.clock
        )
    )
    return TextTasks(
        files,
        jobs,
        rates,
        origins=settings.task_input_origins,
        reads_nests=settings.nested_parameters,
    )


def upload_limits(background: Background | None) -> Mapping[str, int]:
    """Say how large the body of an upload may be, by path; the file in it is held to its own."""
    if background is None:
        return {}
    limit = background.max_file_bytes + FRAMING_BYTES
    paths = [f"{prefix}/files" for prefix in PREFIXES]
    paths += [f"{PREFIX}/files", f"{PREFIX}/uploads"]
    return dict.fromkeys(paths, limit)
