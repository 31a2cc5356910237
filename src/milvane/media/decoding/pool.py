"""
The processes that decode, as the server sees them: begun when needed, ended when they take long.

Whatever a file does to its process, it loses its own picture and nobody else's; the next one gets a
new process.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeAlias, TypeVar

import anyio
import numpy as np
from anyio import to_thread
from numpy.typing import NDArray
from typing_extensions import Self

from milvane.domain.errors import MediaRejected, Overloaded, UpstreamUnavailable
from milvane.domain.models import Modality
from milvane.domain.pictures import Clip, Picture, Sampling, Seen, Viewing
from milvane.media.decoding.exchange import (
    Closed,
    Found,
    receive_exactly,
    receive_head,
    send_head,
    write_viewing,
)
from milvane.media.kinds import Kind
from milvane.media.reading_settings import MediaReaderSettings

LOG = logging.getLogger(__name__)

_T = TypeVar("_T")

MAX_SEEN_BYTES = 2 * 1024**3
"""Pixels of one answer; a network that wants more is not one that we know."""

PROGRAM = "milvane.media.decoding.worker"
_KEPT_VARIABLES = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "TZ")
_START_S = 30.0
"""What a process may take to begin."""

_LAST_WORDS = "its decoding failed: it is damaged, or takes more memory or time than allowed"


class Ended(Exception):
    """The process ended, or was ended; the message says why, for the caller."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a process is to do with one file."""

    kind: Kind
    viewing: Viewing | None = None
    """None to look only."""
    frames: int = 1
    duration_s: float = 0.0

    @property
    def head(self) -> dict[str, Any]:
        """The task as it is sent."""
        told: dict[str, Any] = {
            "name": "look" if self.viewing is None else "see",
            "decoder": self.kind.decoder,
            "is_video": self.is_video,
            "frames": self.frames,
            "duration_s": self.duration_s,
        }
        return told if self.viewing is None else told | {"viewing": write_viewing(self.viewing)}

    @property
    def is_video(self) -> bool:
        """Whether it may take long."""
        return self.kind.modality is Modality.VIDEO


