"""The vocabulary cl100k as it is fetched, beside the library that clients make token ids with."""

from __future__ import annotations

from pathlib import Path

import httpx2 as httpx
import pytest
import tiktoken

from milvane.apis.app import create_app
from milvane.apis.settings import ApisSettings
from milvane.domain.catalogue import ALL_MINILM_L6_V2, CL100K
from milvane.domain.errors import Conflict, NotFound
from milvane.domain.readiness import Readiness
from milvane.inference.token_ids import (
    SPECIAL_TOKENS,
    LateTokenTexts,
    TokenTexts,
    read_token_texts,
)
from milvane.inference.weights import find, folder_of
from milvane.serving.embedding import EmbeddingService
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import HashingEngine
from weights import default_weights_dir

# The expression that cl100k splits texts with; of tiktoken, MIT licence.
PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
TEXTS = [
    "The quality of the clothes is excellent, very beautiful.",
    "衣服的质量杠杠的、很漂亮。不枉我等了这么久啊",
    "  def f(x):\n\treturn x ** 2  # no comment\r\n",
    "naïve café, Übergröße, Ελλάδα, हिन्दी, العربية, 👩‍👩‍👧‍👦",
    "\x00\x7f\ufffd<|endoftext|>",
]


@pytest.fixture(scope="module")
def vocabulary() -> TokenTexts:
    """The vocabulary of this machine's cache folder."""
    return read_token_texts(default_weights_dir())


@pytest.fixture(scope="module")
def encoder() -> tiktoken.Encoding:
    """The library, with the same file."""
    from tiktoken.load import load_tiktoken_bpe

    file = find(CL100K, default_weights_dir()) / CL100K.files[0].name
    special = {text: token for token, text in SPECIAL_TOKENS.items()}
    return tiktoken.Encoding(
        "cl100k",
        pat_str=PATTERN,
        mergeable_ranks=load_tiktoken_bpe(str(file)),
        special_tokens=special,
    )


@pytest.mark.parametrize("text", TEXTS)
def test_text_comes_back_from_its_token_ids(
    text: str, vocabulary: TokenTexts, encoder: tiktoken.Encoding
) -> None:
    """What the library encodes is decoded to the same text, specials as well."""
    assert vocabulary.join(encoder.encode(text, disallowed_special=())) == text
    assert vocabulary.join(encoder.encode(text, allowed_special="all")) == text


def test_every_id_is_decoded_as_the_library_does(
    vocabulary: TokenTexts, encoder: tiktoken.Encoding
) -> None:
    """All ids have the library's bytes, and those that the library lacks are unknown here too."""
    known = {*range(encoder.max_token_value + 1)} - {100256, *range(100261, 100276)}
    assert {token: vocabulary.join([token]) for token in known} == {
        token: encoder.decode([token], errors="replace") for token in known
    }
    for token in ({*range(100_300)} - known) | {10**30}:
        with pytest.raises(KeyError):
            vocabulary.join([token])


async def test_token_ids_are_embedded_as_their_text(
    vocabulary: TokenTexts, encoder: tiktoken.Encoding
) -> None:
    """An input as token ids has the vector and the usage that it has as text."""
    service = EmbeddingService({ALL_MINILM_L6_V2.name: HashingEngine()}, ServingSettings())
    app = create_app(service, ApisSettings(), Readiness, vocabulary=vocabulary)
    transport = httpx.ASGITransport(app=app)
    answers = []
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        for inputs in (TEXTS[:4], [encoder.encode(text) for text in TEXTS[:4]]):
            body = {"model": "text-embedding-v4", "input": inputs, "encoding_format": "base64"}
            answer = await client.post("/v1/embeddings", json=body)
            answers.append(answer.raise_for_status().json())
    assert answers[0]["data"] == answers[1]["data"]
    assert answers[0]["usage"] == answers[1]["usage"]


def test_missing_vocabulary_is_told_with_the_command(tmp_path: Path) -> None:
    """Who has not fetched it learns how to."""
    with pytest.raises(NotFound, match="milvane models pull cl100k"):
        read_token_texts(tmp_path)


def test_changed_vocabulary_is_refused(tmp_path: Path) -> None:
    """A file that is not the catalogue's is not used, whatever it holds."""
    folder = folder_of(CL100K, tmp_path)
    folder.mkdir()
    (folder / CL100K.files[0].name).write_bytes(b"IQ== 0\n")
    with pytest.raises(Conflict, match="models pull cl100k"):
        read_token_texts(tmp_path)


def test_vocabulary_is_read_when_it_is_first_used(vocabulary: TokenTexts) -> None:
    """A server that was sent no token ids has not read it; then it writes out the same."""
    late = LateTokenTexts(default_weights_dir())
    assert "_texts" not in vars(late)
    assert late.join([15339, 1917]) == vocabulary.join([15339, 1917]) == "hello world"
    assert "_texts" in vars(late)
