"""A runtime in a process of its own: what crashes there is started again, and nobody else falls."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Client, Connection
from pathlib import Path
from queue import LifoQueue

import numpy as np
from numpy.typing import NDArray

from milvane.domain.errors import Conflict, Internal, UpstreamUnavailable
from milvane.inference.worker import (
    FAILED,
    RuntimeFacts,
    pack_batch,
    unpack_vectors,
)

LOG = logging.getLogger(__name__)

CALM_S = 60.0
"""After so long without a crash, the next one is the first again."""

MAX_WAIT_S = 10.0
"""The longest pause between two starts."""


def pause_before_start_s(crashes: int) -> float:
    """Say how long to wait after so many crashes in a row: nothing, then 0.2 s, doubling."""
    return 0.0 if crashes <= 1 else min(MAX_WAIT_S, 0.1 * 2.0 ** (crashes - 1))


class IsolatedRuntime:
    """Satisfies `runtimes.port.Runtime`; the network is in another process."""

    def __init__(
        self,
        folder: Path,
        *,
        threads: int,
        precision: str,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """
        Start the process and wait until it is ready. Blocks.

        Args:
            folder: Holds the weights.

            threads: Cores that compute; 0 for all.

            precision: Number format.

            clock: Seconds that never go back.

            sleep: Waits so many seconds.

        Raises:
            Conflict: If the process cannot load the weights; the message has its last words.
        """
        self._command = (str(folder), str(threads), precision)
        self._clock, self._sleep = clock, sleep
        self._folder = tempfile.TemporaryDirectory(prefix="milvane-worker-")
        self._restarting = threading.Lock()  # guards the process, its number and the crashes
        self._number = 0
        self._crashes = 0
        self._crashed_at_s = -CALM_S
        self._closed = threading.Event()
        self._idle: LifoQueue[tuple[int, Connection]] = LifoQueue()
        try:
            self.process, facts = self._start()
        except Conflict:
            self._folder.cleanup()
            raise
        self._facts = facts
        self._watch(self.process, self._number)
        self.name = f"{facts.name}, in process {self.process.pid}"
        self.precision = facts.precision
        self.threads = facts.threads
        self.width = facts.width
        self.max_tokens = facts.max_tokens
        self.weighs_tokens = facts.weighs_tokens
        self.concurrency = facts.concurrency
        self.packs = facts.packs

    def forward(
        self, token_ids: NDArray[np.int32], lengths: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """
        Run the network over one padded batch; see the port.

        Raises:
            Internal: If the network cannot be run over this batch.

            UpstreamUnavailable: If the process crashed over it; it is started again for the next.
        """
        number, connection = self._connection()
        try:
            connection.send_bytes(pack_batch(token_ids, lengths))
            answer = connection.recv_bytes()
        except (EOFError, OSError) as error:
            connection.close()
            self._restart(number)
            raise UpstreamUnavailable(
                "the process that runs the network ended; it was started again"
            ) from error
        self._idle.put((number, connection))
        if answer.startswith(FAILED):
            raise Internal(f"the network failed: {answer[1:].decode()}")
        return unpack_vectors(answer)

    @property
    def replicas(self) -> tuple[()]:
        """None: there is but one."""
        return ()

    def trouble(self) -> str | None:
        """Say why no pass can be run now; none if one can."""
        if self._restarting.locked():
            return "the process that runs the network is being started again"
        if self.process.poll() is not None:
            return "the process that runs the network has ended"
        return None

    def close(self) -> None:
        """End the process."""
        self._closed.set()
        while not self._idle.empty():
            self._idle.get()[1].close()
        _end(self.process)
        self._folder.cleanup()

    def _connection(self) -> tuple[int, Connection]:
        while not self._idle.empty():
            number, connection = self._idle.get()
            if number == self._number:
                return number, connection
            connection.close()
        number = self._number
        try:
            return number, Client(self._address(number), family="AF_UNIX")
        except OSError as error:
            self._restart(number)
            raise UpstreamUnavailable(
                "the process that runs the network ended; it was started again"
            ) from error

    def _restart(self, number: int) -> None:
        """Start anew the process of a number, unless somebody else did."""
        with self._restarting:
            if number != self._number or self._closed.is_set():
                return
            now_s = self._clock()
            self._crashes = self._crashes + 1 if now_s - self._crashed_at_s < CALM_S else 1
            self._crashed_at_s = now_s
            status = _end(self.process)
            LOG.error("The process that runs the network ended with status %s", status)
            self._sleep(pause_before_start_s(self._crashes))
            try:
                self.process, facts = self._start()
            except Conflict as error:
                raise UpstreamUnavailable(error.message) from error
            if self._closed.is_set():  # meanwhile: whoever closed this ended the one before
                _end(self.process)
                return
            self._watch(self.process, self._number)
            if facts != self._facts:
                raise UpstreamUnavailable("the network's files were changed: restart the server")

    def _watch(self, process: subprocess.Popen[bytes], number: int) -> None:
        """Start a process again as soon as it ends, so that no request need find out."""

        def wait() -> None:
            process.wait()
            try:
                self._restart(number)
            except UpstreamUnavailable as error:  # the next request tries again
                LOG.error("%s", error.message)  # noqa: TRY400 - the message says it all

        threading.Thread(target=wait, name="milvane-worker-watch", daemon=True).start()

    def _start(self) -> tuple[subprocess.Popen[bytes], RuntimeFacts]:
        number = self._number + 1
        with tempfile.TemporaryFile() as words:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [
                    sys.executable,
                    "-m",
                    "milvane.inference.worker",
                    *self._command,
                    self._address(number),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
            )
            line = process.stdout.readline() if process.stdout else b""
            if not line:
                _end(process)
                words.seek(0)
                said = words.read()[-1000:].decode(errors="replace").strip().rpartition("\n")[2]
                raise Conflict(f"the process that runs the network cannot start: {said}")
        self._number = number
        return process, RuntimeFacts(**json.loads(line))

    def _address(self, number: int) -> str:
        return str(Path(self._folder.name) / f"{number}.sock")


def _end(process: subprocess.Popen[bytes]) -> int:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        return process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
