"""A small real engine for contents, which sees nothing but colours, and a reader of data URIs."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from milvane.domain.callers import Caller
from milvane.domain.catalogue import ALL_MINILM_L6_V2, MODELS, WeightsName
from milvane.domain.contents import Content, ContentTokens, MediaFacts, MediaPart, SeenPart
from milvane.domain.errors import MediaRejected, MediaTooLarge, QuotaExceeded
from milvane.domain.models import Lane, Modality, Purpose
from milvane.domain.pictures import Clip, Fit, Picture, Sampling, Seen, Sizing, Viewing
from milvane.domain.usage import UsageRecord
from milvane.serving.accounting import NO_ACCOUNTS, Accounts
from milvane.serving.caching.cache import VectorCache
from milvane.serving.contents import ContentService
from milvane.serving.embedding import EmbeddingService
from milvane.serving.ports import FetchedMedia, MediaReader, Wishes
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import CountingWeigher, HashingEngine

SIDE = 32
BINS = 4
WIDTH = BINS**3
PICTURE_TOKENS = 16

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "yellow": (250, 220, 20),
    "orange": (250, 140, 20),
    "green": (20, 180, 40),
    "blue": (20, 40, 220),
}


@dataclass(frozen=True)
class ColourContent:
    """Words, and how many pictures follow."""

    words: tuple[str, ...]
    tokens: ContentTokens
    key: bytes


class ColourEngine:
    """Embeds contents by the colours that they have, or name."""

    def __init__(self, fingerprint: str = "colours", *, is_told: bool = False) -> None:
        self._is_told = is_told
        self.fingerprint = fingerprint
        self.space = fingerprint
        self.width = WIDTH
        self.modalities = frozenset(Modality)
        self.embedded = 0
        """Contents embedded so far."""
        self.tenants: list[str] = []

    def view(self, wishes: Wishes) -> Viewing:
        """Want a small square, and of videos as many frames as are wished for."""
        square = Sizing(Fit.STRETCH, side=SIDE)
        frames = wishes.max_frames or 4
        return Viewing(
            square, Sampling(square, fps=wishes.fps or 1, min_frames=1, max_frames=frames)
        )

    def takes_instruction(self, purpose: Purpose) -> bool:
        """Take one, if it was said to: its words are added to those of texts."""
        return self._is_told

    async def tokenize(
        self, contents: Sequence[Sequence[SeenPart]], wishes: Wishes
    ) -> list[ColourContent]:
        """Count words, and the same number for each picture."""
        return [self._tokenize(parts, wishes) for parts in contents]

    def _tokenize(self, parts: Sequence[SeenPart], wishes: Wishes) -> ColourContent:
        texts = [part for part in parts if isinstance(part, str)]
        media = [part for part in parts if not isinstance(part, str)]
        if self._is_told and wishes.instruction:
            texts = [wishes.instruction, *texts]
        words = tuple(word for text in texts for word in text.split())
        of = {
            kind: PICTURE_TOKENS * sum(facts.modality is kind for facts in media)
            for kind in Modality
        }
        tokens = ContentTokens(len(words), of[Modality.IMAGE], of[Modality.VIDEO])
        named = repr((words, [facts.digest for facts in media], self.view(wishes)))
        return ColourContent(words, tokens, sha256(named.encode()).digest())

    async def embed(
        self,
        content: ColourContent,
        seen: Sequence[Seen],
        *,
        dimension: int,
        lane: Lane,
        tenant: str = "",
        time_left_s: float | None = None,
    ) -> NDArray[np.float32]:
        """Count colours."""
        self.embedded += 1
        self.tenants.append(tenant)
        counts = np.full(WIDTH, 1e-6)
        for word in content.words:
            named = COLOURS.get(word)
            place = _bins(np.array([named]))[0] if named else hash_of(word) % WIDTH
            counts[place] += SIDE * SIDE / 4
        for each in seen:
            frames = each.pixels[np.newaxis] if isinstance(each, Picture) else each.frames
            assert frames.shape[1:] == (SIDE, SIDE, 3)
            counts += np.bincount(_bins(frames.reshape(-1, 3)), minlength=WIDTH) / len(frames)
        vector = np.zeros(dimension, np.float32)
        kept = min(dimension, WIDTH)
        vector[:kept] = counts[:kept]
        return vector / np.linalg.norm(vector)


def hash_of(word: str) -> int:
    """Number a word, alike in every process."""
    return int.from_bytes(sha256(word.encode()).digest()[:4], "little")


def _bins(pixels: NDArray[np.int_]) -> NDArray[np.intp]:
    parts = pixels.astype(np.intp) * BINS // 256
    return parts[:, 0] * BINS * BINS + parts[:, 1] * BINS + parts[:, 2]


@dataclass
class _Held:
    facts: MediaFacts
    content: bytes
    is_closed: bool = False

    def close(self) -> None:
        """Note it."""
        self.is_closed = True


class DataReader:
    """Reads images out of data URIs, and videos out of what is kept for an address."""

    def __init__(self) -> None:
        self.held: list[_Held] = []
        self.fetched = 0
        self.seen = 0
        self.kept: dict[str, bytes] = {}
        """What addresses other than data URIs lead to."""
        self.slow: dict[str, asyncio.Event] = {}
        """Addresses that answer when the test says so."""

    async def fetch(
        self,
        part: MediaPart,
        *,
        tenant: str = "",
        max_bytes: int | None = None,
        time_left_s: float | None = None,
    ) -> FetchedMedia:
        """Decode the address, and read the image's head."""
        self.fetched += 1
        if part.source in self.slow:
            await self.slow[part.source].wait()
        content = self.kept.get(part.source)
        if content is None:
            if not part.source.startswith("data:"):
                raise MediaRejected("the address does not answer with an image or a video")
            content = base64.b64decode(part.source.partition(",")[2])
        if max_bytes is not None and len(content) > max_bytes:
            raise MediaTooLarge(f"it has more than {max_bytes} bytes", max_bytes=max_bytes)
        facts = _look(content)
        if part.modality not in (None, facts.modality):
            raise MediaRejected(f"it is no {part.modality.value}")
        held = _Held(facts, content)
        self.held.append(held)
        return held

    async def see(
        self, media: FetchedMedia, viewing: Viewing, *, time_left_s: float | None = None
    ) -> Seen:
        """Decode as wanted; a video is an image shown for as many seconds as it has frames."""
        assert isinstance(media, _Held)
        assert not media.is_closed
        self.seen += 1
        try:
            image = Image.open(io.BytesIO(media.content)).convert("RGB")
        except OSError as error:
            raise MediaRejected("the image is damaged") from error
        if media.facts.modality is Modality.IMAGE:
            size = viewing.picture.size_of(image.width, image.height)
            return Picture(np.asarray(image.resize(size)))
        assert viewing.clip is not None
        chosen = viewing.clip.choose(media.facts.frames, media.facts.fps)
        frame = np.asarray(image.resize((SIDE, SIDE)))
        return Clip(np.stack([frame] * len(chosen)), tuple(float(place) for place in chosen))


