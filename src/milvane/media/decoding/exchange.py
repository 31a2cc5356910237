"""
What the server and a process that decodes say to each other, over a pair of sockets.

A message is the length of its head, the head in JSON, and as many bytes of pixels as the head says.
The server does not trust the process: a hostile file may have taken it over.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from dataclasses import asdict, dataclass
from typing import Any

from milvane.domain.pictures import Filter, Fit, Sampling, Sizing, Viewing

LENGTH = struct.Struct("<I")
MAX_HEAD_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class DecodingLimits:
    """What one image or video may take."""

    max_pixels: int
    """Of an image, or of one frame."""
    max_video_s: float
    max_video_frames: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at the beginning of a file told; fields as in `MediaFacts`."""

    width: int
    height: int
    frames: int
    duration_s: float


class Closed(Exception):
    """The other side is gone, or says what nobody says."""


def send_head(channel: socket.socket, head: dict[str, Any], file: int | None = None) -> None:
    """Send the head of a message, and a file with it. Blocks."""
    content = json.dumps(head).encode()
    message = LENGTH.pack(len(content)) + content
    if file is None:
        channel.sendall(message)
        return
    sent = socket.send_fds(channel, [message], [file])
    channel.sendall(message[sent:])


def receive_head(
    channel: socket.socket, *, end_s: float | None = None
) -> tuple[dict[str, Any], list[int]]:
    """
    Receive the head of a message, and the files that came with it. Blocks.

    Args:
        channel: One end of the pair.

        end_s: When it must be here, by `time.monotonic`; none to wait for ever.

    Raises:
        Closed: If there is none.
        TimeoutError: If it is not here in time.
    """
    _give_time(channel, end_s)
    start, files, _, _ = socket.recv_fds(channel, LENGTH.size, 1)
    if not start:
        raise Closed
    start += receive_exactly(channel, LENGTH.size - len(start), end_s=end_s)
    (length,) = LENGTH.unpack(start)
    if length > MAX_HEAD_BYTES:
        raise Closed
    try:
        head = json.loads(receive_exactly(channel, length, end_s=end_s))
    except ValueError as error:
        raise Closed from error
    if not isinstance(head, dict):
        raise Closed
    return head, list(files)


def receive_exactly(channel: socket.socket, count: int, *, end_s: float | None = None) -> bytearray:
    """
    Receive so many bytes, all of them by a time. Blocks.

    Raises:
        Closed: If there are fewer.
        TimeoutError: If they are not here in time.
    """
    content = bytearray(count)
    rest = memoryview(content)
    while rest:
        _give_time(channel, end_s)
        got = channel.recv_into(rest)
        if not got:
            raise Closed
        rest = rest[got:]
    return content


def _give_time(channel: socket.socket, end_s: float | None) -> None:
    channel.settimeout(None if end_s is None else max(0.001, end_s - time.monotonic()))


def write_viewing(viewing: Viewing) -> dict[str, Any]:
    """Make what `read_viewing` reads."""
    told = asdict(viewing)
    _name_enums(told["picture"])
    if told["clip"] is not None:
        _name_enums(told["clip"]["sizing"])
    return told


def read_viewing(told: dict[str, Any]) -> Viewing:
    """Read how a network wants to see."""
    clip = told["clip"]
    if clip is not None:
        clip = Sampling(**{**clip, "sizing": _read_sizing(clip["sizing"])})
    return Viewing(picture=_read_sizing(told["picture"]), clip=clip)


def _name_enums(sizing: dict[str, Any]) -> None:
    sizing["fit"], sizing["filter"] = sizing["fit"].value, sizing["filter"].value


def _read_sizing(told: dict[str, Any]) -> Sizing:
    return Sizing(**{**told, "fit": Fit(told["fit"]), "filter": Filter(told["filter"])})
