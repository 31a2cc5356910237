"""A process that a file has taken over: it says to the server whatever the file has in it."""

from __future__ import annotations

import os
import socket
import sys

from milvane.media.decoding.exchange import receive_head, send_head


def main() -> None:
    """Answer every task with the bytes of its file."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    send_head(channel, {"is_ready": True})
    while True:
        _, files = receive_head(channel)
        with os.fdopen(files[0], "rb") as file:
            channel.sendall(file.read())


if __name__ == "__main__":
    main()
