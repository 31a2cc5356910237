"""The terms of a set of weights, read from its tokenizer."""

from __future__ import annotations

from pathlib import Path

from milvane.domain.catalogue import Weights
from milvane.domain.errors import Conflict
from milvane.inference.lexical import Lexicon
from milvane.inference.weights import find


def read_lexicon(weights: Weights, weights_dir: Path) -> Lexicon:
    """
    Read and weigh the vocabulary of a set of weights. Blocks for some tens of milliseconds.

    Raises:
        NotFound: If the set is not there; the message says how to get it.

        Conflict: If its tokenizer cannot be read.
    """
    from tokenizers import Tokenizer  # heavy: only when weights are loaded

    path = find(weights, weights_dir) / "tokenizer.json"
    try:
        vocabulary = Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True)
    except Exception as error:  # the library raises bare Exception
        raise Conflict(f"{path} is not a tokenizer that can be read: {error}") from error
    texts = [""] * (max(vocabulary.values(), default=-1) + 1)
    for text, token in vocabulary.items():
        texts[token] = text
    return Lexicon(texts)
