"""
Families that are chat models: a content is what a user says, its last state the vector.

Two are known. Qwen3-VL-Embedding follows its published ``scripts/qwen3_vl_embedding.py``, GME its
``gme_inference.py``. Where a chat template would let a caller's words become control tokens, they
stay words here: what is between two control tokens is tokenized by itself.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from milvane.domain.contents import ContentTokens, MediaFacts, SeenPart, Wishes
from milvane.domain.errors import Conflict, Internal
from milvane.domain.models import Modality, Purpose
from milvane.domain.pictures import Clip, Filter, Fit, Sampling, Seen, Sizing, Viewing
from milvane.inference.contents.encoders.patches import (
    Grid,
    Patches,
    PatchShape,
    cut_patches,
    grid_of,
)
from milvane.inference.contents.ports import Load, Tokenized
from milvane.inference.passes import Work
from milvane.inference.windowing import normalize_rows

BEGIN, END, CLOSE = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
SEE, SEEN = "<|vision_start|>", "<|vision_end|>"
IMAGE, VIDEO = "<|image_pad|>", "<|video_pad|>"

_CONTROLS = (BEGIN, END, CLOSE, SEE, SEEN, IMAGE, VIDEO)
_ORDER = (Modality.VIDEO, Modality.IMAGE, Modality.TEXT)
"""In which the parts of a content stand, whatever order the caller has them in."""


@dataclass(frozen=True, slots=True)
class ChatFamily:
    """What a family was trained with, and its files do not say."""

    name: str
    default_instruction: str
    instructed: frozenset[Purpose]
    """For which an instruction of the caller's takes the place of the usual one."""
    ends_instructions: bool
    """An instruction that ends in no punctuation gets a full stop."""
    nothing: str
    """The words of a content that has none."""
    is_closed: bool
    """The end of the text follows the last line."""
    min_image_tokens: int
    max_image_tokens: int
    clip: Sampling | None = None
    """How it sees videos; its sizing has yet no grid."""


QWEN3_VL = ChatFamily(
    name="qwen3_vl",
    default_instruction="Represent the user's input.",
    instructed=frozenset(Purpose),
    ends_instructions=True,
    nothing="NULL",
    is_closed=False,
    min_image_tokens=4,
    max_image_tokens=1800,
    clip=Sampling(
        # Its `total_pixels`, which counts two frames as one; each frame has 128 to 768 tokens.
        Sizing(Fit.GRID, Filter.BICUBIC, max_pixels=2 * 7_864_320),
        fps=1.0,
        min_frames=4,
        max_frames=64,
        multiple=2,
        frame_min_pixels=128 * 32 * 32,
        frame_max_pixels=768 * 32 * 32,
    ),
)

GME = ChatFamily(
    name="gme",
    default_instruction="You are a helpful assistant.",
    instructed=frozenset({Purpose.QUERY}),
    ends_instructions=False,
    nothing="",
    is_closed=True,
    min_image_tokens=256,
    max_image_tokens=1280,
)


@dataclass(frozen=True, slots=True)
class _Pads:
    """Places of a picture's tokens."""

    control: str
    count: int


_Piece: TypeAlias = str | _Pads
"""Words, or a control token so many times."""


@dataclass(frozen=True, slots=True)
class _Media:
    """A picture of a content, and what was planned for it from its size."""

    place: int
    """Among the content's images and videos, as the caller has them."""
    facts: MediaFacts
    grid: Grid
    frames: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ChatLoad:
    """One input of a chat network."""

    ids: NDArray[np.int32]
    images: tuple[Patches, ...]
    clips: tuple[Patches, ...]


