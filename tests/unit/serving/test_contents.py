"""The use case of contents: fetched and checked before anything is computed, then each at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from colours import (
    PICTURE_TOKENS,
    Books,
    ColourEngine,
    DataReader,
    a_video,
    an_image,
    data_uri,
    image_of,
    of,
)
from milvane.domain.callers import Caller
from milvane.domain.catalogue import WeightsName
from milvane.domain.contents import Content, MediaPart
from milvane.domain.errors import (
    DeadlineExceeded,
    DimensionNotOffered,
    EmptyInput,
    InputTooLong,
    InvalidInput,
    MediaRejected,
    ModelNotServed,
    QuotaExceeded,
    StillLoading,
    UpstreamUnavailable,
)
from milvane.domain.models import Modality, ModelName
from milvane.domain.usage import Outcome
from milvane.serving.accounting import Accounts
from milvane.serving.caching.cache import VectorCache
from milvane.serving.caching.settings import CacheSettings
from milvane.serving.callers import calling
from milvane.serving.content_requests import ContentRequest
from milvane.serving.contents import ContentService
from milvane.serving.embedding import EmbeddingService, EmbedRequest
from milvane.serving.ports import Wishes
from milvane.serving.settings import ServingSettings

MODEL = "qwen3-vl-embedding"
WEIGHTS = WeightsName("colours")
SERVED = {ModelName(name): WEIGHTS for name in (MODEL, "multimodal-embedding-v1", "ops-m2-encoder")}
BROKEN = MediaPart("https://nowhere.example/a.png", Modality.IMAGE)
DAMAGED = MediaPart(data_uri(an_image("green", (64, 64))[:80]), Modality.IMAGE)


class Desk:
    """The use case with its neighbours."""

    def __init__(self, *, cached: bool = False, **settings: int) -> None:
        self.engine, self.reader, self.books = ColourEngine(), DataReader(), Books()
        self.service = ContentService(
            {WEIGHTS: self.engine},
            self.reader,
            ServingSettings(**settings),
            served_by=SERVED,
            cache=VectorCache(CacheSettings()) if cached else None,
            accounts=Accounts(self.books, self.books),
        )

    async def embed(self, *contents: Content, model: str = MODEL, **asked):
        """Embed contents of 1,024 components."""
        time_left_s = asked.pop("time_left_s", None)
        dimension = asked.pop("dimension", None)
        request = ContentRequest(model, list(contents), dimension=dimension, **asked)
        return await self.service.embed(request, time_left_s=time_left_s)

    @property
    def held(self) -> int:
        """How many media are held."""
        return sum(not held.is_closed for held in self.reader.held)


def a_clip(colour: str, frames: int) -> MediaPart:
    """Point at a video of one colour."""
    return MediaPart(data_uri(a_video(colour, frames)))


async def test_text_image_and_video_meet_in_one_space() -> None:
    """Each becomes a row of length 1; what means the same is close, and usage counts each kind."""
    desk = Desk()
    found = await desk.embed(of("yellow"), of(image_of("yellow")), of(a_clip("yellow", 3)))
    assert found.vectors.shape == (3, 2560)
    assert np.allclose(found.vectors @ found.vectors.T, 1, atol=1e-4)
    assert (found.total.text, found.total.image, found.total.video) == (1, 16, 16)
    assert (found.images, found.videos, found.duration_s) == (1, 1, 3.0)
    assert found.weights == WEIGHTS
    assert desk.held == 0


async def test_parts_of_one_content_are_fused() -> None:
    """Several parts give one vector, between those of each."""
    desk = Desk()
    yellow, blue = image_of("yellow"), image_of("blue")
    found = await desk.embed(of(yellow, blue), of(yellow), of(blue), of("green", yellow))
    cosines = found.vectors[0] @ found.vectors.T
    assert 0.6 < cosines[1] < 0.8
    assert 0.6 < cosines[2] < 0.8
    assert found.vectors[3] @ found.vectors[1] > 0.5


async def test_equal_sources_are_fetched_once_and_equal_contents_computed_once() -> None:
    """One address in three rows is one fetch; equal bytes at two addresses are one vector."""
    desk = Desk()
    image = an_image("orange")
    desk.reader.kept = {"https://a/1?sign=x": image, "https://b/2": image}
    first, second = MediaPart("https://a/1?sign=x"), MediaPart("https://b/2")
    found = await desk.embed(of(first), of(first), of(second), of("blue"), of("blue"))
    assert (desk.reader.fetched, desk.reader.seen, desk.engine.embedded) == (2, 1, 2)
    assert (found.vectors[0] == found.vectors[2]).all()
    assert [each.total for each in found.tokens] == [16, 16, 16, 1, 1]
    assert desk.books.records[-1].images == 3


async def test_known_bytes_are_not_computed_again_wherever_they_come_from() -> None:
    """Another address of the same image costs its fetch alone, and every dimension is kept."""
    desk = Desk(cached=True)
    image = an_image("orange")
    desk.reader.kept = {"https://a/1?sign=x": image, "https://a/1?sign=y": image}
    first = await desk.embed(of(MediaPart("https://a/1?sign=x")), dimension=1024)
    again = await desk.embed(of(MediaPart("https://a/1?sign=y")), dimension=512)
    assert (desk.reader.fetched, desk.reader.seen, desk.engine.embedded) == (2, 1, 1)
    assert np.allclose(first.vectors[:, :512], again.vectors, atol=1e-6)
    assert (first.cached_tokens, again.cached_tokens) == (0, PICTURE_TOKENS)
    assert [each.cached_tokens for each in desk.books.records] == [0, PICTURE_TOKENS]


async def test_what_is_looked_at_in_another_way_is_another_vector() -> None:
    """More frames of a video are not answered from what fewer gave."""
    desk = Desk(cached=True)
    for frames in (1, 2, 2):
        await desk.embed(of(a_clip("green", 4)), wishes=Wishes(max_frames=frames))
    assert desk.engine.embedded == 2


async def test_tenants_share_no_vectors() -> None:
    """What one tenant had embedded is computed for another one again."""
    desk = Desk(cached=True)
    for tenant in ("a", "b", "b"):
        with calling(Caller(name=tenant, tenant=tenant)):
            await desk.embed(of(image_of("blue")))
    assert desk.engine.tenants == ["a", "b"]


@pytest.mark.parametrize(
    ("part", "reason"),
    [(BROKEN, "does not answer"), (DAMAGED, "damaged")],
    ids=["unreachable", "undecodable"],
)
async def test_a_bad_image_ends_the_request_and_costs_nothing(part: MediaPart, reason: str) -> None:
    """The error names the input and the reason; no tokens are counted, nothing is kept open."""
    desk = Desk()
    with pytest.raises(MediaRejected, match=f"input 1, part 1: .*{reason}") as caught:
        await desk.embed(of("blue"), of("see", part))
    assert caught.value.index == 1
    (record,) = desk.books.records
    assert (record.outcome, record.tokens, record.images) == (Outcome.REFUSED, 0, 0)
    assert set(desk.books.settled) <= {0}
    assert desk.held == 0


async def test_a_request_may_go_on_without_what_is_bad() -> None:
    """Others' vectors are as ever; who failed is told with the reason, and costs nothing."""
    desk = Desk()
    contents = [of("blue"), of(BROKEN), of(image_of("green")), of(DAMAGED), of(BROKEN)]
    found = await desk.embed(*contents, goes_on=True)
    assert sorted(found.failures) == [1, 3, 4]
    assert "damaged" in str(found.failures[3])
    assert np.linalg.norm(found.vectors, axis=1).round(5).tolist() == [1, 0, 1, 0, 0]
    (record,) = desk.books.records
    assert (record.outcome, record.inputs, record.images) == (Outcome.SUCCESS, 2, 1)
    assert record.tokens == 1 + PICTURE_TOKENS == desk.books.settled[0]
    assert desk.held == 0


