"""The verbs of alerts: rules, channels, silences, history."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any

import typer

from milvane.cli.options import ConfigOption, DataDirOption, JsonOption

RuleArgument = Annotated[str, typer.Argument(help="A rule's id, or its name.")]
ChannelArgument = Annotated[str, typer.Argument(help="A channel's id, or its name.")]

alerts_app = typer.Typer(help="Alerts: rules on usage, and who is told.", no_args_is_help=True)
channels_app = typer.Typer(help="Where notifications of alerts go.", no_args_is_help=True)


def add_alerting(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    alerts_app.add_typer(channels_app, name="channels")
    app.add_typer(alerts_app, name="alerts")


# --- rules ---------------------------------------------------------------------------------------


@alerts_app.command("list", epilog="Example:\n\n`milvane alerts list`")
def list_rules(
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """List the rules, and how each stood when the server last looked."""
    from milvane.cli.records import Records
    from milvane.metering.alerts import shelf
    from milvane.storage.files import utc_now

    records = Records.open(data_dir, config, as_json=as_json)
    standings = records.read(shelf.read_standings)
    rows = []
    for rule in records.read(shelf.list_rules):
        standing, _ = standings.get(rule.rule_id, (None, None))
        facts: dict[str, Any] = {
            "rule_id": rule.rule_id,
            "name": rule.name,
            "state": standing.state.value if standing else "quiet",
            "since": standing.since if standing else None,
            "value": standing.value if standing else None,
            "condition": asdict(rule.condition) if as_json else _in_words(rule.condition),
            "severity": rule.severity,
            "silenced_until": rule.silenced_until if rule.is_silent(utc_now()) else None,
            "is_enabled": rule.is_enabled,
        }
        if as_json:
            facts |= {"channels": rule.channels, "title": rule.title, "body": rule.body}
        rows.append(facts)
    records.show(rows, nothing="There are no rules.")


def _in_words(condition: Any) -> str:
    words = [condition.watched.value, condition.operator.value, f"{condition.threshold:g}"]
    words.append(f"over {condition.window_s} s")
    if condition.for_s:
        words.append(f"for {condition.for_s:g} s")
    operations = [operation.value for operation in condition.operations]
    chosen = [*condition.models, *condition.instances, *operations, *condition.quotas]
    return " ".join([*words, *(["of", ", ".join(chosen)] if chosen else [])])


@alerts_app.command(
    "create",
    epilog="Examples:\n\n`milvane alerts create Failures success_rate '<' 0.95 --for 5m`\n\n"
    "`milvane alerts create Slow p99_s '>' 0.5 --resolve-at 0.4 --window 5m "
    "--model text-embedding-v4 --operation search --severity critical`\n\n"
    "`milvane alerts create 'Nearly spent' quota_share '>=' 0.8 --quota tenant:north`",
)
def create_rule(
    name: Annotated[str, typer.Argument(help="What it is called.")],
    watched: Annotated[
        str,
        typer.Argument(
            help="queries_per_s, success_rate, error_share, refused_share, average_s, p99_s, "
            "tokens_per_s or quota_share; shares are from 0 to 1, times seconds."
        ),
    ],
    operator: Annotated[str, typer.Argument(help="One of > >= < <=, in quotes for the shell.")],
    threshold: Annotated[float, typer.Argument(help="The limit.")],
    resolve_at: Annotated[
        float | None, typer.Option(help="Firing ends on the other side of this, not of the limit.")
    ] = None,
    window: Annotated[str, typer.Option(help="Calls of so long are summed up.")] = "1m",
    for_: Annotated[str, typer.Option("--for", help="So long broken before it fires.")] = "0s",
    resolve_for: Annotated[str, typer.Option(help="So long well before it is over.")] = "1m",
    min_requests: Annotated[int, typer.Option(help="With fewer calls it says nothing.")] = 0,
    model: Annotated[list[str] | None, typer.Option(help="Repeat it; all if absent.")] = None,
    instance: Annotated[list[str] | None, typer.Option(help="As models.")] = None,
    operation: Annotated[
        list[str] | None, typer.Option(help="insert, search, api or job; as models.")
    ] = None,
    quota: Annotated[list[str] | None, typer.Option(help="Such as tenant:north.")] = None,
    severity: Annotated[str, typer.Option(help="info, warning or critical.")] = "warning",
    channel: Annotated[
        list[str] | None, typer.Option(help="Ids or names; repeat it; all if absent.")
    ] = None,
    title: Annotated[str, typer.Option(help="A template, such as '{rule} is {state}'.")] = "",
    body: Annotated[str, typer.Option(help="A template.")] = "",
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """Watch a number, and have somebody told when it breaks a limit and when that is over."""
    from milvane.cli.records import Records
    from milvane.domain.usage import Operation
    from milvane.metering.alerts import shelf
    from milvane.metering.alerts.rules import Condition, Operator, Severity, Watched
    from milvane.metering.ranges import parse_span_s

    condition = Condition(
        watched=_choice(Watched, watched),
        operator=_choice(Operator, operator),
        threshold=threshold,
        resolve_threshold=resolve_at,
        window_s=int(parse_span_s(window, parameter="window")),
        for_s=parse_span_s(for_, parameter="for"),
        resolve_for_s=parse_span_s(resolve_for, parameter="resolve-for"),
        min_requests=min_requests,
        models=model or [],
        instances=instance or [],
        operations=[_choice(Operation, each) for each in operation or []],
        quotas=quota or [],
    )
    order = shelf.RuleOrder(
        name, condition, _choice(Severity, severity), channel or [], title, body
    )
    records = Records.open(data_dir, config, as_json=as_json)
    rule = records.change(partial(shelf.create_rule, order=order))
    records.tell(asdict(rule), f"{rule.name} is {rule.rule_id}: {_in_words(rule.condition)}.")


def _choice(kind: Any, name: str) -> Any:
    from milvane.domain.errors import InvalidInput

    try:
        return kind(name)
    except ValueError as error:
        known = ", ".join(each.value for each in kind)
        raise InvalidInput(f"{name!r} is none of: {known}") from error


@alerts_app.command("delete", epilog="Example:\n\n`milvane alerts delete Failures`")
def delete_rule(
    rule: RuleArgument, data_dir: DataDirOption = None, config: ConfigOption = None
) -> None:
    """Watch something no more; its history stays."""
    from milvane.cli.records import Records
    from milvane.metering.alerts import shelf

    records = Records.open(data_dir, config, as_json=False)
    records.change(partial(shelf.delete_rule, name=rule))
    typer.echo(f"{rule} is watched no more.")


@alerts_app.command(
    "silence",
    epilog="Examples:\n\n`milvane alerts silence Failures --for 2h`\n\n"
    "`milvane alerts silence Failures --off`",
)
def silence_rule(
    rule: RuleArgument,
    for_: Annotated[str, typer.Option("--for", help="So long nobody is told.")] = "1h",
    off: Annotated[bool, typer.Option("--off", help="End a silence.")] = False,  # noqa: FBT002 - an option
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """Tell nobody that a rule fires for a while; if it still does then, it is told then."""
    from milvane.cli.records import Records
    from milvane.metering.alerts import shelf
    from milvane.metering.ranges import parse_span_s

    lasts_s = parse_span_s(for_, parameter="for")

    def work(change: Any) -> Any:
        until: datetime | None = None if off else change.now + timedelta(seconds=lasts_s)
        return shelf.silence_rule(change, rule, until)

    records = Records.open(data_dir, config, as_json=as_json)
    silenced = records.change(work)
    until = silenced.silenced_until
    state = f"silent until {until:%Y-%m-%d %H:%M:%S} UTC" if until else "not silent"
    records.tell(asdict(silenced), f"{silenced.name} is {state}.")


@alerts_app.command("history", epilog="Example:\n\n`milvane alerts history --limit 20`")
def show_history(
    rule: Annotated[str | None, typer.Option("--rule", help="A rule's id or name.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 100,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """List alerts that fired, newest first, and who was told."""
    from milvane.cli.records import Records
    from milvane.metering.alerts import shelf
    from milvane.metering.alerts.episodes import list_episodes

    records = Records.open(data_dir, config, as_json=as_json)
    rule_id = records.read(partial(shelf.find_rule, name=rule)).rule_id if rule else None
    rows = []
    for episode in records.read(partial(list_episodes, limit=limit, rule_id=rule_id)):
        facts = asdict(episode)
        if not as_json:
            del facts["rule_id"]
            facts["deliveries"] = [
                f"{each.channel}: {each.state.value} {each.outcome.value}"
                for each in episode.deliveries
            ]
        rows.append(facts)
    records.show(rows, nothing="Nothing has fired yet.")


@alerts_app.command("test", epilog="Example:\n\n`milvane alerts test on-call`")
def try_channel(
    channel: ChannelArgument,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """Send a test to a channel now, from this machine."""
    from milvane.cli.records import Records
    from milvane.metering.alerts import shelf
    from milvane.metering.alerts.notifying import send
    from milvane.metering.alerts.states import AlertState
    from milvane.metering.alerts.wording import word_trial

    records = Records.open(data_dir, config, as_json=as_json)

    def work(change: Any) -> tuple[str, str]:
        found = shelf.find_channel(change.connection, channel)
        change.note("alert.channel.test", found.name, channel_id=found.channel_id)
        return found.name, shelf.read_address(change.connection, found.channel_id)

    name, url = records.change(work)
    title, body, severity = word_trial(name)
    send(url, title=title, body=body, severity=severity, state=AlertState.QUIET)
    records.tell({"channel": name, "is_sent": True}, f"{name} has taken the test.")


# --- channels ------------------------------------------------------------------------------------


@channels_app.command("list", epilog="Example:\n\n`milvane alerts channels list`")
def list_channels(
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """List the channels; an address is shown to nobody."""
    from milvane.cli.records import Records
    from milvane.metering.alerts import shelf

    records = Records.open(data_dir, config, as_json=as_json)
    found = records.read(shelf.list_channels)
    records.show([asdict(channel) for channel in found], nothing="There are no channels.")


@channels_app.command(
    "add",
    epilog="Examples:\n\n`milvane alerts channels add on-call`\n\n"
    "`printenv ON_CALL_URL | milvane alerts channels add on-call`",
)
def add_channel(
    name: Annotated[str, typer.Argument(help="What it is called.")],
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,  # noqa: FBT002 - an option of the command line
) -> None:
    """Make a channel; its Apprise URL is asked for, or read from standard input, as a secret."""
    from milvane.cli.records import Records
    from milvane.metering.alerts import shelf

    if sys.stdin.isatty():
        url = typer.prompt("Apprise URL", hide_input=True, err=True).strip()
    else:
        url = sys.stdin.readline().strip()
    records = Records.open(data_dir, config, as_json=as_json)
    channel = records.change(partial(shelf.create_channel, name=name, url=url))
    records.tell(asdict(channel), f"{channel.name} is {channel.channel_id} ({channel.kind}).")


@channels_app.command("remove", epilog="Example:\n\n`milvane alerts channels remove on-call`")
def remove_channel(
    channel: ChannelArgument, data_dir: DataDirOption = None, config: ConfigOption = None
) -> None:
    """Tell nobody there any more."""
    from milvane.cli.records import Records
    from milvane.metering.alerts import shelf

    records = Records.open(data_dir, config, as_json=False)
    records.change(partial(shelf.delete_channel, name=channel))
    typer.echo(f"{channel} is told nothing any more.")
