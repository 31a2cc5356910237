"""
Families with a tower for texts and one for images, whose vectors lie in one space.

Such networks were trained on texts and images apart. A content of several parts is the mean of
their directions, a video that of its frames, a text too long for the network that of its windows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from milvane.domain.contents import ContentTokens, MediaFacts, SeenPart, Wishes
from milvane.domain.errors import Internal
from milvane.domain.models import Modality, Purpose
from milvane.domain.pictures import Clip, Sampling, Seen, Sizing, Viewing
from milvane.inference.contents.ports import Load, Tokenized
from milvane.inference.passes import Work
from milvane.inference.windowing import combine_windows, normalize_rows, split_windows

CLIP_FPS = 1.0
MAX_CLIP_FRAMES = 16
"""Frames of a video that are looked at; each costs as much as an image."""


class Words(Protocol):
    """A tokenizer."""

    def split(self, texts: Sequence[str]) -> list[list[int]]:
        """Turn texts into ids without special tokens."""

    def frame(self, ids: Sequence[int]) -> list[int]:
        """Put special tokens around a text or a part of one."""


@dataclass(frozen=True, slots=True)
class Towers:
    """What the files of a family say about how it sees."""

    family: str
    picture: Sizing
    image_tokens: int
    """Patches of an image."""
    window_tokens: int
    """Of a text, without special tokens."""
    text_cost: int | None = None
    """Tokens that the network computes for any text, if it always fills up."""


@dataclass(frozen=True, slots=True)
class TextLoad:
    """A text, or a window of one."""

    ids: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class PictureLoad:
    """An image, or a frame of a video."""

    pixels: NDArray[np.uint8]
    """Shape ``(height, width, 3)``."""


@dataclass(frozen=True, slots=True)
class _Text:
    """Windows of a text."""

    windows: tuple[NDArray[np.int32], ...]
    """Without special tokens."""


@dataclass(frozen=True, slots=True)
class _Media:
    place: int
    frames: int


_Planned: TypeAlias = _Text | _Media


class TowerEncoder:
    """Turns contents into the inputs of two towers; an `Encoder`."""

    def __init__(self, towers: Towers, words: Words) -> None:
        """
        Prepare an encoder.

        Args:
            towers: What the family's files say.

            words: Its tokenizer; may be used from any thread.
        """
        self._towers = towers
        self._words = words

    @property
    def modalities(self) -> frozenset[Modality]:
        """What it takes."""
        return frozenset(Modality)

    @property
    def window_tokens(self) -> int:
        """Tokens of text that one input of the network holds."""
        return self._towers.window_tokens

    @property
    def template(self) -> str:
        """Everything that decides on a vector beside the files."""
        return f"{self._towers}|{CLIP_FPS}|{MAX_CLIP_FRAMES}"

    def takes_instruction(self, purpose: Purpose) -> bool:
        """Say that nothing is told to it."""
        del purpose
        return False

    def view(self, wishes: Wishes) -> Viewing:
        """Say how it wants to see images and videos."""
        most = min(wishes.max_frames or MAX_CLIP_FRAMES, MAX_CLIP_FRAMES)
        sampling = Sampling(
            self._towers.picture, fps=wishes.fps or CLIP_FPS, min_frames=1, max_frames=most
        )
        return Viewing(self._towers.picture, sampling)

    def tokenize(self, contents: Sequence[Sequence[SeenPart]], wishes: Wishes) -> list[Tokenized]:
        """Prepare contents; never cuts."""
        viewing = self.view(wishes)
        texts = [part for content in contents for part in content if isinstance(part, str)]
        ids = iter(self._words.split(texts))
        return [self._tokenize_one(content, ids, viewing) for content in contents]

    def pack(self, content: Tokenized, seen: Sequence[Seen]) -> list[Work[Load]]:
        """List the texts and pictures of a content, one input each."""
        work: list[Work[Load]] = []
        for planned in content.plan:
            if isinstance(planned, _Text):
                work += [self._text_work(window) for window in planned.windows]
            else:
                frames = self._frames(seen[planned.place])
                cost = self._towers.image_tokens + 1
                work += [Work(cost, PictureLoad(frame)) for frame in _refit(frames, planned.frames)]
        return work

    def combine(
        self, content: Tokenized, rows: Sequence[NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """Take the mean of the directions of a content's parts."""
        directions, start = [], 0
        for planned in content.plan:
            count = len(planned.windows) if isinstance(planned, _Text) else planned.frames
            own = np.stack(rows[start : start + count])
            start += count
            if isinstance(planned, _Text):
                lengths = np.array([len(window) for window in planned.windows], np.int64)
            else:
                lengths = np.ones(count, np.int64)
            directions.append(combine_windows(own, lengths, [count]))
        mean = np.concatenate(directions).mean(axis=0, keepdims=True)
        return np.asarray(normalize_rows(mean)[0], np.float32)

    def _tokenize_one(
        self, content: Sequence[SeenPart], ids: Iterator[list[int]], viewing: Viewing
    ) -> Tokenized:
        plan: list[_Planned] = []
        digest = hashlib.sha256()
        counts = dict.fromkeys(Modality, 0)
        for part in content:
            if isinstance(part, MediaFacts):
                frames = _count_frames(part, viewing)
                plan.append(_Media(sum(isinstance(each, _Media) for each in plan), frames))
                digest.update(b"m" + part.digest + str(viewing).encode())
                counts[part.modality] += frames * self._towers.image_tokens
            else:
                whole = np.array(next(ids), np.int32)
                slices = split_windows(len(whole), self._towers.window_tokens)
                plan.append(_Text(tuple(whole[each] for each in slices)))
                digest.update(b"t" + len(whole).to_bytes(4, "little") + whole.tobytes())
                counts[Modality.TEXT] += len(whole)
        tokens = ContentTokens(*(counts[each] for each in Modality))
        return Tokenized(tokens, digest.digest(), tuple(plan))

    def _text_work(self, window: NDArray[np.int32]) -> Work[Load]:
        framed = np.array(self._words.frame(window.tolist()), np.int32)
        return Work(self._towers.text_cost or max(len(framed), 1), TextLoad(framed))

    def _frames(self, seen: Seen) -> NDArray[np.uint8]:
        frames = seen.frames if isinstance(seen, Clip) else seen.pixels[None]
        side = self._towers.picture.side
        if not len(frames) or frames.shape[1:3] != (side, side):
            raise Internal(f"a picture of {frames.shape[1:3]} came where {side} were asked for")
        return frames


def _count_frames(facts: MediaFacts, viewing: Viewing) -> int:
    if facts.modality is not Modality.VIDEO or viewing.clip is None:
        return 1
    return len(viewing.clip.choose(max(facts.frames, 1), facts.fps))


def _refit(frames: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Take so many frames; a video may turn out to have fewer than it says."""
    if len(frames) < count:
        frames = np.concatenate([frames, np.repeat(frames[-1:], count - len(frames), axis=0)])
    return frames[:count]