class ChatEncoder:
    """Turns contents into the ids and patches of a chat network; an `Encoder`."""

    def __init__(
        self, folder: Path, family: ChatFamily, shape: PatchShape, *, window_tokens: int
    ) -> None:
        """
        Read a tokenizer.

        Args:
            folder: Holds ``tokenizer.json``.

            family: Which.

            shape: How the network wants patches.

            window_tokens: Positions of the network.

        Raises:
            Conflict: If the tokenizer cannot be read, or has not the family's control tokens.
        """
        self.window_tokens = window_tokens
        self._family = family
        self._shape = shape
        self._tokenizer, self._controls = _read_tokenizer(folder)
        self._before, self._after = _frame(self._tokenizer)

    @property
    def modalities(self) -> frozenset[Modality]:
        """What it takes."""
        return frozenset(Modality) if self._family.clip else frozenset(_ORDER[1:])

    @property
    def template(self) -> str:
        """Everything that decides on a vector beside the files."""
        return f"{self._family}|{self._shape}"

    def takes_instruction(self, purpose: Purpose) -> bool:
        """Say whether an instruction changes the vectors of contents of this purpose."""
        return purpose in self._family.instructed

    def view(self, wishes: Wishes) -> Viewing:
        """Say how it wants to see images and videos."""
        family, step = self._family, self._shape.step
        most = min(wishes.max_picture_tokens or family.max_image_tokens, family.max_image_tokens)
        picture = Sizing(
            Fit.GRID,
            Filter.BICUBIC,
            step=step,
            min_pixels=min(family.min_image_tokens, most) * step**2,
            max_pixels=most * step**2,
        )
        if family.clip is None:
            return Viewing(picture)
        clip = replace(
            family.clip,
            sizing=replace(family.clip.sizing, step=step),
            fps=wishes.fps or family.clip.fps,
            max_frames=wishes.max_frames or family.clip.max_frames,
        )
        return Viewing(picture, replace(clip, min_frames=min(clip.min_frames, clip.max_frames)))

    def tokenize(self, contents: Sequence[Sequence[SeenPart]], wishes: Wishes) -> list[Tokenized]:
        """Prepare contents; never cuts."""
        viewing = self.view(wishes)
        media = [self._plan(content, viewing) for content in contents]
        prompts = [
            self._prompt(content, own, wishes) for content, own in zip(contents, media, strict=True)
        ]
        # One call for all words of all contents: the library works on them in parallel.
        words = list({piece for prompt in prompts for piece in prompt if isinstance(piece, str)})
        encoded = self._tokenizer.encode_batch_fast(words, add_special_tokens=False)
        ids = {word: each.ids for word, each in zip(words, encoded, strict=True)}
        return [
            self._tokenized(prompt, own, ids) for prompt, own in zip(prompts, media, strict=True)
        ]

    def pack(self, content: Tokenized, seen: Sequence[Seen]) -> list[Work[Load]]:
        """Cut the pixels of a content into patches."""
        ids, media = content.plan
        images: list[Patches] = []
        clips: list[Patches] = []
        for each in media:
            picture = seen[each.place]
            is_clip = isinstance(picture, Clip)
            frames = picture.frames if isinstance(picture, Clip) else picture.pixels[None]
            frames = _refit(frames, len(each.frames), each.grid, self._shape)
            (clips if is_clip else images).append(cut_patches(frames, self._shape, is_clip=is_clip))
        return [Work(len(ids), ChatLoad(ids, tuple(images), tuple(clips)))]

    def combine(
        self, content: Tokenized, rows: Sequence[NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """Scale the one state to length 1."""
        del content
        return np.asarray(normalize_rows(rows[0][None])[0])

    def _plan(self, content: Sequence[SeenPart], viewing: Viewing) -> list[_Media]:
        """Say for each picture, in the family's order, how many patches it has."""
        found = [part for part in content if isinstance(part, MediaFacts)]
        planned = [self._plan_one(place, facts, viewing) for place, facts in enumerate(found)]
        return sorted(planned, key=lambda each: _ORDER.index(each.facts.modality))

    def _plan_one(self, place: int, facts: MediaFacts, viewing: Viewing) -> _Media:
        if facts.modality is Modality.VIDEO and viewing.clip is not None:
            frames = viewing.clip.choose(max(facts.frames, 1), facts.fps)
            size = viewing.clip.size_of(facts.width, facts.height, len(frames))
        else:
            frames = (0,)
            size = viewing.picture.size_of(facts.width, facts.height)
        return _Media(place, facts, grid_of(*size, len(frames), self._shape), frames)

    def _prompt(
        self, content: Sequence[SeenPart], media: Sequence[_Media], wishes: Wishes
    ) -> list[_Piece]:
        """Write the conversation, control tokens apart from words."""
        pieces: list[_Piece] = [
            _Pads(BEGIN, 1), f"system\n{self._instruction(wishes)}", _Pads(END, 1), "\n",
            _Pads(BEGIN, 1), "user\n",
        ]  # fmt: skip
        for each in media:
            pieces += self._shown(each)
        texts = "".join(part for part in content if isinstance(part, str))
        pieces.append(texts or ("" if media else self._family.nothing))
        pieces += [_Pads(END, 1), "\n", _Pads(BEGIN, 1), "assistant\n"]
        if self._family.is_closed:
            pieces.append(_Pads(CLOSE, 1))
        return _joined(pieces)

    def _instruction(self, wishes: Wishes) -> str:
        asked = wishes.instruction.strip() if wishes.instruction else ""
        if not asked or wishes.purpose not in self._family.instructed:
            return self._family.default_instruction
        is_ended = unicodedata.category(asked[-1]).startswith("P")
        return asked if is_ended or not self._family.ends_instructions else f"{asked}."

    def _shown(self, media: _Media) -> list[_Piece]:
        """Make room for a picture; of a video, say before each moment when it is."""
        grid = media.grid
        if media.facts.modality is not Modality.VIDEO:
            return [_Pads(SEE, 1), _Pads(IMAGE, grid.tokens(self._shape)), _Pads(SEEN, 1)]
        tokens = Grid(1, grid.high, grid.wide).tokens(self._shape)
        pieces: list[_Piece] = []
        for moment_s in _moments_s(media, self._shape.frames):
            pieces.append(f"<{moment_s:.1f} seconds>")
            pieces += [_Pads(SEE, 1), _Pads(VIDEO, tokens), _Pads(SEEN, 1)]
        return pieces

    def _tokenized(
        self, prompt: Sequence[_Piece], media: Sequence[_Media], ids_of: dict[str, list[int]]
    ) -> Tokenized:
        ids = [*self._before]
        shown = {IMAGE: 0, VIDEO: 0}
        for piece in prompt:
            if isinstance(piece, str):
                ids += ids_of[piece]
                continue
            ids += [self._controls[piece.control]] * piece.count
            if piece.control in shown:
                shown[piece.control] += piece.count
        ids += self._after
        array = np.array(ids, np.int32)
        tokens = ContentTokens(
            text=len(ids) - shown[IMAGE] - shown[VIDEO], image=shown[IMAGE], video=shown[VIDEO]
        )
        return Tokenized(tokens, _key(array, media), (array, tuple(media)))


def _joined(pieces: Sequence[_Piece]) -> list[_Piece]:
    """Put neighbouring words together: a tokenizer may see a token across them."""
    joined: list[_Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        elif piece:
            joined.append(piece)
    return joined


def _moments_s(media: _Media, spanned: int) -> list[float]:
    """Say when each patch of a video is shown: halfway between its first frame and its last."""
    fps = media.facts.fps or 1.0
    frames = [*media.frames]
    frames += [frames[-1]] * (-len(frames) % spanned)
    times_s = [frame / fps for frame in frames]
    return [
        (times_s[first] + times_s[first + spanned - 1]) / 2
        for first in range(0, len(frames), spanned)
    ]


def _refit(
    frames: NDArray[np.uint8], count: int, grid: Grid, shape: PatchShape
) -> NDArray[np.uint8]:
    """Check what was decoded; a video may turn out to have fewer frames than it says."""
    size = (grid.high * shape.side, grid.wide * shape.side)
    if not len(frames) or frames.shape[1:3] != size:
        raise Internal(f"a picture of {frames.shape[1:3]} came where one of {size} was asked for")
    if len(frames) < count:
        frames = np.concatenate([frames, np.repeat(frames[-1:], count - len(frames), axis=0)])
    return frames[:count]


def _key(ids: NDArray[np.int32], media: Sequence[_Media]) -> bytes:
    digest = hashlib.sha256(ids.tobytes())
    for each in media:
        digest.update(each.facts.digest)
        digest.update(f"{each.grid}{each.frames}".encode())
    return digest.digest()


def _read_tokenizer(folder: Path) -> tuple[Tokenizer, dict[str, int]]:
    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # the library raises nothing more specific
        raise Conflict(f"{folder / 'tokenizer.json'} cannot be read: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # A caller who writes a control token has written its letters.
    tokenizer.encode_special_tokens = True
    found = {name: tokenizer.token_to_id(name) for name in _CONTROLS}
    controls = {name: number for name, number in found.items() if number is not None}
    missing = [name for name in _CONTROLS if name not in controls]
    if missing:
        raise Conflict(f"{folder / 'tokenizer.json'} has no {', '.join(missing)}")
    return tokenizer, controls


def _frame(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Say which ids the tokenizer itself puts before and after everything."""
    inner = tokenizer.encode("a", add_special_tokens=False).ids
    framed = tokenizer.encode("a", add_special_tokens=True).ids
    for start in range(len(framed) - len(inner) + 1):
        if framed[start : start + len(inner)] == inner:
            return framed[:start], framed[start + len(inner) :]
    return [], []
