"""BERT-like sentence models: WordPiece tokens between [CLS] and [SEP], mean pooling."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from milvane.domain.errors import Conflict
from milvane.domain.models import Purpose

if TYPE_CHECKING:
    from tokenizers import Tokenizer

POOLING = "mean"
SPECIAL_TOKENS = 2


class BertEncoder:
    """What a BERT network is fed. Thread-safe; nothing in it changes."""

    def __init__(self, folder: Path, window_tokens: int) -> None:
        """
        Load the tokenizer of a weight set.

        Args:
            folder: Holds ``tokenizer.json``.

            window_tokens: What the network sees at once, special tokens included.

        Raises:
            Conflict: If the tokenizer cannot be read, or lacks the family's special tokens.
        """
        self._tokenizer = _load_tokenizer(folder / "tokenizer.json")
        self._first = _special_id(self._tokenizer, "[CLS]", folder)
        self._last = _special_id(self._tokenizer, "[SEP]", folder)
        self.content_tokens = window_tokens - SPECIAL_TOKENS
        """The most that a window holds beside its special tokens."""
        self.vocabulary_size: int = self._tokenizer.get_vocab_size()

    def tokenize(
        self,
        texts: Sequence[str],
        *,
        purpose: Purpose = Purpose.DOCUMENT,  # noqa: ARG002 - the family is not told
        instruction: str | None = None,  # noqa: ARG002 - nor does it take one
    ) -> list[NDArray[np.int32]]:
        """
        Turn texts into token ids. Blocks.

        Args:
            texts: Any strings; half of a surrogate pair counts as an unknown character.

            purpose: Which side of a comparison the texts are on.

            instruction: What the comparison is for, in the caller's words.

        Returns:
            For each text, in order, its ids without special tokens; never cut.
        """
        whole = [_without_lone_surrogates(text) for text in texts]
        encodings = self._tokenizer.encode_batch_fast(whole, add_special_tokens=False)
        return [np.array(encoding.ids, np.int32) for encoding in encodings]

    def frame(self, content: NDArray[np.int32]) -> NDArray[np.int32]:
        """
        Put a window's ids between the special tokens.

        Args:
            content: At most `content_tokens` ids.
        """
        framed = np.empty(len(content) + SPECIAL_TOKENS, np.int32)
        framed[0], framed[1:-1], framed[-1] = self._first, content, self._last
        return framed


def _load_tokenizer(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer  # heavy: only when weights are loaded

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise Conflict(f"{path} is not a tokenizer that can be read: {error}") from error
    # Published files cut and pad as their model card's examples like it, often at 128.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _special_id(tokenizer: Tokenizer, token: str, folder: Path) -> int:
    found: int | None = tokenizer.token_to_id(token)
    if found is None:
        raise Conflict(f"the tokenizer in {folder} has no {token}: it is not of the BERT family")
    return found


def _without_lone_surrogates(text: str) -> str:
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # Halves that belong together become their character, others the replacement character.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
