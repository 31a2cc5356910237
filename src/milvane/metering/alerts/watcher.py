"""
The component that looks at the rules again and again, and tells whoever is to be told.

Several servers may share a database: one of them looks, for as long as it holds a row, and what a
look comes to is written only while it still does. A notification is written in the transaction that
makes it necessary and sent afterwards, by whichever server takes it; so neither a restart nor a
second server tells anything twice. Only a server that dies between the channel's answer and writing
it down leaves a notification that is sent again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType

import anyio
from sqlalchemy import Connection
from typing_extensions import Self

from milvane.domain.errors import ServiceError
from milvane.metering.alerts import episodes, shelf
from milvane.metering.alerts.episodes import Delivery, Outcome
from milvane.metering.alerts.notifying import send
from milvane.metering.alerts.rules import Condition, Rule, Watched
from milvane.metering.alerts.settings import AlertSettings
from milvane.metering.alerts.states import AlertState, Standing, advance
from milvane.metering.alerts.turn import release_turn, take_turn
from milvane.metering.alerts.watching import query_of, quota_value, value_of
from milvane.metering.reports import UsageReports
from milvane.storage.database import Database

LOG = logging.getLogger(__name__)

QuotaShares = Callable[[], Mapping[str, float]]
"""Says how full each month's quota is, by its kind and name, such as ``tenant:north``."""

_THREADS = 16
_STOP_S = 15.0
"""So long a stop waits for notifications that are on their way."""
_SWEEP_INTERVAL = timedelta(hours=1)
_TURN_S, _TURN_LOOKS = 5.0, 3
"""A turn lasts so many seconds or looks, whichever is longer: what a crash costs at most."""
_PAUSE_S, _PAUSE_LOOKS = 30.0, 6
"""With so much time or so many looks between two, waiting begins anew."""


