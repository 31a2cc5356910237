"""The database and the store of files, on SQLite, and on PostgreSQL where there is one."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import Connection, func, insert, select, text

from milvane.domain.errors import (
    Conflict,
    FileTooLarge,
    InvalidInput,
    NotFound,
    QuotaExceeded,
    UpstreamUnavailable,
)
from milvane.domain.files import FileId, FilePurpose, FileQuery, StoredFile
from milvane.storage.database import Database
from milvane.storage.files import FileStore
from milvane.storage.schema import METADATA
from milvane.storage.settings import StorageSettings
from milvane.storage.tables import FILES, UPLOAD_GRANTS
from offices import FakeClock


@pytest.fixture
def settings(database_url: SecretStr | None) -> StorageSettings:
    """Settings with small limits."""
    return StorageSettings(
        database_url=database_url,
        max_files=4,
        max_file_bytes=3_000_000,
        max_total_bytes=5_000_000,
    )


@pytest.fixture
async def database(settings: StorageSettings, tmp_path: Path) -> AsyncIterator[Database]:
    """An open, empty database."""
    async with Database(settings, tmp_path) as database:
        yield database


@pytest.fixture
def clock() -> FakeClock:
    """A clock of one's own."""
    return FakeClock()


@pytest.fixture
async def store(
    database: Database, settings: StorageSettings, tmp_path: Path, clock: FakeClock
) -> FileStore:
    """An empty store."""
    store = FileStore(database, tmp_path / "files", settings, clock=clock)
    await store.prepare()
    return store


async def keep(
    store: FileStore, content: bytes, *, name: str = "a.txt", tenant: str = "mine"
) -> StoredFile:
    """Keep a file, in two pieces."""
    async with store.receive(name, FilePurpose.BATCH, tenant=tenant) as incoming:
        await incoming.write(content[:3])
        await incoming.write(content[3:])
        return await incoming.complete()


MINE, THEIRS = "mine", "theirs"


def on_disk(folder: Path) -> list[str]:
    """List the names of all files below a folder."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


async def test_migrations_lead_to_the_schema(database: Database) -> None:
    """A migrated database has exactly the tables that the program uses."""

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), METADATA))

    assert await database.read(differences) == []


async def test_reopened_database_has_what_was_written(
    settings: StorageSettings, tmp_path: Path, database: Database, clock: FakeClock
) -> None:
    """A second process migrates nothing and reads what the first has written."""
    grant = {"folder": "a", "signature": "b", "expires_at": clock.now}
    await database.write(lambda connection: connection.execute(insert(UPLOAD_GRANTS).values(grant)))
    async with Database(settings, tmp_path) as other:
        row = await other.read(lambda connection: connection.execute(select(UPLOAD_GRANTS)).one())
    assert (row.folder, row.expires_at) == ("a", clock.now)


async def test_failed_transaction_leaves_nothing(database: Database, clock: FakeClock) -> None:
    """What a function wrote before it raised is undone."""

    def fail(connection: Connection) -> None:
        row = {"folder": "a", "signature": "b", "expires_at": clock.now}
        connection.execute(insert(UPLOAD_GRANTS).values(row))
        raise KeyError

    with pytest.raises(KeyError):
        await database.write(fail)
    count = select(func.count()).select_from(UPLOAD_GRANTS)
    assert await database.read(lambda connection: connection.execute(count).scalar()) == 0


async def test_sqlite_writers_wait_for_each_other(tmp_path: Path, clock: FakeClock) -> None:
    """Read-then-write transactions of two processes neither fail nor lose a count."""

    def count_up(connection: Connection) -> None:
        count = select(func.count()).select_from(UPLOAD_GRANTS)
        number = connection.execute(count).scalar()
        row = {"folder": str(number), "signature": "", "expires_at": clock.now}
        connection.execute(insert(UPLOAD_GRANTS).values(row))

    one, other = (Database(StorageSettings(), tmp_path) for _ in range(2))
    async with one, other:
        await asyncio.gather(*(each.write(count_up) for each in [one, other] * 10))
        rows = select(func.count()).select_from(UPLOAD_GRANTS)
        assert await other.read(lambda connection: connection.execute(rows).scalar()) == 20


async def test_newer_schema_is_refused(settings: StorageSettings, tmp_path: Path) -> None:
    """A database that a newer version has changed is left alone, and the refusal says so."""
    async with Database(settings, tmp_path) as database:
        update = text("UPDATE alembic_version SET version_num = '9999'")
        await database.write(lambda connection: connection.execute(update))
    with pytest.raises(Conflict, match="newer version"):
        async with Database(settings, tmp_path):
            pass


@pytest.mark.parametrize("url", ["no url", "nosuch://host/name", "mysql+nosuch://host/name"])
async def test_unusable_url_is_refused(url: str, tmp_path: Path) -> None:
    """A database URL that cannot be used is the operator's mistake, told without the password."""
    with pytest.raises(InvalidInput, match=r"storage\.database_url"):
        async with Database(StorageSettings(database_url=SecretStr(url)), tmp_path):
            pass


