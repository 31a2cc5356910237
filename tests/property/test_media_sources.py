"""Texts and media are told apart for all values."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from milvane.domain.contents import MediaPart
from milvane.domain.sources import read_part

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1)


@given(st.text())
@example("data:")
@example("https://\ud800")
def test_a_value_is_kept_or_stripped(value: str) -> None:
    """Whatever a value is taken for, not one character of it but white space is changed."""
    part = read_part(value)
    assert part is value or part == MediaPart(value.strip())


@given(st.sampled_from(["https://a.example/x", "https://a.example?y#z"]), WORDS)
@example("https://a.example/x", "ein Bild")
def test_a_text_with_an_address_stays_text(address: str, words: str) -> None:
    """Words beside an address make it a text, before it and after it."""
    for value in (f"{words} {address}", f"{address} {words}", f"{address}\n{address}"):
        assert read_part(value) is value
