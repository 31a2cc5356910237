"""A webhook on this machine, as a channel of alerts sees it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Webhook(ThreadingHTTPServer):
    """Takes what is sent to it, or refuses it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.status = 200
        """What is answered."""
        self.messages: list[dict[str, Any]] = []
        """What was taken."""
        self.refused = 0
        """How many were not taken."""
        self.answering = threading.Event()
        """Answers wait for it."""
        self.answering.set()
        self.changed = threading.Condition()  # guards the two above

    @property
    def address(self) -> str:
        """Where it is, without a scheme."""
        return f"127.0.0.1:{self.server_port}"

    @property
    def titles(self) -> list[str]:
        """How what was taken is headed."""
        with self.changed:
            return [message["title"] for message in self.messages]

    def wait_for(self, count: int, *, timeout_s: float) -> list[dict[str, Any]]:
        """Wait until so many were taken; returns all of them."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.messages) >= count, timeout_s), (
                self.messages
            )
            return list(self.messages)


class _Receiver(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        """Take a message, or refuse it."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.answering.wait()
        with self.server.changed:
            status = self.server.status
            if status == 200:
                self.server.messages.append(json.loads(body))
            else:
                self.server.refused += 1
            self.server.changed.notify_all()
        self.send_response(status)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Stay quiet."""


@contextmanager
def running_webhook() -> Iterator[Webhook]:
    """Listen while the context is open."""
    with Webhook() as webhook:
        thread = threading.Thread(target=webhook.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield webhook
        finally:
            webhook.answering.set()
            webhook.shutdown()
            thread.join()
