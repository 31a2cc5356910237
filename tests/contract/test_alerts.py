"""Alerts, on SQLite, and on PostgreSQL where there is one; told to a real webhook."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from milvane.control_plane import commands
from milvane.control_plane.commands import Change
from milvane.domain.errors import Conflict, InvalidInput, NotFound, UpstreamRejected
from milvane.domain.usage import Operation, Outcome, UsageKey, UsageRecord
from milvane.metering.alerts import shelf
from milvane.metering.alerts.episodes import Episode, list_episodes
from milvane.metering.alerts.episodes import Outcome as Sent
from milvane.metering.alerts.notifying import send
from milvane.metering.alerts.rules import Condition, Operator, Severity, Watched
from milvane.metering.alerts.settings import AlertSettings
from milvane.metering.alerts.shelf import RuleOrder
from milvane.metering.alerts.states import AlertState
from milvane.metering.alerts.watcher import AlertWatcher
from milvane.metering.recorder import UsageRecorder
from milvane.metering.reports import UsageReports
from milvane.metering.settings import MeteringSettings
from milvane.storage.database import Database
from milvane.storage.settings import StorageSettings
from offices import FakeClock
from webhooks import Webhook, running_webhook

METERING = MeteringSettings(fold_interval_s=1e6)
SETTINGS = AlertSettings(interval_s=1e6, attempts=3, backoff_s=5.0)
BUSY = RuleOrder(
    "Busy",
    Condition(
        Watched.QUERIES_PER_S, Operator.ABOVE, 0.5, window_s=10, for_s=10.0, resolve_for_s=10.0
    ),
)
KEY = UsageKey("text-embedding-v4", "local", "default", Operation.INSERT, "north", "ann")


@dataclass
class Bench:
    """A ledger, rules, and the server that looks at them."""

    database: Database
    folder: Path
    clock: FakeClock
    shares: dict[str, float] = field(default_factory=dict)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[AlertWatcher]:
        """Run a server's watcher, which looks when it is told to."""
        reports = UsageReports(self.database, METERING, clock=self.clock)
        watcher = AlertWatcher(
            self.database, reports, SETTINGS, lambda: self.shares, lag_s=0.0, clock=self.clock
        )
        yield watcher
        await watcher.settled()
        await watcher.__aexit__(None, None, None)

    async def change(self, work: Any) -> Any:
        """Change something, as an operator does."""
        return await self.database.write(lambda c: work(Change(c, "ann", self.clock.now)))

    async def call(self, calls: int) -> None:
        """Have some calls end in the next ten seconds, and let these pass."""
        folder = self.folder / "usage"
        async with UsageRecorder(self.database, folder, METERING, clock=self.clock) as recorder:
            for _ in range(calls):
                record = UsageRecord(KEY, self.clock.now, 0.01, Outcome.SUCCESS, inputs=1, tokens=5)
                recorder.record(record)
            self.clock.advance(10)

    async def run(self, watcher: AlertWatcher, *steps: int) -> list[AlertState]:
        """Look after each ten seconds with so many calls, and send what is to be sent."""
        states = []
        for calls in steps:
            await self.call(calls)
            assert await watcher.look()
            await watcher.tell()
            await watcher.settled()
            states.append(await self.state())
        return states

    async def state(self) -> AlertState:
        """Say how the only rule stands."""
        [(standing, _)] = (await self.database.read(shelf.read_standings)).values()
        return standing.state

    async def history(self) -> list[Episode]:
        """List what has happened."""
        return await self.database.read(list_episodes)


@pytest.fixture
async def bench(database_url: SecretStr | None, tmp_path: Path) -> AsyncIterator[Bench]:
    """An empty database, at a time that is a whole minute."""
    clock = FakeClock()
    clock.now = clock.now.replace(second=0, microsecond=0)
    async with Database(StorageSettings(database_url=database_url), tmp_path) as database:
        yield Bench(database, tmp_path, clock)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """Somebody to tell."""
    with running_webhook() as webhook:
        yield webhook


