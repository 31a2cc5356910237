"""The management API, over a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from colours import ColourEngine, DataReader, an_image, colour_service, data_uri
from milvane.apis.app import create_app
from milvane.apis.management.bundle import Management
from milvane.apis.management.door import COOKIE, CSRF_HEADER, PREFIX
from milvane.apis.management.ports import (
    EffectiveSetting,
    Insight,
    WeightsStanding,
    WeightsState,
)
from milvane.apis.management.throttling import FREE_FAILURES, MAX_WAITING
from milvane.apis.metrics import Measured
from milvane.apis.settings import ApisSettings
from milvane.control_plane import operators
from milvane.control_plane.additions import PortPlan
from milvane.control_plane.plane import ControlPlane
from milvane.control_plane.settings import ControlSettings
from milvane.domain.callers import Caller
from milvane.domain.catalogue import ALL_MINILM_L6_V2, SERVED_BY
from milvane.domain.files import FileId
from milvane.domain.jobs import JobKind, JobOrder, JobState
from milvane.domain.readiness import Readiness
from milvane.domain.usage import Operation, Outcome, UsageKey, UsageRecord
from milvane.jobs.desk import JobDesk
from milvane.jobs.overseeing import JobOverseer
from milvane.metering.recorder import UsageRecorder
from milvane.metering.reports import UsageReports
from milvane.metering.settings import MeteringSettings
from milvane.serving.callers import calling
from milvane.serving.embedding import EmbeddingService
from milvane.serving.settings import ServingSettings
from milvane.storage.database import Database
from milvane.storage.settings import StorageSettings
from milvane.testing.engines import HashingEngine
from offices import FakeClock

MODELS = ["text-embedding-v3", "text-embedding-v4"]
PASSWORD = "a long password"  # noqa: S105 - of a test

HASHED = operators.hash_password(PASSWORD)


@dataclass
class Bench:
    """A client, and what the API works on."""

    client: httpx.AsyncClient
    app: FastAPI
    plane: ControlPlane
    recorder: UsageRecorder
    clock: FakeClock
    desk: JobDesk

    async def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Make a request."""
        return await self.client.request(method, f"{PREFIX}{path}", **options)

    async def sign_in(self) -> None:
        """Sign in as the console does, and send the token along from then on."""
        reply = await self.call("POST", "/session", json={"name": "ann", "password": PASSWORD})
        assert reply.status_code == 201, reply.text
        self.client.headers[CSRF_HEADER] = reply.json()["csrf_token"]


class ClosedDoors:
    """Serves no added instance, as every port is taken."""

    troubles: Mapping[str, str] = {"far": "the port is taken"}
    port_plan = PortPlan(19530, {19531})
    in_settings = ("default",)

    async def settled(self, name: str) -> None:
        """Know it at once."""


class Shelf:
    """Has one set of weights in memory, and one that could not be read."""

    standings: Mapping[str, WeightsStanding] = {
        "all-minilm-l6-v2": WeightsStanding(WeightsState.LOADED),
        "beside": WeightsStanding(WeightsState.FAILED, "a file is damaged"),
    }


@asynccontextmanager
async def opened(folder: Path, service: EmbeddingService | None = None) -> AsyncIterator[Bench]:
    """Put everything together."""
    clock, metering = FakeClock(), MeteringSettings(fold_interval_s=1e6)
    service = service or EmbeddingService(
        {ALL_MINILM_L6_V2.name: HashingEngine()}, ServingSettings()
    )
    async with Database(StorageSettings(), folder) as database:
        recorder = UsageRecorder(database, folder / "usage", metering, clock=clock)
        settings = ControlSettings(poll_interval_s=1e6)
        async with recorder, ControlPlane(database, settings, recorder, clock=clock) as plane:
            await plane.prepare(MODELS, {"default": "", "other": "host:19530"})
            await plane.change("test", lambda c: operators.store_password(c, "ann", HASHED))
            management = Management(
                plane=plane,
                reports=UsageReports(database, metering, clock=clock),
                clock=clock,
                served_instances=lambda: {"default": 19530},
                served_by=SERVED_BY,
                session_s=3600.0,
                doors=ClosedDoors(),
                weights=Shelf(),
                insight=insight(service, database),
            )
            app = create_app(service, ApisSettings(), Readiness, management=management)
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                desk = JobDesk(database, lambda: None, max_pending_jobs=100)
                yield Bench(client, app, plane, recorder, clock, desk)


