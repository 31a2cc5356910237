"""The verbs of alerts, against a database of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from milvane.cli.main import app
from milvane.domain.errors import Conflict, InvalidInput, NotFound, UpstreamRejected
from webhooks import Webhook, running_webhook


@dataclass
class Line:
    """The command line, and the folder that it works on."""

    folder: Path

    def run(self, *arguments: str, typed: str = "") -> str:
        """Run a verb that succeeds; returns what it prints."""
        options = ["alerts", *arguments, "--data-dir", str(self.folder)]
        result = CliRunner().invoke(app, options, catch_exceptions=False, input=typed)
        assert result.exit_code == 0, result.output
        return result.output

    def read(self, *arguments: str, typed: str = "") -> Any:
        """Run a verb that prints JSON."""
        return json.loads(self.run(*arguments, "--json", typed=typed))


@pytest.fixture
def line(tmp_path: Path) -> Line:
    """Nothing is watched yet."""
    return Line(tmp_path)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """Somebody to tell."""
    with running_webhook() as webhook:
        yield webhook


def test_rule_is_created_silenced_and_deleted(line: Line) -> None:
    """With everything that a rule can have; a table for people, JSON for scripts."""
    assert line.read("list") == []
    limits = ["p99_s", ">", "0.5", "--resolve-at", "0.4", "--window", "5m", "--for", "2m"]
    chosen = ["--model", "text-embedding-v4", "--operation", "search", "--severity", "critical"]
    made = line.read("create", "Slow", *limits, *chosen)
    [rule] = line.read("list")
    assert (rule["rule_id"], rule["state"]) == (made["rule_id"], "quiet")
    condition = rule["condition"]
    assert (condition["threshold"], condition["resolve_threshold"]) == (0.5, 0.4)
    assert (condition["window_s"], condition["for_s"]) == (300, 120.0)
    assert (condition["models"], condition["operations"]) == (["text-embedding-v4"], ["search"])
    said = "p99_s > 0.5 over 300 s for 120 s of text-embedding-v4, search"
    assert said in line.run("list")
    assert "silent until" in line.run("silence", "Slow", "--for", "2h")
    assert line.read("list")[0]["silenced_until"]
    assert line.read("silence", rule["rule_id"], "--off")["silenced_until"] is None
    assert line.read("history", "--rule", "Slow") == []
    line.run("delete", "Slow")
    assert "no rules" in line.run("list")


def test_channel_is_added_tried_and_removed(line: Line, webhook: Webhook) -> None:
    """Its address comes from standard input, and is printed by nothing."""
    url = f"json://{webhook.address}/s3cret"
    added = line.run("channels", "add", "hook", typed=f"{url}\n")
    line.run("create", "Slow", "p99_s", ">", "0.5", "--channel", "hook")
    assert "taken the test" in line.run("test", "hook")
    assert webhook.titles == ["Milvane can reach you here"]
    listed = line.run("channels", "list")
    assert "json" in listed
    assert "s3cret" not in added + listed + line.run("list", "--json")
    with pytest.raises(Conflict, match="'Slow' names this channel"):
        line.run("channels", "remove", "hook")
    webhook.status = 500
    with pytest.raises(UpstreamRejected, match="500"):
        line.run("test", "hook")
    line.run("delete", "Slow")
    line.run("channels", "remove", "hook")
    assert line.read("channels", "list") == []


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["create", "a", "nothing", ">", "1"], InvalidInput),
        (["create", "a", "p99_s", "=", "1"], InvalidInput),
        (["create", "a", "p99_s", ">", "1", "--window", "7s"], InvalidInput),
        (["create", "a", "p99_s", ">", "1", "--channel", "nobody"], NotFound),
        (["delete", "nothing"], NotFound),
        (["silence", "nothing"], NotFound),
        (["test", "nobody"], NotFound),
        (["history", "--rule", "nothing"], NotFound),
    ],
)
def test_bad_order_is_told(line: Line, arguments: list[str], kind: type[Exception]) -> None:
    """And changes nothing."""
    with pytest.raises(kind):
        line.run(*arguments)
    assert line.read("list") == []