async def test_failures_of_the_service_are_no_input_s_own() -> None:
    """A queue that is full ends the request, also one that goes on without bad inputs."""
    desk = Desk()

    async def refuse(*_, **__):
        raise UpstreamUnavailable("the network is gone")

    desk.engine.embed = refuse
    with pytest.raises(UpstreamUnavailable):
        await desk.embed(of("blue"), of(image_of("blue")), goes_on=True)
    assert desk.held == 0


async def test_a_slow_address_delays_no_other_request() -> None:
    """While one waits for its image, others are answered; leaving ends the wait."""
    desk = Desk(max_fetches_per_request=2)
    slow = [f"https://slow/{number}" for number in range(20)]
    desk.reader.slow = {address: asyncio.Event() for address in slow}
    waiting = asyncio.create_task(desk.embed(*[of(MediaPart(address)) for address in slow]))
    await asyncio.wait_for(desk.embed(of(image_of("blue")), of("blue")), 5)
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.wait_for(desk.embed(of(image_of("green"))), 5)
    assert desk.held == 0


async def test_a_deadline_ends_a_fetch() -> None:
    """A caller whose time is over is told so, and what was fetched is let go."""
    desk = Desk()
    desk.reader.slow = {"https://slow": asyncio.Event()}
    with pytest.raises(DeadlineExceeded):
        await desk.embed(of(image_of("blue")), of(MediaPart("https://slow")), time_left_s=0.01)
    assert desk.held == 0
    assert desk.books.records[-1].error == "deadline_exceeded"


