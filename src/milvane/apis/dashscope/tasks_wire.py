"""The bodies of tasks, uploads and files in the native dialect, as they are on the wire."""

from typing import Literal

from pydantic import BaseModel, Field

from milvane.apis.dashscope.wire import Body, TextParameters

TaskStatus = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED", "UNKNOWN"]


class FileInput(Body):
    """What is embedded."""

    url: str = Field(max_length=2048, description="A file of this server: one text per line.")


class TaskBody(Body):
    """A request to embed a file of texts; its limits are those of the model."""

    model: str
    input: FileInput
    parameters: TextParameters = TextParameters()


class TaskMetrics(BaseModel):
    """Progress, in lines: an extra of this server."""

    TOTAL: int
    SUCCEEDED: int
    FAILED: int


class TaskOutput(BaseModel):
    """A task as it stands; absent keys are left out."""

    task_id: str
    task_status: TaskStatus
    submit_time: str | None = None
    scheduled_time: str | None = None
    end_time: str | None = None
    url: str | None = Field(default=None, description="Of the gzipped results, for a day.")
    code: str | None = None
    message: str | None = None
    task_metrics: TaskMetrics | None = None


class TaskUsage(BaseModel):
    """What the task counts for."""

    total_tokens: int


class TaskAnswer(BaseModel):
    """One task."""

    request_id: str
    output: TaskOutput
    usage: TaskUsage | None = None


class CancelAnswer(BaseModel):
    """A task that will not begin."""

    request_id: str


class ListedTask(BaseModel):
    """One task of a list."""

    task_id: str
    status: TaskStatus
    model_name: str
    request_id: str
    gmt_create: int = Field(description="Milliseconds since 1970.")
    start_time: int | None
    end_time: int | None
    region: str = "local"
    api_key_id: str = ""
    caller_parent_id: str = ""
    caller_uid: str = ""
    user_api_unique_key: str


class TaskSummary(BaseModel):
    """The same task for the newer client, which reads times as texts."""

    task_id: str
    status: TaskStatus
    submit_time: str | None
    scheduled_time: str | None
    end_time: str | None


class TaskListAnswer(BaseModel):
    """Tasks, newest first; under two keys, for clients read one or the other."""

    request_id: str
    data: list[ListedTask]
    tasks: list[TaskSummary]
    total: int
    total_page: int
    page_no: int
    page_size: int


class UploadPolicy(BaseModel):
    """What a client needs to upload."""

    policy: str
    signature: str
    upload_dir: str
    upload_host: str
    expire_in_seconds: int
    max_file_size_mb: int
    capacity_limit_mb: int
    oss_access_key_id: str
    x_oss_object_acl: str = "private"
    x_oss_forbid_overwrite: str = "true"


class UploadPolicyAnswer(BaseModel):
    """Leave to upload."""

    request_id: str
    data: UploadPolicy


class UploadedFile(BaseModel):
    """A file that was taken in."""

    file_id: str
    name: str
    url: str = Field(description="Where tasks find it: an extra of this server.")


class UploadedFiles(BaseModel):
    """All of a form."""

    uploaded_files: list[UploadedFile]
    failed_uploads: list[UploadedFile] = []


class UploadAnswer(BaseModel):
    """Files that were taken in."""

    request_id: str
    data: UploadedFiles


class ListedFile(BaseModel):
    """A file of this server."""

    file_id: str
    name: str
    purpose: str
    size: int
    upload_time: str
    url: str


class FileAnswer(BaseModel):
    """One file."""

    request_id: str
    data: ListedFile


class FilePageAnswer(BaseModel):
    """Some of the files, newest first."""

    files: list[ListedFile]
    page_no: int
    page_size: int
    total: int


class FileListAnswer(BaseModel):
    """Files, newest first."""

    request_id: str
    data: FilePageAnswer


class DeletedAnswer(BaseModel):
    """A file that is gone."""

    request_id: str
    data: dict[str, bool] = {"deleted": True}
