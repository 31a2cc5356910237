"""What an operator sees of the running server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from milvane.apis.management.ports import EffectiveSetting, Insight, Inspector
from milvane.apis.metrics import Measured
from milvane.domain.readiness import Readiness
from milvane.jobs.desk import JobDesk
from milvane.jobs.overseeing import JobOverseer
from milvane.jobs.runner import Workshop
from milvane.jobs.worker import JobWorker
from milvane.serving.embedding import EmbeddingService
from milvane.settings import Settings
from milvane.storage.files import utc_now


def look_into(
    settings: Settings,
    embedding: EmbeddingService,
    measured: Measured,
    *,
    readiness: Callable[[], Readiness],
    inspectors: Mapping[str, Callable[[], Inspector]],
    workshop: Workshop,
    worker: JobWorker,
) -> Insight:
    """Say what the management API looks into; `inspectors` is filled as upstreams open."""
    max_pending_jobs = settings.jobs.max_pending_jobs
    desk = JobDesk(workshop.database, worker.wake, max_pending_jobs=max_pending_jobs)
    return Insight(
        embedding=embedding,
        measured=measured,
        readiness=readiness,
        inspectors=lambda: {name: inspect() for name, inspect in inspectors.items()},
        overseer=JobOverseer(workshop.database, desk),
        settings=lambda: list(effective_settings(settings)),
        started_at=utc_now(),
    )


def effective_settings(settings: Settings) -> Iterator[EffectiveSetting]:
    """List all settings; a secret writes itself as asterisks, also inside a list or mapping."""
    for section, values in settings.sections().items():
        defaults = type(values)()
        for key in type(values).model_fields:
            value = getattr(values, key)
            is_default = value == getattr(defaults, key)
            yield EffectiveSetting(f"{section}.{key}", _write(value), is_default)
    for model, weights in settings.deployments.items():
        yield EffectiveSetting(f"deployments.{model}", weights, is_default=False)
    for instance in settings.instances:
        for key in type(instance).model_fields:
            value = getattr(instance, key)
            is_default = value == type(instance).model_fields[key].get_default()
            yield EffectiveSetting(f"instances.{instance.name}.{key}", _write(value), is_default)


def _write(value: Any) -> str:
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(_write(each) for each in value)
    return str(value)
