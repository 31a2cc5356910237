"""Multipart forms, read as they arrive: fields are kept, files go where the caller says."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException

from milvane.apis.ports import IncomingFile
from milvane.domain.errors import FileTooLarge, InvalidInput

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_PARTS = 64
MAX_FIELD_BYTES = 64 * 1024
FRAMING_BYTES = 1024 * 1024
"""What a form may have beside the content of its files."""


@dataclass(frozen=True, slots=True)
class PartHead:
    """What a part of a form is."""

    name: str
    file_name: str | None
    """None of a field; of a file, what its owner calls it."""


@dataclass(slots=True)
class Form:
    """What has been read so far."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[tuple[PartHead, IncomingFile]] = field(default_factory=list)


OpenFile = Callable[[PartHead, Form], Awaitable[IncomingFile]]
"""Says where the content of a file goes, given the fields that came before it."""


async def read_form(pieces: AsyncIterator[bytes], content_type: str, open_file: OpenFile) -> Form:
    """
    Read a form to its end.

    Args:
        pieces: The body as it arrives.

        content_type: The header of that name.

        open_file: Called at the beginning of each file.

    Raises:
        InvalidInput: If it is no such form.
        HTTPException: With status 413, as soon as a file is larger than it may be.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise InvalidInput("the body must be multipart/form-data, with a boundary")
    reader = _Reader(open_file)
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        async for piece in pieces:
            parser.write(piece)
            await reader.settle()
        parser.finalize()
    except MultipartParseError as error:
        raise InvalidInput(f"the form cannot be read: {error}") from error
    except FileTooLarge as error:
        raise HTTPException(413, f"Payload Too Large. {error.message}") from error
    if not reader.has_ended:
        raise InvalidInput("the form ends in the middle")
    return reader.form


@dataclass(slots=True)
class _Part:
    head: PartHead
    content: bytearray = field(default_factory=bytearray)
    """Not settled yet."""
    has_ended: bool = False
    file: IncomingFile | None = None


class _Reader:
    """Collects what the parser calls back with; `settle` does what has to be waited for."""

    def __init__(self, open_file: OpenFile) -> None:
        self.form = Form()
        self.has_ended = False
        self._open_file = open_file
        self._parts: list[_Part] = []
        self._begun = 0
        self._headers: dict[bytes, bytes] = {}
        self._header_name = bytearray()
        self._header_value = bytearray()

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._collect_name,
            "on_header_value": self._collect_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._collect,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    async def settle(self) -> None:
        for part in self._parts:
            if part.head.file_name is None:
                self._settle_field(part)
            else:
                await self._settle_file(part)
        self._parts = [part for part in self._parts if not part.has_ended]

    def _settle_field(self, part: _Part) -> None:
        if len(part.content) > MAX_FIELD_BYTES:
            raise InvalidInput(f"the field {part.head.name!r} is too long")
        if part.has_ended:
            self.form.fields[part.head.name] = part.content.decode("utf-8", "replace")

    async def _settle_file(self, part: _Part) -> None:
        if part.file is None:
            part.file = await self._open_file(part.head, self.form)
            self.form.files.append((part.head, part.file))
        if part.content:
            await part.file.write(bytes(part.content))
            part.content.clear()

    def _begin(self) -> None:
        self._begun += 1
        if self._begun > MAX_PARTS:
            raise InvalidInput(f"the form has more than {MAX_PARTS} parts")
        self._headers = {}

    def _collect_name(self, buffer: bytes, start: int, end: int) -> None:
        self._header_name += buffer[start:end]

    def _collect_value(self, buffer: bytes, start: int, end: int) -> None:
        self._header_value += buffer[start:end]

    def _end_header(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name")
        if name is None:
            raise InvalidInput("a part of the form has no name")
        file_name = options.get(b"filename")
        shown = None if file_name is None else _text(file_name)
        self._parts.append(_Part(PartHead(_text(name), shown)))

    def _collect(self, buffer: bytes, start: int, end: int) -> None:
        self._parts[-1].content += buffer[start:end]

    def _end_part(self) -> None:
        self._parts[-1].has_ended = True

    def _end(self) -> None:
        self.has_ended = True


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
