"""Starts the Lite process, keeps it running, and tells who asks where it is reached."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import signal
import sys
import time
from collections import deque
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.abc
from filelock import FileLock, Timeout

from milvane.domain.errors import Conflict, ServiceError, UpstreamUnavailable
from milvane.instances.lite.caller import Caller
from milvane.instances.lite.frames import direct_path
from milvane.instances.lite.process import EXIT_LOCKED
from milvane.instances.socket_folders import socket_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from milvane.instances.settings import LiteSettings

LOCK_NAME = "milvane.lock"
_LONGEST_SOCKET_PATH = 100  # Unix allows 107 bytes, 103 on macOS
_LONGEST_LINE_BYTES = 1 << 20
_REMEMBERED_LINES = 20
_FIRST_BACKOFF_S = 0.1
_STEADY_S = 10.0
_KILL_CHECK_S = 0.1

_logger = logging.getLogger(__name__)
_process_logger = logging.getLogger("milvane.instances.lite.process")


class LiteState(Enum):
    """Where the process is in its life."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class LiteStatus:
    """What is known of the process at one moment."""

    state: LiteState
    target: str | None = None
    """Where gRPC reaches it, while it is ready; a new place after each start."""
    pid: int | None = None
    restarts: int = 0
    last_error: str | None = None
    """Why it last died or did not start."""


def backoff_s(failures: int, longest_s: float) -> float:
    """
    Say how long to wait before the process is started again.

    Args:
        failures: How often it died in a row soon after its start, from 0.

        longest_s: The cap.
    """
    if failures == 0:
        return 0.0
    return min(longest_s, _FIRST_BACKOFF_S * 2.0 ** min(failures - 1, 16))


