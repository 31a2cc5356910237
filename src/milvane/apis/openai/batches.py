"""The batches of the OpenAI dialect: create, look, list, cancel."""

import re
from datetime import datetime, timezone

from fastapi import APIRouter, Request
from fastapi.params import Depends
from pydantic import ValidationError

from milvane.apis.openai.batches_wire import (
    BatchBody,
    BatchCard,
    BatchList,
    BatchProblem,
    BatchProblems,
    BatchUsage,
    RequestCounts,
    Status,
)
from milvane.apis.openai.files import parse_limit
from milvane.apis.ports import Files, Jobs
from milvane.apis.rates import Rate, StrictRates
from milvane.apis.schemas import body_of
from milvane.domain.errors import InvalidInput, NotFound
from milvane.domain.files import FileId, FilePurpose
from milvane.domain.jobs import Job, JobId, JobKind, JobOrder, JobQuery, JobState

ENDPOINTS = ("/v1/embeddings",)
MAX_LISTED = 100
MAX_METADATA = 16
OFTEN, SELDOM = Rate(1000, 60), Rate(100, 60)
_HOUR_S = 3600
_WINDOW = re.compile(r"([0-9]{1,4})(h|d)")
_MIN_WINDOW_S, _MAX_WINDOW_S = 24 * _HOUR_S, 336 * _HOUR_S
_NAME_LIMITS = {"ds_name": 100, "ds_description": 200}

_STATUSES: dict[JobState, Status] = {
    JobState.QUEUED: "validating",
    JobState.VALIDATING: "validating",
    JobState.RUNNING: "in_progress",
    JobState.FINALIZING: "finalizing",
    JobState.EXPIRING: "finalizing",
    JobState.CANCELLING: "cancelling",
    JobState.COMPLETED: "completed",
    JobState.FAILED: "failed",
    JobState.EXPIRED: "expired",
    JobState.CANCELLED: "cancelled",
}


def batches_router(files: Files, jobs: Jobs, rates: StrictRates) -> APIRouter:
    """Build the routes of batches in front of the jobs."""
    router = APIRouter(tags=["OpenAI"])

    def often(what: str) -> list[Depends]:
        return rates.held_to(f"batches: {what}", OFTEN)

    @router.post("/batches", openapi_extra=body_of(BatchBody), dependencies=often("create"))
    async def create_batch(request: Request) -> BatchCard:
        """Accept a batch; its file is looked at in the background."""
        order = to_order(parse_batch(await request.body()), request.state.request_id)
        try:
            file = await files.find(order.input_file_id)
        except NotFound as missing:
            raise NotFound(f"input_file_id: {missing.message}") from missing
        if file.purpose is not FilePurpose.BATCH:
            raise InvalidInput(
                f"input_file_id: {file.id} was not uploaded with the purpose 'batch'",
                parameter="input_file_id",
            )
        return batch_card(await jobs.submit(order))

    @router.get("/batches", dependencies=rates.held_to("batches: list", SELDOM))
    async def list_batches(request: Request) -> BatchList:
        """List batches, newest first."""
        page = await jobs.list_jobs(parse_query(dict(request.query_params)))
        data = [batch_card(job) for job in page.jobs]
        return BatchList(
            data=data,
            first_id=data[0].id if data else None,
            last_id=data[-1].id if data else None,
            has_more=page.has_more,
        )

    @router.get("/batches/{batch_id}", dependencies=often("retrieve"))
    async def get_batch(batch_id: str) -> BatchCard:
        """Tell how a batch stands."""
        return batch_card(await jobs.find(JobKind.BATCH, batch_id))

    @router.post("/batches/{batch_id}/cancel", dependencies=often("cancel"))
    async def cancel_batch(batch_id: str) -> BatchCard:
        """Have a batch end with the lines done so far."""
        return batch_card(await jobs.cancel(JobKind.BATCH, batch_id))

    return router


def parse_batch(content: bytes) -> BatchBody:
    """
    Read a request to run a batch.

    Raises:
        InvalidInput: If it is not one.
    """
    try:
        return BatchBody.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = str(problem["loc"][0]) if problem["loc"] else None
        if problem["type"] == "missing":
            raise InvalidInput(
                f'Required parameter "{place}" missing from request.', parameter=place
            ) from error
        raise InvalidInput(
            f"Value error, {place or 'the body'} is invalid: {problem['msg']}", parameter=place
        ) from error


