"""
Token ids back into a text, for servers that take nothing else.

The text is read as the same ids again wherever the tokenizer allows it. It does not where a window
begins or ends within a word or a character; there, the server sees a few other tokens.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from milvane.inference.encoders.text import TextEncoder

SPARE_TOKENS = 16
"""Windows shorter than the longest by so much fit, however they are read again."""
NO_TEXT = " "
"""In the place of no text at all, which servers refuse; it has no tokens either."""
_CONTINUED = "##"


class Speller:
    """Writes windows as texts. Thread-safe; nothing in it changes."""

    def __init__(self, encoder: TextEncoder) -> None:
        """
        Prepare.

        Args:
            encoder: Made the ids.
        """
        from tokenizers import Tokenizer, decoders  # heavy: only when weights are loaded

        self._encoder = encoder
        self._tokenizer = Tokenizer.from_str(encoder.tokenizer_json())
        self._is_word_pieces = type(self._tokenizer.model).__name__ == "WordPiece"
        if self._is_word_pieces:
            # Without this, "do not" would become "don't".
            self._tokenizer.decoder = decoders.WordPiece(prefix=_CONTINUED, cleanup=False)

    def spell(self, framed: NDArray[np.int32]) -> str:
        """
        Write a window as a text that is no longer than a window when it is read again.

        Args:
            framed: Ids with the special tokens around them.
        """
        content = self._encoder.unframe(framed)
        text = self._text(content)
        longest = self._encoder.content_tokens
        while len(content) > max(longest - SPARE_TOKENS, 0):
            [read] = self._encoder.tokenize([text], purpose=None)
            if len(read) <= longest:
                break
            content = content[: len(content) - (len(read) - longest)]
            text = self._text(content)
        return text or NO_TEXT

    def _text(self, content: NDArray[np.int32]) -> str:
        text: str = self._tokenizer.decode(content.tolist(), skip_special_tokens=False)
        return text.removeprefix(_CONTINUED) if self._is_word_pieces else text
