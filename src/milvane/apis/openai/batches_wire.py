"""The bodies of files and batches in the OpenAI dialect, as they are on the wire."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class FileCard(BaseModel):
    """A file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    status_details: str | None = None


class FileList(BaseModel):
    """Files, newest first."""

    object: Literal["list"] = "list"
    data: list[FileCard]
    has_more: bool
    first_id: str | None
    last_id: str | None


class DeletedFile(BaseModel):
    """A file that is gone."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class BatchBody(BaseModel):
    """A request to run a batch. What is not declared here is ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    input_file_id: str = Field(max_length=128)
    endpoint: str = Field(max_length=128, description="`/v1/embeddings`.")
    completion_window: str = Field(max_length=16, description="`24h` to `336h`, or `14d`.")
    metadata: dict[str, str | None] | None = Field(
        default=None,
        description="At most 16 entries; `ds_name` (100 characters) can be searched for. A "
        "`ds_batch_finish_callback` is kept and not called.",
    )


class BatchProblem(BaseModel):
    """Why a batch was not accepted."""

    code: str
    message: str
    line: int | None = Field(description="From 1; none if the file as a whole is meant.")
    param: str | None


class BatchProblems(BaseModel):
    """All reasons, or the first of them."""

    object: Literal["list"] = "list"
    data: list[BatchProblem]


class RequestCounts(BaseModel):
    """Progress."""

    total: int
    completed: int
    failed: int


class InputDetails(BaseModel):
    """A part of the usage that is always zero here."""

    cached_tokens: int = 0


class OutputDetails(BaseModel):
    """A part of the usage that is always zero here."""

    reasoning_tokens: int = 0


class BatchUsage(BaseModel):
    """What the lines done so far count for."""

    input_tokens: int
    input_tokens_details: InputDetails = InputDetails()
    output_tokens: int = 0
    output_tokens_details: OutputDetails = OutputDetails()
    total_tokens: int


Status = Literal[
    "validating",
    "failed",
    "in_progress",
    "finalizing",
    "completed",
    "expired",
    "cancelling",
    "cancelled",
]


class BatchCard(BaseModel):
    """A batch as it stands."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None
    errors: BatchProblems | None
    input_file_id: str
    completion_window: str
    status: Status
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None


class BatchList(BaseModel):
    """Batches, newest first."""

    object: Literal["list"] = "list"
    data: list[BatchCard]
    first_id: str | None
    last_id: str | None
    has_more: bool
