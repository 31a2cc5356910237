"""The file of a vocabulary of token ids."""

from __future__ import annotations

import pytest

from milvane.inference.token_ids import parse_ranks


def test_ranks_are_read_by_id() -> None:
    """Whatever the order of its lines, each token stands at its id."""
    assert parse_ranks(b"Ig== 1\nIQ== 0\nwqA= 2\n") == [b"!", b'"', b"\xc2\xa0"]


@pytest.mark.parametrize("content", [b"IQ==\n", b"IQ== x\n", b"?? 0\n", b"IQ== 1\n", b"IQ== -1\n"])
def test_damaged_ranks_are_refused(content: bytes) -> None:
    """What is no table of ranks from 0 up is not taken for one."""
    with pytest.raises(ValueError, match=r"."):
        parse_ranks(content)
