"""A PostgreSQL of one's own for tests, where Debian's package is installed."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from pydantic import SecretStr
from sqlalchemy import URL

_DEBIAN = Path("/usr/lib/postgresql")
_ADMINISTRATOR = "postgres"


def find_programs() -> Path | None:
    """Find the newest server's programs; none if no server is installed."""
    found = [folder for folder in _DEBIAN.glob("*/bin") if (folder / "initdb").exists()]
    return max(found, key=lambda folder: int(folder.parent.name), default=None)


@dataclass
class PostgresServer:
    """A running server that forgets everything when it ends."""

    folder: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @contextmanager
    def database(self) -> Iterator[SecretStr]:
        """Make an empty database; gives its address."""
        name = f"test_{next(self._numbers)}"
        with self._connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        url = URL.create(
            "postgresql+psycopg",
            username=_ADMINISTRATOR,
            database=name,
            query={"host": str(self.folder)},
        )
        yield SecretStr(url.render_as_string())
        with self._connect() as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.folder), user=_ADMINISTRATOR, dbname="postgres", autocommit=True
        )


@contextmanager
def running_postgres(programs: Path) -> Iterator[PostgresServer]:
    """Run a server on a socket of its own; it refuses to be root, and its own user is there."""
    folder = Path(tempfile.mkdtemp(prefix="milvane-postgres-"))
    user = _ADMINISTRATOR if os.getuid() == 0 else None
    if user is not None:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), "-D", str(folder / "data"), *arguments]
        subprocess.run(command, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL)

    try:
        run(
            "initdb", "--no-sync", "--auth=trust", f"--username={_ADMINISTRATOR}", "--encoding=UTF8"
        )
        options = f"-k {folder} -c listen_addresses= -c fsync=off -c full_page_writes=off"
        run("pg_ctl", "start", "-w", "-o", options, "-l", str(folder / "log"))
        try:
            yield PostgresServer(folder)
        finally:
            run("pg_ctl", "stop", "-w", "-m", "immediate")
    finally:
        shutil.rmtree(folder)
