"""
The upload area of the native dialect, and files by their address.

The area stands in for the object store of the hosted service: leave to upload names a folder that
nobody can guess, the form says what is uploaded, and `oss://` names it afterwards. No address is
ever fetched: only files that are here already can be named.
"""

import base64
import re
from contextlib import AsyncExitStack
from datetime import timedelta
from urllib.parse import unquote, urlsplit

import orjson
from fastapi import APIRouter, Request, Response

from milvane.apis.dashscope.errors import Refused
from milvane.apis.dashscope.fetching import InputFetcher
from milvane.apis.dashscope.tasks_wire import (
    UploadAnswer,
    UploadedFile,
    UploadedFiles,
    UploadPolicy,
    UploadPolicyAnswer,
)
from milvane.apis.multipart import Form, OpenFile, PartHead, read_form
from milvane.apis.openai.files import FILE_CALLS
from milvane.apis.ports import Clock, Files, IncomingFile
from milvane.apis.rates import StrictRates
from milvane.domain.errors import InvalidInput, NotFound, PermissionDenied
from milvane.domain.files import FilePurpose, StoredFile, parse_file_id

PREFIX = "/api/v1"
GRANT_S = 300
KEPT_S = 48 * 3600
MAX_KEY_CHARACTERS = 1000
_MEGABYTE = 1024 * 1024

_OWN_PATH = re.compile(r"/(?:compatible-mode/)?v1/files/([^/]+)/content")


def uploads_router(
    files: Files, rates: StrictRates, *, max_file_bytes: int, clock: Clock
) -> APIRouter:
    """
    Build the routes of uploads in front of the store.

    Args:
        files: The store.

        rates: How often files may be sent.

        max_file_bytes: What clients are told; the store itself keeps to it.

        clock: The time of day.
    """
    router = APIRouter(prefix=PREFIX, tags=["DashScope"])
    _add_grants(router, files, max_megabytes=max(1, max_file_bytes // _MEGABYTE), clock=clock)
    _add_granted_upload(router, files, clock=clock)

    @router.post("/files", dependencies=rates.held_to("files", FILE_CALLS))
    async def upload_files(request: Request) -> UploadAnswer:
        """Take in files, to be named by their address."""
        async with AsyncExitStack() as stack:

            async def open_file(part: PartHead, _: Form) -> IncomingFile:
                return await stack.enter_async_context(
                    files.receive(part.file_name or "", FilePurpose.UPLOAD)
                )

            form = await _read(request, open_file)
            stored = [await incoming.complete() for _, incoming in form.files]
        base_url = str(request.base_url)
        data = UploadedFiles(uploaded_files=[_uploaded(file, base_url) for file in stored])
        return UploadAnswer(request_id=request.state.request_id, data=data)

    return router


def _add_grants(router: APIRouter, files: Files, *, max_megabytes: int, clock: Clock) -> None:
    @router.get("/uploads")
    async def get_policy(request: Request, action: str = "", model: str = "") -> UploadPolicyAnswer:
        """Give leave to upload files for a model."""
        if action != "getPolicy":
            raise InvalidInput("action must be getPolicy", parameter="action")
        if not model:
            raise Refused(
                'Required parameter "model" missing from request.', code="BadRequest.EmptyModel"
            )
        expires_at = clock() + timedelta(seconds=GRANT_S)
        folder, signature = await files.grant_upload(expires_at)
        told = {"expiration": expires_at.isoformat(), "folder": folder}
        policy = UploadPolicy(
            policy=base64.b64encode(orjson.dumps(told)).decode(),
            signature=signature,
            upload_dir=folder,
            upload_host=f"{request.base_url}api/v1/uploads",
            expire_in_seconds=GRANT_S,
            max_file_size_mb=max_megabytes,
            capacity_limit_mb=max_megabytes,
            oss_access_key_id="milvane",
        )
        return UploadPolicyAnswer(request_id=request.state.request_id, data=policy)


def _add_granted_upload(router: APIRouter, files: Files, *, clock: Clock) -> None:
    @router.post("/uploads", response_class=Response, status_code=200)
    async def upload(request: Request) -> Response:
        """Take in one file under the key that the form names."""
        async with AsyncExitStack() as stack:

            async def open_file(part: PartHead, form: Form) -> IncomingFile:
                if part.name != "file" or form.files:
                    raise InvalidInput("send one file, in the field `file`", parameter="file")
                key, tenant = await _granted_key(files, form)
                name = part.file_name or key.rpartition("/")[2]
                expires_at = clock() + timedelta(seconds=KEPT_S)
                incoming = files.receive(
                    name, FilePurpose.UPLOAD, tenant=tenant, expires_at=expires_at, key=key
                )
                return await stack.enter_async_context(incoming)

            form = await _read(request, open_file)
            await form.files[0][1].complete()
        return Response(status_code=200)


def _uploaded(file: StoredFile, base_url: str) -> UploadedFile:
    url = f"{base_url}v1/files/{file.id}/content"
    return UploadedFile(file_id=file.id, name=file.name, url=url)


async def find_input(files: Files, fetcher: InputFetcher, url: str) -> StoredFile:
    """
    Find the file that an address names, or fetch it if its origin is trusted.

    The host is not looked at: a file of the caller is meant, whatever name the server has on the
    way there.

    Raises:
        Refused: If the address is not one of a file that is here.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise Refused(
            f"The provided URL does not appear to be valid. ({error})", code="InvalidURL"
        ) from error
    try:
        if parts.scheme == "oss":
            return await _find_key(files, url.removeprefix("oss://"))
        match = _OWN_PATH.fullmatch(parts.path) if parts.scheme in ("http", "https") else None
        file_id = parse_file_id(match[1] if match else url)
        if not file_id:
            if fetcher.may_fetch(url):
                return await fetcher.fetch(url)
            raise Refused(
                "The provided URL does not appear to be valid. Ensure it is correctly formatted. "
                "(This server fetches nothing from there: upload the file to it, with POST "
                "/api/v1/files, and give the URL or the id that it answers with, or have the "
                "operator name the origin in apis.task_input_origins.)",
                code="InvalidURL",
            )
        return await files.find(file_id)
    except NotFound as missing:
        raise Refused(
            f"Download {url[:200]} failed. ({missing.message})", code="InvalidURL"
        ) from missing


async def _find_key(files: Files, key: str) -> StoredFile:
    """Find a key as some clients write it, and as others do who escape it."""
    try:
        return await files.find_key(key)
    except NotFound:
        return await files.find_key(unquote(key))


async def _read(request: Request, open_file: OpenFile) -> Form:
    form = await read_form(request.stream(), request.headers.get("content-type", ""), open_file)
    if not form.files:
        raise InvalidInput("the form has no file", parameter="file")
    return form


async def _granted_key(files: Files, form: Form) -> tuple[str, str]:
    """
    Read where a file is to go, and whose it will be; the fields that say so come before it.

    Raises:
        PermissionDenied: If there is no leave for that place.
    """
    key, signature = form.fields.get("key", ""), form.fields.get("Signature", "")
    folder, _, name = key.rpartition("/")
    if not name or len(key) > MAX_KEY_CHARACTERS or not key.isprintable():
        raise InvalidInput("the form names no key that a file could have", parameter="key")
    tenant = await files.find_grantee(folder, signature)
    if tenant is None:
        raise PermissionDenied("there is no leave to upload to this key; ask for it first")
    return key, tenant
