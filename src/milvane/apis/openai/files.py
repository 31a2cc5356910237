"""The files of the OpenAI dialect: uploads, listings, content."""

from contextlib import AsyncExitStack
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import FileResponse

from milvane.apis.multipart import Form, PartHead, read_form
from milvane.apis.openai.batches_wire import DeletedFile, FileCard, FileList
from milvane.apis.ports import Files, IncomingFile
from milvane.apis.rates import Rate, StrictRates
from milvane.domain.errors import InvalidInput
from milvane.domain.files import FileId, FilePurpose, FileQuery, StoredFile

MAX_LISTED = 10_000
FILE_CALLS = Rate(20)

_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": ["batch"]},
                    },
                }
            }
        },
    }
}
_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {}}, "description": "The content."}
}


def files_router(files: Files, rates: StrictRates) -> APIRouter:
    """Build the routes of files in front of the store."""
    router = APIRouter(tags=["OpenAI"], dependencies=rates.held_to("files", FILE_CALLS))
    _add_upload(router, files)
    _add_reading(router, files)
    return router


def _add_upload(router: APIRouter, files: Files) -> None:

    @router.post("/files", openapi_extra=_FORM)
    async def upload_file(request: Request) -> FileCard:
        """Take in a file; the form's fields may come in any order."""
        async with AsyncExitStack() as stack:

            async def open_file(part: PartHead, form: Form) -> IncomingFile:
                if part.name != "file" or form.files:
                    raise InvalidInput("send one file, in the field `file`", parameter="file")
                return await stack.enter_async_context(
                    files.receive(part.file_name or "", FilePurpose.BATCH)
                )

            form = await read_form(
                request.stream(), request.headers.get("content-type", ""), open_file
            )
            _check_purpose(form.fields.get("purpose"))
            if not form.files:
                raise InvalidInput(
                    'Required parameter "file" missing from request.', parameter="file"
                )
            return file_card(await form.files[0][1].complete())


def _add_reading(router: APIRouter, files: Files) -> None:
    @router.get("/files")
    async def list_files(
        limit: Annotated[str, Query()] = "10000", after: str | None = None, purpose: str = ""
    ) -> FileList:
        """List files, newest first."""
        query = FileQuery(
            limit=parse_limit(limit, largest=MAX_LISTED),
            after=None if after is None else FileId(after),
            purposes=_purposes_of(purpose),
        )
        page = await files.list_files(query)
        data = [file_card(file) for file in page.files]
        return FileList(
            data=data,
            has_more=page.has_more,
            first_id=data[0].id if data else None,
            last_id=data[-1].id if data else None,
        )

    @router.get("/files/{file_id}")
    async def get_file(file_id: str) -> FileCard:
        """Describe a file."""
        return file_card(await files.find(file_id))

    @router.delete("/files/{file_id}")
    async def delete_file(file_id: str) -> DeletedFile:
        """Forget a file."""
        await files.delete(file_id)
        return DeletedFile(id=file_id)

    @router.get("/files/{file_id}/content", response_class=FileResponse, responses=_CONTENT)
    async def get_content(file_id: str) -> FileResponse:
        """Give a file's content."""
        file = await files.find(file_id)
        return FileResponse(
            files.path_of(file), media_type="application/octet-stream", filename=file.name
        )


def file_card(file: StoredFile) -> FileCard:
    """Describe a file in the dialect."""
    return FileCard(
        id=file.id,
        bytes=file.size_bytes,
        created_at=int(file.created_at.timestamp()),
        expires_at=None if file.expires_at is None else int(file.expires_at.timestamp()),
        filename=file.name,
        purpose=_SHOWN.get(file.purpose, file.purpose.value),
    )


_SHOWN = {FilePurpose.BATCH_ERROR: "batch_output"}
"""Clients know one purpose for both files of a batch."""


def parse_limit(text: str, *, largest: int) -> int:
    """
    Read how many entries a page of a list may have.

    Raises:
        InvalidInput: If it is no number from 1 to the largest one.
    """
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:9]) <= largest:
        raise InvalidInput(f"limit must be a number from 1 to {largest}", parameter="limit")
    return int(text[:9])


def _purposes_of(text: str) -> frozenset[FilePurpose]:
    if not text:
        return frozenset(FilePurpose)
    return frozenset(each for each in FilePurpose if text in (each.value, _SHOWN.get(each)))


def _check_purpose(purpose: str | None) -> None:
    if purpose is None:
        raise InvalidInput(
            'Required parameter "purpose" missing from request.', parameter="file_purpose"
        )
    if purpose != FilePurpose.BATCH.value:
        raise InvalidInput(
            f"Value error, purpose is invalid: {purpose[:64]!r} is not 'batch'",
            parameter="file_purpose",
        )
