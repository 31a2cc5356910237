"""
The process that decodes for `pool`: started by it, and gone when it is gone.

It has a bound of memory and of processor time, may write no file and open hardly any, and is given
each file open, so that no path is ever in its hands.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import sys
import threading
from typing import Any, BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from milvane.media.decoding import images, videos
from milvane.media.decoding.exchange import (
    Closed,
    DecodingLimits,
    read_viewing,
    receive_head,
    send_head,
)

_FILES = 32
_CPU_FACTOR = 2.0
"""Processor time may be more than time, for libraries with threads of their own."""


class Bench:
    """Does one task after the other."""

    def __init__(self, channel: socket.socket, limits: DecodingLimits) -> None:
        self._channel = channel
        self._limits = limits

    def serve(self) -> None:
        """Say that the process is ready, and work until the other side closes."""
        send_head(self._channel, {"is_ready": True})
        while True:
            try:
                task, files = receive_head(self._channel)
            except (Closed, OSError):
                return
            with os.fdopen(files[0], "rb") as file:
                self._allow_time(float(task["seconds"]))
                if not self._answer(task, file):
                    return

    def _answer(self, task: dict[str, Any], file: BinaryIO) -> bool:
        """Answer one task; false if the process is of no use any more."""
        try:
            answer, pixels = self._work(task, file)
        except images.Unreadable as error:
            answer, pixels = {"refused": str(error)}, None
        except MemoryError:
            words = "decoding it takes more memory than allowed"
            send_head(self._channel, {"refused": words, "ends": True})
            return False
        except Exception as error:  # noqa: BLE001 - decoders raise all there is over hostile files
            answer, pixels = {"refused": f"it is damaged ({_first_words(error)})"}, None
        send_head(self._channel, answer)
        if pixels is not None:
            self._channel.sendall(np.ascontiguousarray(pixels).data)
        return True

    def _work(
        self, task: dict[str, Any], file: BinaryIO
    ) -> tuple[dict[str, Any], NDArray[np.uint8] | None]:
        decoder, is_video = task["decoder"], task["is_video"]
        if task["name"] == "look":
            if is_video:
                size_bytes = os.fstat(file.fileno()).st_size
                found = videos.look(file, decoder, size_bytes, self._limits)
            else:
                found = images.look(file, decoder, self._limits)
            return {
                "width": found.width,
                "height": found.height,
                "frames": found.frames,
                "duration_s": found.duration_s,
            }, None
        viewing = read_viewing(task["viewing"])
        if not is_video or viewing.clip is None:
            pixels = images.decode(file, decoder, viewing.picture, self._limits)
            return {"shape": pixels.shape, "times_s": []}, pixels
        told = videos.Told(task["frames"], task["duration_s"])
        frames, times_s = videos.decode(file, decoder, viewing.clip, told, self._limits)
        return {"shape": frames.shape, "times_s": times_s}, frames

    def _allow_time(self, seconds: float) -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        bound = int(used.ru_utime + used.ru_stime + seconds * _CPU_FACTOR) + 1
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (bound, hard))


def _first_words(error: Exception) -> str:
    if isinstance(error, av.FFmpegError):
        return error.strerror or "FFmpeg cannot read it"
    words = str(error).splitlines()
    return words[0][:120] if words else type(error).__name__


def confine(memory_bytes: int) -> None:
    """Give up what decoding does not need; memory is bounded beside what is in use by now."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))
    os.chdir("/")
    if sys.platform == "linux":
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - not a file
            pages = int(file.read().split()[0])
        bound = pages * resource.getpagesize() + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (bound, bound))


def main() -> None:
    """Serve the socket that the arguments name until it, or the standard input, ends."""
    handle, memory_bytes, max_pixels, max_video_s, max_video_frames = sys.argv[1:]
    channel = socket.socket(fileno=int(handle))
    limits = DecodingLimits(int(max_pixels), float(max_video_s), int(max_video_frames))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    confine(int(memory_bytes))
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        Bench(channel, limits).serve()


def _end_with_parent() -> None:
    with contextlib.suppress(OSError):
        os.read(0, 1)  # ends when whoever started us ends, however that happens
    os._exit(0)


if __name__ == "__main__":
    main()
