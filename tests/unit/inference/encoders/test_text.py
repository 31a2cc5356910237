"""What a network is fed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from checkpoints import VOCABULARY, WINDOW_TOKENS, write_tokenizer
from milvane.domain.errors import Conflict
from milvane.inference.encoders.recipe import Recipe
from milvane.inference.encoders.text import TextEncoder

RECIPE = Recipe("bert", "mean")


@pytest.fixture
def encoder(tmp_path: Path) -> TextEncoder:
    """An encoder with a small vocabulary."""
    write_tokenizer(tmp_path / "tokenizer.json")
    return TextEncoder(tmp_path, RECIPE, WINDOW_TOKENS)


def pieces(encoder: TextEncoder, text: str) -> list[str]:
    """Tokenize one text, and spell its ids."""
    (ids,) = encoder.tokenize([text])
    assert ids.dtype == np.int32
    return [VOCABULARY[i] for i in ids]


def test_ids_have_no_special_tokens_and_no_padding(encoder: TextEncoder) -> None:
    """Only what the text says is in its ids."""
    assert pieces(encoder, "The cat sat") == ["the", "cat", "sat"]


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\0", "\ud800"])
def test_text_without_content_has_no_ids(encoder: TextEncoder, text: str) -> None:
    """Nothing to read gives nothing."""
    assert pieces(encoder, text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat\ud800", ["cat"]),
        ("\ud800dog \udc00", ["dog"]),
        ("the \ud83d\ude42 cat", ["the", "[UNK]", "cat"]),
        ("the 🙂 cat", ["the", "[UNK]", "cat"]),
        ("cat\0dog", ["cat", "##d", "##o", "##g"]),
        ("the 猫", ["the", "猫"]),
        ("ran" * 200, ["[UNK]"]),
    ],
)
def test_odd_characters_are_harmless(encoder: TextEncoder, text: str, expected: list[str]) -> None:
    """Halves of surrogate pairs vanish or join, and NULs vanish; the rest is read as always."""
    assert pieces(encoder, text) == expected


def test_long_texts_are_never_cut(encoder: TextEncoder) -> None:
    """A text of 100,000 characters is read to its end."""
    assert len(pieces(encoder, "cat " * 25_000)) == 25_000


def test_windows_are_framed(encoder: TextEncoder) -> None:
    """A window stands between the special tokens, and a full one is as long as the network sees."""
    framed = encoder.frame(np.array([5, 6], np.int32))
    assert [VOCABULARY[i] for i in framed] == ["[CLS]", "the", "cat", "[SEP]"]
    assert framed.dtype == np.int32
    assert len(encoder.frame(np.zeros(encoder.content_tokens, np.int32))) == WINDOW_TOKENS


def test_other_files_are_refused(tmp_path: Path) -> None:
    """A file that is no tokenizer, or one without the family's tokens, is named."""
    with pytest.raises(Conflict, match=r"tokenizer\.json is not a tokenizer"):
        TextEncoder(tmp_path, RECIPE, WINDOW_TOKENS)
    write_tokenizer(tmp_path / "tokenizer.json")
    text = (tmp_path / "tokenizer.json").read_text(encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(text.replace("[CLS]", "<s>"), encoding="utf-8")
    with pytest.raises(Conflict, match=r"has no \[CLS\]"):
        TextEncoder(tmp_path, RECIPE, WINDOW_TOKENS)
