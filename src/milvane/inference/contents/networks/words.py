"""Tokenizers of families with two towers: transformers' own, and SentencePiece's file alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from milvane.domain.errors import Conflict


class HubWords:
    """What transformers reads from a folder; satisfies `Words`."""

    def __init__(self, folder: Path) -> None:
        """
        Read a tokenizer.

        Raises:
            Conflict: If there is none that can be read.
        """
        import transformers  # heavy: only when a network is opened

        self._lock = Lock()  # guards the tokenizer, whose settings each call may set
        try:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            self._before, self._after = self._find_frame()
        except Exception as error:  # the library raises many kinds
            raise Conflict(f"{folder} holds no tokenizer that can be read: {error}") from error

    @property
    def padding(self) -> int:
        """The id that fills up a text."""
        return int(self._tokenizer.pad_token_id or 0)

    @property
    def frame_tokens(self) -> int:
        """Special tokens around a text."""
        return len(self._before) + len(self._after)

    def split(self, texts: Sequence[str]) -> list[list[int]]:
        """Turn texts into ids; control tokens in them are letters."""
        if not texts:
            return []
        return [[*ids] for ids in self._encode(texts)]

    def frame(self, ids: Sequence[int]) -> list[int]:
        """Put special tokens around a text."""
        return [*self._before, *ids, *self._after]

    def _encode(self, texts: Sequence[str], *, add_special_tokens: bool = False) -> Any:
        with self._lock:
            return self._tokenizer(
                list(texts),
                add_special_tokens=add_special_tokens,
                split_special_tokens=True,
                truncation=False,
                padding=False,
                verbose=False,
            )["input_ids"]

    def _find_frame(self) -> tuple[list[int], list[int]]:
        inner = [*self._encode(["a"])[0]]
        framed = [*self._encode(["a"], add_special_tokens=True)[0]]
        for start in range(len(framed) - len(inner) + 1):
            if framed[start : start + len(inner)] == inner:
                return framed[:start], framed[start + len(inner) :]
        raise ValueError("its special tokens do not stand around a text")


class PieceWords:
    """
    M2-Encoder's: pieces of a SentencePiece file, runs of spaces written as a piece of their own.

    As ``tokenization_glm.py`` beside the published weights has it. Satisfies `Words`.
    """

    frame_tokens = 2

    def __init__(self, path: Path) -> None:
        """
        Read a tokenizer.

        Raises:
            Conflict: If it cannot be read, or SentencePiece is not here.
        """
        try:
            import sentencepiece  # part of the extra that networks need
        except ImportError as error:
            raise Conflict(
                "these weights need SentencePiece: pip install 'milvane[torch]'"
            ) from error
        try:
            self._pieces: Any = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise Conflict(f"{path} is not a tokenizer that can be read: {error}") from error
        self._first = int(self._pieces.PieceToId("[CLS]"))
        self._last = int(self._pieces.PieceToId("<|endoftext|>"))

    def split(self, texts: Sequence[str]) -> list[list[int]]:
        """Turn texts into ids."""
        return [[int(each) for each in self._pieces.EncodeAsIds(_spelled(text))] for text in texts]

    def frame(self, ids: Sequence[int]) -> list[int]:
        """Put special tokens around a text."""
        return [self._first, *ids, self._last]


def _spelled(text: str) -> str:
    for length in range(10, 1, -1):
        text = text.replace(" " * length, f"<|blank_{length}|>")
    return text