def to_order(body: BatchBody, request_id: str) -> JobOrder:
    """
    Say in the domain's words what a body asks for.

    Raises:
        InvalidInput: If it asks for what is not offered.
    """
    if body.endpoint not in ENDPOINTS:
        raise InvalidInput(
            f"Value error, endpoint is invalid: {body.endpoint!r} is none of {list(ENDPOINTS)}",
            parameter="endpoint",
        )
    metadata = {key: text for key, text in (body.metadata or {}).items() if text is not None}
    _check_metadata(metadata)
    return JobOrder(
        kind=JobKind.BATCH,
        input_file_id=FileId(body.input_file_id),
        window_s=parse_window(body.completion_window),
        window=body.completion_window,
        endpoint=body.endpoint,
        request_id=request_id,
        metadata=metadata,
    )


def parse_window(text: str) -> float:
    """
    Read a completion window, in seconds.

    Raises:
        InvalidInput: If it is not from 24h to 336h, or the same in days.
    """
    match = _WINDOW.fullmatch(text)
    window_s = 0
    if match:
        window_s = int(match[1]) * (_HOUR_S if match[2] == "h" else 24 * _HOUR_S)
    if not _MIN_WINDOW_S <= window_s <= _MAX_WINDOW_S:
        raise InvalidInput(
            f"Value error, completion_window is invalid: {text!r} is not from 24h to 336h, "
            "or 1d to 14d",
            parameter="completion_window",
        )
    return float(window_s)


def parse_query(parameters: dict[str, str]) -> JobQuery:
    """
    Read which batches to list.

    Raises:
        InvalidInput: If a parameter makes no sense.
    """
    after = parameters.get("after") or None
    return JobQuery(
        kind=JobKind.BATCH,
        limit=parse_limit(parameters.get("limit", "20"), largest=MAX_LISTED),
        after=None if after is None else JobId(after),
        states=_states_of(parameters.get("status", "")),
        input_file_ids=frozenset(
            FileId(part) for part in parameters.get("input_file_ids", "").split(",") if part
        ),
        name=parameters.get("ds_name") or None,
        created_from=_instant_of(parameters, "create_after"),
        created_before=_instant_of(parameters, "create_before"),
    )


def batch_card(job: Job) -> BatchCard:
    """Describe a batch in the dialect."""
    ended_at = _seconds(job.ended_at)

    def ended(state: JobState) -> int | None:
        return ended_at if job.state is state else None

    return BatchCard(
        id=job.id,
        endpoint=job.order.endpoint,
        model=job.model or None,
        errors=_problems(job),
        input_file_id=job.order.input_file_id,
        completion_window=job.order.window,
        status=_STATUSES[job.state],
        output_file_id=job.output_file_id,
        error_file_id=job.error_file_id,
        created_at=int(job.created_at.timestamp()),
        in_progress_at=_seconds(job.started_at),
        expires_at=int(job.expires_at.timestamp()),
        finalizing_at=_seconds(job.finalizing_at),
        completed_at=ended(JobState.COMPLETED),
        failed_at=ended(JobState.FAILED),
        expired_at=ended(JobState.EXPIRED),
        cancelling_at=_seconds(job.cancelling_at),
        cancelled_at=ended(JobState.CANCELLED),
        request_counts=RequestCounts(
            total=job.counts.total, completed=job.counts.completed, failed=job.counts.failed
        ),
        usage=BatchUsage(input_tokens=job.total_tokens, total_tokens=job.total_tokens),
        metadata=dict(job.order.metadata) or None,
    )


def _problems(job: Job) -> BatchProblems | None:
    if not job.problems:
        return None
    return BatchProblems(
        data=[
            BatchProblem(
                code=problem.code,
                message=problem.message,
                line=None if problem.line is None else problem.line + 1,
                param=problem.parameter,
            )
            for problem in job.problems
        ]
    )


def _seconds(instant: datetime | None) -> int | None:
    return None if instant is None else int(instant.timestamp())


def _check_metadata(metadata: dict[str, str]) -> None:
    if len(metadata) > MAX_METADATA:
        raise InvalidInput(f"metadata may have {MAX_METADATA} entries", parameter="metadata")
    for key, text in metadata.items():
        limit = _NAME_LIMITS.get(key, 512)
        if len(key) > 64 or len(text) > limit:
            raise InvalidInput(
                f"metadata: {key[:64]!r} may have {limit} characters", parameter="metadata"
            )


def _states_of(text: str) -> frozenset[JobState]:
    wanted = {part for part in text.split(",") if part}
    unknown = wanted - set(_STATUSES.values())
    if unknown:
        raise InvalidInput(f"status: no such status {min(unknown)[:64]!r}", parameter="status")
    return frozenset(state for state, status in _STATUSES.items() if status in wanted)


def _instant_of(parameters: dict[str, str], name: str) -> datetime | None:
    text = parameters.get(name)
    if not text:
        return None
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc)
    except ValueError as error:
        raise InvalidInput(f"{name} must be of the form yyyyMMddHHmmss", parameter=name) from error
