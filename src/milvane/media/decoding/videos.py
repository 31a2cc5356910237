"""
Videos, with FFmpeg through PyAV: only ever in a process of their own.

A demuxer is named, so that none is guessed; codecs are named, so that none of FFmpeg's hundreds of
others is reached; and no protocol is left to it, so that a file cannot make it open another one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeAlias

import av
import av.logging
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from milvane.domain.pictures import Sampling
from milvane.media.decoding.exchange import DecodingLimits, Found
from milvane.media.decoding.images import Unreadable, check_size, resize_to

_CODECS = (
    "h264,hevc,av1,libdav1d,vp8,vp9,libvpx,libvpx-vp9,mpeg4,mpeg2video,mpeg1video,mjpeg,h263,flv,"
    "vp6,vp6f,vp6a,msmpeg4v2,msmpeg4,msmpeg4v1,wmv1,wmv2,wmv3,vc1,theora,prores,dvvideo,rawvideo,"
    "png,gif,svq1,svq3,cinepak,huffyuv,ffv1,ffvhuff,utvideo,qtrle,flashsv,flashsv2"
)
_OPTIONS = {
    "protocol_whitelist": "none",
    "codec_whitelist": _CODECS,
    "max_streams": "64",
    "enable_drefs": "0",
}
_BUFFER_BYTES = 256 * 1024
_SEEK_S = 2.0
"""A gap between two wanted frames from which on a jump is tried instead of decoding all between."""

Timed: TypeAlias = tuple[float, VideoFrame]
"""A frame, and when it is shown, in seconds."""

_COUNT_BYTES = 64 * 1024**2
"""Up to this size the pictures of a file are counted, whatever it says of them."""

av.logging.set_level(None)

# Titles come in all sorts of encodings. From version 19 on, PyAV takes them as they are by itself.
_TITLES: dict[str, Any] = (
    {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}
)


@dataclass(frozen=True, slots=True)
class Told:
    """What was found when the video was looked at, and is counted on since."""

    frames: int
    duration_s: float

    @property
    def fps(self) -> float:
        """Frames per second; 0 where the time is not known."""
        return self.frames / self.duration_s if self.duration_s > 0 else 0.0


def look(file: BinaryIO, decoder: str, size_bytes: int, limits: DecodingLimits) -> Found:
    """
    Read what a video says of itself; nothing is decoded but what tells the size.

    Raises:
        Unreadable: If it is damaged, has no pictures, or is too large or too long.
    """
    with _open(file, decoder) as (container, stream):
        width, height = stream.codec_context.width, stream.codec_context.height
        check_size(width, height, limits)
        frames, duration_s = _claims(container, stream)
        turn = _turn_of(next(_decoded(container, stream), None))
        if frames < 1 or duration_s <= 0 or size_bytes <= _COUNT_BYTES:
            frames, duration_s = _count(container, stream, limits)
    if frames < 1:
        raise Unreadable("it has no frames")
    check_length(frames, duration_s, limits)
    if turn % 180:
        width, height = height, width
    return Found(width, height, frames, duration_s)


def check_length(frames: int, duration_s: float, limits: DecodingLimits) -> None:
    """
    Hold a video to its length.

    Raises:
        Unreadable: If it is longer.
    """
    if duration_s > limits.max_video_s:
        raise Unreadable(f"it lasts {duration_s:.0f} s, and at most {limits.max_video_s:.0f} s may")
    if frames > limits.max_video_frames:
        raise Unreadable(f"it has {frames} frames, and at most {limits.max_video_frames} are taken")


def decode(
    file: BinaryIO, decoder: str, sampling: Sampling, told: Told, limits: DecodingLimits
) -> tuple[NDArray[np.uint8], list[float]]:
    """
    Decode the frames that a network wants.

    Returns:
        Shape ``(frames, height, width, 3)``, and the time of each; as many as `Sampling.choose`
        names. Where the video has fewer than it said, its last one stands for the missing ones.

    Raises:
        Unreadable: If there is no frame at all, or one is too large.
    """
    chosen = sampling.choose(told.frames, told.fps)
    wanted_s = [place / (told.fps or 1.0) for place in chosen]
    with _open(file, decoder) as (container, stream):
        shown = _Shown(container, stream, sampling, len(chosen), limits)
        shown.collect(wanted_s, told.fps)
    return shown.result()


class _Shown:
    """The frames that were found, sized as they come; never more than one of them in full."""

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        sampling: Sampling,
        count: int,
        limits: DecodingLimits,
    ) -> None:
        self._container, self._stream = container, stream
        self._sampling, self._count, self._limits = sampling, count, limits
        self._frames: list[NDArray[np.uint8]] = []
        self._times_s: list[float] = []
        self._seek_s = _SEEK_S
        self._slack_s = 0.5

    def collect(self, wanted_s: list[float], fps: float) -> None:
        """Take the frame that is nearest to each time, which ascend."""
        slack_s = self._slack_s = 0.5 / fps if fps > 0 else 0.5
        clock = _Clock(self._stream, fps)
        frames = clock.timed(_decoded(self._container, self._stream))
        latest: Timed | None = None
        for wanted in wanted_s:
            if latest is not None and wanted - latest[0] > self._seek_s:
                frames, latest = self._jump(wanted, clock, frames, latest)
            while latest is None or latest[0] < wanted - slack_s:
                following = next(frames, None)
                if following is None:
                    break
                latest = following
            if latest is None or latest[0] < wanted - slack_s:
                break
            self._keep(*latest)
        if not self._frames and latest is not None:
            self._keep(*latest)

    def result(self) -> tuple[NDArray[np.uint8], list[float]]:
        """Give as many as were wanted."""
        if not self._frames:
            raise Unreadable("none of its frames can be decoded")
        missing = self._count - len(self._frames)
        return (
            np.stack(self._frames + self._frames[-1:] * missing),
            self._times_s + self._times_s[-1:] * missing,
        )

    def _jump(
        self, wanted_s: float, clock: _Clock, frames: Iterator[Timed], latest: Timed
    ) -> tuple[Iterator[Timed], Timed]:
        """Go to the last key frame before a time, where the file can do so."""
        try:
            self._container.seek(clock.ticks(wanted_s), stream=self._stream, backward=True)
        except av.FFmpegError:
            self._seek_s = math.inf
            return frames, latest
        frames = clock.timed(_decoded(self._container, self._stream))
        landed = next(frames, None)
        if (
            landed is None or landed[0] > wanted_s + self._slack_s
        ):  # which transport streams are prone to
            self._seek_s = math.inf
            self._container.seek(0)
            frames = clock.timed(_decoded(self._container, self._stream))
            return frames, next(frames, latest)
        if landed[0] <= latest[0]:  # key frames are rare: what was decoded is decoded once more
            self._seek_s = 2 * (wanted_s - landed[0])
        return frames, landed

    def _keep(self, time_s: float, frame: VideoFrame) -> None:
        check_size(frame.width, frame.height, self._limits)
        image: Image.Image = frame.to_image()  # type: ignore[no-untyped-call]
        turn = _turn_of(frame)
        if turn:
            image = image.rotate(turn, expand=True)
        size = self._sampling.size_of(image.width, image.height, self._count)
        self._frames.append(np.asarray(resize_to(image, size, self._sampling.sizing)))
        self._times_s.append(round(max(time_s, 0.0), 6))


class _Clock:
    """When frames are shown, from the first one on; by their number where they do not say so."""

    def __init__(self, stream: VideoStream, fps: float) -> None:
        self._base = stream.time_base
        self._start = stream.start_time or 0
        self._frame_s = 1 / fps if fps > 0 else 1.0

    def ticks(self, time_s: float) -> int:
        """Say a time in the units of the stream."""
        return self._start + (int(time_s / self._base) if self._base else 0)

    def timed(self, frames: Iterator[VideoFrame]) -> Iterator[Timed]:
        """Say when each frame is shown."""
        time_s = -self._frame_s
        for frame in frames:
            if frame.pts is None or self._base is None:
                time_s += self._frame_s
            else:
                time_s = float((frame.pts - self._start) * self._base)
            yield time_s, frame


@contextmanager
def _open(file: BinaryIO, decoder: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    try:
        container = av.open(
            file,
            "r",
            format=decoder,
            options=_OPTIONS,
            buffer_size=_BUFFER_BYTES,
            **_TITLES,
        )
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise Unreadable(_damaged(error)) from error
    with container:
        streams = container.streams.video
        if not streams:
            raise Unreadable("it has no pictures, only sound or nothing at all")
        stream = streams[0]
        if stream.codec_context is None or stream.codec_context.name not in _CODECS.split(","):
            raise Unreadable("its pictures are coded in a way that is not read here")
        stream.codec_context.thread_count = 1
        stream.codec_context.thread_type = "NONE"
        yield container, stream


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Decode frames one after the other; a damaged packet costs only itself."""
    for packet in _packets(container, stream):
        yield from _frames_of(packet)


