"""Texts into token ids, with the prompts and special tokens that a model was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from milvane.domain.errors import Conflict
from milvane.domain.models import Purpose
from milvane.inference.encoders.recipe import Recipe

if TYPE_CHECKING:
    from tokenizers import Tokenizer

UNKNOWN = ("[UNK]", "<unk>")
"""What tokenizers call a piece that they do not know."""


class TextEncoder:
    """What a network is fed. Thread-safe; nothing in it changes."""

    def __init__(self, folder: Path, recipe: Recipe, window_tokens: int) -> None:
        """
        Load the tokenizer of a weight set.

        Args:
            folder: Holds ``tokenizer.json``.

            recipe: Its prompts, and the family's special tokens.

            window_tokens: What the network sees at once, special tokens included.

        Raises:
            Conflict: If the tokenizer cannot be read, or lacks the family's special tokens.
        """
        self._tokenizer = _load_tokenizer(folder / "tokenizer.json")
        self._recipe = recipe
        self._first, self._last = _special_ids(self._tokenizer, recipe, folder)
        special = len(self._first) + len(self._last)
        if window_tokens <= special:
            raise Conflict(f"a window of {window_tokens} tokens leaves no room for text")
        self.content_tokens = window_tokens - special
        """The most that a window holds beside its special tokens."""
        self.vocabulary_size: int = self._tokenizer.get_vocab_size()
        self.silent_ids = _silent_ids(self._tokenizer, {*self._first, *self._last})
        """Tokens that are no terms: special ones, and the unknown one."""

    def tokenize(
        self,
        texts: Sequence[str],
        *,
        purpose: Purpose | None = Purpose.DOCUMENT,
        instruction: str | None = None,
    ) -> list[NDArray[np.int32]]:
        """
        Turn texts into token ids. Blocks.

        Args:
            texts: Any strings; half of a surrogate pair counts as an unknown character.

            purpose: Which side of a comparison the texts are on; the prompt of that side, if the
                model has one, stands before each text. None for the texts alone.

            instruction: What the comparison is for, for models that follow instructions.

        Returns:
            For each text, in order, its ids without special tokens; never cut.
        """
        prompt = self.prompt(purpose, instruction)
        whole = [_without_lone_surrogates(f"{prompt}{text}" if prompt else text) for text in texts]
        if self._recipe.lower_case:
            whole = [text.lower() for text in whole]
        encodings = self._tokenizer.encode_batch_fast(whole, add_special_tokens=False)
        return [np.array(encoding.ids, np.int32) for encoding in encodings]

    def prompt(self, purpose: Purpose | None, instruction: str | None = None) -> str:
        """Say what stands before a text; see `Recipe.prompt`."""
        return "" if purpose is None else self._recipe.prompt(purpose, instruction)

    def takes_instruction(self, purpose: Purpose) -> bool:
        """Say whether an instruction changes the ids of texts of this purpose."""
        return self._recipe.takes_instruction(purpose)

    def frame(self, content: NDArray[np.int32]) -> NDArray[np.int32]:
        """
        Put a window's ids between the special tokens.

        Args:
            content: At most `content_tokens` ids.
        """
        start, stop = len(self._first), len(self._first) + len(content)
        framed = np.empty(stop + len(self._last), np.int32)
        framed[:start], framed[start:stop], framed[stop:] = self._first, content, self._last
        return framed

    def unframe(self, framed: NDArray[np.int32]) -> NDArray[np.int32]:
        """Take a window's ids from between the special tokens."""
        return framed[len(self._first) : len(framed) - len(self._last)]

    def tokenizer_json(self) -> str:
        """Write the tokenizer down, neither cutting nor padding."""
        written: str = self._tokenizer.to_str()
        return written


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


def _special_ids(tokenizer: Tokenizer, recipe: Recipe, folder: Path) -> tuple[list[int], list[int]]:
    """Find what the tokenizer puts before and behind a text; else what its family does."""
    encoding = tokenizer.encode("a")
    plain = [position for position, is_special in enumerate(encoding.special_tokens_mask)
             if not is_special]  # fmt: skip
    ids: list[int] = encoding.ids
    if plain and len(plain) < len(ids):
        return ids[: plain[0]], ids[plain[-1] + 1 :]
    defaults = recipe.defaults
    return (
        [_special_id(tokenizer, token, recipe, folder) for token in [defaults.first] if token],
        [_special_id(tokenizer, token, recipe, folder) for token in [defaults.last] if token],
    )


def _special_id(tokenizer: Tokenizer, token: str, recipe: Recipe, folder: Path) -> int:
    found: int | None = tokenizer.token_to_id(token)
    if found is None:
        raise Conflict(
            f"the tokenizer in {folder} has no {token}: it is not of the {recipe.family} family"
        )
    return found


def _silent_ids(tokenizer: Tokenizer, special: set[int]) -> frozenset[int]:
    found = [tokenizer.token_to_id(token) for token in UNKNOWN]
    unknown = {token for token in found if token is not None}
    added = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    return frozenset(special | unknown | added)


def _without_lone_surrogates(text: str) -> str:
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # Halves that belong together become their character, others the replacement character.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