async def test_decoding_goes_on_while_the_network_runs() -> None:
    """The next content is decoded before the one before it is embedded."""
    desk = Desk()
    may_go_on, decoded = asyncio.Event(), asyncio.Event()
    embed, see = desk.engine.embed, desk.reader.see

    async def embed_later(*args, **how):
        await may_go_on.wait()
        return await embed(*args, **how)

    async def see_and_tell(*args, **how):
        seen = await see(*args, **how)
        if desk.reader.seen == 3:
            decoded.set()
        return seen

    desk.engine.embed, desk.reader.see = embed_later, see_and_tell
    colours: Sequence[str] = ("blue", "green", "orange")
    working = asyncio.create_task(desk.embed(*[of(image_of(colour)) for colour in colours]))
    await asyncio.wait_for(decoded.wait(), 5)
    assert desk.engine.embedded == 0
    may_go_on.set()
    assert (await working).vectors.shape == (3, 2560)


async def test_pixels_in_memory_are_bounded() -> None:
    """However many pictures a request has, no more are decoded at once than there is room for."""
    square_bytes = 32 * 32 * 3
    desk = Desk(max_contents_at_once=64, max_pixel_bytes=1024 * 1024)
    wanted = Wishes(max_frames=64)
    held, most = 0, 0
    embed, see = desk.engine.embed, desk.reader.see

    async def see_and_hold(*args, **how):
        nonlocal held, most
        held += 64 * square_bytes
        most = max(most, held)
        return await see(*args, **how)

    async def embed_and_let_go(*args, **how):
        nonlocal held
        await asyncio.sleep(0)
        try:
            return await embed(*args, **how)
        finally:
            held -= 64 * square_bytes

    desk.reader.see, desk.engine.embed = see_and_hold, embed_and_let_go
    clips = [of(a_clip("green", 64 + number)) for number in range(20)]
    found = await desk.embed(*clips, wishes=wanted)
    assert found.videos == 20
    assert 3 * 64 * square_bytes <= most <= 1024 * 1024 * 3 // 4