def _frames_of(packet: Packet[VideoStream]) -> list[VideoFrame]:
    try:
        return packet.decode()
    except MemoryError:
        raise
    except av.FFmpegError:
        return []


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """Read packets up to the end, or to where the file is damaged."""
    try:
        yield from container.demux(stream)
    except MemoryError:
        raise
    except av.FFmpegError:
        return


def _claims(container: InputContainer, stream: VideoStream) -> tuple[int, float]:
    duration_s = 0.0
    if stream.duration and stream.time_base:
        duration_s = float(stream.duration * stream.time_base)
    elif container.duration:
        duration_s = container.duration / av.time_base
    frames = stream.frames
    if not frames and stream.average_rate:
        frames = round(duration_s * float(stream.average_rate))
    return frames, duration_s


def _count(
    container: InputContainer, stream: VideoStream, limits: DecodingLimits
) -> tuple[int, float]:
    """Count packets, which are frames, without decoding; and say how long they last."""
    container.seek(0)
    shown: list[int] = []
    lasts: list[int] = []
    count = 0
    for packet in _packets(container, stream):
        if not packet.size:
            continue
        count += 1
        if count > limits.max_video_frames:
            break
        moment = packet.pts if packet.pts is not None else packet.dts
        if moment is not None:
            shown.append(moment)
            lasts.append(packet.duration or 0)
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    if len(shown) < 2 or not stream.time_base:
        return count, count / rate if rate else 0.0
    last = max(range(len(shown)), key=shown.__getitem__)
    span = max(shown) - min(shown)
    step = lasts[last] or span / (len(shown) - 1)
    return count, float((span + step) * stream.time_base)


def _turn_of(frame: VideoFrame | None) -> int:
    """Say by how many degrees, against the clock, a frame is to be turned to be seen."""
    if frame is None:
        raise Unreadable("none of its frames can be decoded")
    return round(frame.rotation / 90) * 90 % 360


def _damaged(error: Exception) -> str:
    return f"it is damaged: {getattr(error, 'strerror', None) or error}"[:200]
