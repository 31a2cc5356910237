"""From the first schema to the newest, with what was stored in it."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

from alembic import command
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import Connection, MetaData, inspect, text

from milvane.domain.callers import ANYONE
from milvane.domain.files import FileQuery
from milvane.domain.jobs import JobKind, JobQuery, JobState
from milvane.jobs import ledger
from milvane.storage.database import Database, choose_url, open_engine
from milvane.storage.files import FileStore
from milvane.storage.migrating import alembic_config, migrate, newest_revision
from milvane.storage.settings import StorageSettings

FILE_ID = "file-batch-00000000000000000000000000000000"
_INSERTS = (
    "INSERT INTO files (id, key, name, purpose, size_bytes, sha256, created_at) "
    "VALUES ('file-batch-00000000000000000000000000000000', 'folder/a', 'a.jsonl', 'batch', 3, "
    "'hash', 1000000)",
    "INSERT INTO upload_grants (folder, signature, expires_at) "
    "VALUES ('folder', 'sign', 9000000000000000)",
    "INSERT INTO jobs (id, kind, state, input_file_id, window_s, completion_window, endpoint, "
    "requested_model, model, purpose, request_id, metadata, label, problems, lines_total, "
    "lines_completed, lines_failed, total_tokens, created_at, expires_at, pages, input_offset, "
    "input_line, attempts, stalls) VALUES ('batch_1', 'batch', 'running', "
    "'file-batch-00000000000000000000000000000000', 86400, '24h', '/v1/embeddings', '', "
    "'text-embedding-v4', 'document', 'r', '{}', '', '[]', 2, 1, 0, 5, 1000000, 2000000, 1, 30, 1, "
    "1, 1)",
)


def make_first(settings: StorageSettings, folder: Path) -> None:
    """Make a database of the first schema, and put one thing of each kind into it."""
    engine = open_engine(choose_url(settings, folder), settings)
    with engine.begin() as connection:
        command.upgrade(alembic_config(connection), "0001")
        for row in _INSERTS:
            connection.execute(text(row))
    engine.dispose()


async def test_what_was_stored_belongs_to_the_default_tenant(
    database_url: SecretStr | None, tmp_path: Path
) -> None:
    """After the upgrade everything is there, and whoever calls without a name finds it."""
    settings = StorageSettings(database_url=database_url)
    make_first(settings, tmp_path)
    async with Database(settings, tmp_path) as database:
        store = FileStore(database, tmp_path / "files", settings)
        page = await store.list_files(FileQuery(limit=9), tenant=ANYONE.tenant)
        assert [file.id for file in page.files] == [FILE_ID]
        assert (await store.find_key("folder/a", tenant=ANYONE.tenant)).size_bytes == 3
        assert await store.find_grantee("folder", "sign") == ANYONE.tenant
        query = JobQuery(JobKind.BATCH, limit=9)
        jobs = await database.read(partial(ledger.list_jobs, query=query, tenant=ANYONE.tenant))
    (job,) = jobs.jobs
    assert (job.id, job.state, job.counts.completed) == ("batch_1", JobState.RUNNING, 1)


async def test_old_program_writes_to_the_new_schema(
    database_url: SecretStr | None, tmp_path: Path
) -> None:
    """A process of the version before, still running during an upgrade, goes on storing."""
    settings = StorageSettings(database_url=database_url)

    def insert_all(connection: Connection) -> None:
        for row in _INSERTS:
            connection.execute(text(row))

    async with Database(settings, tmp_path) as database:
        await database.write(insert_all)
        store = FileStore(database, tmp_path / "files", settings)
        assert (await store.find(FILE_ID, tenant=ANYONE.tenant)).name == "a.jsonl"


def test_newest_revision_is_the_head(tmp_path: Path) -> None:
    """Whether anything is to be migrated is known without the library, which would say the same."""
    engine = open_engine(choose_url(StorageSettings(), tmp_path), StorageSettings())
    with engine.begin() as connection:
        head = ScriptDirectory.from_config(alembic_config(connection)).get_current_head()
    engine.dispose()
    assert newest_revision() == head


def test_schema_that_is_made_at_once_is_what_migrations_lead_to(
    database_url: SecretStr | None, tmp_path: Path
) -> None:
    """A database that begins today has the tables of one that has come all the way."""
    settings = StorageSettings(database_url=database_url)
    engine = open_engine(choose_url(settings, tmp_path), settings)
    described = []
    for make in (migrate, migrate_all_the_way):
        with engine.begin() as connection:
            make(connection)
            described.append(describe(connection))
            seen = MetaData()
            seen.reflect(connection)
            seen.drop_all(connection)
    engine.dispose()
    assert described[0] == described[1]
    assert len(described[0]) > 20


def migrate_all_the_way(connection: Connection) -> None:
    """Apply every migration."""
    command.upgrade(alembic_config(connection), "head")


def describe(connection: Connection) -> dict[str, object]:
    """Say all that the database knows of each table, in no order but that of its columns."""
    seen = inspect(connection)
    kinds = (
        seen.get_indexes,
        seen.get_foreign_keys,
        seen.get_unique_constraints,
        seen.get_check_constraints,
    )
    return {
        name: (
            [str(sorted(column.items(), key=str)) for column in seen.get_columns(name)],
            seen.get_pk_constraint(name),
            [sorted(map(str, kind(name))) for kind in kinds],
        )
        for name in seen.get_table_names()
    }


def test_schema_of_today_is_left_alone_without_the_library(tmp_path: Path) -> None:
    """A start where nothing is to be migrated, also the first, does not load what migrates."""
    program = (
        "import sys; from pathlib import Path; from milvane.storage.database import *; "
        "from milvane.storage.settings import StorageSettings as Some; "
        f"engine = open_engine(choose_url(Some(), Path({str(tmp_path)!r})), Some()); "
        "connection = engine.connect(); transaction = connection.begin(); migrate(connection); "
        "transaction.commit(); connection.close(); print('alembic' in sys.modules)"
    )
    for _ in range(2):
        said = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert said.stdout == "False\n"