def insight(service: EmbeddingService, database: Database) -> Insight:
    """Look into a server without instances, with a desk whose jobs nobody does."""
    desk = JobDesk(database, lambda: None, max_pending_jobs=100)
    return Insight(
        embedding=service,
        measured=Measured(models=service.counts),
        readiness=lambda: Readiness(("a part is missing",)),
        inspectors=dict,
        overseer=JobOverseer(database, desk),
        settings=lambda: [EffectiveSetting("server.host", "127.0.0.1", is_default=True)],
        started_at=FakeClock().now,
    )


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Nobody has signed in yet."""
    async with opened(tmp_path) as bench:
        yield bench


@pytest.fixture
async def signed_in(bench: Bench) -> Bench:
    """An operator has signed in."""
    await bench.sign_in()
    return bench


async def test_first_requests_find_the_routes_together(bench: Bench) -> None:
    """Routes that are built when they are first asked for are there for all who ask then."""
    asked = [{"name": "ann", "password": PASSWORD}] * 3
    replies = await asyncio.gather(*(bench.call("POST", "/session", json=each) for each in asked))
    assert {reply.status_code for reply in replies} == {201}
    ours = [path for path in bench.app.openapi()["paths"] if path == f"{PREFIX}/session"]
    assert len(ours) == 1


async def test_every_route_is_closed(bench: Bench) -> None:
    """Without a session or a key, whatever the path; signing in is the only way in."""
    paths = {
        path: methods
        for path, methods in bench.app.openapi()["paths"].items()
        if path.startswith("/manage/")
    }
    assert len(paths) > 12
    for path, methods in [*paths.items(), ("/manage/v1/nothing", ["get"]), ("/manage/", ["get"])]:
        for method in methods:
            if (method, path) == ("post", f"{PREFIX}/session"):
                continue
            for headers in ({}, {"authorization": "Bearer wrong"}, {"cookie": f"{COOKIE}=x"}):
                reply = await bench.client.request(method, path, headers=headers)
                assert reply.status_code == 401, (method, path, headers)
                assert reply.json()["error"]["kind"] == "unauthenticated"


async def test_session_is_a_cookie_that_scripts_cannot_read(bench: Bench) -> None:
    """For this API alone, and not sent along from other sites."""
    reply = await bench.call("POST", "/session", json={"name": "ann", "password": PASSWORD})
    cookie = reply.headers["set-cookie"].lower()
    for part in ("httponly", "samesite=strict", f"path={PREFIX}"):
        assert part in cookie
    shown = (await bench.call("GET", "/session")).json()
    assert shown["name"] == "ann"
    assert shown["csrf_token"] == reply.json()["csrf_token"]


async def test_change_needs_the_token_of_the_session(bench: Bench) -> None:
    """A page of somebody else's has the cookie and not the token."""
    await bench.sign_in()
    del bench.client.headers[CSRF_HEADER]
    for headers in ({}, {CSRF_HEADER: "guess"}, {CSRF_HEADER: "gueß"}):
        raw = {name: value.encode() for name, value in headers.items()}
        reply = await bench.call("POST", "/keys", json={"label": "x"}, headers=raw)
        assert reply.status_code == 403
    assert (await bench.call("GET", "/keys")).json() == {"keys": []}


async def test_session_ends_with_the_sign_out(signed_in: Bench) -> None:
    """The cookie opens nothing afterwards."""
    cookie = signed_in.client.cookies[COOKIE]
    assert (await signed_in.call("DELETE", "/session")).status_code == 204
    reply = await signed_in.call("GET", "/services", headers={"cookie": f"{COOKIE}={cookie}"})
    assert reply.status_code == 401


async def test_guessing_gets_slow(bench: Bench) -> None:
    """After a few wrong passwords; another name is not slowed down."""
    wrong = {"name": "ann", "password": "wrong password"}
    for _ in range(FREE_FAILURES):
        assert (await bench.call("POST", "/session", json=wrong)).status_code == 401
    reply = await bench.call("POST", "/session", json=wrong)
    assert reply.status_code == 429
    assert int(reply.headers["retry-after"]) >= 1
    other = await bench.call("POST", "/session", json={"name": "bob", "password": "x"})
    assert other.status_code == 401
    bench.clock.advance(60)
    await bench.sign_in()