async def add_webhook(bench: Bench, webhook: Webhook, name: str = "hook") -> str:
    """Make a channel to a webhook; returns its id."""
    url = f"json://{webhook.address}/s3cret-path?method=POST"
    made = await bench.change(partial(shelf.create_channel, name=name, url=url))
    return str(made.channel_id)


async def test_alert_fires_and_resolves_and_each_is_told_once(
    bench: Bench, webhook: Webhook
) -> None:
    """After having been broken, and well, for long enough."""
    await add_webhook(bench, webhook)
    await bench.change(partial(shelf.create_rule, order=BUSY))
    async with bench.watching() as watcher:
        states = await bench.run(watcher, 0, 9, 9, 9, 0, 9, 0, 0, 0)
    quiet, pending, firing, resolved = AlertState
    assert states == [quiet, pending, firing, firing, firing, firing, firing, resolved, resolved]
    assert webhook.titles == ["[firing] Busy", "[resolved] Busy"]
    assert [message["type"] for message in webhook.messages] == ["warning", "success"]
    assert "0.9 /s" in webhook.messages[0]["message"]
    [episode] = await bench.history()
    assert (episode.fired_value, episode.resolved_value) == (0.9, 0.0)
    assert episode.fired_at - episode.pending_at == timedelta(seconds=10)
    assert [each.outcome for each in episode.deliveries] == [Sent.SENT, Sent.SENT]


async def test_restart_tells_nothing_twice_and_forgets_nothing(
    bench: Bench, webhook: Webhook
) -> None:
    """States are in the database: the next process goes on where the last one was."""
    await add_webhook(bench, webhook)
    await bench.change(partial(shelf.create_rule, order=BUSY))
    for steps in ((9,), (9,), (9, 0), (0,), (0,)):
        async with bench.watching() as watcher:
            await bench.run(watcher, *steps)
    assert webhook.titles == ["[firing] Busy", "[resolved] Busy"]
    assert len(await bench.history()) == 1


async def test_of_several_servers_one_looks(bench: Bench, webhook: Webhook) -> None:
    """Another one does when that has ended, or has been silent for long enough."""
    await add_webhook(bench, webhook)
    await bench.change(partial(shelf.create_rule, order=BUSY))
    async with bench.watching() as first, bench.watching() as second:
        await bench.run(first, 9)
        assert not await second.look()
        await bench.run(first, 9)
        bench.clock.advance(1e7)
        assert await second.look()
        assert not await first.look()
        await first.tell()
        await second.tell()
    async with bench.watching() as third:
        assert await third.look()
    assert webhook.titles == ["[firing] Busy"]


async def test_channel_that_fails_holds_up_no_other(bench: Bench, webhook: Webhook) -> None:
    """It is tried again, each time later, and given up in the end; nothing overtakes."""
    with running_webhook() as broken:
        broken.status = 500
        await add_webhook(bench, broken, "broken")
        await add_webhook(bench, webhook, "good")
        await bench.change(partial(shelf.create_rule, order=BUSY))
        async with bench.watching() as watcher:
            await bench.run(watcher, 9, 9)
            assert (webhook.titles, broken.refused) == (["[firing] Busy"], 1)
            for wait_s, tried in ((4, 1), (1, 2), (9, 2), (1, 3), (1000, 3)):
                bench.clock.advance(wait_s)
                await watcher.tell()
                await watcher.settled()
                assert broken.refused == tried
        [episode] = await bench.history()
        failed, good = sorted(episode.deliveries, key=lambda each: each.outcome.value)
        assert (good.outcome, failed.outcome, failed.attempts) == (Sent.SENT, Sent.FAILED, 3)
        assert failed.error == "the json channel did not take it: it answered 500"


async def test_channel_that_hangs_holds_up_no_other(bench: Bench, webhook: Webhook) -> None:
    """Others are told while it does."""
    with running_webhook() as hanging:
        hanging.answering.clear()
        await add_webhook(bench, hanging, "hanging")
        await add_webhook(bench, webhook, "good")
        await bench.change(partial(shelf.create_rule, order=BUSY))
        async with bench.watching() as watcher:
            for _ in range(2):
                await bench.call(9)
                await watcher.look()
            await watcher.tell()
            await bench.database.run(partial(webhook.wait_for, 1, timeout_s=20))
            hanging.answering.set()
            await watcher.settled()
        assert hanging.titles == ["[firing] Busy"]


