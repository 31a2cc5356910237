"""Settings of durable jobs."""

from __future__ import annotations

from pydantic import Field

from milvane.sections import Section


class JobsSettings(Section):
    """How jobs are run in this process."""

    running_jobs: int = Field(
        default=2, ge=0, description="Jobs that this process runs at a time; 0 to run none."
    )
    max_pending_jobs: int = Field(
        default=1000,
        ge=1,
        description="Unfinished jobs that one tenant (a user, or an API key) may have.",
    )
    page_lines: int = Field(default=64, ge=1, description="Lines after which progress is recorded.")
    page_bytes: int = Field(
        default=1024 * 1024,
        ge=1,
        description="Bytes of lines after which progress is recorded, if they come first.",
    )
    parallel_lines: int = Field(default=32, ge=1, description="Lines embedded at a time per job.")
    lease_s: float = Field(
        default=15.0,
        ge=0.5,
        description="Seconds after which another process takes over the jobs of one that died.",
    )
    poll_interval_s: float = Field(
        default=1.0,
        gt=0,
        description="Seconds between looks for jobs that other processes have accepted.",
    )
    max_stalls: int = Field(
        default=10,
        ge=1,
        description="Processes in a row that may die on a page before the job is given up.",
    )
    results_kept_s: float = Field(
        default=30 * 24 * 3600.0, gt=0, description="Seconds that files of batches are kept."
    )
    task_results_kept_s: float = Field(
        default=24 * 3600.0,
        gt=0,
        description="Seconds that asynchronous tasks and their results are kept.",
    )
