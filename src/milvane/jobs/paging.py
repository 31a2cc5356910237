"""A file as numbered lines, and lines as pages. Pure: whoever calls it reads the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from milvane.domain.jobs import NumberedLine

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class PageLimits:
    """What one page may hold."""

    max_lines: int
    max_bytes: int
    """Above it no further line is taken; one line alone may have more."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place between two lines of a file."""

    offset: int = 0
    """In bytes from the start."""
    line: int = 0
    """Number of the line that begins there."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some lines that follow each other, blank ones left out."""

    lines: tuple[NumberedLine, ...]
    end: Position
    """Where the next page begins."""


def split_lines(
    pieces: Iterable[bytes], *, start: Position, max_line_bytes: int
) -> Iterator[NumberedLine]:
    """
    Cut a file into lines, blank ones included, holding no more than one line and one piece.

    Args:
        pieces: The file's content from `start` on, cut anywhere.

        start: Where it begins.

        max_line_bytes: Of a longer line only one byte more than this is kept, which tells.
    """
    # One byte too many, after a byte order mark and a carriage return have been taken off.
    kept_bytes = max_line_bytes + 1 + len(_BYTE_ORDER_MARK) + 1
    kept = bytearray()
    position = start
    unread = 0  # bytes of the line at `position` that have been seen
    for piece in pieces:
        begin = 0
        while (end := piece.find(b"\n", begin)) >= 0:
            kept += piece[begin : min(end, begin + max(0, kept_bytes - len(kept)))]
            unread += end + 1 - begin
            position = Position(position.offset + unread, position.line + 1)
            yield _line(kept, position, max_line_bytes)
            kept, unread, begin = bytearray(), 0, end + 1
        kept += piece[begin : begin + max(0, kept_bytes - len(kept))]
        unread += len(piece) - begin
    if unread:
        position = Position(position.offset + unread, position.line + 1)
        yield _line(kept, position, max_line_bytes)


def take_page(lines: Iterable[NumberedLine], *, start: Position, limits: PageLimits) -> Page:
    """
    Take the next page from the front of a file's lines.

    Args:
        lines: As `split_lines` gives them from `start` on.

        start: Where they begin.

        limits: What a page may hold.

    Returns:
        A page; without lines only if there are none left that are not blank.
    """
    taken: list[NumberedLine] = []
    size_bytes = 0
    end = start
    for line in lines:
        if is_blank(line):
            end = Position(line.end_offset, line.number + 1)
            continue
        size_bytes += len(line.content)
        if taken and (len(taken) == limits.max_lines or size_bytes > limits.max_bytes):
            break
        taken.append(line)
        end = Position(line.end_offset, line.number + 1)
    return Page(tuple(taken), end)


def is_blank(line: NumberedLine) -> bool:
    """Say whether there is nothing but white space on a line."""
    return not line.content.strip()


def _line(kept: bytearray, end: Position, max_line_bytes: int) -> NumberedLine:
    number = end.line - 1
    content = bytes(kept).removesuffix(b"\r")
    if number == 0:
        content = content.removeprefix(_BYTE_ORDER_MARK)
    return NumberedLine(number, content[: max_line_bytes + 1], end.offset)