async def test_strangers_do_not_keep_every_core_at_passwords(bench: Bench) -> None:
    """One is looked at after the other, a few wait, the rest are told to come again."""
    tries = [
        bench.call("POST", "/session", json={"name": f"guess-{number}", "password": "x"})
        for number in range(30)
    ]
    statuses = [reply.status_code for reply in await asyncio.gather(*tries)]
    assert set(statuses) == {401, 429}
    assert statuses.count(401) <= MAX_WAITING + 1
    await bench.sign_in()


async def test_own_password_is_changed(signed_in: Bench) -> None:
    """Which ends the session; a short one is refused."""
    short = await signed_in.call("PUT", "/session/password", json={"password": "short"})
    assert (short.status_code, short.json()["error"]["parameter"]) == (400, "password")
    new = await signed_in.call("PUT", "/session/password", json={"password": "another password"})
    assert new.status_code == 204
    assert (await signed_in.call("GET", "/services")).status_code == 401


async def test_services_are_listed_and_switched(signed_in: Bench) -> None:
    """By model or by id, with what an operator wants to know of each."""
    listed = (await signed_in.call("GET", "/services")).json()
    assert [each["model"] for each in listed["services"]] == MODELS
    v4 = listed["services"][1]
    assert v4["is_enabled"]
    assert v4["instances"] == ["default", "other"]
    assert v4["weights"] == "all-minilm-l6-v2"
    assert v4["price_per_million_tokens"] == 0.07
    off = await signed_in.call("PATCH", f"/services/{v4['service_id']}", json={"is_enabled": False})
    assert off.json()["is_enabled"] is False
    on = await signed_in.call("PATCH", "/services/text-embedding-v4", json={"is_enabled": True})
    assert on.json() == v4
    missing = await signed_in.call("PATCH", "/services/nothing", json={"is_enabled": True})
    assert missing.status_code == 404


async def test_instances_are_unbound_and_bound_in_a_batch(signed_in: Bench) -> None:
    """All of them or none."""
    for name in ("default", "other"):
        gone = await signed_in.call("DELETE", f"/associations/{name}/text-embedding-v4")
        assert gone.status_code == 204
    again = await signed_in.call("DELETE", "/associations/other/text-embedding-v4")
    assert again.status_code == 404
    asked = {"service": "text-embedding-v4", "instances": ["default", "nobody"]}
    assert (await signed_in.call("POST", "/associations", json=asked)).status_code == 404
    listed = (await signed_in.call("GET", "/instances")).json()["instances"]
    assert {each["name"]: each["models"] for each in listed} == {
        "default": ["text-embedding-v3"],
        "other": ["text-embedding-v3"],
    }
    assert [each["is_served"] for each in listed] == [True, False]
    asked["instances"] = ["default", "other"]
    reply = await signed_in.call("POST", "/associations", json=asked)
    assert reply.json() == {"bound": ["default", "other"]}
    assert (await signed_in.call("DELETE", "/instances/other")).status_code == 204
    assert len((await signed_in.call("GET", "/instances")).json()["instances"]) == 1


async def test_instance_is_added_with_what_it_may_use(signed_in: Bench) -> None:
    """At the next free port; its token is in no answer, and a trouble is said."""
    body = {
        "name": "far",
        "uri": "https://milvus.example.org:19530",
        "token": "root:s3cret",
        "services": ["text-embedding-v4"],
    }
    made = await signed_in.call("POST", "/instances", json=body)
    assert made.status_code == 201, made.text
    found = made.json()
    del found["created_at"]
    assert found == {
        "name": "far",
        "region": "local",
        "address": "https://milvus.example.org:19530",
        "models": ["text-embedding-v4"],
        "is_served": False,
        "grpc_port": None,
        "is_added": True,
        "has_token": True,
        "trouble": "the port is taken",
    }
    assert [each.grpc_port for each in signed_in.plane.snapshot.added] == [19532]
    for path in ("/instances", "/audit", "/services"):
        assert "s3cret" not in (await signed_in.call("GET", path)).text
    bare = {"name": "bare", "uri": "http://host:1", "services": []}
    assert (await signed_in.call("POST", "/instances", json=bare)).json()["models"] == []
    plain = {"name": "plain", "uri": "http://host:1"}
    assert (await signed_in.call("POST", "/instances", json=plain)).json()["models"] == MODELS
    assert (await signed_in.call("POST", "/instances", json=body)).status_code == 409
    assert (await signed_in.call("DELETE", "/instances/far")).status_code == 204
    assert (await signed_in.call("DELETE", "/instances/default")).status_code == 409


