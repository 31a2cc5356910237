"""What SQL knows of files: every function is a part of a transaction, and blocks."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, or_, select

from milvane.domain.errors import QuotaExceeded
from milvane.domain.files import FileId, FilePage, FilePurpose, FileQuery, StoredFile
from milvane.storage.settings import StorageSettings
from milvane.storage.tables import FILES, UPLOAD_GRANTS
from milvane.storage.turns import take_turn


def check_room(settings: StorageSettings, file: StoredFile, connection: Connection) -> None:
    """
    Refuse a file for which there is no room, as a part of a transaction.

    Raises:
        QuotaExceeded: If there are too many files or bytes already, of all tenants or of its own.
    """
    take_turn(connection, "files")
    everything = select(func.count(), func.coalesce(func.sum(FILES.c.size_bytes), 0))
    count, total_bytes = connection.execute(everything).one()
    if count >= settings.max_files or total_bytes + file.size_bytes > settings.max_total_bytes:
        raise QuotaExceeded(
            f"the store is full: {count} files, {total_bytes} bytes. Delete some, or have the "
            "operator raise storage.max_files or storage.max_total_bytes",
            retry_after_s=60,
        )
    if settings.max_tenant_bytes is None:
        return
    _, own_bytes = connection.execute(everything.where(FILES.c.tenant == file.tenant)).one()
    if own_bytes + file.size_bytes > settings.max_tenant_bytes:
        raise QuotaExceeded(
            f"your files have {own_bytes} bytes, and may have {settings.max_tenant_bytes}: "
            "delete some, or have the operator raise storage.max_tenant_bytes",
            retry_after_s=60,
        )


def record(connection: Connection, file: StoredFile) -> None:
    """Write a sealed file's facts, as a part of a transaction."""
    connection.execute(
        insert(FILES).values(
            id=file.id,
            key=file.key,
            name=file.name,
            purpose=file.purpose.value,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
            created_at=file.created_at,
            expires_at=file.expires_at,
            tenant=file.tenant,
        )
    )


def read_file(condition: ColumnElement[bool], connection: Connection) -> StoredFile | None:
    """Read one file's facts, as a part of a transaction."""
    row = connection.execute(select(FILES).where(condition)).one_or_none()
    return None if row is None else _file_of(row)


def list_records(
    query: FileQuery,
    tenant: str,
    after: StoredFile | None,
    now: datetime,
    connection: Connection,
) -> FilePage:
    """Read a page of the facts of a tenant's files, newest first."""
    conditions = [
        FILES.c.tenant == tenant,
        FILES.c.purpose.in_([purpose.value for purpose in query.purposes]),
        or_(FILES.c.expires_at.is_(None), FILES.c.expires_at > now),
    ]
    total = connection.execute(select(func.count()).select_from(FILES).where(*conditions)).scalar()
    listed = select(FILES).where(*conditions)
    if after is not None:
        created_at = FILES.c.created_at
        listed = listed.where(
            or_(
                created_at < after.created_at,
                and_(created_at == after.created_at, FILES.c.id < after.id),
            )
        )
    listed = listed.order_by(FILES.c.created_at.desc(), FILES.c.id.desc())
    rows = connection.execute(listed.offset(query.offset).limit(query.limit + 1))
    files = _files_of(rows)
    return FilePage(files[: query.limit], has_more=len(files) > query.limit, total=total or 0)


def forget_expired(now: datetime, connection: Connection) -> None:
    """Forget files and leaves to upload whose time is over."""
    # Their content goes as unrecorded content does, a day later: somebody may still be reading it.
    for table in (FILES, UPLOAD_GRANTS):
        connection.execute(delete(table).where(table.c.expires_at <= now))


def _file_of(row: Row[Any]) -> StoredFile:
    return StoredFile(
        id=FileId(row.id),
        name=row.name,
        purpose=FilePurpose(row.purpose),
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        created_at=row.created_at,
        expires_at=row.expires_at,
        key=row.key,
        tenant=row.tenant,
    )


def _files_of(rows: Iterable[Row[Any]]) -> tuple[StoredFile, ...]:
    return tuple(_file_of(row) for row in rows)
