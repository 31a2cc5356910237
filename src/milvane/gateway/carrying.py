"""
Bytes carried between a client and the server behind the port, by the event loop's own readers.

A client's end may be a TLS socket: what is read from it is decrypted and what is sent to it is
encrypted, by OpenSSL, in the same calls.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

WOULD_BLOCK = (BlockingIOError, InterruptedError)
"""Raised where a socket has nothing, or takes nothing, right now."""

_RECORD_BYTES = 16 * 1024
"""The longest plaintext of a TLS record (RFC 8446, section 5.1)."""
_LONG_RECORD_BYTES = 4 * 1024
"""After a record of so many bytes another is likely to be there."""


class Direction:
    """Carries bytes from one socket to another, and stops reading while the other is full."""

    def __init__(
        self,
        source: socket.socket,
        sink: socket.socket,
        buffer: memoryview,
        on_end: Callable[[Direction, bool], None],
    ) -> None:
        """
        Describe the direction; `start` begins to read.

        Args:
            source: Where bytes come from; not blocking.

            sink: Where they go; not blocking.

            buffer: One for all directions of a loop: what cannot be sent at once is copied out.

            on_end: Called once, with whether the source said its last byte in order.
        """
        self._loop = asyncio.get_running_loop()
        is_secured = isinstance(source, ssl.SSLSocket)
        self._receive_into = self._receive_records if is_secured else source.recv_into
        self._send = sink.send
        self._source, self._sink = source, sink
        self._buffer = buffer
        self._on_end = on_end
        self._held = memoryview(b"")
        self._is_over = False
        """Whether the source said its last byte, before the sink has taken all."""

    def start(self) -> None:
        """Carry what comes from now on."""
        self._loop.add_reader(self._source, self._carry)

    def stop(self) -> None:
        """Carry nothing more."""
        self._loop.remove_reader(self._source)
        if self._held:
            self._loop.remove_writer(self._sink)

    def _carry(self) -> None:
        try:
            count = self._receive_into(self._buffer)
        except (*WOULD_BLOCK, ssl.SSLWantReadError):
            return
        except OSError:
            count = -1
        if count <= 0:
            self._loop.remove_reader(self._source)
            self._on_end(self, count == 0)
            return
        try:
            sent = self._send(self._buffer[:count])
        except (*WOULD_BLOCK, ssl.SSLWantWriteError):
            sent = 0
        except OSError:
            self._on_end(self, False)  # noqa: FBT003 - a callback's only answer
            return
        if sent < count:
            self._held = memoryview(bytes(self._buffer[sent:count]))
            self._loop.remove_reader(self._source)
            self._loop.add_writer(self._sink, self._continue)
        elif self._is_over:
            self._loop.remove_reader(self._source)
            self._on_end(self, True)  # noqa: FBT003 - a callback's only answer

    def _receive_records(self, buffer: memoryview) -> int:
        """Decrypt all that has come: OpenSSL gives one record at a time, of 16 KiB at most."""
        received = total = self._source.recv_into(buffer)
        with suppress(*WOULD_BLOCK, ssl.SSLWantReadError):
            while received >= _LONG_RECORD_BYTES and len(buffer) - total >= _RECORD_BYTES:
                received = self._source.recv_into(buffer[total:])
                total += received
                # No selector tells of it again: the goodbye of TLS is not the socket's end.
                self._is_over = received == 0
        return total

    def _continue(self) -> None:
        try:
            self._held = self._held[self._send(self._held) :]
        except (*WOULD_BLOCK, ssl.SSLWantWriteError):
            return
        except OSError:
            self._on_end(self, False)  # noqa: FBT003 - a callback's only answer
            return
        if not self._held:
            self._loop.remove_writer(self._sink)
            if self._is_over:
                self._on_end(self, True)  # noqa: FBT003 - a callback's only answer
            else:
                self.start()


class Pair:
    """A client's connection and the one to its server: what one end does, the other sees."""

    def __init__(
        self,
        client: socket.socket,
        server: socket.socket,
        buffer: memoryview,
        on_close: Callable[[Pair], None],
    ) -> None:
        self._sockets = (client, server)
        self._on_close = on_close
        self._directions = {
            Direction(client, server, buffer, self._end): server,
            Direction(server, client, buffer, self._end): client,
        }
        self._open = set(self._directions)
        for direction in self._directions:
            direction.start()

    def _end(self, direction: Direction, in_order: bool) -> None:  # noqa: FBT001 - a callback
        self._open.discard(direction)
        if not in_order or not self._open:
            self.close()
            return
        if not say_goodbye(self._directions[direction]):
            self.close()

    def close(self) -> None:
        """Let go of both ends."""
        for direction in self._directions:
            direction.stop()
        for end in self._sockets:
            if isinstance(end, ssl.SSLSocket):
                say_goodbye(end)
            end.close()
        self._on_close(self)


def say_goodbye(end: socket.socket) -> bool:
    """
    Tell the other side that nothing more comes; what it still sends can be read.

    Returns:
        Whether it may still send something.
    """
    try:
        if isinstance(end, ssl.SSLSocket):
            with suppress(ssl.SSLWantReadError):  # ours is sent, the other side's is not here yet
                end.unwrap()
                return False
            # The class's own shutdown forgets that the socket is encrypted.
            socket.socket.shutdown(end, socket.SHUT_WR)
        else:
            end.shutdown(socket.SHUT_WR)
    except (OSError, ValueError):
        return False
    return True