@pytest.mark.parametrize(
    ("change", "status", "part"),
    [
        ({"name": "Not Good"}, 400, "name"),
        ({"uri": "milvus:19530"}, 400, "uri"),
        ({"uri": "http://root:s3cret@host:19530"}, 400, "token"),
        ({"grpc_port": 70_000}, 400, "grpc_port"),
        ({"grpc_port": 19_531}, 409, "19531"),
        ({"services": ["nothing"]}, 404, "nothing"),
        ({"unknown": 1}, 400, "unknown"),
    ],
)
async def test_bad_instance_is_not_added(
    signed_in: Bench, change: dict[str, Any], status: int, part: str
) -> None:
    """What is wrong is said without the secrets that may be in it."""
    body = {"name": "far", "uri": "http://host:19530", "token": "root:s3cret"} | change
    reply = await signed_in.call("POST", "/instances", json=body)
    assert reply.status_code == status, reply.text
    assert part in reply.json()["error"]["message"] + str(reply.json()["error"].get("parameter"))
    assert "s3cret" not in reply.text
    assert signed_in.plane.snapshot.added == []


async def test_weights_are_shown_and_switched(signed_in: Bench) -> None:
    """Also those that serve no model and go with others; the log says who did it."""
    listed = (await signed_in.call("GET", "/models")).json()["weights"]
    assert [(each["weights"], each["state"], each["trouble"]) for each in listed] == [
        ("all-minilm-l6-v2", "loaded", ""),
        ("beside", "failed", "a file is damaged"),
    ]
    assert "text-embedding-v4" in listed[0]["models"]
    for name in ("all-minilm-l6-v2", "beside"):
        for is_loaded in (False, True):
            body = {"is_loaded": is_loaded}
            reply = await signed_in.call("PATCH", f"/weights/{name}", json=body)
            assert (reply.status_code, reply.json()["is_wanted"]) == (202, is_loaded)
    entry = (await signed_in.call("GET", "/audit?limit=1")).json()["entries"][0]
    assert (entry["actor"], entry["action"], entry["subject"]) == ("ann", "weights.load", "beside")
    unknown = await signed_in.call("PATCH", "/weights/nothing", json={"is_loaded": False})
    assert unknown.status_code == 404


async def make_key(bench: Bench, **body: Any) -> dict[str, Any]:
    """Make a key."""
    reply = await bench.call("POST", "/keys", json={"label": "laptop"} | body)
    assert reply.status_code == 201, reply.text
    made: dict[str, Any] = reply.json()
    return made


async def test_secret_of_a_key_is_shown_once(signed_in: Bench) -> None:
    """Afterwards only how it begins."""
    made = await make_key(signed_in, tenant="north", expires_in_s=60)
    listed = await signed_in.call("GET", "/keys")
    assert made["secret"] not in listed.text
    assert listed.json()["keys"] == [made["key"]]
    assert made["secret"].startswith(made["key"]["prefix"])
    assert made["secret"] not in (await signed_in.call("GET", "/audit")).text
    signed_in.clock.advance(60)
    assert (await signed_in.call("GET", "/keys")).json()["keys"][0]["is_good"] is False


async def test_key_that_may_manage_needs_no_session(signed_in: Bench) -> None:
    """For scripts; one that may not is refused here, and is not told why."""
    made = await make_key(signed_in, scopes=["manage"])
    other = await make_key(signed_in, scopes=["embed"])
    signed_in.client.cookies.clear()
    del signed_in.client.headers[CSRF_HEADER]
    bearer = {"authorization": f"Bearer {made['secret']}"}
    reply = await signed_in.call("POST", "/keys", json={"label": "second"}, headers=bearer)
    assert reply.status_code == 201
    entry = (await signed_in.call("GET", "/audit?limit=1", headers=bearer)).json()["entries"][0]
    assert (entry["actor"], entry["action"]) == (made["key"]["key_id"], "key.create")
    assert (await signed_in.call("GET", "/session", headers=bearer)).status_code == 404
    bearer = {"authorization": f"Bearer {other['secret']}"}
    assert (await signed_in.call("GET", "/keys", headers=bearer)).status_code == 401


