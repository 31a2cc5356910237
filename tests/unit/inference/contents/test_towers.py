"""Contents as two towers take them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from milvane.domain.contents import MediaFacts, Wishes
from milvane.domain.errors import Internal
from milvane.domain.models import Modality
from milvane.domain.pictures import Clip, Fit, Picture, Sizing
from milvane.inference.contents.encoders.towers import TowerEncoder, Towers

IMAGE = MediaFacts(b"i" * 32, Modality.IMAGE, "png", 1, 90, 70)
VIDEO = MediaFacts(b"v" * 32, Modality.VIDEO, "mp4", 1, 90, 70, 12, 3.0)
SIDE = 8


class Letters:
    """A tokenizer of letters, framed by 0 and 1."""

    def split(self, texts: Sequence[str]) -> list[list[int]]:
        """Number the letters."""
        return [[ord(letter) for letter in text] for text in texts]

    def frame(self, ids: Sequence[int]) -> list[int]:
        """Put the frame around."""
        return [0, *ids, 1]


ENCODER = TowerEncoder(
    Towers("tiny", Sizing(Fit.STRETCH, side=SIDE), image_tokens=4, window_tokens=5), Letters()
)


def frames(count: int) -> np.ndarray:
    """Make frames of one shade each."""
    shades = np.arange(count, dtype=np.uint8)[:, None, None, None]
    return np.broadcast_to(shades, (count, SIDE, SIDE, 3)).copy()


def test_every_part_is_an_input_of_its_own() -> None:
    """Windows of a text, an image, frames of a video; usage counts what the caller gave."""
    [content] = ENCODER.tokenize([["abcdefg", IMAGE, VIDEO]], Wishes())
    assert content.tokens.text == 7
    assert content.tokens.image == 4
    assert content.tokens.video == 3 * 4
    work = ENCODER.pack(content, [Picture(frames(1)[0]), Clip(frames(3), (0.0, 1.5, 2.9))])
    assert [each.tokens for each in work] == [5, 6, 5, 5, 5, 5]
    assert work[0].load.ids.tolist() == [0, *map(ord, "abc"), 1]
    assert [int(each.load.pixels[0, 0, 0]) for each in work[3:]] == [0, 1, 2]


def test_parts_count_alike() -> None:
    """A content is the mean of its parts' directions, however many inputs each of them has."""
    [content] = ENCODER.tokenize([["abcdefg", IMAGE]], Wishes())
    rows = [np.array(row, np.float32) for row in ([5, 0, 0], [9, 0, 0], [0, 0.1, 0])]
    np.testing.assert_allclose(ENCODER.combine(content, rows), [0.5**0.5, 0.5**0.5, 0], atol=1e-6)


def test_what_decides_on_a_vector_is_in_its_key() -> None:
    """Other media, other frames and another cut between texts are other contents."""
    contents = [["ab"], ["a", "b"], [IMAGE], [VIDEO], ["ab", IMAGE], [IMAGE, "ab"]]
    keys = [each.key for each in ENCODER.tokenize(contents, Wishes())]
    assert len(set(keys)) == len(contents)
    assert keys == [each.key for each in ENCODER.tokenize(contents, Wishes())]
    [finer] = ENCODER.tokenize([[VIDEO]], Wishes(fps=2.0))
    assert finer.key != keys[3]
    assert finer.tokens.video > 3 * 4


def test_frames_are_bounded_whatever_is_wished() -> None:
    """A caller cannot have more frames looked at than the network is given at most."""
    clip = ENCODER.view(Wishes(fps=60.0, max_frames=500)).clip
    assert clip is not None
    assert len(clip.choose(10_000, 60.0)) == 16


def test_missing_frames_are_the_last_one() -> None:
    """A video that ends early is filled up; a picture of another size is refused."""
    [content] = ENCODER.tokenize([[VIDEO]], Wishes())
    work = ENCODER.pack(content, [Clip(frames(2), (0.0, 1.0))])
    assert [int(each.load.pixels[0, 0, 0]) for each in work] == [0, 1, 1]
    with pytest.raises(Internal, match="asked for"):
        ENCODER.pack(content, [Clip(np.zeros((3, SIDE, SIDE + 1, 3), np.uint8), (0, 1, 2))])
