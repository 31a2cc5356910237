"""How messages between the gateway and the Lite process become bytes, and are read again."""

from __future__ import annotations

import random

import pytest

from milvane.instances.lite.frames import (
    PART_BYTES,
    Assembler,
    Kind,
    cut,
    seal,
    seal_status,
    unseal,
    unseal_status,
)

LENGTHS = [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES, 500_000]


def test_envelope_is_read_as_it_was_written() -> None:
    """A method, metadata of both kinds and the request's bytes come out unchanged."""
    metadata = (("dbname", "médias"), ("trace-bin", bytes(range(256))), ("dbname", "again"))
    sealed = seal("/service/Method", metadata)
    assert unseal(sealed + b"\x00request\xff") == ("/service/Method", metadata, b"\x00request\xff")


def test_status_is_read_as_it_was_written() -> None:
    """A status keeps its name and its words."""
    assert unseal_status(seal_status("NOT_FOUND", "no “such” thing")) == (
        "NOT_FOUND",
        "no “such” thing",
    )


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("prefix", [b"", b"prefix", b"long" * PART_BYTES], ids=len)
def test_message_of_any_length_is_put_together_again(length: int, prefix: bytes) -> None:
    """Parts are no longer than agreed, and make the message that was cut."""
    body = random.Random(length).randbytes(length)
    frames = list(cut(7, Kind.RESPONSE, prefix, body))
    assert max(map(len, frames)) <= PART_BYTES + 13
    assembler = Assembler()
    found = [message for frame in frames for message in assembler.feed(frame)]
    assert found == [(7, Kind.RESPONSE, prefix + body)]


@pytest.mark.parametrize("seed", range(10))
def test_bytes_may_come_in_any_pieces(seed: int) -> None:
    """Where the stream is torn makes no difference, and messages of other calls pass between."""
    dice = random.Random(seed)
    messages = [(call, dice.randbytes(dice.choice(LENGTHS))) for call in range(6)]
    queues = [list(cut(call, Kind.REQUEST, b"", body)) for call, body in messages]
    stream = bytearray()
    while queues:
        queue = dice.choice(queues)
        stream += queue.pop(0)
        queues = [each for each in queues if each]
    assembler, found, position = Assembler(), [], 0
    while position < len(stream):
        step = dice.choice([1, 5, 13, 1000, 200_000])
        found += list(assembler.feed(bytes(stream[position : position + step])))
        position += step
    assert sorted(found) == [(call, Kind.REQUEST, body) for call, body in messages]


def test_withdrawn_half_of_a_message_is_forgotten() -> None:
    """A call that is withdrawn while its request is being sent is withdrawn, and no more."""
    assembler = Assembler()
    first, *_ = cut(3, Kind.REQUEST, b"", bytes(3 * PART_BYTES))
    assert list(assembler.feed(first)) == []
    withdrawal = b"".join(cut(3, Kind.WITHDRAWAL, b"", b""))
    assert list(assembler.feed(withdrawal)) == [(3, Kind.WITHDRAWAL, b"")]
    again = b"".join(cut(3, Kind.REQUEST, b"", b"short"))
    assert list(assembler.feed(again)) == [(3, Kind.REQUEST, b"short")]


def test_bytes_that_are_no_frames_are_refused() -> None:
    """A peer that says something else is not listened to."""
    with pytest.raises(ValueError, match="too long"):
        list(Assembler().feed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