async def test_closed_database_says_so(settings: StorageSettings, tmp_path: Path) -> None:
    """Whoever comes too early or too late gets a failure that may pass."""
    with pytest.raises(UpstreamUnavailable):
        await Database(settings, tmp_path).read(lambda connection: connection)


async def test_stored_file_is_read_back(store: FileStore, clock: FakeClock) -> None:
    """Content, size, digest, name and date are those of what came in."""
    content = b"x" * 2_500_000 + b"y"
    file = await keep(store, content, name="../../etc/b c.jsonl")
    assert store.path_of(file).read_bytes() == content
    assert await store.find(file.id, tenant=MINE) == file
    assert (file.name, file.size_bytes) == ("b c.jsonl", len(content))
    assert (file.sha256, file.created_at) == (hashlib.sha256(content).hexdigest(), clock.now)
    assert on_disk(store.path_of(file).parent) == [file.id]


async def test_ids_cannot_be_guessed_from_each_other(store: FileStore) -> None:
    """Equal contents have ids with nothing in common but what they are for."""
    one, other = await keep(store, b"same"), await keep(store, b"same")
    same = sum(a == b for a, b in zip(one.id[-32:], other.id[-32:], strict=True))
    assert one.id[:11] == other.id[:11] == "file-batch-"
    assert same < 16


@pytest.mark.parametrize("pieces", [[b"x" * 3_000_001], [b"x" * 1_000_000] * 4])
async def test_too_large_a_file_leaves_nothing(store: FileStore, pieces: list[bytes]) -> None:
    """A file is refused as soon as it is too large, and nothing of it stays on the disk."""

    async def write() -> None:
        async with store.receive("a", FilePurpose.BATCH, tenant=MINE) as incoming:
            for piece in pieces:
                await incoming.write(piece)

    with pytest.raises(FileTooLarge):
        await write()
    assert on_disk(store._folder) == []


async def test_file_that_is_not_completed_leaves_nothing(store: FileStore) -> None:
    """A caller who goes away in the middle leaves neither content nor record."""

    async def break_off() -> None:
        async with store.receive("a", FilePurpose.BATCH, tenant=MINE) as incoming:
            await incoming.write(b"x" * 2_000_000)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await break_off()
    assert on_disk(store._folder) == []
    assert (await store.list_files(FileQuery(limit=10), tenant=MINE)).files == ()


async def test_full_store_refuses(store: FileStore) -> None:
    """Neither more files nor more bytes are kept than allowed, and refused ones leave nothing."""
    await keep(store, b"x" * 2_900_000)
    with pytest.raises(QuotaExceeded):
        await keep(store, b"x" * 2_900_000)
    for _ in range(3):
        await keep(store, b"x")
    with pytest.raises(QuotaExceeded):
        await keep(store, b"x")
    assert len(on_disk(store._folder)) == 4


async def test_files_are_listed_page_by_page(store: FileStore, clock: FakeClock) -> None:
    """Every file is on one page, the newest first; files of another purpose are left out."""
    kept = []
    for _ in range(3):
        clock.advance(1)
        kept.append(await keep(store, b"x"))
    async with store.receive("u", FilePurpose.UPLOAD, tenant=MINE) as incoming:
        await incoming.complete()
    purposes = frozenset({FilePurpose.BATCH})
    first = await store.list_files(FileQuery(limit=2, purposes=purposes), tenant=MINE)
    last = first.files[-1].id
    rest = await store.list_files(FileQuery(limit=2, after=last, purposes=purposes), tenant=MINE)
    assert (first.has_more, rest.has_more) == (True, False)
    assert [*first.files, *rest.files] == kept[::-1]
    with pytest.raises(NotFound):
        await store.list_files(FileQuery(limit=2, after=FileId("file-batch-none")), tenant=MINE)


async def test_files_of_others_do_not_exist(store: FileStore, clock: FakeClock) -> None:
    """Nobody finds, lists, deletes or counts what belongs to another tenant."""
    expires_at = clock.now + timedelta(seconds=10)
    key = "folder/k"
    async with store.receive(
        "a", FilePurpose.UPLOAD, tenant=MINE, expires_at=expires_at, key=key
    ) as incoming:
        file = await incoming.complete()
    for refused in (
        store.find(file.id, tenant=THEIRS),
        store.find_key(key, tenant=THEIRS),
        store.delete(file.id, tenant=THEIRS),
        store.list_files(FileQuery(limit=9, after=file.id), tenant=THEIRS),
    ):
        with pytest.raises(NotFound):
            await refused
    page = await store.list_files(FileQuery(limit=9), tenant=THEIRS)
    assert (page.files, page.total) == ((), 0)
    assert await store.find(file.id, tenant=MINE) == await store.find(file.id, tenant=None) == file


