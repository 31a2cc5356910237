"""Texts to embed: made by a program, the same in every run."""

from __future__ import annotations

import random

TEXT = (
    "the of and to in a is that for it as was with be by on not he his but at are this have from "
    "or had an they which one you were all her she there would their we him been has when who will "
    "no more if out so said what up its about than into them can only other time new some could "
    "these two may first then do any like my now over such our man me even most made after also "
    "river mountain engine market garden letter window bridge summer winter science history music "
    "language computer network database vector search meaning question answer document knowledge "
    "company product customer service price order payment delivery support quality security system"
)
WORDS = TEXT.split(" ")


def texts(count: int, *, words: int, seed: int = 0) -> list[str]:
    """Make texts of about so many words, no two alike."""
    generator = random.Random(seed)
    return [
        f"{number} " + " ".join(generator.choices(WORDS, k=max(1, words - 1)))
        for number in range(count)
    ]


def skewed_texts(count: int, *, seed: int = 0) -> list[str]:
    """Make texts whose lengths have a long tail, about 45 words in the mean."""
    generator = random.Random(seed)
    lengths = [min(400, max(4, int(generator.lognormvariate(3.3, 1.0)))) for _ in range(count)]
    return [
        f"{number} " + " ".join(generator.choices(WORDS, k=length))
        for number, length in enumerate(lengths)
    ]