VIDEO_MARK = b"frames:"


def _look(content: bytes) -> MediaFacts:
    try:
        image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError as error:
        raise MediaRejected("it is neither an image nor a video of a known format") from error
    facts = MediaFacts(
        sha256(content).digest(),
        Modality.IMAGE,
        (image.format or "").lower(),
        len(content),
        image.width,
        image.height,
    )
    if VIDEO_MARK not in content:
        return facts
    frames = int(content.partition(VIDEO_MARK)[2])
    return replace(
        facts, modality=Modality.VIDEO, format="mp4", frames=frames, duration_s=float(frames)
    )


def an_image(colour: str, size: tuple[int, int] = (40, 30), image_format: str = "PNG") -> bytes:
    """Draw one colour."""
    content = io.BytesIO()
    Image.new("RGB", size, COLOURS[colour]).save(content, image_format)
    return content.getvalue()


def a_video(colour: str, frames: int) -> bytes:
    """Make what `DataReader` takes for a video of one colour, a second for each frame."""
    return an_image(colour) + VIDEO_MARK + str(frames).encode()


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """Write bytes as an address."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def of(*parts: str | MediaPart) -> Content:
    """Put parts into one content."""
    return Content(parts)


def image_of(colour: str) -> MediaPart:
    """Point at an image of one colour."""
    return MediaPart(data_uri(an_image(colour)), Modality.IMAGE)


class Books:
    """Offers everything, and notes what is used."""

    def __init__(self) -> None:
        self.records: list[UsageRecord] = []
        self.reserved: list[int] = []
        self.settled: list[int] = []
        self.is_spent = False

    def check_service(self, model: str, instance: str) -> None:
        """Offer it."""

    def reserve(self, caller: Caller, instance: str, model: str, tokens: int) -> Books:
        """Note it."""
        if self.is_spent:
            raise QuotaExceeded("the quota is spent", retry_after_s=1)
        self.reserved.append(tokens)
        return self

    def settle(self, used_tokens: int) -> None:
        """Note it."""
        self.settled.append(used_tokens)

    def record(self, record: UsageRecord) -> None:
        """Note it."""
        self.records.append(record)


COLOUR_WEIGHTS = WeightsName("colours")


def colour_service(
    engine: ColourEngine,
    reader: MediaReader,
    *,
    cache: VectorCache | None = None,
    accounts: Accounts = NO_ACCOUNTS,
) -> EmbeddingService:
    """Serve texts by hashing, and all models that take images by their colours."""
    served = {
        name: ALL_MINILM_L6_V2.name if model.is_text_only else COLOUR_WEIGHTS
        for name, model in MODELS.items()
    }
    settings = ServingSettings()
    contents = ContentService(
        {COLOUR_WEIGHTS: engine},
        reader,
        settings,
        served_by=served,
        cache=cache,
        accounts=accounts,
    )
    return EmbeddingService(
        {ALL_MINILM_L6_V2.name: HashingEngine()},
        settings,
        weighers={ALL_MINILM_L6_V2.name: CountingWeigher()},
        served_by=served,
        cache=cache,
        accounts=accounts,
        contents=contents,
    )