async def test_key_is_rotated_and_revoked(signed_in: Bench) -> None:
    """The old one names the new one."""
    key_id = (await make_key(signed_in))["key"]["key_id"]
    new = await signed_in.call("POST", f"/keys/{key_id}/rotate", json={"overlap_s": 60})
    assert new.status_code == 201
    twice = await signed_in.call("POST", f"/keys/{key_id}/rotate", json={})
    assert twice.status_code == 409
    assert (await signed_in.call("DELETE", f"/keys/{key_id}")).status_code == 204
    listed = (await signed_in.call("GET", "/keys")).json()["keys"]
    [old] = [each for each in listed if each["key_id"] == key_id]
    assert (old["rotated_to"], old["is_good"]) == (new.json()["key"]["key_id"], False)
    assert (await signed_in.call("DELETE", "/keys/nothing")).status_code == 404


async def test_quota_is_set_shown_and_taken_away(signed_in: Bench) -> None:
    """With how it stands."""
    path = "/quotas/association/default/text-embedding-v4"
    limits = {"tokens_per_month": 1000, "is_shadow": True}
    assert (await signed_in.call("PUT", path, json=limits)).status_code == 204
    [quota] = (await signed_in.call("GET", "/quotas")).json()["quotas"]
    assert quota["name"] == "default/text-embedding-v4"
    assert (quota["tokens_per_month"], quota["month_tokens"], quota["running"]) == (1000, 0, 0)
    assert (await signed_in.call("PUT", path, json={})).status_code == 204
    assert (await signed_in.call("GET", "/quotas")).json() == {"quotas": []}
    assert (await signed_in.call("PUT", "/quotas/planet/x", json={})).status_code == 400


async def record_some(bench: Bench) -> None:
    """Record two calls, twenty seconds apart."""
    key = UsageKey("text-embedding-v4", "local", "default", Operation.INSERT, "north", "=ann")
    record = UsageRecord(key, bench.clock.now, 0.01, Outcome.SUCCESS, inputs=1, tokens=100)
    bench.recorder.record(record)
    bench.clock.advance(20)
    search = replace(key, operation=Operation.SEARCH)
    bench.recorder.record(
        UsageRecord(search, bench.clock.now, 0.002, Outcome.SUCCESS, inputs=1, tokens=5)
    )
    await bench.recorder.fold()


async def test_usage_is_drawn(signed_in: Bench) -> None:
    """With totals over the whole range, and by what is asked for."""
    await record_some(signed_in)
    shown = (await signed_in.call("GET", "/usage?since=1m&step=10s")).json()
    [curve] = shown["curves"]
    assert shown["step_s"] == 10
    assert [point["tokens"] for point in curve["points"] if point["tokens"]] == [100]
    assert curve["total"]["tokens"] == 100
    signed_in.clock.advance(10)
    by_operation = await signed_in.call("GET", "/usage?since=1m&group_by=operation&step=10s")
    groups = {each["group"]: each["total"]["tokens"] for each in by_operation.json()["curves"]}
    assert groups == {"insert": 100, "search": 5}
    none = (await signed_in.call("GET", "/usage?since=1m&step=10s&instance=nobody")).json()
    assert none["curves"][0]["total"]["tokens"] == 0


async def test_usage_is_downloaded_as_a_table(signed_in: Bench) -> None:
    """A gap is an empty cell; what a spreadsheet would run is not."""
    await record_some(signed_in)
    signed_in.clock.advance(10)
    reply = await signed_in.call("GET", "/usage.csv?since=40s&step=10s&group_by=caller")
    assert reply.headers["content-type"].startswith("text/csv")
    head, *rows = reply.text.splitlines()
    assert head.startswith("group,at,requests,refusals,tokens,")
    assert all(row.startswith("'=ann,202") for row in rows)
    assert sum(int(row.split(",")[4] or 0) for row in rows) == 105


