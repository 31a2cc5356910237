"""The control plane, on SQLite, and on PostgreSQL where there is one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from milvane.control_plane import additions, commands, keys, loading, operators
from milvane.control_plane.additions import InstanceOrder, PortPlan
from milvane.control_plane.commands import Change
from milvane.control_plane.plane import ControlPlane
from milvane.control_plane.settings import ControlSettings
from milvane.domain.callers import Caller
from milvane.domain.control import Quota, QuotaKind, QuotaSubject, Scope
from milvane.domain.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    QuotaExceeded,
    Unauthenticated,
)
from milvane.storage.database import Database
from milvane.storage.sealing import unseal
from milvane.storage.settings import StorageSettings
from offices import FakeClock

HASHED = operators.hash_password("a long password")
MODELS = ["text-embedding-v3", "text-embedding-v4"]
SETTINGS = ControlSettings(poll_interval_s=1e6)
PORTS = PortPlan(19530, {19532})


class Usage:
    """What the ledger would say."""

    def __init__(self) -> None:
        self.tokens: dict[tuple[str, str, str, str], int] = {}

    async def tokens_since(self, since: datetime) -> Mapping[tuple[str, str, str, str], int]:
        """Say it."""
        return self.tokens


@pytest.fixture
async def database(database_url: SecretStr | None, tmp_path: Path) -> AsyncIterator[Database]:
    """An open, empty database."""
    async with Database(StorageSettings(database_url=database_url), tmp_path) as database:
        yield database


@pytest.fixture
def clock() -> FakeClock:
    """A clock of one's own."""
    return FakeClock()


@pytest.fixture
def usage() -> Usage:
    """A ledger of one's own."""
    return Usage()


@pytest.fixture
async def plane(database: Database, clock: FakeClock, usage: Usage) -> AsyncIterator[ControlPlane]:
    """A control plane with two models and one instance."""
    async with ControlPlane(database, SETTINGS, usage, clock=clock) as plane:
        await plane.prepare(MODELS, {"default": ""})
        yield plane


async def actions(plane: ControlPlane) -> list[str]:
    """List what was done, newest first."""
    entries = await plane.read(commands.list_audit)
    return [f"{entry.actor} {entry.action} {entry.subject}" for entry in entries]


async def test_everything_is_enabled_and_bound_at_first(plane: ControlPlane) -> None:
    """The main job needs no set-up."""
    for model in MODELS:
        plane.check_service(model, "default")
        plane.check_service(model, "")
    with pytest.raises(PermissionDenied, match="associations bind text-embedding-v4 other"):
        plane.check_service("text-embedding-v4", "other")


async def test_what_an_operator_took_stays_taken(plane: ControlPlane) -> None:
    """A restart, also of a version with more models, binds only what is new."""

    def take(change: Change) -> None:
        service = commands.find_service(change.connection, "text-embedding-v4", "local")
        commands.unbind(change, service, "default")

    await plane.change("ann", take)
    await plane.prepare([*MODELS, "text-embedding-v9"], {"default": "", "remote": "host:19530"})
    plane.check_service("text-embedding-v9", "default")
    plane.check_service("text-embedding-v4", "remote")
    with pytest.raises(PermissionDenied, match="not associated"):
        plane.check_service("text-embedding-v4", "default")


async def test_disabled_service_serves_nobody(plane: ControlPlane) -> None:
    """Neither an instance nor the APIs, until it is enabled again; found by model or by id."""

    async def turn(*, on: bool) -> None:
        def work(change: Change) -> None:
            by_model = commands.find_service(change.connection, "text-embedding-v4", "local")
            service = commands.find_service(change.connection, by_model.service_id, "elsewhere")
            commands.switch_service(change, service, on=on)

        await plane.change("ann", work)

    await turn(on=False)
    with pytest.raises(PermissionDenied, match="services enable text-embedding-v4"):
        plane.check_service("text-embedding-v4", "")
    plane.check_service("text-embedding-v3", "default")
    await turn(on=True)
    plane.check_service("text-embedding-v4", "default")
    changes = [action.rpartition(" ")[0] for action in await actions(plane)]
    assert changes[:2] == ["ann service.enable", "ann service.disable"]


