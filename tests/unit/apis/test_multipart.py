"""Forms as they arrive: in any pieces, any order, too large, torn, or hostile."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence

import pytest
from starlette.exceptions import HTTPException

from milvane.apis.multipart import MAX_FIELD_BYTES, MAX_PARTS, Form, PartHead, read_form
from milvane.domain.errors import FileTooLarge, InvalidInput
from milvane.domain.files import StoredFile

MAX_BYTES = 50_000


class Sink:
    """Keeps what is written to it, up to a limit."""

    def __init__(self, fields: dict[str, str]) -> None:
        self.content = b""
        self.fields_before = fields

    async def write(self, piece: bytes) -> None:
        """Take the next bytes."""
        self.content += piece
        if len(self.content) > MAX_BYTES:
            raise FileTooLarge(max_bytes=MAX_BYTES)

    async def complete(self) -> StoredFile:
        """Do nothing: the reader completes no file."""
        raise AssertionError


def field(name: str, text: str) -> bytes:
    """Write a field."""
    return f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()


def file(name: str, content: bytes, file_name: str = "a.txt") -> bytes:
    """Write a file."""
    head = f'--B\r\nContent-Disposition: form-data; name="{name}"; filename="{file_name}"\r\n'
    return head.encode() + b"Content-Type: text/plain\r\n\r\n" + content + b"\r\n"


END = b"--B--\r\n"


async def pieces_of(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    """Let a body arrive."""
    for piece in pieces:
        yield piece


async def read(pieces: Sequence[bytes], kind: str = "multipart/form-data; boundary=B") -> Form:
    """Read a form whose files go to sinks."""

    async def open_file(_: PartHead, form: Form) -> Sink:
        return Sink(dict(form.fields))

    return await read_form(pieces_of(pieces), kind, open_file)


def sinks(form: Form) -> list[Sink]:
    """List where the files of a form went."""
    return [sink for _, sink in form.files if isinstance(sink, Sink)]


@pytest.mark.parametrize("seed", range(20))
async def test_form_is_the_same_in_any_pieces(seed: int) -> None:
    """Wherever the body is cut, fields and files are the same, also with the boundary in them."""
    content = b"x\r\n--B" + b"\r\n--\r\n" * 9 + bytes(range(256)).replace(b"\r\n--B", b"")
    content = content.replace(b"\r\n--B", b"\r\n-B")
    body = field("purpose", "bätch") + file("file", content) + field("after", "") + END
    chance = random.Random(seed)
    pieces = []
    while body:
        size = chance.choice([1, 2, 7, 100])
        pieces.append(body[:size])
        body = body[size:]
    form = await read(pieces)
    assert form.fields == {"purpose": "bätch", "after": ""}
    ((head, _),) = form.files
    assert head == PartHead("file", "a.txt")
    assert sinks(form)[0].content == content


@pytest.mark.parametrize("is_file_first", [True, False])
async def test_fields_may_come_before_or_after_the_file(is_file_first: bool) -> None:
    """Both orders are read; a file's owner sees the fields that came before it."""
    parts = [file("file", b"x"), field("purpose", "batch")]
    form = await read([*(parts if is_file_first else parts[::-1]), END])
    assert form.fields == {"purpose": "batch"}
    assert sinks(form)[0].fields_before == ({} if is_file_first else form.fields)


async def test_too_large_a_file_is_refused_before_its_end() -> None:
    """The rest of the body is not asked for once the file is too large."""
    asked = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked
        yield file("file", b"")[:-2]
        while True:
            asked += 1
            yield b"x" * 10_000

    async def open_file(_: PartHead, form: Form) -> Sink:
        return Sink(form.fields)

    with pytest.raises(HTTPException) as caught:
        await read_form(endless(), "multipart/form-data; boundary=B", open_file)
    assert caught.value.status_code == 413
    assert asked == MAX_BYTES // 10_000 + 1


@pytest.mark.parametrize(
    "body",
    [
        b"no form",
        field("a", "x"),
        file("a", b"x")[:-5],
        b"--B\r\nContent-Type: text/plain\r\n\r\nx\r\n" + END,
        field("a", "x" * (MAX_FIELD_BYTES + 1)) + END,
        field("a", "x") * (MAX_PARTS + 1) + END,
        b"--B\r\n\x00: x\r\n\r\nx\r\n" + END,
        b"",
    ],
)
async def test_what_is_no_form_is_refused(body: bytes) -> None:
    """A torn, endless or malformed body is the caller's mistake."""
    with pytest.raises(InvalidInput):
        await read([body])


@pytest.mark.parametrize("kind", ["", "application/json", "multipart/form-data", "multipart/mixed"])
async def test_other_bodies_are_refused(kind: str) -> None:
    """A body that does not say that it is a form is not read as one."""
    with pytest.raises(InvalidInput, match="multipart/form-data"):
        await read([file("file", b"x") + END], kind)
