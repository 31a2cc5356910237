"""The files of the native dialect: those of this server, by page, by id, and away with them."""

from collections.abc import Mapping

from fastapi import APIRouter, Request

from milvane.apis.dashscope.tasks import PREFIX, parse_page, shown_time
from milvane.apis.dashscope.tasks_wire import (
    DeletedAnswer,
    FileAnswer,
    FileListAnswer,
    FilePageAnswer,
    ListedFile,
)
from milvane.apis.openai.files import FILE_CALLS
from milvane.apis.ports import Files
from milvane.apis.rates import StrictRates
from milvane.domain.files import FileQuery, StoredFile


def files_router(files: Files, rates: StrictRates) -> APIRouter:
    """Build the routes of files that are here already."""
    router = APIRouter(
        prefix=PREFIX, tags=["DashScope"], dependencies=rates.held_to("files", FILE_CALLS)
    )

    @router.get("/files")
    async def list_files(request: Request) -> FileListAnswer:
        """List files, newest first."""
        parameters: Mapping[str, str] = dict(request.query_params)
        page_no, size = parse_page(parameters)
        page = await files.list_files(FileQuery(limit=size, offset=(page_no - 1) * size))
        listed = [_listed(file, str(request.base_url)) for file in page.files]
        data = FilePageAnswer(files=listed, page_no=page_no, page_size=size, total=page.total)
        return FileListAnswer(request_id=request.state.request_id, data=data)

    @router.get("/files/{file_id}")
    async def get_file(request: Request, file_id: str) -> FileAnswer:
        """Describe a file."""
        data = _listed(await files.find(file_id), str(request.base_url))
        return FileAnswer(request_id=request.state.request_id, data=data)

    @router.delete("/files/{file_id}")
    async def delete_file(request: Request, file_id: str) -> DeletedAnswer:
        """Forget a file."""
        await files.delete(file_id)
        return DeletedAnswer(request_id=request.state.request_id)

    return router


def _listed(file: StoredFile, base_url: str) -> ListedFile:
    return ListedFile(
        file_id=file.id,
        name=file.name,
        purpose=file.purpose.value,
        size=file.size_bytes,
        upload_time=shown_time(file.created_at),
        url=f"{base_url}v1/files/{file.id}/content",
    )