async def test_batch_is_bound_whole_or_not_at_all(plane: ControlPlane) -> None:
    """One unknown instance leaves the others as they were."""

    def bind(change: Change, names: list[str]) -> list[str]:
        service = commands.find_service(change.connection, "text-embedding-v4", "local")
        return commands.bind(change, service, names)

    for name in ("a", "b"):
        await plane.change(
            "ann", lambda c, n=name: commands.add_instance(c, n, region="local", address="x")
        )
    with pytest.raises(NotFound, match="no instance 'nobody'"):
        await plane.change("ann", lambda change: bind(change, ["a", "nobody", "b"]))
    with pytest.raises(PermissionDenied):
        plane.check_service("text-embedding-v4", "a")
    assert await plane.change("ann", lambda change: bind(change, ["a", "b", "a", "default"])) == [
        "a",
        "b",
    ]
    plane.check_service("text-embedding-v4", "b")
    await plane.change("ann", lambda c: commands.add_instance(c, "far", region="east", address="x"))
    with pytest.raises(Conflict, match="region 'east'"):
        await plane.change("ann", lambda change: bind(change, ["far"]))


async def test_removed_instance_has_no_associations(plane: ControlPlane) -> None:
    """Also when another of its name is added later."""
    await plane.change("ann", lambda change: commands.remove_instance(change, "default"))
    await plane.change(
        "ann", lambda c: commands.add_instance(c, "default", region="local", address="")
    )
    with pytest.raises(PermissionDenied):
        plane.check_service("text-embedding-v4", "default")
    with pytest.raises(NotFound):
        await plane.change("ann", lambda change: commands.remove_instance(change, "nobody"))


async def a_key(plane: ControlPlane, *, expires_at: datetime | None = None) -> tuple[str, str]:
    """Make a key for the APIs; returns its id and its secret."""
    key, secret = await plane.change(
        "ann",
        lambda change: keys.create_key(
            change,
            label="laptop",
            tenant="north",
            scopes=frozenset({Scope.EMBED}),
            expires_at=expires_at,
        ),
    )
    return key.key_id, secret


async def test_key_opens_what_it_is_for(plane: ControlPlane, clock: FakeClock) -> None:
    """Whoever shows the secret is of its tenant; it is nowhere in the database."""
    key_id, secret = await a_key(plane)
    assert plane.find_caller(secret, Scope.EMBED) == Caller(name=key_id, tenant="north")
    assert plane.find_caller(secret, Scope.MANAGE) is None
    assert plane.find_caller(secret + "x", Scope.EMBED) is None
    assert plane.find_caller(key_id, Scope.EMBED) is None
    stored = await plane.read(keys.read_keys)
    assert secret not in repr(stored)
    assert secret not in repr(await plane.read(commands.list_audit))


async def test_key_expires_and_is_revoked(plane: ControlPlane, clock: FakeClock) -> None:
    """At once, without a look at the database."""
    _, secret = await a_key(plane, expires_at=clock.now + timedelta(seconds=10))
    clock.advance(9.9)
    assert plane.find_caller(secret, Scope.EMBED)
    clock.advance(0.1)
    assert plane.find_caller(secret, Scope.EMBED) is None
    key_id, secret = await a_key(plane)
    await plane.change("ann", lambda change: keys.revoke_key(change, key_id))
    assert plane.find_caller(secret, Scope.EMBED) is None
    with pytest.raises(Conflict, match="not good any more"):
        await plane.change("ann", lambda change: keys.rotate_key(change, key_id, overlap_s=1))


async def test_rotated_key_overlaps_with_the_new_one(plane: ControlPlane, clock: FakeClock) -> None:
    """Both are good for a while, of one tenant."""
    key_id, old = await a_key(plane)
    new_key, new = await plane.change(
        "ann", lambda change: keys.rotate_key(change, key_id, overlap_s=60)
    )
    clock.advance(59)
    assert plane.find_caller(old, Scope.EMBED)
    assert plane.find_caller(new, Scope.EMBED) == Caller(name=new_key.key_id, tenant="north")
    clock.advance(1)
    assert plane.find_caller(old, Scope.EMBED) is None
    assert plane.find_caller(new, Scope.EMBED)


@pytest.mark.parametrize(
    ("label", "tenant", "scopes", "message"),
    [
        ("", "north", {Scope.EMBED}, "label"),
        ("a", " ", {Scope.EMBED}, "tenant"),
        ("a", "north", set(), "opens nothing"),
    ],
)
async def test_senseless_key_is_refused(
    plane: ControlPlane, label: str, tenant: str, scopes: set[Scope], message: str
) -> None:
    """And nothing is noted."""
    before = await actions(plane)
    with pytest.raises(InvalidInput, match=message):
        await plane.change(
            "ann",
            lambda change: keys.create_key(
                change, label=label, tenant=tenant, scopes=frozenset(scopes)
            ),
        )
    assert await actions(plane) == before


async def test_last_use_of_a_key_is_noted(database: Database, clock: FakeClock) -> None:
    """Not at each call, but before the server ends at the latest."""
    async with ControlPlane(database, SETTINGS, Usage(), clock=clock) as plane:
        key_id, secret = await a_key(plane)
        clock.advance(5)
        plane.find_caller(secret, Scope.EMBED)
    found = await database.read(lambda connection: keys.find_key(connection, key_id))
    assert found.last_used_at == clock.now