class LiteInstance:
    """
    The embedded Milvus Lite on one data directory, from entering the context to leaving it.

    Leaving stops the process in order: calls end, rows go to disk.
    """

    name = "the embedded Milvus Lite"
    when_absent = "is restarting"

    def __init__(self, settings: LiteSettings, data_dir: Path) -> None:
        """
        Describe an instance; nothing is started yet.

        Args:
            settings: Limits and patience.

            data_dir: Made if missing; held exclusively while the context is open.
        """
        self._settings = settings
        self._data_dir = data_dir.resolve()
        self._status = LiteStatus(LiteState.STOPPED)
        self._changed = anyio.Event()
        self._stack = AsyncExitStack()
        self._closing = anyio.Event()
        self._was_ready = False
        self._process: asyncio.subprocess.Process | None = None
        self._last_lines: deque[str] = deque(maxlen=_REMEMBERED_LINES)

    @property
    def status(self) -> LiteStatus:
        """What is known now."""
        return self._status

    @property
    def state(self) -> LiteState:
        """Where the process is in its life now."""
        return self._status.state

    @property
    def pid(self) -> int | None:
        """The process id, while there is a process."""
        return self._status.pid

    async def __aenter__(self) -> Self:
        """
        Start the process and wait until it is ready.

        Raises:
            Conflict: If another process has the data directory.

            UpstreamUnavailable: If it does not become ready; the message ends with its last lines.
        """
        async with AsyncExitStack() as stack:
            self._lock_directory(stack)
            self._socket_dir = self._make_socket_dir(stack)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            failure = await tasks.start(self._keep_running)
            if failure is not None:
                await stack.aclose()
                raise failure
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the process: ask, wait, and then insist."""
        with anyio.CancelScope(shield=True):
            await self._stop()
        await self._stack.aclose()

    async def wait_target(self, timeout_s: float, *, unlike: str | None = None) -> str:
        """
        Wait until the process is ready.

        Args:
            timeout_s: How long to wait; 0 only looks.

            unlike: A target that was found dead, and will not do.

        Returns:
            Where gRPC reaches it.

        Raises:
            UpstreamUnavailable: If it is not ready in time.
        """
        target = self._ready_target(unlike)
        if target:  # as nearly always, and this is asked for each call
            return target
        with anyio.move_on_after(timeout_s):
            while not (target := self._ready_target(unlike)):
                if self.state is LiteState.STOPPED:
                    break
                await self._changed.wait()
            else:
                return target
        target = self._ready_target(unlike)
        if target:
            return target
        raise UpstreamUnavailable(f"{self.name} is {self._words()}; retry")

    def connect(self, target: str) -> Caller:
        """Describe a connection to the process: not gRPC, which Milvus's own clients use here."""
        return Caller(target, direct_path(Path(target.removeprefix("unix:"))))

    async def wait_change(self, known: LiteStatus) -> LiteStatus:
        """
        Wait until the status is another than the one that is known.

        Returns:
            The status now.
        """
        while self._status == known:
            await self._changed.wait()
        return self._status

    def _ready_target(self, unlike: str | None) -> str | None:
        target = self._status.target
        return target if target != unlike else None

    def _words(self) -> str:
        return "restarting" if self.state is LiteState.READY else self.state.value

    def _set(self, status: LiteStatus) -> None:
        self._status = status
        self._changed.set()
        self._changed = anyio.Event()

    def _lock_directory(self, stack: AsyncExitStack) -> None:
        self._data_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._data_dir / LOCK_NAME, thread_local=False)
        try:
            lock.acquire(blocking=False)
        except Timeout as error:
            raise Conflict(
                f"another Milvane uses {self._data_dir}: stop it, or choose another directory"
            ) from error
        stack.callback(lock.release)

    def _make_socket_dir(self, stack: AsyncExitStack) -> Path:
        folder = self._data_dir / "run"
        if len(os.fsencode(folder / "lite-000000.sock")) > _LONGEST_SOCKET_PATH:
            return stack.enter_context(socket_folder())
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        for leftover in folder.glob("lite-*"):
            leftover.unlink()
        return folder

    async def _keep_running(
        self, *, task_status: anyio.abc.TaskStatus[ServiceError | None]
    ) -> None:
        failures = 0
        self._set(LiteStatus(LiteState.STARTING))
        while True:
            begun_s = time.monotonic()
            failure = await self._live(task_status.started)
            if self._closing.is_set() or not self._was_ready:
                break
            failures = 0 if time.monotonic() - begun_s > _STEADY_S else failures + 1
            pause_s = backoff_s(failures, self._settings.restart_backoff_max_s)
            _logger.error("%s; starting it again in %.1f s", failure.message, pause_s)
            self._set(
                LiteStatus(
                    LiteState.RESTARTING,
                    restarts=self._status.restarts + 1,
                    last_error=failure.message,
                )
            )
            with anyio.move_on_after(pause_s):
                await self._closing.wait()
                break
        self._set(replace(self._status, state=LiteState.STOPPED, target=None, pid=None))
        if not self._was_ready:
            task_status.started(failure)

    async def _live(self, announce: Callable[[None], None]) -> ServiceError:
        """Run one process from its start to its end, and say why it ended."""
        self._last_lines.clear()
        socket = self._socket_dir / f"lite-{secrets.token_hex(3)}.sock"
        process = self._process = await asyncio.create_subprocess_exec(
            *self._command(socket),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self._socket_dir,  # a directory in which nothing can be imported by mistake
            start_new_session=True,  # a Ctrl-C in the terminal is for the gateway
            limit=_LONGEST_LINE_BYTES,
        )
        try:
            self._set(replace(self._status, pid=process.pid))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._forward_log, process)
                facts = await self._read_ready_line(process)
                if facts is not None:
                    is_first = not self._was_ready
                    self._become_ready(socket, facts)
                    if is_first:
                        announce(None)
                code = await process.wait()
        finally:
            self._process = None
            with anyio.CancelScope(shield=True):
                await _kill(process)
            for each in (socket, direct_path(socket)):
                each.unlink(missing_ok=True)
        return self._failure(code, was_ready=facts is not None)

    def _become_ready(self, socket: Path, facts: dict[str, object]) -> None:
        self._was_ready = True
        _logger.info(
            "%s is ready: process %s, %s collections opened in %s s",
            self.name,
            facts["pid"],
            facts["collections"],
            facts["opened_s"],
        )
        self._set(replace(self._status, state=LiteState.READY, target=f"unix:{socket}"))

    def _command(self, socket: Path) -> list[str]:
        return [
            sys.executable,
            "-m",
            "milvane.instances.lite.process",
            f"--data-dir={self._data_dir}",
            f"--socket={socket}",
            f"--parent={os.getpid()}",
            f"--log-level={logging.getLevelName(_process_logger.getEffectiveLevel())}",
            f"--settings={self._settings.model_dump_json()}",
        ]

    async def _read_ready_line(
        self, process: asyncio.subprocess.Process
    ) -> dict[str, object] | None:
        assert process.stdout is not None  # noqa: S101 - asked for as a pipe
        with anyio.move_on_after(self._settings.start_timeout_s):
            line = await process.stdout.readline()
            if line:
                facts: dict[str, object] = json.loads(line)
                return facts
            return None
        _logger.error("%s was not ready within %g s", self.name, self._settings.start_timeout_s)
        await _kill(process)
        return None

    async def _forward_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None  # noqa: S101 - asked for as a pipe
        while True:
            try:
                line = await process.stderr.readline()
            except ValueError:  # longer than anybody reads
                continue
            if not line:
                return
            self._last_lines.append(log_as_ours(line.decode("utf-8", "replace").rstrip()))

    async def _stop(self) -> None:
        """Ask whatever process there is, or is just being started, to end; then insist."""
        self._closing.set()
        with anyio.move_on_after(self._settings.stop_timeout_s):
            while self.state is not LiteState.STOPPED:
                self._ask_to_end()
                await self._changed.wait()
            return
        _logger.warning("%s did not end in time and is killed; its log is kept", self.name)
        while self.state is not LiteState.STOPPED:
            if self._process is not None:
                await _kill(self._process)
            with anyio.move_on_after(_KILL_CHECK_S):  # the end may have been told meanwhile
                await self._changed.wait()

    def _ask_to_end(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.terminate()

    def _failure(self, code: int, *, was_ready: bool) -> ServiceError:
        if code == EXIT_LOCKED:
            return Conflict(
                f"a Milvus Lite still uses {self._data_dir}: stop it, or choose another directory"
            )
        ended = "ended" if was_ready else "did not become ready"
        return UpstreamUnavailable(
            f"{self.name} {ended} ({_describe_exit(code)}){self._last_words()}"
        )

    def _last_words(self) -> str:
        lines = "\n  ".join(self._last_lines)
        return f"; its last lines:\n  {lines}" if lines else ""


def log_as_ours(line: str) -> str:
    """
    Log a line of the process with its own level and logger.

    Returns:
        The message, for those who want to know what it said last.
    """
    try:
        record = json.loads(line)
        level = logging.getLevelName(record["level"])
        name, message = str(record["logger"]), str(record["message"])
    except (ValueError, KeyError, TypeError):
        level, name, message = logging.INFO, _process_logger.name, line
    logging.getLogger(name).log(level if isinstance(level, int) else logging.INFO, "%s", message)
    return message


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
    await process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _describe_exit(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