async def test_silence_tells_nobody_until_it_ends(bench: Bench, webhook: Webhook) -> None:
    """What still fires then is told then; what was over by then never is."""
    await add_webhook(bench, webhook)
    await bench.change(partial(shelf.create_rule, order=BUSY))

    async def silence(seconds: float | None) -> None:
        until = None if seconds is None else bench.clock.now + timedelta(seconds=seconds)
        await bench.change(partial(shelf.silence_rule, name="Busy", until=until))

    async with bench.watching() as watcher:
        await silence(1000)
        states = await bench.run(watcher, 9, 9, 0, 0)
        assert (states[1], states[3]) == (AlertState.FIRING, AlertState.RESOLVED)
        assert webhook.titles == []
        await silence(35)
        await bench.run(watcher, 9, 9, 9)
        assert webhook.titles == []
        await bench.run(watcher, 9)
        assert webhook.titles == ["[firing] Busy"]
        await silence(1000)
        await bench.run(watcher, 0, 0)
        assert webhook.titles == ["[firing] Busy", "[resolved] Busy"]
        await silence(None)
    with pytest.raises(InvalidInput, match="future"):
        await silence(-1)
    assert len(await bench.history()) == 2


@pytest.mark.parametrize("deletes", [True, False])
async def test_rule_that_goes_ends_what_it_began(
    bench: Bench, webhook: Webhook, deletes: bool
) -> None:
    """Whoever was told is told that it is over, whether it is deleted or switched off."""
    await add_webhook(bench, webhook)
    await bench.change(partial(shelf.create_rule, order=BUSY))
    async with bench.watching() as watcher:
        await bench.run(watcher, 9, 9)
        if deletes:
            await bench.change(partial(shelf.delete_rule, name="Busy"))
        else:
            off = RuleOrder("Busy", BUSY.condition, is_enabled=False)
            await bench.change(partial(shelf.change_rule, name="Busy", order=off))
        await watcher.look()
        await watcher.tell()
    assert webhook.titles == ["[firing] Busy", "[resolved] Busy"]
    [episode] = await bench.history()
    assert episode.resolved_at == bench.clock.now
    assert not await bench.database.read(shelf.read_standings)


async def test_rule_is_told_where_it_says(bench: Bench, webhook: Webhook) -> None:
    """In its own words; other channels are left alone."""
    with running_webhook() as other:
        await add_webhook(bench, other, "other")
        chosen = await add_webhook(bench, webhook, "chosen")
        order = RuleOrder(
            "Busy", BUSY.condition, Severity.CRITICAL, ["chosen"], "{rule}: {state}", "{value}!"
        )
        rule = await bench.change(partial(shelf.create_rule, order=order))
        assert rule.channels == [chosen]
        async with bench.watching() as watcher:
            await bench.run(watcher, 9, 9)
        assert other.titles == []
    [message] = webhook.messages
    assert (message["title"], message["message"]) == ("Busy: firing", "0.9 /s!")
    assert message["type"] == "failure"
    with pytest.raises(Conflict, match="'Busy' names this channel"):
        await bench.change(partial(shelf.delete_channel, name="chosen"))


async def test_quota_that_fills_up_fires(bench: Bench, webhook: Webhook) -> None:
    """As the control plane says."""
    await add_webhook(bench, webhook)
    watch = Condition(Watched.QUOTA_SHARE, Operator.AT_LEAST, 0.8, quotas=["tenant:north"])
    await bench.change(partial(shelf.create_rule, order=RuleOrder("Nearly spent", watch)))
    async with bench.watching() as watcher:
        bench.shares = {"tenant:north": 0.79, "tenant:south": 1.0}
        assert await bench.run(watcher, 0) == [AlertState.QUIET]
        bench.shares["tenant:north"] = 0.8
        assert await bench.run(watcher, 0) == [AlertState.FIRING]
    assert "80 %" in webhook.messages[0]["message"]