async def test_names_to_filter_by_are_listed(signed_in: Bench) -> None:
    """Those that the ledger knows."""
    await record_some(signed_in)
    names = (await signed_in.call("GET", "/usage/names")).json()
    assert names["models"] == ["text-embedding-v4"]
    assert (names["instances"], names["tenants"]) == (["default"], ["north"])
    assert names["operations"] == ["insert", "search", "api", "job"]


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/usage?since=yesterday", "since"),
        ("/usage?since=1m&until=2m", "until"),
        ("/usage?step=7s", "step"),
        ("/usage?step=x", "step"),
        ("/usage?operation=nothing", "operation"),
        ("/usage?nonsense=1", "nonsense"),
        ("/usage?since=47h&step=10s", "step"),
        ("/audit?limit=0", "limit"),
    ],
)
async def test_bad_query_is_told_by_name(signed_in: Bench, path: str, parameter: str) -> None:
    """In this API's own shape."""
    reply = await signed_in.call("GET", path)
    assert (reply.status_code, reply.json()["error"]["parameter"]) == (400, parameter), reply.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/keys", b"{"),
        ("/keys", b'{"label": 5}'),
        ("/keys", b'{"label": "a", "scopes": ["everything"]}'),
        ("/keys", b'{"label": "a", "surprise": 1}'),
        ("/associations", b'{"service": "text-embedding-v4", "instances": []}'),
    ],
)
async def test_bad_body_changes_nothing(signed_in: Bench, path: str, body: bytes) -> None:
    """And is told in this API's own shape."""
    before = (await signed_in.call("GET", "/audit")).json()
    reply = await signed_in.call(
        "POST", path, content=body, headers={"content-type": "application/json"}
    )
    assert (reply.status_code, reply.json()["error"]["kind"]) == (400, "invalid_input")
    assert (await signed_in.call("GET", "/audit")).json() == before


async def test_audit_is_read_page_by_page(signed_in: Bench) -> None:
    """Newest first, each entry once."""
    seen: list[int] = []
    before = ""
    while entries := (await signed_in.call("GET", f"/audit?limit=3{before}")).json()["entries"]:
        seen += [entry["number"] for entry in entries]
        before = f"&before={seen[-1]}"
    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) > 6


async def test_session_outlives_a_restart_and_ends_in_time(tmp_path: Path) -> None:
    """It is in the database; the browser is asked to sign in again after its time."""
    async with opened(tmp_path) as bench:
        await bench.sign_in()
        cookie = {"cookie": f"{COOKIE}={bench.client.cookies[COOKIE]}"}
        bench.clock.advance(3599)
        assert (await bench.call("GET", "/services", headers=cookie)).status_code == 200
        bench.clock.now += timedelta(seconds=1)
        assert (await bench.call("GET", "/services", headers=cookie)).status_code == 401


async def test_unready_server_says_why(signed_in: Bench) -> None:
    """With the sentences that the readiness probe has."""
    server = (await signed_in.call("GET", "/server")).json()
    assert (server["is_ready"], server["reasons"]) == (False, ["a part is missing"])
    assert server["instance_ports"] == {"default": 19530}
    settings = (await signed_in.call("GET", "/settings")).json()["settings"]
    assert settings == [{"key": "server.host", "value": "127.0.0.1", "is_default": True}]


async def test_playground_embeds_and_compares(signed_in: Bench) -> None:
    """Each text with its vector, tokens and price; equal texts are the most alike."""
    body = {"model": "text-embedding-v4", "texts": ["one two", "three", "one two"], "dimension": 64}
    found = (await signed_in.call("POST", "/playground/embed", json=body)).json()
    assert found["dimension"] == 64
    assert [len(vector) for vector in found["vectors"]] == [64, 64, 64]
    assert found["vectors"][0] == found["vectors"][2] != found["vectors"][1]
    assert found["total_tokens"] == sum(found["token_counts"])
    assert found["cost"] == pytest.approx(0.07 * found["total_tokens"] / 1e6)
    similar = found["similarities"]
    assert similar[0][2] == pytest.approx(1) == similar[1][1]
    assert similar[0][1] == similar[1][0] < 0.9
    assert (await signed_in.call("GET", "/models")).json()["models"][0]["requests"] == 1


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"model": "nothing"}, 404),
        ({"texts": []}, 400),
        ({"texts": ["x"] * 33}, 400),
        ({"texts": [""]}, 400),
        ({"dimension": 7}, 400),
        ({"purpose": "fun"}, 400),
        ({"model": "qwen3-vl-embedding"}, 503),
    ],
)
async def test_playground_refuses_as_the_models_do(
    signed_in: Bench, change: dict[str, Any], status: int
) -> None:
    """In this API's own shape."""
    body = {"model": "text-embedding-v4", "texts": ["one"]} | change
    reply = await signed_in.call("POST", "/playground/embed", json=body)
    assert reply.status_code == status, reply.text
    assert reply.json()["error"]["message"]


