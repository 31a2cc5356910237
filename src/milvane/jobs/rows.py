"""Jobs as rows: what is written for a new one, what a row says, which rows a query means. Pure."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Row

from milvane.domain.files import FileId
from milvane.domain.jobs import (
    Job,
    JobId,
    JobKind,
    JobOrder,
    JobQuery,
    JobState,
    LineCounts,
    LineProblem,
)
from milvane.domain.models import Purpose
from milvane.storage.tables import JOBS


def new_row(job: Job) -> dict[str, Any]:
    """Say what is written for a job that nobody has begun."""
    order = job.order
    return {
        "id": job.id,
        "tenant": job.tenant,
        "kind": order.kind.value,
        "state": job.state.value,
        "input_file_id": order.input_file_id,
        "window_s": round(order.window_s),
        "completion_window": order.window,
        "endpoint": order.endpoint,
        "requested_model": order.model,
        "model": order.model,
        "purpose": order.purpose.value,
        "request_id": order.request_id,
        "metadata": dict(order.metadata),
        "label": order.metadata.get("ds_name", ""),
        "problems": [],
        "lines_total": 0,
        "lines_completed": 0,
        "lines_failed": 0,
        "total_tokens": 0,
        "created_at": job.created_at,
        "expires_at": job.expires_at,
        "pages": 0,
        "input_offset": 0,
        "input_line": 0,
        "attempts": 0,
        "stalls": 0,
    }


def job_of(row: Row[Any]) -> Job:
    """Read a row."""
    facts = row._mapping  # noqa: SLF001 - its documented way to a column by name
    return Job(
        id=JobId(row.id),
        order=JobOrder(
            kind=JobKind(row.kind),
            input_file_id=FileId(row.input_file_id),
            window_s=row.window_s,
            window=row.completion_window,
            endpoint=row.endpoint,
            model=row.requested_model,
            purpose=Purpose(row.purpose),
            request_id=row.request_id,
            metadata=facts["metadata"],
        ),
        state=JobState(row.state),
        model=row.model,
        counts=LineCounts(row.lines_total, row.lines_completed, row.lines_failed),
        total_tokens=row.total_tokens,
        problems=tuple(LineProblem(**problem) for problem in facts["problems"]),
        created_at=row.created_at,
        expires_at=row.expires_at,
        started_at=row.started_at,
        finalizing_at=row.finalizing_at,
        cancelling_at=row.cancelling_at,
        ended_at=row.ended_at,
        output_file_id=row.output_file_id and FileId(row.output_file_id),
        error_file_id=row.error_file_id and FileId(row.error_file_id),
        tenant=row.tenant,
    )


def conditions_of(query: JobQuery) -> list[ColumnElement[bool]]:
    """Say which rows a query means, whoever asks and wherever it begins."""
    conditions: list[ColumnElement[bool]] = [JOBS.c.kind == query.kind.value]
    if query.states:
        conditions.append(JOBS.c.state.in_([state.value for state in query.states]))
    if query.input_file_ids:
        conditions.append(JOBS.c.input_file_id.in_(list(query.input_file_ids)))
    if query.name:
        conditions.append(JOBS.c.label.contains(query.name, autoescape=True))
    if query.model:
        conditions.append(JOBS.c.requested_model == query.model)
    if query.created_from is not None:
        conditions.append(JOBS.c.created_at >= query.created_from)
    if query.created_before is not None:
        conditions.append(JOBS.c.created_at < query.created_before)
    return conditions
