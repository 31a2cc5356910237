"""Alerts: rules and how they stand, channels, history."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query

from milvane.apis.management.alerts_wire import (
    AlertChoices,
    ChannelAnswer,
    ChannelBody,
    ChannelChangeBody,
    ChannelList,
    EpisodeAnswer,
    EpisodeList,
    RuleAnswer,
    RuleBody,
    RuleList,
    SilenceBody,
    TrialAnswer,
)
from milvane.apis.management.bundle import ByManager, Management
from milvane.control_plane.commands import Change
from milvane.domain.errors import InvalidInput, UpstreamRejected
from milvane.domain.usage import Operation
from milvane.metering.alerts import shelf
from milvane.metering.alerts.episodes import MAX_EPISODES, list_episodes
from milvane.metering.alerts.notifying import check_address, send
from milvane.metering.alerts.rules import Channel, Operator, Rule, Severity, Watched
from milvane.metering.alerts.states import AlertState
from milvane.metering.alerts.wording import BODY, FIELDS, TITLE, word_trial


def alerts_router(management: Management) -> APIRouter:
    """Build the routes of alerts."""
    router = APIRouter(prefix="/alerts")
    _add_rules(router, management)
    _add_silences(router, management)
    _add_channels(router, management)
    _add_trial(router, management)
    _add_looks(router, management)
    return router


async def _show(management: Management, rule: Rule) -> RuleAnswer:
    standings = await management.plane.read(shelf.read_standings)
    standing, _ = standings.get(rule.rule_id, (None, None))
    return RuleAnswer.of(rule, standing, management.clock())


def _add_rules(router: APIRouter, management: Management) -> None:
    plane = management.plane

    @router.get("/rules")
    async def list_rules() -> RuleList:
        """List all rules by name, each with how it stands."""
        rules = await plane.read(shelf.list_rules)
        standings = await plane.read(shelf.read_standings)
        now = management.clock()
        none = (None, None)
        return RuleList(
            rules=[RuleAnswer.of(rule, standings.get(rule.rule_id, none)[0], now) for rule in rules]
        )

    @router.post("/rules", status_code=201)
    async def create_rule(body: RuleBody, manager: ByManager) -> RuleAnswer:
        """Watch something."""
        work = partial(shelf.create_rule, order=body.to_order())
        return await _show(management, await plane.change(manager.name, work))

    @router.get("/rules/{rule}")
    async def show_rule(rule: str) -> RuleAnswer:
        """Show a rule, named by its id or its name, and how it stands."""
        return await _show(management, await plane.read(partial(shelf.find_rule, name=rule)))

    @router.put("/rules/{rule}")
    async def change_rule(rule: str, body: RuleBody, manager: ByManager) -> RuleAnswer:
        """Set everything about a rule anew; a rule that is switched off ends what it began."""
        work = partial(shelf.change_rule, name=rule, order=body.to_order())
        return await _show(management, await plane.change(manager.name, work))

    @router.delete("/rules/{rule}", status_code=204)
    async def delete_rule(rule: str, manager: ByManager) -> None:
        """Watch something no more; its history stays."""
        await plane.change(manager.name, partial(shelf.delete_rule, name=rule))


def _add_silences(router: APIRouter, management: Management) -> None:
    plane = management.plane

    @router.put("/rules/{rule}/silence")
    async def silence_rule(rule: str, body: SilenceBody, manager: ByManager) -> RuleAnswer:
        """Tell nobody that a rule fires until a time; if it still does then, it is told then."""
        until = _end_of(body, management.clock())
        work = partial(shelf.silence_rule, name=rule, until=until)
        return await _show(management, await plane.change(manager.name, work))

    @router.delete("/rules/{rule}/silence")
    async def unsilence_rule(rule: str, manager: ByManager) -> RuleAnswer:
        """End a silence."""
        work = partial(shelf.silence_rule, name=rule, until=None)
        return await _show(management, await plane.change(manager.name, work))


def _end_of(body: SilenceBody, now: datetime) -> datetime:
    if (body.until is None) == (body.for_s is None):
        raise InvalidInput("say until when, or for how long: one of the two", parameter="until")
    if body.for_s is not None:
        return now + timedelta(seconds=body.for_s)
    until = body.until or now
    return until if until.tzinfo else until.replace(tzinfo=timezone.utc)


def _add_channels(router: APIRouter, management: Management) -> None:
    plane = management.plane

    @router.get("/channels")
    async def list_channels() -> ChannelList:
        """List all channels by name; an address is shown to nobody."""
        found = await plane.read(shelf.list_channels)
        return ChannelList(channels=[ChannelAnswer.of(channel) for channel in found])

    @router.post("/channels", status_code=201)
    async def create_channel(body: ChannelBody, manager: ByManager) -> ChannelAnswer:
        """Make a way to tell somebody; addresses inside your own network are allowed."""
        await asyncio.to_thread(check_address, body.url)  # loads much, once: in no transaction
        work = partial(shelf.create_channel, name=body.name, url=body.url)
        return ChannelAnswer.of(await plane.change(manager.name, work))

    @router.put("/channels/{channel}")
    async def change_channel(
        channel: str, body: ChannelChangeBody, manager: ByManager
    ) -> ChannelAnswer:
        """Give a channel, named by its id or its name, another name or address."""
        if body.url is not None:
            await asyncio.to_thread(check_address, body.url)
        work = partial(shelf.change_channel, name=channel, to_name=body.name, url=body.url)
        return ChannelAnswer.of(await plane.change(manager.name, work))

    @router.delete("/channels/{channel}", status_code=204)
    async def delete_channel(channel: str, manager: ByManager) -> None:
        """Tell nobody there any more."""
        await plane.change(manager.name, partial(shelf.delete_channel, name=channel))


def _add_trial(router: APIRouter, management: Management) -> None:
    plane = management.plane

    @router.post("/channels/{channel}/test")
    async def test_channel(channel: str, manager: ByManager) -> TrialAnswer:
        """Send a test to a channel now, and say whether it took it."""

        def work(change: Change) -> tuple[Channel, str]:
            found = shelf.find_channel(change.connection, channel)
            change.note("alert.channel.test", found.name, channel_id=found.channel_id)
            return found, shelf.read_address(change.connection, found.channel_id)

        found, url = await plane.change(manager.name, work)
        title, body, severity = word_trial(found.name)
        state = AlertState.QUIET
        try:
            await asyncio.to_thread(
                send, url, title=title, body=body, severity=severity, state=state
            )
        except (InvalidInput, UpstreamRejected) as error:
            return TrialAnswer(is_sent=False, error=error.message)
        return TrialAnswer(is_sent=True, error="")


def _add_looks(router: APIRouter, management: Management) -> None:
    @router.get("/history")
    async def show_history(
        limit: Annotated[int, Query(ge=1, le=MAX_EPISODES)] = 100,
        before: Annotated[int | None, Query(ge=1)] = None,
        rule: str | None = None,
    ) -> EpisodeList:
        """List alerts that fired, newest first, each with who was told."""
        found = await management.plane.read(
            partial(list_episodes, limit=limit, before=before, rule_id=rule)
        )
        return EpisodeList(episodes=[EpisodeAnswer.of(episode) for episode in found])

    @router.get("/choices")
    async def show_choices() -> AlertChoices:
        """List what a rule can be made of."""
        return AlertChoices(
            watched=list(Watched),
            operators=list(Operator),
            severities=list(Severity),
            operations=list(Operation),
            template_fields=FIELDS,
            title=TITLE,
            body=BODY,
        )