async def test_change_of_another_server_is_seen(
    database: Database, plane: ControlPlane, clock: FakeClock
) -> None:
    """With the next look at the database, which costs little where nothing changed."""
    async with ControlPlane(database, SETTINGS, Usage(), clock=clock) as other:
        _, secret = await a_key(other)
        assert plane.find_caller(secret, Scope.EMBED) is None
        before = plane.snapshot
        await plane.refresh()
        assert plane.find_caller(secret, Scope.EMBED)
        assert plane.snapshot is not before
        same = plane.snapshot
        await plane.refresh()
        assert plane.snapshot is same


async def test_quota_begins_with_what_the_month_has_seen(plane: ControlPlane, usage: Usage) -> None:
    """Of the tenant, whatever its callers and instances were called."""
    usage.tokens = {
        ("north", "key-1", "default", "text-embedding-v4"): 600,
        ("north", "key-2", "", "text-embedding-v3"): 300,
        ("south", "key-3", "", "text-embedding-v3"): 5000,
    }
    tenant = QuotaSubject(QuotaKind.TENANT, "north")
    bound = QuotaSubject(QuotaKind.ASSOCIATION, "default/text-embedding-v4")
    for subject, limit in ((tenant, 1000), (bound, 650)):
        quota = Quota(subject, tokens_per_month=limit)
        await plane.change("ann", lambda change, q=quota: commands.set_quota(change, q))
    caller = Caller(name="key-1", tenant="north")
    with pytest.raises(QuotaExceeded, match="tenant north"):
        plane.reserve(caller, "", "text-embedding-v3", 101)
    with pytest.raises(QuotaExceeded, match="association default/text-embedding-v4"):
        plane.reserve(caller, "default", "text-embedding-v4", 51)
    plane.reserve(caller, "default", "text-embedding-v4", 50).settle(50)
    with pytest.raises(QuotaExceeded):
        plane.reserve(caller, "", "text-embedding-v3", 51)


@pytest.mark.parametrize("limit", [0, -1])
async def test_limit_below_one_is_refused(plane: ControlPlane, limit: int) -> None:
    """No limit is said by leaving it out."""
    quota = Quota(QuotaSubject(QuotaKind.TENANT, "north"), requests_per_minute=limit)
    with pytest.raises(InvalidInput, match="at least 1"):
        await plane.change("ann", lambda change: commands.set_quota(change, quota))
    unknown = Quota(QuotaSubject(QuotaKind.KEY, "key-x"), requests_per_minute=1)
    with pytest.raises(NotFound, match="key-x"):
        await plane.change("ann", lambda change: commands.set_quota(change, unknown))


async def test_quota_without_limits_is_none(plane: ControlPlane) -> None:
    """Which is how a quota is taken away."""
    tenant = QuotaSubject(QuotaKind.TENANT, "north")
    for quota in (Quota(tenant, concurrent_requests=3), Quota(tenant)):
        await plane.change("ann", lambda change, q=quota: commands.set_quota(change, q))
    assert await plane.read(commands.list_quotas) == []


async def test_first_operator_is_made_once(plane: ControlPlane) -> None:
    """With a password that is told once."""
    known = operators.Operators(plane)
    password = await known.create_first()
    assert password
    assert await known.create_first() is None
    session, _ = await known.sign_in(operators.ADMIN, password, lasts_s=10)
    assert session.operator == operators.ADMIN


@pytest.mark.parametrize(("name", "password"), [("ann", "wrong"), ("nobody", "a long password")])
async def test_wrong_password_signs_nobody_in(
    plane: ControlPlane, name: str, password: str
) -> None:
    """One message for both, so that names cannot be guessed."""
    await plane.change("x", lambda c: operators.store_password(c, "ann", HASHED))
    with pytest.raises(Unauthenticated, match="the name or the password is wrong"):
        await operators.Operators(plane).sign_in(name, password, lasts_s=10)


async def test_session_ends(plane: ControlPlane, clock: FakeClock) -> None:
    """With its time, with the sign-out, and with a new password."""

    async def is_good(token: str) -> bool:
        found = await plane.read(lambda c: operators.find_session(c, token, clock.now))
        return found is not None

    async def begin() -> str:
        _, token = await known.sign_in("ann", "a long password", lasts_s=10)
        return token

    known = operators.Operators(plane)
    await plane.change("x", lambda c: operators.store_password(c, "ann", HASHED))
    tokens = [await begin() for _ in range(2)]
    await plane.change("ann", lambda change: operators.sign_out(change.connection, tokens[0]))
    assert [await is_good(token) for token in tokens] == [False, True]
    clock.advance(10)
    assert not await is_good(tokens[1])
    token = await begin()
    assert await is_good(token)
    await known.set_password("ann", "another password", actor="ann")
    assert not await is_good(token)
    with pytest.raises(InvalidInput, match="at least 10"):
        await known.set_password("ann", "short", actor="ann")


