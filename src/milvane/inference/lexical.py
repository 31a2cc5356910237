"""
Sparse vectors from words alone: BM25 weights over a tokenizer's terms. Pure.

The product of a query's vector and a document's is the document's BM25 score for the query
(Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009, equation
3.15, with its query-side saturation). `docs/explanation/sparse.md` has the formula and its reasons.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from milvane.domain.models import Purpose
from milvane.domain.vectors import SparseVector

# These make part of every stored vector: another value here is another kind of vector.
SATURATION = 1.2
"""BM25's k1: how soon further occurrences in a document stop to count."""
LENGTH_SHARE = 0.75
"""BM25's b: how much of a document's length is held against it."""
QUERY_SATURATION = 8.0
"""BM25's k3: the same as k1 for a query, where repetition is rarely an accident."""
AVERAGE_TERMS = 100
"""The length of an ordinary document, in terms: a vector may not depend on the collection."""

ZIPF_SHIFT = 2.7
"""Mandelbrot's constant: the frequency of the term of rank r is proportional to 1 / (r + 2.7)."""
LETTER_RANK = 10
"""Rank of a single Latin letter or digit: vocabularies sort their alphabet by code point."""
CHARACTER_RANK = 1_000
"""Rank of another single character, most often a Chinese or Japanese one: that of a plain word."""

_SPECIAL = re.compile(r"\[[^\]]+\]|<[^>]+>")
_PIECE_MARKS = ("##", "\u2581", "\u0120")
_PIECE_MARK = re.compile("^(##|\u2581|\u0120)")
"""What WordPiece, SentencePiece and byte-level vocabularies put before a piece."""


def estimate_rarity(texts: Sequence[str]) -> NDArray[np.float32]:
    """
    Estimate BM25's inverse document frequency of each term without a collection.

    Vocabularies are written in the order in which training found their pieces, the most frequent
    first; Zipf's law turns that rank into a frequency, and that into the share of documents of
    average length that hold the term.

    Args:
        texts: Text of each token, by id.

    Returns:
        Shape ``(tokens,)``. Above 0, except 0 for what is no term: special tokens, and tokens
        without a letter or digit.
    """
    ranks = np.zeros(len(texts))
    next_rank = 1
    for token, text in enumerate(texts):
        if not _is_term(text):
            continue
        piece = _PIECE_MARK.sub("", text) if text.startswith(_PIECE_MARKS) else text
        if len(piece) == 1:
            ranks[token] = LETTER_RANK if piece.isascii() else CHARACTER_RANK
        else:
            ranks[token] = next_rank
            next_rank += 1
    known = ranks > 0
    scale = 1 / np.sum(1 / (np.arange(1, max(next_rank, 2)) + ZIPF_SHIFT))
    frequency = np.minimum(scale / (ranks[known] + ZIPF_SHIFT), 0.5)
    rarity = np.zeros(len(texts), np.float32)
    # The share of documents with the term is 1 - (1 - f)^L; BM25's idf of a share s tends to -ln s.
    rarity[known] = -np.log1p(-((1 - frequency) ** AVERAGE_TERMS))
    return rarity


def _is_term(text: str) -> bool:
    if text.isalnum():  # as most are
        return True
    if _SPECIAL.fullmatch(text):
        return False
    return any(character.isalnum() for character in text)


class Lexicon:
    """The terms of one tokenizer, and what each weighs. Nothing in it changes."""

    def __init__(self, texts: Sequence[str]) -> None:
        """
        Weigh a vocabulary.

        Args:
            texts: Text of each token, by id, without gaps.
        """
        self._texts = tuple(texts)
        # Half of the idf (its root) goes to each side, so that two documents compare well too:
        # the product is the same.
        self._root_rarity = np.sqrt(estimate_rarity(texts))

    def weigh(self, token_ids: NDArray[np.int32], purpose: Purpose) -> SparseVector:
        """
        Turn a tokenized text into weighted terms.

        Args:
            token_ids: Without special tokens; may repeat.

            purpose: Which side of a comparison the text is on.

        Returns:
            Indexes are token ids. Without terms if the text has none, such as punctuation alone.
        """
        terms, counts = np.unique(token_ids, return_counts=True)
        root_rarity = self._root_rarity[terms]
        kept = root_rarity > 0
        terms, counts, root_rarity = terms[kept], counts[kept], root_rarity[kept]
        saturated = _saturate_query(counts) if purpose is Purpose.QUERY else _saturate(counts)
        return SparseVector(
            indexes=terms.astype(np.uint32), values=(root_rarity * saturated).astype(np.float32)
        )

    def token_texts(self, indexes: NDArray[np.uint32]) -> list[str]:
        """Say the terms of a vector in the tokenizer's spelling."""
        return [self._texts[index] for index in indexes.tolist()]


def _saturate(counts: NDArray[np.intp]) -> NDArray[np.float64]:
    """Weigh occurrences in a document: they saturate, the sooner the shorter it is."""
    length = 1 - LENGTH_SHARE + LENGTH_SHARE * counts.sum() / AVERAGE_TERMS
    weights: NDArray[np.float64] = counts * (SATURATION + 1) / (counts + SATURATION * length)
    return weights


def _saturate_query(counts: NDArray[np.intp]) -> NDArray[np.float64]:
    weights: NDArray[np.float64] = counts * (QUERY_SATURATION + 1) / (counts + QUERY_SATURATION)
    return weights
