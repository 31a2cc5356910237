"""A real server in a process of its own, for tests and benchmarks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO

from typing_extensions import Self

_READY = re.compile(
    r"Milvus protocol on (?P<grpc>https?://[^\s,]+).*, HTTP APIs on (?P<http>https?://\S+),"
)


class MilvaneProcess:
    """
    `milvane serve` on free ports of this machine.

    Entering the context waits for the ready line; leaving it ends the process if it still runs.
    The log goes to a file beside the data directory.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        environment: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        runner: tuple[str, ...] = (),
    ) -> None:
        self.data_dir = data_dir
        """Where its state is."""
        self._environment = None if environment is None else {**os.environ, **environment}
        self._arguments = arguments
        self._runner = runner
        self._process: subprocess.Popen[str] | None = None
        self.log = data_dir.with_name(f"{data_dir.name}.log")
        """Where the server's standard error goes; appended to at each start."""
        self.ready_line = ""
        """What the server said when it was ready."""
        self.grpc_uri = ""
        """Address of the Milvus protocol, once started."""
        self.http_url = ""
        """Address of the HTTP APIs, once started."""

    @property
    def process(self) -> subprocess.Popen[str]:
        """The running process."""
        if self._process is None:
            raise RuntimeError("the server has not been started")
        return self._process

    def start(self) -> None:
        """
        Start the server and wait until it is ready; a second start takes the same ports.

        Raises:
            RuntimeError: If it ends before; the message has the end of its log.
        """
        with self.log.open("a") as log:
            self.begin(log)
        for line in self.process.stdout or ():
            if match := _READY.search(line):
                self.ready_line = line
                self.grpc_uri, self.http_url = match["grpc"], match["http"]
                return
        status = self.wait(timeout_s=30)
        raise RuntimeError(
            f"the server ended with status {status}:\n{self.log.read_text()[-4000:]}"
        )

    def begin(self, log: IO[str] | int) -> None:
        """Start the server and wait for nothing; `log` is as `subprocess` takes it."""
        command = [*self._runner, sys.executable, "-m", "milvane.cli", "serve"]
        command += ["--data-dir", str(self.data_dir)]
        command += ["--grpc-port", _port(self.grpc_uri), "--http-port", _port(self.http_url)]
        command += self._arguments
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=self._environment
        )

    def kill(self) -> None:
        """End the process as a crash would."""
        self.process.kill()
        self.wait(timeout_s=30)

    def terminate(self, *, timeout_s: float = 30) -> int:
        """Ask the process to end; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(timeout_s=timeout_s)

    def wait(self, *, timeout_s: float = 30) -> int:
        """Wait until the process has ended; return its exit status."""
        status = self.process.wait(timeout=timeout_s)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        return status

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self.terminate()
        else:
            self.wait(timeout_s=0)


def _port(address: str) -> str:
    return address.rpartition(":")[2] or "0"
