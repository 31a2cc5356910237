"""The SQL database: an engine, transactions, and an executor for the work that blocks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, NoSuchModuleError, OperationalError
from typing_extensions import Self

from milvane.domain.errors import InvalidInput, UpstreamUnavailable
from milvane.storage.migrating import migrate
from milvane.storage.sealing import KEY_FILE, OPTION, Sealer
from milvane.storage.settings import StorageSettings

LOG = logging.getLogger(__name__)

Result = TypeVar("Result")


class Database:
    """
    Runs functions of a connection as transactions, off the event loop.

    A function may be run on any thread; it must not keep the connection.
    """

    def __init__(self, settings: StorageSettings, data_dir: Path) -> None:
        self._url = choose_url(settings, data_dir)
        self._settings = settings
        self._data_dir = data_dir
        self._sealer = Sealer(settings.secrets_file or data_dir / KEY_FILE)
        self._engine: Engine | None = None
        self._executor: ThreadPoolExecutor | None = None

    async def __aenter__(self) -> Self:
        """
        Open the database and bring its schema up to date.

        Raises:
            InvalidInput: If its URL cannot be used.
            UpstreamUnavailable: If it does not answer.
            Conflict: If a newer version has changed its schema.
        """
        try:
            self._data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(
                f"the data directory {self._data_dir} cannot be used: {error.strerror}"
            ) from error
        try:
            self._engine = open_engine(self._url, self._settings)
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            raise InvalidInput(
                f"storage.database_url cannot be used: {error}. PostgreSQL needs the extra "
                "`postgres` and a URL that begins with postgresql+psycopg://"
            ) from error
        self._executor = ThreadPoolExecutor(self._settings.threads, thread_name_prefix="storage")
        try:
            await self.write(migrate)
        except BaseException:
            self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let running transactions end, and close."""
        self._close()

    async def read(self, work: Callable[[Connection], Result]) -> Result:
        """Run a function in a transaction that changes nothing."""
        return await self.run(partial(self._transact, work, read_only=True))

    async def write(self, work: Callable[[Connection], Result]) -> Result:
        """
        Run a function in a transaction; committed if it returns, undone if it raises.

        A caller that is cancelled meanwhile learns of it when the transaction has ended; which of
        the two happened it does not learn.
        """
        transaction = asyncio.ensure_future(
            self.run(partial(self._transact, work, read_only=False))
        )
        try:
            return await asyncio.shield(transaction)
        finally:
            if not transaction.done():
                await asyncio.wait([transaction])

    async def run(self, work: Callable[[], Result]) -> Result:
        """Run what waits for a disk in the same executor."""
        if self._executor is None:
            raise UpstreamUnavailable("the database is not open: the server is starting or ending")
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _transact(self, work: Callable[[Connection], Result], *, read_only: bool) -> Result:
        if self._engine is None:
            raise UpstreamUnavailable("the database is not open: the server is starting or ending")
        try:
            with self._engine.connect() as connection:
                connection = connection.execution_options(
                    **{"milvane_read_only": read_only, OPTION: self._sealer}
                )
                with connection.begin():
                    return work(connection)
        except DataError as error:  # such as a NUL, which PostgreSQL has no room for
            raise InvalidInput("a value has characters that cannot be stored") from error
        except OperationalError as error:
            LOG.warning("the database failed: %s", error.orig)
            raise UpstreamUnavailable("the database does not answer; try again") from error

    def _close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True)
            self._executor = None
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None


def choose_url(settings: StorageSettings, data_dir: Path) -> URL:
    """
    Say which database to open.

    Raises:
        InvalidInput: If the URL is not one.
    """
    if settings.database_url is None:
        return URL.create("sqlite", database=str(data_dir / "milvane.db"))
    try:
        return make_url(settings.database_url.get_secret_value())
    except ArgumentError as error:  # its message would show the password
        raise InvalidInput("storage.database_url is not a database URL") from error


def open_engine(url: URL, settings: StorageSettings) -> Engine:
    """Make an engine that behaves alike on SQLite and PostgreSQL."""
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_size=settings.threads, max_overflow=0, pool_pre_ping=True)
    engine = create_engine(
        url, connect_args={"timeout": settings.busy_timeout_s, "check_same_thread": False}
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    # The driver begins transactions late and by its own rules; `_begin_sqlite` does it instead.
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later may fail as busy without waiting: those that
    # may write say so at once.
    read_only = connection.get_execution_options().get("milvane_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