async def test_playground_embeds_contents_without_media_as_texts(signed_in: Bench) -> None:
    """Whichever way they are written; a model for texts refuses a picture by its place."""
    texts = ["one two", "three"]
    ways = ({"texts": texts}, {"contents": [{"text": text} for text in texts]})
    first, second = [
        (await signed_in.call("POST", "/playground/embed", json={"model": MODELS[-1]} | way)).json()
        for way in ways
    ]
    assert first["vectors"] == second["vectors"]
    assert (second["media"], second["token_counts"]) == ([[], []], first["token_counts"])
    picture = {"contents": [{"text": "one"}, {"media": ["data:image/png;base64,AA=="]}]}
    for body, part in (({}, "texts, or contents"), (picture, "content 1 has an image")):
        asked = {"model": MODELS[-1]} | body
        reply = await signed_in.call("POST", "/playground/embed", json=asked)
        assert reply.status_code == 400
        assert part in reply.json()["error"]["message"]


async def test_playground_compares_pictures_with_words(tmp_path: Path) -> None:
    """Each with what it was found to be; the right word is the nearest, a pair is one vector."""
    service = colour_service(ColourEngine(), DataReader())
    async with opened(tmp_path, service) as bench:
        await bench.sign_in()
        contents = [
            {"text": "yellow"},
            {"text": "blue"},
            {"media": [data_uri(an_image("blue", (40, 30)))]},
            {"text": "blue", "media": [data_uri(an_image("blue"))]},
        ]
        body = {"model": "qwen3-vl-embedding", "contents": contents}
        found = (await bench.call("POST", "/playground/embed", json=body)).json()
        assert len(found["vectors"]) == 4
        similar = found["similarities"]
        assert similar[2][1] > similar[2][0]
        [seen] = found["media"][2]
        assert (seen["kind"], seen["format"], seen["width"], seen["height"]) == (
            "image",
            "png",
            40,
            30,
        )
        assert [len(each) for each in found["media"]] == [0, 0, 1, 1]
        assert found["total_tokens"] == sum(found["token_counts"]) > 0
        damaged = {"model": "qwen3-vl-embedding", "contents": [{"media": [data_uri(b"none")]}]}
        assert (await bench.call("POST", "/playground/embed", json=damaged)).status_code == 400


async def test_instance_that_is_not_served_cannot_be_looked_into(signed_in: Bench) -> None:
    """Neither its collections nor with a question."""
    assert (await signed_in.call("GET", "/instances/other/collections")).status_code == 404
    body = {"instance": "other", "collection": "c", "field": "f", "text": "t"}
    assert (await signed_in.call("POST", "/playground/search", json=body)).status_code == 404


async def test_jobs_of_all_tenants_are_listed_and_cancelled(signed_in: Bench) -> None:
    """Newest first, page by page; a cancellation is in the audit log with the job's tenant."""
    jobs = []
    for number, tenant in enumerate(["north", "south", "north"]):
        order = JobOrder(JobKind.BATCH, FileId(f"file-{number}"), 3600, model="text-embedding-v4")
        with calling(Caller(name="someone", tenant=tenant)):
            jobs.append(await signed_in.desk.submit(order))
    listed = (await signed_in.call("GET", "/jobs?limit=2")).json()
    assert [each["id"] for each in listed["jobs"]] == [jobs[2].id, jobs[1].id]
    assert (listed["total"], listed["jobs"][1]["tenant"]) == (3, "south")
    rest = (await signed_in.call("GET", "/jobs?limit=2&offset=2")).json()["jobs"]
    assert [(each["id"], each["state"]) for each in rest] == [(jobs[0].id, "queued")]
    path = f"/jobs/{jobs[1].id}/cancel"
    cancelled = await signed_in.call("POST", path)
    assert cancelled.json()["state"] in {"cancelling", "cancelled"}
    entry = (await signed_in.call("GET", "/audit?limit=1")).json()["entries"][0]
    assert (entry["action"], entry["subject"], entry["detail"]) == (
        "job.cancel",
        jobs[1].id,
        {"tenant": "south"},
    )
    for state in JobState:
        found = (await signed_in.call("GET", f"/jobs?state={state.value}")).json()["jobs"]
        assert {each["state"] for each in found} <= {state.value}
    assert (await signed_in.call("POST", "/jobs/nothing/cancel")).status_code == 404
