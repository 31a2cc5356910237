"""Windows written as texts are read as the same ids again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from checkpoints import VOCABULARY, WINDOW_TOKENS, WORDS, write_tokenizer
from milvane.inference.encoders.recipe import Recipe
from milvane.inference.encoders.spelling import NO_TEXT, Speller
from milvane.inference.encoders.text import TextEncoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    """An encoder of word pieces with a small vocabulary."""
    folder = tmp_path_factory.mktemp("pieces")
    write_tokenizer(folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    return TextEncoder(folder, Recipe("bert", "mean"), WINDOW_TOKENS)


@pytest.fixture(scope="module")
def byte_encoder(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    """An encoder of bytes, as Qwen3 has one, with an end after each text."""
    folder = tmp_path_factory.mktemp("bytes")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: index for index, piece in enumerate([*alphabet, "<|end|>"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|end|>", special_tokens=[("<|end|>", len(alphabet))]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return TextEncoder(folder, Recipe("qwen3", "last"), WINDOW_TOKENS)


def read_again(encoder: TextEncoder, content: list[int]) -> list[int]:
    """Write a window, and read it as a server does."""
    framed = encoder.frame(np.array(content, np.int32))
    [ids] = encoder.tokenize([Speller(encoder).spell(framed)], purpose=None)
    return [int(each) for each in ids]


texts = st.lists(st.sampled_from([*WORDS, "dogs", "xyz", "ß", "do", "not", ".", "n't"]), max_size=4)


@given(texts)
@example(["the", "cat", "ß"])
@example([])
def test_text_is_read_as_the_same_ids(encoder: TextEncoder, words: list[str]) -> None:
    """What fits into a window is read again as it was, unknown words as well."""
    [ids] = encoder.tokenize([" ".join(words)], purpose=None)
    window = [int(each) for each in ids][: encoder.content_tokens]
    while window and VOCABULARY[window[-1]].startswith("##"):
        window.pop()
    assert read_again(encoder, window) == window


def test_words_are_not_put_together(tmp_path: Path) -> None:
    """What published tokenizers would tidy up ("do not", spaces before dots) stays as it was."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "do", "not", "don", "'", "t", "."]
    tokenizer = Tokenizer(
        models.WordPiece({piece: at for at, piece in enumerate(pieces)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=True)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    encoder = TextEncoder(tmp_path, Recipe("bert", "mean"), WINDOW_TOKENS)
    assert read_again(encoder, [4, 5, 9, 6, 7, 8]) == [4, 5, 9, 6, 7, 8]


def test_window_that_begins_within_a_word_loses_no_token(encoder: TextEncoder) -> None:
    """The rest of a word is read as a word, not as signs before it."""
    content = [VOCABULARY.index("##d"), VOCABULARY.index("the")]
    assert [VOCABULARY[i] for i in read_again(encoder, content)] == ["d", "the"]


def test_window_never_becomes_longer_than_a_window(byte_encoder: TextEncoder) -> None:
    """Halves of characters are read as more bytes; what does not fit is left out at the end."""
    half = [int(each) for each in byte_encoder.tokenize(["é"], purpose=None)[0]][:1]
    content = half * byte_encoder.content_tokens
    assert 0 < len(read_again(byte_encoder, content)) <= byte_encoder.content_tokens


@given(st.text(max_size=WINDOW_TOKENS))
@example("  two  spaces ")
@example("\n")
def test_bytes_are_read_as_the_same_ids(byte_encoder: TextEncoder, text: str) -> None:
    """Where tokens are bytes, whole characters come out as they were, spaces as well."""
    [ids] = byte_encoder.tokenize([text], purpose=None)
    if 0 < len(ids) <= byte_encoder.content_tokens:
        assert read_again(byte_encoder, ids.tolist()) == ids.tolist()


def test_no_text_is_a_space(encoder: TextEncoder) -> None:
    """Servers refuse texts without characters."""
    assert Speller(encoder).spell(encoder.frame(np.array([], np.int32))) == NO_TEXT
