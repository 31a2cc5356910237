"""Settings of the database and of the files beside it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr

from milvane.sections import Section


class StorageSettings(Section):
    """Where state is kept, and how much of it."""

    database_url: SecretStr | None = Field(
        default=None,
        description="SQL database: postgresql+psycopg://user:password@host/name, with the extra "
        "`postgres`; milvane.db (SQLite) in the data directory if not given.",
    )
    files_dir: Path | None = Field(
        default=None,
        description="Folder of uploaded and produced files, shared by all servers on one database; "
        "`files` in the data directory if not given.",
    )
    secrets_file: Path | None = Field(
        default=None,
        description="Key that seals secrets in the database, made when it is first needed and "
        "shared by all servers on one database; `secrets.key` in the data directory if not given.",
    )
    busy_timeout_s: float = Field(
        default=10.0, gt=0, description="Seconds to wait for another writer of the database."
    )
    threads: int = Field(default=4, ge=1, description="Threads that wait for database or disk.")
    max_files: int = Field(default=10_000, ge=1, description="Files that may be stored.")
    max_file_bytes: int = Field(
        default=500 * 1024 * 1024,
        ge=1,
        description="Largest uploaded file, in bytes; a larger one is refused while it arrives.",
    )
    max_total_bytes: int = Field(
        default=100 * 1024**3, ge=1, description="Bytes of all stored files together."
    )
    max_tenant_bytes: int | None = Field(
        default=None,
        ge=1,
        description="Bytes of all stored files of one tenant (a user, or an API key); no limit of "
        "its own if not given.",
    )
