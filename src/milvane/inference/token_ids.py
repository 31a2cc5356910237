"""Texts that clients send as token ids of cl100k, the vocabulary of OpenAI's embedding models."""

from __future__ import annotations

from binascii import Error as NotBase64
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from pybase64 import b64decode

from milvane.domain.catalogue import CL100K, Packaged
from milvane.domain.errors import Conflict
from milvane.inference.weights import find

SPECIAL_TOKENS = {
    100257: "<|endoftext|>",
    100258: "<|fim_prefix|>",
    100259: "<|fim_middle|>",
    100260: "<|fim_suffix|>",
    100276: "<|endofprompt|>",
}
"""What `tiktoken` defines beside the file's entries."""


class TokenTexts:
    """Turns token ids back into the text that they were made from."""

    def __init__(self, entries: Sequence[bytes], special: dict[int, str]) -> None:
        """
        Take a vocabulary.

        Args:
            entries: The bytes of each token, by its id.

            special: Texts of further ids.
        """
        self._bytes = dict(enumerate(entries)) | {
            token: text.encode() for token, text in special.items()
        }

    def join(self, token_ids: Iterable[int]) -> str:
        """
        Write a text out.

        A client that cuts long texts by tokens may cut a character in two: what is left of it
        becomes U+FFFD, as in OpenAI's own decoder.

        Raises:
            KeyError: If the vocabulary has no such id; its argument is the id.
        """
        known = self._bytes
        return b"".join([known[token] for token in token_ids]).decode(errors="replace")


def read_token_texts(weights_dir: Path, package: Packaged = CL100K) -> TokenTexts:
    """
    Read the vocabulary, if it has been fetched. Blocks for some tens of milliseconds.

    Raises:
        NotFound: If it is not there; the message says how to get it.

        Conflict: If it is not what the catalogue says.
    """
    path = find(package, weights_dir) / package.files[0].name
    try:
        return TokenTexts(parse_ranks(path.read_bytes()), SPECIAL_TOKENS)
    except (OSError, ValueError) as error:
        raise Conflict(f"{path} is not a vocabulary that can be read: {error}") from error


class LateTokenTexts:
    """A vocabulary that was found, and is read when it is first used: few servers ever use it."""

    def __init__(self, weights_dir: Path, package: Packaged = CL100K) -> None:
        """
        Look the files up; they are as the catalogue says.

        Raises:
            NotFound, Conflict: As `read_token_texts` does.
        """
        find(package, weights_dir)
        self._place = (weights_dir, package)

    def join(self, token_ids: Iterable[int]) -> str:
        """
        Write a text out, as `TokenTexts.join`; the first call takes some tens of milliseconds.

        Raises:
            KeyError: If the vocabulary has no such id; its argument is the id.
            Conflict: If the files have been damaged meanwhile.
        """
        return self._texts.join(token_ids)

    @cached_property
    def _texts(self) -> TokenTexts:
        return read_token_texts(*self._place)


def parse_ranks(content: bytes) -> list[bytes]:
    """
    Read a file of `tiktoken`: on each line the bytes of a token in base64, and its id.

    Returns:
        The bytes of each token, by its id.

    Raises:
        ValueError: If it is not such a file, or an id is missing.
    """
    fields = content.split()
    encoded, ranks = fields[::2], list(map(int, fields[1::2]))
    try:
        entries = [b64decode(each, validate=True) for each in encoded]
    except NotBase64 as error:
        raise ValueError(f"it has what is not base64: {error}") from error
    if ranks != list(range(len(encoded))):  # as they always are in files that are whole
        by_rank = dict(zip(ranks, entries, strict=False))
        if sorted(by_rank) != list(range(len(encoded))):
            raise ValueError("its ids have gaps")
        entries = [by_rank[token] for token in range(len(by_rank))]
    return entries
