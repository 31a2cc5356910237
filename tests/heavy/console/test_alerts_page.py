"""Alerts."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue

from browsing import NEEDS_CHROMIUM, Console

CLIENT = "playwright"
pytestmark = NEEDS_CHROMIUM


def test_alert_reaches_a_webhook(signed_in: Console) -> None:
    """A rule and a channel that are made here: it fires, and the channel is told."""
    told: Queue[bytes] = Queue()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.put(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Say nothing."""

    hook = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    page = signed_in.page
    signed_in.open("alerts")
    page.get_by_role("button", name="Add channel").click()
    page.get_by_label("Channel", exact=True).fill("hook")
    page.get_by_label("Address").fill(f"json://127.0.0.1:{hook.server_port}/told")
    page.locator("dialog button[type=submit]").click()
    page.locator("dialog").wait_for(state="detached")
    page.get_by_role("button", name="Send a test: hook").click()
    assert b"hook" in told.get(timeout=30)

    page.get_by_role("button", name="Create rule").click()
    page.get_by_label("Rule", exact=True).fill("too many calls")
    page.get_by_label("Watch", exact=True).select_option("queries_per_s")
    page.get_by_label("Operator").select_option(">=")
    page.get_by_label("Threshold", exact=True).fill("0")
    page.get_by_label("Fires after").select_option("0")
    page.locator("dialog button[type=submit]").click()
    signed_in.row("too many calls").get_by_text("Firing").first.wait_for()
    assert b"too many calls" in told.get(timeout=60)
    hook.shutdown()
    hook.server_close()