async def test_full_tenant_refuses_itself_alone(
    database: Database, tmp_path: Path, clock: FakeClock
) -> None:
    """Who has as many bytes as may be stores no more, and keeps nobody else from it."""
    settings = StorageSettings(max_tenant_bytes=10)
    store = FileStore(database, tmp_path / "files", settings, clock=clock)
    await store.prepare()
    file = await keep(store, b"x" * 10)
    with pytest.raises(QuotaExceeded, match="max_tenant_bytes"):
        await keep(store, b"x")
    await keep(store, b"x" * 10, tenant=THEIRS)
    await store.delete(file.id, tenant=MINE)
    await keep(store, b"x" * 10)


async def test_full_store_refuses_what_comes_at_the_same_time(store: FileStore) -> None:
    """However many files come at once, no more are kept than allowed."""
    outcomes = await asyncio.gather(*(keep(store, b"x") for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(outcome, StoredFile) for outcome in outcomes) == 4
    assert sum(isinstance(outcome, QuotaExceeded) for outcome in outcomes) == 4


async def test_deleted_file_is_gone(store: FileStore) -> None:
    """A deleted file is neither found nor on the disk, and cannot be deleted again."""
    file = await keep(store, b"x")
    await store.delete(file.id, tenant=MINE)
    assert on_disk(store._folder) == []
    for refused in (store.find(file.id, tenant=MINE), store.delete(file.id, tenant=MINE)):
        with pytest.raises(NotFound):
            await refused


async def test_expired_file_is_gone(store: FileStore, clock: FakeClock) -> None:
    """From its last instant on a file is found by nobody."""
    expires_at = clock.now + timedelta(seconds=10)
    async with store.receive(
        "a", FilePurpose.UPLOAD, tenant=MINE, expires_at=expires_at, key="k"
    ) as incoming:
        file = await incoming.complete()
    assert await store.find_key("k", tenant=MINE) == file
    clock.advance(10)
    for refused in (store.find(file.id, tenant=MINE), store.find_key("k", tenant=MINE)):
        with pytest.raises(NotFound):
            await refused
    assert (await store.list_files(FileQuery(limit=10), tenant=MINE)).files == ()
    await store.sweep()
    count = select(func.count()).select_from(FILES)
    assert await store._database.read(lambda connection: connection.execute(count).scalar()) == 0


async def test_key_is_taken_once(store: FileStore) -> None:
    """The same content may be put to a key again; another content may not."""

    async def put(content: bytes) -> StoredFile:
        async with store.receive("a", FilePurpose.UPLOAD, tenant=MINE, key="folder/a") as incoming:
            await incoming.write(content)
            return await incoming.complete()

    first = await put(b"x")
    assert await put(b"x") == first
    with pytest.raises(Conflict):
        await put(b"y")
    assert on_disk(store._folder) == [first.id]


async def test_leftovers_of_crashes_are_swept(store: FileStore) -> None:
    """Old content that no record knows is removed; what is recorded or still arriving stays."""
    file = await keep(store, b"x")
    for path in (store._folder / f"file-batch-{'0' * 32}", store._drafts / "old"):
        path.write_bytes(b"left")
        os.utime(path, (0, 0))
    os.utime(store.path_of(file), (0, 0))
    (store._drafts / "arriving").write_bytes(b"new")
    await store.prepare()
    assert on_disk(store._folder) == sorted(["arriving", file.id])


async def test_grants_open_one_folder_for_a_while(store: FileStore, clock: FakeClock) -> None:
    """Only who has the signature may upload, only into that folder, and only in time."""
    folder, signature = await store.grant_upload(clock.now + timedelta(seconds=10), tenant=MINE)
    assert await store.find_grantee(folder, signature) == MINE
    assert await store.find_grantee(folder, signature[:-1] + "x") is None
    assert await store.find_grantee(folder, "é") is None
    assert await store.find_grantee(folder + "/..", signature) is None
    clock.advance(10)
    assert await store.find_grantee(folder, signature) is None


@pytest.mark.parametrize("text", ["", "a\0b", "x" * 5000, "é", "'; DROP TABLE files; --"])
async def test_strange_names_find_nothing(store: FileStore, text: str) -> None:
    """Whatever a caller names, it is not there, or cannot be; the store goes on as before."""
    file = await keep(store, b"x")
    for refused in (
        store.find(text, tenant=MINE),
        store.find_key(text, tenant=MINE),
        store.delete(text, tenant=MINE),
    ):
        with pytest.raises((NotFound, InvalidInput)):
            await refused
    assert await store.find_grantee("folder", text) is None
    assert await store.find(file.id, tenant=MINE) == file