class AlertWatcher:
    """Watches between entering and leaving its context."""

    def __init__(
        self,
        database: Database,
        reports: UsageReports,
        settings: AlertSettings,
        quota_shares: QuotaShares,
        *,
        lag_s: float,
        clock: Callable[[], datetime],
    ) -> None:
        """
        Say what it stands on.

        Args:
            database: Where rules and history are; may be shared with other servers.

            reports: Knows what was used.

            settings: How often to look, and how hard to try.

            quota_shares: Knows how full quotas are.

            lag_s: What usage takes at most to come into the ledger.

            clock: Tells the time of day.
        """
        self._database = database
        self._reports = reports
        self._settings = settings
        self._quota_shares = quota_shares
        self._lag = timedelta(seconds=lag_s)
        self._clock = clock
        self._name = secrets.token_hex(8)
        self._swept_at: datetime | None = None
        self._sending: dict[str, asyncio.Task[None]] = {}
        """By the channel: one notification at a time."""
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="alerts")
        self._loop_task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to look."""
        self._loop_task = asyncio.create_task(self._run(), name="alert-watcher")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop looking, and let another server; what is on its way may arrive."""
        with anyio.CancelScope(shield=True):
            if self._loop_task is not None:
                self._loop_task.cancel()
                await asyncio.gather(self._loop_task, return_exceptions=True)
            if self._sending:
                await asyncio.wait(self._sending.values(), timeout=_STOP_S)
            try:
                release = partial(release_turn, name=self._name, now=self._clock())
                await self._database.write(release)
            except ServiceError as failure:
                LOG.warning("another server looks at alerts a little later: %s", failure)
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def look(self) -> bool:
        """
        Look at all rules once, and have told what is to be told; nothing is sent yet.

        Returns:
            Whether it was this server's turn.

        Raises:
            UpstreamUnavailable: If the database does not answer.
        """
        now = self._clock()
        if not await self._database.write(partial(self._take_turn, now=now)):
            return False
        rules = await self._database.read(shelf.list_rules)
        watched = [rule for rule in rules if rule.is_enabled]
        values = {rule.rule_id: await self._measure(rule.condition, now) for rule in watched}
        if watched:
            await self._database.write(partial(self._judge, watched, values, now))
        return True

    async def tell(self) -> None:
        """
        Begin to send what waits and is due, one notification for each channel.

        Raises:
            UpstreamUnavailable: If the database does not answer.
        """
        now = self._clock()
        for delivery in await self._database.read(episodes.oldest_waiting):
            if delivery.due_at <= now and delivery.channel_id not in self._sending:
                task = asyncio.create_task(self._tell_channel(delivery), name="alert-delivery")
                self._sending[delivery.channel_id] = task

    async def settled(self) -> None:
        """Wait until nothing is on its way."""
        while self._sending:
            await asyncio.wait(list(self._sending.values()))

    def _take_turn(self, connection: Connection, now: datetime) -> bool:
        lasts_s = max(_TURN_S, _TURN_LOOKS * self._settings.interval_s)
        return take_turn(connection, self._name, now, lasts_s=lasts_s)

    async def _measure(self, condition: Condition, now: datetime) -> float | None:
        if condition.watched is Watched.QUOTA_SHARE:
            return quota_value(condition, self._quota_shares())
        step_s, curves = await self._reports.curves(query_of(condition, now - self._lag))
        return value_of(condition, curves[0], step_s)

    def _judge(
        self,
        rules: Sequence[Rule],
        values: Mapping[str, float | None],
        now: datetime,
        connection: Connection,
    ) -> None:
        """Write down what a look has come to, if it is still this server's to write."""
        if not self._take_turn(connection, now):
            return
        current = {rule.rule_id: rule for rule in shelf.list_rules(connection)}
        standings = shelf.read_standings(connection)
        pause_s = max(_PAUSE_S, _PAUSE_LOOKS * self._settings.interval_s)
        for seen in rules:
            rule = current.get(seen.rule_id)
            if rule is None or not rule.is_enabled or rule.condition != seen.condition:
                continue  # changed since it was looked at: the next look is about what it is now
            before, episode = standings.get(rule.rule_id, (None, None))
            value = values[rule.rule_id]
            after = advance(before, rule.condition, value, now, max_pause_s=pause_s)
            record(connection, rule, before, after, episode)

    async def _tell_channel(self, delivery: Delivery) -> None:
        try:
            more: Delivery | None = delivery
            while more is not None:
                more = await self._send(more)
        except ServiceError as error:
            LOG.warning("a notification waits for the database: %s", error)
        except Exception:  # one channel must not end the others; it is tried again
            LOG.exception("unexpected failure while sending a notification")
        finally:
            del self._sending[delivery.channel_id]

    async def _send(self, delivery: Delivery) -> Delivery | None:
        """Send a notification; returns the next one for the channel, if that is due."""
        claim = partial(episodes.claim, delivery=delivery, now=self._clock())
        if not await self._database.write(claim):
            return None
        error = await self._try(delivery)
        settle = partial(
            episodes.settle,
            delivery=delivery,
            error=error,
            settings=self._settings,
            now=self._clock(),
        )
        outcome = await self._database.write(settle)
        facts = (delivery.state.value, delivery.channel, outcome.value, error or "-")
        level = logging.INFO if outcome is Outcome.SENT else logging.WARNING
        LOG.log(level, "notification state=%s channel=%r outcome=%s error=%r", *facts)
        now = self._clock()
        for waiting in await self._database.read(episodes.oldest_waiting):
            if waiting.channel_id == delivery.channel_id and waiting.due_at <= now:
                return waiting
        return None

    async def _try(self, delivery: Delivery) -> str:
        try:
            url = await self._database.read(
                partial(shelf.read_address, channel_id=delivery.channel_id)
            )
            await asyncio.get_running_loop().run_in_executor(
                self._executor,
                partial(
                    send,
                    url,
                    title=delivery.title,
                    body=delivery.body,
                    severity=delivery.severity,
                    state=delivery.state,
                ),
            )
        except ServiceError as error:
            return error.message
        return ""

    async def _run(self) -> None:
        while True:
            try:
                if await self.look():
                    await self.sweep()
                await self.tell()
            except ServiceError as error:
                LOG.warning("alerts are not looked at: %s", error)
            except Exception:  # watching outlives whatever one look met
                LOG.exception("unexpected failure while looking at alerts")
            await asyncio.sleep(self._settings.interval_s)

    async def sweep(self) -> None:
        """Forget history that has been kept for long enough, once an hour."""
        now = self._clock()
        if self._swept_at is None or now - self._swept_at >= _SWEEP_INTERVAL:
            before = now - timedelta(seconds=self._settings.history_kept_s)
            await self._database.write(partial(episodes.forget_episodes, before=before))
            self._swept_at = now


def record(
    connection: Connection,
    rule: Rule,
    before: Standing | None,
    after: Standing,
    episode: int | None,
) -> None:
    """
    Write down how a rule stands, and what follows from it.

    Args:
        connection: In a transaction.

        rule: What is watched.

        before: How it stood.

        after: How it stands.

        episode: The number of its episode, if it fired before.
    """
    now = after.looked_at
    was_firing = before is not None and before.state is AlertState.FIRING
    if after.state is AlertState.FIRING:
        if not was_firing or episode is None:
            is_waiting = before is not None and before.state is AlertState.PENDING
            pending_at = before.since if before is not None and is_waiting else after.since
            episode = episodes.open_episode(connection, rule, after, pending_at)
        if not after.is_announced and not rule.is_silent(now):
            episodes.announce(connection, rule, after, episode, now)
            after = replace(after, is_announced=True)
    elif was_firing and episode is not None:
        episodes.close_episode(connection, rule, after, episode, now)
        episode = None
    shelf.write_standing(connection, rule.rule_id, after, episode)