class Decoder:
    """One process; used by one thread at a time."""

    def __init__(self, settings: MediaReaderSettings, program: str) -> None:
        """
        Begin the process, and wait until it is ready. Blocks.

        Raises:
            UpstreamUnavailable: If it cannot begin.
        """
        self._settings = settings
        self._channel, theirs = socket.socketpair()
        self._is_ending = False
        with theirs:
            os.set_inheritable(theirs.fileno(), True)  # noqa: FBT003 - no name in the library
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", program, *self._arguments(theirs)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=_environment(os.environ),
            )
        try:
            receive_head(self._channel, end_s=time.monotonic() + _START_S)
        except (Closed, OSError) as error:
            self.end()
            LOG.error("a process that decodes ended with status %s", self.process.returncode)  # noqa: TRY400
            raise UpstreamUnavailable("the process that decodes cannot be started") from error

    def look(self, task: Task, file: BinaryIO, seconds: float) -> Found:
        """
        Read what a file says of itself. Blocks.

        Raises:
            MediaRejected: If it is damaged or too large.
            Ended: If the process did not survive it.
        """
        told = self._ask(task, file, seconds)
        try:
            found = Found(
                int(told["width"]),
                int(told["height"]),
                int(told["frames"]),
                float(told["duration_s"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Ended("it is damaged") from error
        fits = found.width * found.height <= self._settings.max_image_pixels
        if not fits or min(found.width, found.height, found.frames) < 1:
            raise Ended("it is damaged")
        if not 0 <= found.duration_s <= self._settings.max_video_s:
            raise Ended("it is damaged")
        return found

    def see(self, task: Task, viewing: Viewing, file: BinaryIO, seconds: float) -> Seen:
        """
        Decode a file. Blocks.

        Raises:
            MediaRejected: If it is damaged, or takes too much memory.
            Ended: If the process did not survive it.
        """
        end_s = time.monotonic() + seconds
        told = self._ask(task, file, seconds)
        is_clip = task.is_video and viewing.clip is not None
        try:
            shape = tuple(int(side) for side in told["shape"])
            times_s = tuple(float(each) for each in told["times_s"])
            _check_shape(shape, times_s, task, viewing.clip if is_clip else None)
            content = receive_exactly(self._channel, math.prod(shape), end_s=end_s)
        except TimeoutError as error:
            raise Ended(_too_long(seconds)) from error
        except (Closed, OSError, KeyError, TypeError, ValueError) as error:
            raise Ended(_LAST_WORDS) from error
        pixels: NDArray[np.uint8] = np.frombuffer(content, np.uint8).reshape(shape)
        return Clip(pixels, times_s) if is_clip else Picture(pixels)

    def end(self) -> None:
        """End the process, whatever it is doing."""
        with suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for it
        self._channel.close()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.kill()
        self.process.wait()

    @property
    def is_alive(self) -> bool:
        """Whether it can still be asked."""
        return not self._is_ending and self.process.poll() is None

    def _arguments(self, theirs: socket.socket) -> list[str]:
        settings = self._settings
        return [
            str(theirs.fileno()),
            str(settings.decoder_bytes),
            str(settings.max_image_pixels),
            str(settings.max_video_s),
            str(settings.max_video_frames),
        ]

    def _ask(self, task: Task, file: BinaryIO, seconds: float) -> dict[str, Any]:
        end_s = time.monotonic() + seconds
        self._channel.settimeout(seconds)
        try:
            send_head(self._channel, task.head | {"seconds": seconds}, file.fileno())
            told, files = receive_head(self._channel, end_s=end_s)
        except TimeoutError as error:
            raise Ended(_too_long(seconds)) from error
        except (Closed, OSError) as error:
            raise Ended(_LAST_WORDS) from error
        for each in files:  # nobody sends any
            os.close(each)
        self._is_ending = bool(told.get("ends"))
        if "refused" in told:
            raise MediaRejected(str(told["refused"])[:300])
        return told


Work: TypeAlias = Callable[[Decoder, BinaryIO, float], _T]
"""What a process is asked over an open file, and for how many seconds."""


class DecoderPool:
    """Decodes files in a few processes; usable while entered."""

    def __init__(self, settings: MediaReaderSettings, *, program: str = PROGRAM) -> None:
        """
        Describe the pool.

        Args:
            settings: Limits.

            program: The module that processes run.
        """
        self._settings = settings
        self._program = program
        self._idle: list[Decoder] = []
        self._busy: set[Decoder] = set()
        self._slots = anyio.CapacityLimiter(settings.decoder_count)
        # All but one, so that images, which take milliseconds, never wait for videos alone.
        self._video_slots = anyio.CapacityLimiter(max(1, settings.decoder_count - 1))
        self._threads = anyio.CapacityLimiter(settings.decoder_count)
        self._waiting = 0
        self._is_open = False

    async def __aenter__(self) -> Self:
        """Begin; processes are begun with the first work."""
        self._is_open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all processes, what they are at included."""
        self._is_open = False
        decoders = [*self._idle, *self._busy]
        self._idle.clear()
        await to_thread.run_sync(_end_all, decoders)

    @property
    def process_ids(self) -> list[int]:
        """The processes that there are now."""
        return [decoder.process.pid for decoder in (*self._idle, *self._busy)]

    @property
    def busy_process_ids(self) -> list[int]:
        """Those that decode at the moment."""
        return [decoder.process.pid for decoder in self._busy]

    async def look(self, kind: Kind, path: Path, *, time_left_s: float | None = None) -> Found:
        """
        Read what a file says of itself.

        Raises:
            MediaRejected: If it is damaged or too large.
            Overloaded: If too many are waiting.
        """
        task = Task(kind)

        def work(decoder: Decoder, file: BinaryIO, seconds: float) -> Found:
            return decoder.look(task, file, seconds)

        return await self._run(task, path, work, time_left_s)

    async def see(
        self,
        kind: Kind,
        path: Path,
        viewing: Viewing,
        found: Found,
        *,
        time_left_s: float | None = None,
    ) -> Seen:
        """
        Decode a file.

        Raises:
            MediaRejected: If it is damaged, or takes more memory or time than allowed.
            Overloaded: If too many are waiting.
        """
        task = Task(kind, viewing, found.frames, found.duration_s)

        def work(decoder: Decoder, file: BinaryIO, seconds: float) -> Seen:
            return decoder.see(task, viewing, file, seconds)

        return await self._run(task, path, work, time_left_s)

    async def _run(self, task: Task, path: Path, work: Work[_T], time_left_s: float | None) -> _T:
        if self._waiting >= self._settings.max_waiting:
            raise Overloaded(
                f"{self._waiting} images and videos wait to be decoded; try again",
                retry_after_s=1.0,
            )
        self._waiting += 1
        end_s = math.inf if time_left_s is None else time.monotonic() + time_left_s
        try:
            async with AsyncExitStack() as stack:
                with anyio.move_on_after(time_left_s) as waited:
                    if task.is_video:
                        await stack.enter_async_context(self._video_slots)
                    await stack.enter_async_context(self._slots)
                left_s = end_s - time.monotonic()
                if waited.cancelled_caught or left_s <= 0:
                    raise Overloaded(
                        "the images and videos before it take too long to decode; try again",
                        retry_after_s=1.0,
                    )
                # Never left half-way: what has begun ends by itself, or is ended, in its time.
                with anyio.CancelScope(shield=True):
                    return await self._use(path, work, min(left_s, self._settings.decode_timeout_s))
            raise AssertionError("a shielded scope cancels nothing")  # for the type checker
        finally:
            self._waiting -= 1

    async def _use(self, path: Path, work: Work[_T], seconds: float) -> _T:
        decoder = await self._take()
        self._busy.add(decoder)
        try:
            result = await to_thread.run_sync(
                partial(_with_file, path, decoder, work, seconds), limiter=self._threads
            )
        except Ended as error:
            await self._discard(decoder)
            raise MediaRejected(str(error)) from error
        except MediaRejected:
            await self._return(decoder)
            raise
        except BaseException:
            await self._discard(decoder)
            raise
        await self._return(decoder)
        return result

    async def _take(self) -> Decoder:
        while self._idle:
            decoder = self._idle.pop()
            if decoder.is_alive:
                return decoder
            await self._discard(decoder)  # somebody ended it while it had nothing to do
        if not self._is_open:
            raise UpstreamUnavailable("the server is stopping")
        return await to_thread.run_sync(
            Decoder, self._settings, self._program, limiter=self._threads
        )

    async def _discard(self, decoder: Decoder) -> None:
        self._busy.discard(decoder)
        await to_thread.run_sync(decoder.end, limiter=self._threads)

    async def _return(self, decoder: Decoder) -> None:
        if self._is_open and decoder.is_alive:
            self._busy.discard(decoder)
            self._idle.append(decoder)
        else:
            await self._discard(decoder)


def _end_all(decoders: Sequence[Decoder]) -> None:
    for decoder in decoders:
        decoder.end()


def _with_file(path: Path, decoder: Decoder, work: Work[_T], seconds: float) -> _T:
    with path.open("rb") as file:
        return work(decoder, file, seconds)


def _check_shape(
    shape: tuple[int, ...], times_s: tuple[float, ...], task: Task, clip: Sampling | None
) -> None:
    """Hold an answer to what was asked for; one that is not so is nobody's picture."""
    frames = 1 if clip is None else len(_choose(clip, task))
    sides = 3 if clip is None else 4
    if len(shape) != sides or shape[-1] != 3 or min(shape) < 1:
        raise ValueError("not the shape of a picture")
    if math.prod(shape) > MAX_SEEN_BYTES or (clip is not None and shape[0] != frames):
        raise ValueError("not the size that was asked for")
    if len(times_s) != (0 if clip is None else frames):
        raise ValueError("not a time for each frame")


def _choose(clip: Sampling, task: Task) -> tuple[int, ...]:
    fps = task.frames / task.duration_s if task.duration_s > 0 else 0.0
    return clip.choose(task.frames, fps)


def _too_long(seconds: float) -> str:
    return f"decoding it takes longer than {seconds:.3g} s"


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Keep what Python needs to begin, and none of what is secret."""
    kept = {name: variables[name] for name in _KEPT_VARIABLES if name in variables}
    # One thread: the processes are as many as there are cores, and threads take address space.
    return kept | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
