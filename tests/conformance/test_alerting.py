"""An alert on a real server, from a rule made through the API to a message at a webhook."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import run
from typing import Any

import httpx
import openai
import pytest

from milvane.testing.servers import MilvaneProcess
from webhooks import Webhook, running_webhook

QUICKLY = {
    "MILVANE_METERING__FOLD_INTERVAL_S": "0.2",
    "MILVANE_CONTROL__POLL_INTERVAL_S": "0.1",
    "MILVANE_ALERTS__INTERVAL_S": "0.2",
    "MILVANE_SERVER__LOG_LEVEL": "DEBUG",
}
BUSY = {
    "watched": "queries_per_s",
    "operator": ">",
    "threshold": 0,
    "window_s": 10,
    "resolve_for_s": 0,
    "operations": ["api"],
}


class Operated:
    """A server, and a client that may manage it."""

    def __init__(self, folder: Path, server: MilvaneProcess) -> None:
        self.server = server
        command = [sys.executable, "-m", "milvane.cli", "keys", "create", "ops"]
        command += ["--scope", "manage", "--data-dir", str(folder)]
        made = run(command, capture_output=True, text=True, check=True)
        self._secret = made.stdout.split()[0]

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Make a request to the management API, tried until the key is known."""
        until = time.monotonic() + 10
        while True:
            reply = httpx.request(
                method,
                f"{self.server.http_url}/manage/v1/alerts{path}",
                headers={"authorization": f"Bearer {self._secret}"},
                timeout=30,
                **options,
            )
            if reply.status_code != 401 or time.monotonic() > until:
                return reply

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """Make a request that succeeds; returns its answer."""
        reply = self.call(method, path, **options)
        assert reply.is_success, reply.text
        return reply.json() if reply.content else None


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    """A server that folds and looks often, and writes everything into its log."""
    folder = tmp_path_factory.mktemp("alerting") / "data"
    with MilvaneProcess(folder, environment=QUICKLY) as server:
        yield Operated(folder, server)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """Somebody to tell."""
    with running_webhook() as webhook:
        yield webhook


def wait_until_sent(operated: Operated) -> None:
    """Wait until the server has written down that somebody was told."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        episodes = operated.ask("GET", "/history")["episodes"]
        if episodes and all(each["outcome"] == "sent" for each in episodes[0]["deliveries"]):
            return
    raise AssertionError(operated.ask("GET", "/history"))


def test_alert_fires_and_is_over_at_a_webhook(operated: Operated, webhook: Webhook) -> None:
    """Each is told once, although the server is killed in between; no log has the address."""
    hook = {"name": "hook", "url": f"json://{webhook.address}/s3cret-path"}
    assert operated.ask("POST", "/channels", json=hook)["kind"] == "json"
    operated.ask("POST", "/rules", json={"name": "Somebody calls", "condition": BUSY})
    with openai.OpenAI(base_url=f"{operated.server.http_url}/v1", api_key="none") as client:
        client.embeddings.create(model="text-embedding-v4", input="hello")
    webhook.wait_for(1, timeout_s=60)
    wait_until_sent(operated)
    operated.server.kill()
    operated.server.start()
    messages = webhook.wait_for(2, timeout_s=60)
    assert [message["title"] for message in messages] == [
        "[firing] Somebody calls",
        "[resolved] Somebody calls",
    ]
    wait_until_sent(operated)
    [episode] = operated.ask("GET", "/history")["episodes"]
    assert episode["fired_value"] == 0.1
    assert episode["resolved_at"] > episode["fired_at"]
    assert operated.ask("GET", "/rules/Somebody calls")["state"] == "resolved"
    assert "s3cret" not in operated.server.log.read_text()
    operated.ask("DELETE", "/rules/Somebody calls")
    operated.ask("DELETE", "/channels/hook")
    assert len(webhook.titles) == 2


def test_rules_are_made_changed_silenced_and_removed(operated: Operated) -> None:
    """What is shown can be sent back changed."""
    choices = operated.ask("GET", "/choices")
    assert "p99_s" in choices["watched"]
    assert "{rule}" in choices["title"]
    body = {"name": "Quiet", "condition": BUSY | {"threshold": 1e9}, "severity": "info"}
    rule = operated.ask("POST", "/rules", json=body)
    assert (rule["state"], rule["is_silent"], rule["channels"]) == ("quiet", False, [])
    path = f"/rules/{rule['rule_id']}"
    body["condition"] = rule["condition"] | {"models": ["text-embedding-v4"], "for_s": 60}
    assert operated.ask("PUT", path, json=body)["condition"] == body["condition"]
    assert operated.call("POST", "/rules", json=body).status_code == 409
    assert operated.ask("PUT", f"{path}/silence", json={"for_s": 60})["is_silent"] is True
    assert operated.ask("DELETE", f"{path}/silence")["silenced_until"] is None
    assert operated.call("PUT", f"{path}/silence", json={}).status_code == 400
    assert [each["name"] for each in operated.ask("GET", "/rules")["rules"]] == ["Quiet"]
    operated.ask("DELETE", path)
    assert operated.call("GET", path).status_code == 404


@pytest.mark.parametrize(
    ("changes", "parameter"),
    [
        ({"watched": "weather"}, "watched"),
        ({"threshold": "much"}, "threshold"),
        ({"window_s": 7}, "window_s"),
        ({"resolve_threshold": 1}, "resolve_threshold"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_bad_rule_is_told_by_name(
    operated: Operated, changes: dict[str, object], parameter: str
) -> None:
    """And is not kept."""
    body = {"name": "Bad", "condition": BUSY | changes}
    reply = operated.call("POST", "/rules", json=body)
    assert (reply.status_code, reply.json()["error"]["kind"]) == (400, "invalid_input")
    error = reply.json()["error"]
    assert parameter in error["message"] + error["parameter"]
    assert operated.ask("GET", "/rules") == {"rules": []}


def test_channel_is_tried_and_never_shown(operated: Operated, webhook: Webhook) -> None:
    """The button says whether the channel took it; an address can only be replaced."""
    body = {"name": "hook", "url": f"json://{webhook.address}/s3cret"}
    channel = operated.ask("POST", "/channels", json=body)
    path = f"/channels/{channel['channel_id']}"
    assert operated.ask("POST", f"{path}/test") == {"is_sent": True, "error": ""}
    assert webhook.titles == ["Milvane can reach you here"]
    webhook.status = 503
    refused = operated.ask("POST", f"{path}/test")
    assert (refused["is_sent"], "503" in refused["error"]) == (False, True)
    renamed = operated.ask("PUT", path, json={"name": "door"})
    assert renamed["name"] == "door"
    listed = operated.call("GET", "/channels")
    assert "s3cret" not in listed.text
    assert listed.json()["channels"] == [renamed]
    bad = operated.call("POST", "/channels", json={"name": "bad", "url": "nothing://s3cret"})
    assert (bad.status_code, "s3cret" in bad.text) == (400, False)
    operated.ask("DELETE", path)
    assert operated.call("POST", f"{path}/test").status_code == 404