async def test_channel_without_any_rule_left_takes_its_notifications_along(bench: Bench) -> None:
    """What waits for a channel that is deleted is never sent."""
    with running_webhook() as webhook:
        webhook.status = 500
        await add_webhook(bench, webhook)
        await bench.change(partial(shelf.create_rule, order=BUSY))
        async with bench.watching() as watcher:
            await bench.run(watcher, 9, 9)
            await bench.change(partial(shelf.delete_channel, name="hook"))
            webhook.status = 200
            bench.clock.advance(1000)
            await watcher.tell()
        assert webhook.titles == []
    [episode] = await bench.history()
    assert episode.deliveries == ()


async def test_changes_are_in_the_audit_log_and_addresses_are_not(
    bench: Bench, webhook: Webhook
) -> None:
    """Every change has its entry; a channel is known by its kind."""
    await add_webhook(bench, webhook)
    await bench.change(partial(shelf.create_rule, order=BUSY))
    renamed = partial(shelf.change_channel, name="hook", to_name="door", url="json://h/s3cret")
    await bench.change(renamed)
    await bench.change(partial(shelf.delete_rule, name="Busy"))
    await bench.change(partial(shelf.delete_channel, name="door"))
    entries = await bench.database.read(commands.list_audit)
    assert [entry.action for entry in entries] == [
        "alert.channel.delete",
        "alert.delete",
        "alert.channel.change",
        "alert.create",
        "alert.channel.create",
    ]
    assert entries[-1].detail["kind"] == "json"
    assert "s3cret" not in repr(entries)


async def test_bad_orders_change_nothing(bench: Bench, webhook: Webhook) -> None:
    """A name twice, a channel that is not there, an address that nobody understands."""
    await add_webhook(bench, webhook)
    await bench.change(partial(shelf.create_rule, order=BUSY))
    for order, kind in (
        (BUSY, Conflict),
        (RuleOrder("Other", BUSY.condition, channels=["nobody"]), NotFound),
        (RuleOrder(" ", BUSY.condition), InvalidInput),
        (RuleOrder("Other", BUSY.condition, title="{nothing}"), InvalidInput),
    ):
        with pytest.raises(kind):
            await bench.change(partial(shelf.create_rule, order=order))
    for name, url, kind in (
        ("hook", f"json://{webhook.address}", Conflict),
        ("other", "nothing://here/s3cret", InvalidInput),
        ("other", "s3cret", InvalidInput),
        ("", "json://here", InvalidInput),
    ):
        with pytest.raises(kind) as failure:
            await bench.change(partial(shelf.create_channel, name=name, url=url))
        assert "s3cret" not in str(failure.value)
    assert len(await bench.database.read(shelf.list_rules)) == 1


async def test_history_is_kept_for_a_while(bench: Bench, webhook: Webhook) -> None:
    """What is over is forgotten in the end, with what was told of it."""
    await add_webhook(bench, webhook)
    await bench.change(partial(shelf.create_rule, order=BUSY))
    async with bench.watching() as watcher:
        await bench.run(watcher, 9, 9, 0, 0, 9, 9, 0, 0)
        newest, oldest = await bench.history()
        read = partial(list_episodes, limit=1, before=newest.number, rule_id=newest.rule_id)
        assert await bench.database.read(read) == [oldest]
        bench.clock.advance(SETTINGS.history_kept_s - 30)
        await watcher.sweep()
        assert await bench.history() == [newest]


def test_address_is_in_no_log(
    webhook: Webhook, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever the level, and whether the channel takes it, refuses it, or is not there."""
    addresses = [f"json://user:s3cret@{webhook.address}/s3cret", "json://127.0.0.1:1/s3cret"]
    words = {"title": "t", "body": "b", "severity": Severity.INFO, "state": AlertState.QUIET}
    with caplog.at_level(logging.DEBUG):
        send(addresses[0], **words)
        webhook.status = 403
        for address in addresses:
            with pytest.raises(UpstreamRejected) as failure:
                send(address, **words)
            assert "s3cret" not in str(failure.value)
    assert webhook.titles == ["t"]
    assert "s3cret" not in caplog.text + "".join(capfd.readouterr())
