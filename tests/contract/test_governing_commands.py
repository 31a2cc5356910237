"""The verbs that govern, against a database of their own."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from milvane.cli.main import app
from milvane.control_plane import commands
from milvane.control_plane.commands import Change
from milvane.control_plane.operators import is_password
from milvane.domain.errors import Conflict, InvalidInput, NotFound
from milvane.domain.usage import Operation, Outcome, UsageKey, UsageRecord
from milvane.metering.recorder import UsageRecorder
from milvane.metering.settings import MeteringSettings
from milvane.storage.control_tables import OPERATORS
from milvane.storage.database import Database
from milvane.storage.files import utc_now
from milvane.storage.settings import StorageSettings


@dataclass
class Line:
    """The command line, and the folder that it works on."""

    folder: Path

    def run(self, *arguments: str, **environment: str) -> str:
        """Run a verb that succeeds; returns what it prints."""
        options = [*arguments, "--data-dir", str(self.folder)]
        result = CliRunner(env=environment).invoke(app, options, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    def read(self, *arguments: str) -> Any:
        """Run a verb that prints JSON."""
        return json.loads(self.run(*arguments, "--json"))

    def work(self, job: Any) -> None:
        """Change the database otherwise."""

        async def run() -> None:
            async with Database(StorageSettings(), self.folder) as database:
                await job(database)

        asyncio.run(run())


@pytest.fixture
def line(tmp_path: Path) -> Line:
    """Two services and two instances, nothing bound."""
    line = Line(tmp_path)

    def seed(change: Change) -> None:
        commands.offer_services(change, "local", ["text-embedding-v3", "text-embedding-v4"])
        commands.add_instance(change, "embedded", region="local", address="")
        commands.add_instance(change, "other", region="local", address="http://host:19530")

    line.work(lambda database: database.write(lambda c: seed(Change(c, "test", utc_now()))))
    return line


def test_service_is_disabled_and_enabled(line: Line) -> None:
    """By its model; a table for people, JSON for scripts."""
    assert "disabled" in line.run("services", "disable", "text-embedding-v4")
    listed = {each["model"]: each["is_enabled"] for each in line.read("services", "list")}
    assert listed == {"text-embedding-v3": True, "text-embedding-v4": False}
    assert "text-embedding-v4" in line.run("services", "list")
    line.run("services", "enable", "text-embedding-v4")
    assert all(each["is_enabled"] for each in line.read("services", "list"))


def test_instances_are_bound_and_unbound(line: Line) -> None:
    """By name or all of them; what is bound already is said."""
    assert "embedded" in line.run("associations", "bind", "text-embedding-v4", "embedded")
    assert "other" in line.run("associations", "bind", "text-embedding-v4", "--all")
    assert "already" in line.run("associations", "bind", "text-embedding-v4", "--all")
    line.run("associations", "unbind", "text-embedding-v4", "embedded")
    [service] = [e for e in line.read("services", "list") if e["model"] == "text-embedding-v4"]
    assert service["instances"] == ["other"]
    line.run("instances", "remove", "other")
    assert [each["name"] for each in line.read("instances", "list")] == ["embedded"]
    with pytest.raises(Conflict, match="the settings name the instance 'embedded'"):
        line.run("instances", "remove", "embedded")


def test_instance_is_added_with_a_token_that_nobody_is_shown(line: Line, tmp_path: Path) -> None:
    """It gets the next free port, may use what is named, and a second of the name is refused."""
    certificate = tmp_path / "ca.pem"
    certificate.write_text("-----BEGIN CERTIFICATE-----")
    options = ("--uri", "https://milvus.example.org:19530", "--bind", "text-embedding-v4")
    files = ("--ca-file", str(certificate))
    said = line.run(
        "instances", "add", "far", *options, *files, MILVANE_INSTANCE_TOKEN="root:s3cret"
    )
    assert said == "far is served at port 19531.\n"
    assert line.read("instances", "add", "bare", "--uri", "http://host:1", "--no-bind") == {
        "name": "bare",
        "grpc_port": 19532,
    }
    listed = {each["name"]: each for each in line.read("instances", "list")}
    assert (listed["far"]["is_added"], listed["far"]["has_token"]) == (True, True)
    assert (listed["bare"]["grpc_port"], listed["bare"]["has_token"]) == (19532, False)
    used = {each["model"]: each["instances"] for each in line.read("services", "list")}
    assert used == {"text-embedding-v3": [], "text-embedding-v4": ["far"]}
    assert "s3cret" not in line.run("instances", "list") + line.run("audit", "--json")
    assert "s3cret" not in (line.folder / "milvane.db").read_bytes().decode("latin-1")
    with pytest.raises(Conflict, match="there is an instance 'far' already"):
        line.run("instances", "add", "far", *options)
    with pytest.raises(InvalidInput, match="uri: must look like"):
        line.run("instances", "add", "bad", "--uri", "milvus:19530")
    with pytest.raises(InvalidInput, match="said by token"):
        line.run("instances", "add", "bad", "--uri", "http://root:s3cret@host:19530")
    for arguments in ([], ["embedded", "--all"]):
        with pytest.raises(InvalidInput, match="--all"):
            line.run("associations", "bind", "text-embedding-v4", *arguments)
    with pytest.raises(NotFound, match="nobody"):
        line.run("associations", "bind", "text-embedding-v4", "nobody")


def test_key_is_printed_once(line: Line) -> None:
    """And rotated and revoked by its id."""
    made = line.read("keys", "create", "laptop", "--tenant", "north", "--expires-in", "30d")
    assert made["secret"] not in line.run("keys", "list")
    assert made["scopes"] == ["embed", "milvus"]
    new = line.read("keys", "rotate", made["key_id"], "--overlap", "10m")
    assert new["tenant"] == "north"
    line.run("keys", "revoke", new["key_id"])
    listed = {each["key_id"]: each for each in line.read("keys", "list")}
    assert listed[made["key_id"]]["rotated_to"] == new["key_id"]
    assert "shown once" in line.run("keys", "create", "ci", "--scope", "manage")
    with pytest.raises(InvalidInput, match="embed, milvus, manage"):
        line.run("keys", "create", "ci", "--scope", "everything")


def test_quota_is_set_and_taken_away(line: Line) -> None:
    """Without any limit there is none."""
    association = ("association", "embedded/text-embedding-v4")
    line.run("quotas", "set", *association, "--tokens-per-month", "1000", "--shadow")
    [quota] = line.read("quotas", "list")
    assert (quota["kind"], quota["tokens_per_month"], quota["is_shadow"]) == (
        "association",
        1000,
        True,
    )
    line.run("quotas", "set", *association)
    assert line.read("quotas", "list") == []
    with pytest.raises(InvalidInput, match="key, tenant or association"):
        line.run("quotas", "set", "planet", "earth")


def test_password_is_set_without_a_server(line: Line) -> None:
    """For who has lost the first one; it is not an argument that others see."""
    line.run("operators", "set-password", "ann", MILVANE_OPERATOR_PASSWORD="a long password")
    hashes: list[str] = []

    async def look(database: Database) -> None:
        rows = await database.read(lambda c: c.execute(OPERATORS.select()).all())
        hashes.extend(row.password_hash for row in rows)

    line.work(look)
    assert is_password("a long password", hashes[0])
    with pytest.raises(InvalidInput, match="at least 10"):
        line.run("operators", "set-password", "ann", MILVANE_OPERATOR_PASSWORD="short")


def test_usage_is_told_in_numbers_and_money(line: Line) -> None:
    """By model unless asked otherwise; the price is the hosted model's."""

    async def record(database: Database) -> None:
        recorder = UsageRecorder(database, line.folder / "usage", MeteringSettings(), clock=utc_now)
        key = UsageKey("text-embedding-v4", "local", "embedded", Operation.INSERT, "north", "ann")
        async with recorder:
            for _ in range(2):
                recorder.record(
                    UsageRecord(key, utc_now(), 0.01, Outcome.SUCCESS, inputs=1, tokens=500_000)
                )

    line.work(record)
    [row] = line.read("usage", "--until", "2100-01-01", "--since", "2026-01-01", "--step", "26w")
    assert (row["model"], row["requests"], row["tokens"]) == ("text-embedding-v4", 2, 1_000_000)
    assert row["hosted_usd"] == pytest.approx(0.07)
    by = line.read("usage", "--by", "operation", "--since", "1h", "--until", "2100-01-01")
    assert [each["operation"] for each in by] == ["insert"]
    assert line.run("usage", "--instance", "nobody").strip() == "Nothing was used in that time."
    with pytest.raises(InvalidInput, match="colour"):
        line.run("usage", "--by", "colour")


def test_changes_are_in_the_audit_log(line: Line) -> None:
    """With who made them, newest first."""
    line.run("services", "disable", "text-embedding-v4")
    newest, *_ = line.read("audit", "--limit", "2")
    assert newest["action"] == "service.disable"
    assert newest["actor"].startswith("cli:")


def test_nothing_yet_is_said_in_a_sentence(tmp_path: Path) -> None:
    """A table without rows would say nothing."""
    line = Line(tmp_path / "fresh")
    assert "start the server once" in line.run("services", "list")
    assert line.read("keys", "list") == []
