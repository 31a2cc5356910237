"""Bodies that a server compressed though it was not asked to: expanded bit by bit."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from milvane.domain.errors import MediaRejected

_PIECE_BYTES = 256 * 1024
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class Expander:
    """Expands a body while it arrives, never more of it at once than a piece."""

    def __init__(self, encoding: str) -> None:
        """
        Begin.

        Raises:
            MediaRejected: If it is an encoding that is not expanded here.
        """
        name = encoding.strip().lower()
        if name not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise MediaRejected("its server sends it in a coding that was not asked for")
        is_plain = name in ("", "identity")
        self._inflater = None if is_plain else zlib.decompressobj(_GZIP_OR_ZLIB)

    def expand(self, received: bytes) -> Iterator[bytes]:
        """
        Give the bytes that come out of the next ones.

        Raises:
            MediaRejected: If they are damaged.
        """
        if self._inflater is None:
            yield received
            return
        while received:
            try:
                piece = self._inflater.decompress(received, _PIECE_BYTES)
            except zlib.error as error:
                raise MediaRejected("what its server sends compressed is damaged") from error
            received = self._inflater.unconsumed_tail
            if piece:
                yield piece

    def finish(self) -> None:
        """
        End.

        Raises:
            MediaRejected: If something is missing.
        """
        if self._inflater is not None and not self._inflater.eof:
            raise MediaRejected("what its server sends compressed is damaged")