async def test_a_spent_quota_computes_nothing() -> None:
    """It is asked before anything is decoded."""
    desk = Desk()
    desk.books.is_spent = True
    with pytest.raises(QuotaExceeded):
        await desk.embed(of(image_of("blue")))
    assert (desk.reader.seen, desk.engine.embedded, desk.held) == (0, 0, 0)


async def test_long_texts_are_refused_or_cut() -> None:
    """Above the model's limit of 512 words a text is refused by name, or cut to fit, and told."""
    desk = Desk()
    long, model = of("word " * 700), "multimodal-embedding-v1"
    with pytest.raises(InputTooLong, match="input 1"):
        await desk.embed(of("blue"), long, model=model)
    cut = await desk.embed(of("blue"), long, model=model, cut_long_inputs=True)
    assert cut.cut_inputs == [1]
    assert 400 < cut.tokens[1].text <= 512
    told = await desk.embed(of("blue"), long, model=model, goes_on=True)
    assert isinstance(told.failures[1], InputTooLong)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (Content(()), EmptyInput, "input 0"),
        (of(""), EmptyInput, "input 0"),
        (of("two", image_of("blue")), InvalidInput, "one at a time"),
        (of(a_clip("blue", 2)), MediaRejected, "takes no videos"),
    ],
)
async def test_what_a_model_does_not_take_is_refused(
    content: Content, error: type[Exception], message: str
) -> None:
    """Empty contents, parts together, and kinds that are not the model's."""
    with pytest.raises(error, match=message):
        await Desk().embed(content, model="ops-m2-encoder")


async def test_limits_of_the_contract_hold() -> None:
    """An image above the model's bytes is refused, and a format beside its list where it counts."""
    desk = Desk()
    huge = data_uri(np.random.default_rng(0).bytes(3 * 1024 * 1024 + 1))
    model = "multimodal-embedding-v1"
    with pytest.raises(MediaRejected, match="3145728 bytes"):
        await desk.embed(of(MediaPart(huge, Modality.IMAGE)), model=model)
    webp = MediaPart(data_uri(an_image("blue", image_format="WEBP")))
    assert (await desk.embed(of(webp), model=model)).images == 1
    with pytest.raises(MediaRejected, match="format webp, only bmp, jpeg, png"):
        await desk.embed(of(webp), model=model, keeps_contract=True)
    with pytest.raises(DimensionNotOffered):
        await desk.embed(of("blue"), dimension=1000)


async def test_what_nothing_serves_is_said() -> None:
    """No weights, weights that are not loaded, and a server that fetches nothing."""
    asked = ContentRequest(MODEL, [of(image_of("blue"))])
    nothing = ContentService({}, None, ServingSettings(), served_by={})
    with pytest.raises(ModelNotServed):
        await nothing.embed(asked)
    unloaded = ContentService({}, None, ServingSettings(), served_by=SERVED)
    with pytest.raises(UpstreamUnavailable, match="milvane models pull"):
        await unloaded.embed(asked)
    loading = ContentService({}, None, ServingSettings(), served_by=SERVED, loading={WEIGHTS})
    with pytest.raises(StillLoading, match="still being loaded"):
        await loading.embed(asked)
    blind = ContentService({WEIGHTS: ColourEngine()}, None, ServingSettings(), served_by=SERVED)
    with pytest.raises(ModelNotServed, match="nothing is fetched"):
        await blind.embed(asked)


async def test_texts_of_such_a_model_go_the_same_way() -> None:
    """Who asks for texts alone gets what the contents would get."""
    desk = Desk()
    service = EmbeddingService({}, ServingSettings(), served_by=SERVED, contents=desk.service)
    embedded = await service.embed(EmbedRequest(MODEL, ["blue", "two words"]))
    assert (embedded.vectors == (await desk.embed(of("blue"), of("two words"))).vectors).all()
    assert embedded.token_counts == [1, 2]
    assert service.space_of(MODEL) == "colours"