def far(**more: Any) -> InstanceOrder:
    """Order an instance elsewhere."""
    order: dict[str, Any] = {"name": "far", "address": "http://host:19530", "token": "a:s3cret"}
    return InstanceOrder(**order | more)


async def add(plane: ControlPlane, order: InstanceOrder, ports: PortPlan = PORTS) -> int:
    """Add an instance, as an operator does."""
    work = partial(additions.add_instance, order=order, region="local", ports=ports)
    return await plane.change("ann", work)


async def test_added_instance_is_seen_by_every_server_with_its_secret_sealed(
    plane: ControlPlane, database: Database
) -> None:
    """It may use every service at once; what it is shown can be opened by who has the key."""
    waiting = asyncio.ensure_future(plane.wait_for_news(plane.snapshot.revision))
    assert await add(plane, far(server_name="milvus")) == 19531
    [added] = (await waiting).added
    assert (added.address, added.server_name) == ("http://host:19530", "milvus")
    assert "s3cret" not in added.sealed_token + repr(added)
    assert await database.read(lambda c: unseal(c, added.sealed_token)) == "a:s3cret"
    for model in MODELS:
        plane.check_service(model, "far")
    [entry, *_] = [
        each for each in await plane.read(commands.list_audit) if each.action == "instance.add"
    ]
    assert entry.detail["grpc_port"] == 19531
    assert "s3cret" not in str(entry)


async def test_added_instance_gets_a_port_of_its_own(plane: ControlPlane) -> None:
    """The lowest after the server's that nobody has, or the one asked for."""
    assert await add(plane, far(name="one")) == 19531
    assert await add(plane, far(name="two")) == 19533
    assert await add(plane, far(name="three", grpc_port=19540)) == 19540
    with pytest.raises(Conflict, match="port 19540 is another"):
        await add(plane, far(name="four", grpc_port=19540))
    with pytest.raises(Conflict, match="port 19532 is another"):
        await add(plane, far(name="four", grpc_port=19532))
    assert await add(plane, far(name="four"), PortPlan(0)) == 0
    assert [each.name for each in plane.snapshot.added] == ["four", "one", "three", "two"]


async def test_instance_that_cannot_be_bound_is_not_added(plane: ControlPlane) -> None:
    """All or nothing."""
    with pytest.raises(NotFound, match="nothing"):
        await add(plane, far(services=["text-embedding-v4", "nothing"]))
    assert plane.snapshot.added == []
    await add(plane, far(services=["text-embedding-v4"]))
    plane.check_service("text-embedding-v4", "far")
    with pytest.raises(PermissionDenied):
        plane.check_service("text-embedding-v3", "far")


async def test_added_instance_goes_and_comes_back(plane: ControlPlane) -> None:
    """One of the settings does not: it would come back by itself."""
    await add(plane, far())
    remove = partial(additions.remove_instance, in_settings=["default"])
    await plane.change("ann", partial(remove, name="far"))
    assert plane.snapshot.added == []
    await add(plane, far())
    with pytest.raises(Conflict, match="settings name the instance 'default'"):
        await plane.change("ann", partial(remove, name="default"))


async def test_settings_take_an_added_instance_over(plane: ControlPlane) -> None:
    """What the file says of its name counts from the next start on; what it may use stays."""
    await add(plane, far(services=["text-embedding-v4"]))
    await plane.prepare(MODELS, {"default": "", "far": "http://elsewhere:19530"})
    assert plane.snapshot.added == []
    plane.check_service("text-embedding-v4", "far")
    with pytest.raises(PermissionDenied):
        plane.check_service("text-embedding-v3", "far")


async def test_weights_are_unloaded_and_loaded_for_every_server(plane: ControlPlane) -> None:
    """Twice is once; weights that serve no model are refused by name, with those that do."""

    async def switch(weights: str, *, on: bool) -> None:
        work = partial(loading.switch_weights, weights=weights, on=on, deployed={"small"})
        await plane.change("ann", work)

    for _ in range(2):
        await switch("small", on=False)
    assert plane.snapshot.unloaded == {"small"}
    with pytest.raises(NotFound, match=r"'large'; there are: small"):
        await switch("large", on=False)
    await switch("small", on=True)
    assert plane.snapshot.unloaded == frozenset()
    assert (await actions(plane))[:2] == ["ann weights.load small", "ann weights.unload small"]
