"""Texts and media are told apart for all values."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from milvane.domain.contents import MediaPart
from milvane.domain.sources import read_part

ADDRESSES = st.sampled_from(["https://a.example/x", "s3://b/k", "data:image/png;base64,AA"])


@given(st.text())
@example("data:")
@example("https://\ud800")
def test_a_value_is_kept_or_stripped(value: str) -> None:
    """Whatever a value is taken for, not one character of it but white space is changed."""
    part = read_part(value)
    assert part is value or part == MediaPart(value.strip())


@given(ADDRESSES, st.text(min_size=1).filter(str.strip))
@example("https://a.example/x", "ein Bild")
def test_a_text_with_an_address_stays_text(address: str, words: str) -> None:
    """Words beside an address make it a text."""
    for value in (f"{words} and {address}", f"{address.split(';')[0]} {words}"):
        if not value.lower().lstrip().startswith(("http", "s3", "oss", "data")):
            assert read_part(value) is value
    assert read_part(f"https://a.example/x {words}") != MediaPart("https://a.example/x")
