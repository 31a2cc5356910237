"""The asynchronous tasks of the native dialect: submit, look, list, cancel, fetch results."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from types import MappingProxyType

from fastapi import APIRouter, Request, Response
from starlette.responses import FileResponse

from milvane.apis.dashscope.errors import Refused
from milvane.apis.dashscope.fetching import InputFetcher
from milvane.apis.dashscope.tasks_parsing import parse_task_body
from milvane.apis.dashscope.tasks_wire import (
    CancelAnswer,
    ListedTask,
    TaskAnswer,
    TaskListAnswer,
    TaskMetrics,
    TaskOutput,
    TaskStatus,
    TaskSummary,
    TaskUsage,
)
from milvane.apis.dashscope.translate import find_studio_model
from milvane.apis.dashscope.uploads import find_input
from milvane.apis.ports import Files, Jobs
from milvane.apis.rates import Rate, StrictRates
from milvane.domain.catalogue import weights_of
from milvane.domain.errors import InvalidInput, ModelNotServed, NotFound, PermissionDenied
from milvane.domain.jobs import Job, JobKind, JobOrder, JobQuery, JobState
from milvane.domain.models import Purpose

PREFIX = "/api/v1"
WINDOW_S = 24 * 3600.0
MAX_FILE_BYTES = 200 * 1024 * 1024
MAX_PAGE_SIZE = 100
SUBMISSIONS = Rate(1)
MAX_PENDING = 50
"""Unfinished tasks of an account in the published contract."""
_RESULT_SUFFIX = ".gz"

STATUSES: Mapping[JobState, TaskStatus] = MappingProxyType(
    {
        JobState.QUEUED: "PENDING",
        JobState.VALIDATING: "RUNNING",
        JobState.RUNNING: "RUNNING",
        JobState.FINALIZING: "RUNNING",
        JobState.EXPIRING: "RUNNING",
        JobState.CANCELLING: "RUNNING",
        JobState.COMPLETED: "SUCCEEDED",
        JobState.FAILED: "FAILED",
        JobState.EXPIRED: "FAILED",
        JobState.CANCELLED: "CANCELED",
    }
)


class TextTasks:
    """Takes requests to embed that carry `X-DashScope-Async: enable`."""

    def __init__(
        self,
        files: Files,
        jobs: Jobs,
        rates: StrictRates,
        *,
        origins: Sequence[str] = (),
        reads_nests: bool,
    ) -> None:
        """
        Join the parts.

        Args:
            files: Where input files are.

            jobs: Who embeds them.

            rates: How often tasks may be handed in.

            origins: Where input files may be fetched from, beside this server.

            reads_nests: Whether parameters count also where clients nest them by mistake.
        """
        self._files = files
        self._jobs = jobs
        self._rates = rates
        self._fetcher = InputFetcher(files, origins, max_file_bytes=MAX_FILE_BYTES)
        self._reads_nests = reads_nests

    async def submit(self, request: Request, content: bytes) -> Response:
        """
        Accept a request as a task.

        Raises:
            ServiceError: If it is not such a request, its file is not here, or it comes too soon.
        """
        self._rates.admit("asynchronous tasks", SUBMISSIONS)
        body = parse_task_body(content, reads_nests=self._reads_nests)
        request.state.model = model = find_studio_model(body.model)
        if not model.is_asynchronous:
            raise PermissionDenied("Current user api does not support asynchronous calls.")
        if weights_of(model) is None:
            raise ModelNotServed(f"nothing here serves {model.name}")
        file = await find_input(self._files, self._fetcher, body.input.url)
        if file.size_bytes > MAX_FILE_BYTES:
            raise Refused(
                f"The file has more than {MAX_FILE_BYTES} bytes.", code="InvalidFile.TooLarge"
            )
        order = JobOrder(
            kind=JobKind.TEXT_TASK,
            input_file_id=file.id,
            window_s=WINDOW_S,
            model=model.name,
            purpose=Purpose(body.parameters.text_type),
            request_id=request.state.request_id,
        )
        max_of_kind = MAX_PENDING if self._rates.are_kept else None
        job = await self._jobs.submit(order, max_of_kind=max_of_kind)
        output = TaskOutput(task_id=job.id, task_status=STATUSES[job.state])
        answer = TaskAnswer(request_id=request.state.request_id, output=output)
        return Response(answer.model_dump_json(exclude_none=True), media_type="application/json")


def tasks_router(files: Files, jobs: Jobs) -> APIRouter:
    """Build the routes of tasks in front of the jobs."""
    router = APIRouter(prefix=PREFIX, tags=["DashScope"])

    @router.get("/tasks", response_model=TaskListAnswer)
    async def list_tasks(request: Request) -> TaskListAnswer:
        """List tasks, newest first."""
        query, page_no = parse_query(dict(request.query_params))
        page = await jobs.list_jobs(query)
        return TaskListAnswer(
            request_id=request.state.request_id,
            data=[listed_task(job) for job in page.jobs],
            tasks=[task_summary(job) for job in page.jobs],
            total=page.total,
            total_page=math.ceil(page.total / query.limit),
            page_no=page_no,
            page_size=query.limit,
        )

    @router.get("/tasks/{task_id}", response_model_exclude_none=True)
    async def get_task(request: Request, task_id: str) -> TaskAnswer:
        """Tell how a task stands; one that nobody knows is `UNKNOWN`, and no error."""
        request_id = request.state.request_id
        try:
            job = await jobs.find(JobKind.TEXT_TASK, task_id)
        except NotFound:
            output = TaskOutput(task_id=task_id, task_status="UNKNOWN")
            return TaskAnswer(request_id=request_id, output=output)
        usage = TaskUsage(total_tokens=job.total_tokens) if job.output_file_id else None
        output = task_output(job, base_url=str(request.base_url))
        return TaskAnswer(request_id=request_id, output=output, usage=usage)

    @router.post("/tasks/{task_id}/cancel")
    async def cancel_task(request: Request, task_id: str) -> CancelAnswer:
        """Take a task back that has not begun."""
        await jobs.cancel(JobKind.TEXT_TASK, task_id, only_queued=True)
        return CancelAnswer(request_id=request.state.request_id)

    @router.get("/results/{name}", response_class=FileResponse)
    async def get_result(name: str) -> FileResponse:
        """Give the results of a task: gzipped lines, each a JSON object."""
        file = await files.find_result(name.removesuffix(_RESULT_SUFFIX))
        return FileResponse(files.path_of(file), media_type="application/gzip", filename=file.name)

    return router


def task_output(job: Job, *, base_url: str) -> TaskOutput:
    """Describe a task in the dialect; `base_url` ends in a slash."""
    url = None
    if job.output_file_id is not None and job.state is JobState.COMPLETED:
        url = f"{base_url}api/v1/results/{job.output_file_id}{_RESULT_SUFFIX}"
    code = message = None
    if job.state is JobState.EXPIRED:
        code, message = "RequestTimeOut", "The task was not done in time."
    elif job.problems:
        code, message = job.problems[0].code, job.problems[0].message
    counts = job.counts
    return TaskOutput(
        task_id=job.id,
        task_status=STATUSES[job.state],
        submit_time=_shown(job.created_at),
        scheduled_time=_shown(job.started_at),
        end_time=_shown(job.ended_at),
        url=url,
        code=code,
        message=message,
        task_metrics=TaskMetrics(
            TOTAL=counts.total, SUCCEEDED=counts.completed, FAILED=counts.failed
        ),
    )


def listed_task(job: Job) -> ListedTask:
    """Describe a task as an entry of a list."""
    return ListedTask(
        task_id=job.id,
        status=STATUSES[job.state],
        model_name=job.order.model,
        request_id=job.order.request_id,
        gmt_create=round(job.created_at.timestamp() * 1000),
        start_time=_milliseconds(job.started_at),
        end_time=_milliseconds(job.ended_at),
        user_api_unique_key=f"apikey:v1:embeddings:text-embedding:text-embedding:{job.order.model}",
    )


def task_summary(job: Job) -> TaskSummary:
    """Describe a task as the newer client reads it in a list."""
    return TaskSummary(
        task_id=job.id,
        status=STATUSES[job.state],
        submit_time=_shown(job.created_at),
        scheduled_time=_shown(job.started_at),
        end_time=_shown(job.ended_at),
    )


def parse_query(parameters: Mapping[str, str]) -> tuple[JobQuery, int]:
    """
    Read which tasks to list.

    Returns:
        The query, and the number of the page from 1.

    Raises:
        InvalidInput: If a parameter makes no sense.
    """
    page_no, size = parse_page(parameters)
    query = JobQuery(
        kind=JobKind.TEXT_TASK,
        limit=size,
        offset=(page_no - 1) * size,
        states=_states_of(parameters.get("status", "")),
        model=parameters.get("model_name") or None,
        created_from=_instant_of(parameters, "start_time"),
        created_before=_instant_of(parameters, "end_time"),
    )
    return query, page_no


def parse_page(parameters: Mapping[str, str]) -> tuple[int, int]:
    """
    Read which page of a list is asked for.

    Returns:
        Its number from 1, and how many entries a page has.

    Raises:
        InvalidInput: If one of them makes no sense.
    """
    page_no = _number(parameters, "page_no", default=1, largest=1_000_000)
    return page_no, _number(parameters, "page_size", default=10, largest=MAX_PAGE_SIZE)


def shown_time(instant: datetime) -> str:
    """Write an instant as the dialect does, in UTC."""
    return f"{instant:%Y-%m-%d %H:%M:%S}.{instant.microsecond // 1000:03}"


def _states_of(status: str) -> frozenset[JobState]:
    if not status:
        return frozenset()
    known = {*STATUSES.values(), "SUSPENDED", "UNKNOWN"}
    if status not in known:
        raise InvalidInput(f"status must be one of {', '.join(sorted(known))}", parameter="status")
    return frozenset(state for state, said in STATUSES.items() if said == status)


def _number(parameters: Mapping[str, str], name: str, *, default: int, largest: int) -> int:
    text = parameters.get(name) or str(default)
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= largest:
        raise InvalidInput(f"{name} must be a number from 1 to {largest}", parameter=name)
    return int(text[:9])


def _instant_of(parameters: Mapping[str, str], name: str) -> datetime | None:
    text = parameters.get(name)
    if not text:
        return None
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc)
    except ValueError as error:
        raise InvalidInput(f"{name} must be of the form yyyyMMddHHmmss", parameter=name) from error


def _milliseconds(instant: datetime | None) -> int | None:
    return None if instant is None else round(instant.timestamp() * 1000)


def _shown(instant: datetime | None) -> str | None:
    return None if instant is None else shown_time(instant)
