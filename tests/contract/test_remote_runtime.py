"""A network on servers elsewhere answers while one of them does, and says why when none does."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.requests import Request

from milvane.apis.connection import time_left_s
from milvane.domain.errors import (
    Conflict,
    DeadlineExceeded,
    Overloaded,
    ServiceError,
    UpstreamRejected,
    UpstreamUnavailable,
)
from milvane.inference.remote.asking import HOPELESS
from milvane.inference.remote.balancing import Condition
from milvane.inference.remote.hedging import LEAST_SAMPLES
from milvane.inference.remote.runtime import RemoteRuntime
from milvane.inference.runtimes.port import Patience, Unanswered
from milvane.testing.provider_servers import Reply, Trouble
from replicas import Change, Hold, Net, ReplicaServer, Vectors, opened

IDS = np.array([[2, 5, 6, 3], [2, 7, 3, 0]], np.int32)
LENGTHS = np.array([4, 3], np.int32)
KEY = "a-key-that-nobody-may-see"
QUIET = {"hedge_share": 0.0, "health_interval_s": 600}
"""Nothing is sent but what the test sends."""


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Net:
    """What the servers run."""
    return Net(tmp_path_factory.mktemp("net"))


@pytest.fixture
def serve(net: Net) -> Iterator[Callable[..., Any]]:
    """Start servers and their runtime; all of it ends with the test."""
    with ExitStack() as stack:

        def start(count: int, **chosen: Any) -> tuple[RemoteRuntime, list[ReplicaServer]]:
            servers = [stack.enter_context(ReplicaServer(net)) for _ in range(count)]
            runtime = stack.enter_context(opened(net, *servers, **(QUIET | chosen)))
            return runtime, servers

        yield start


def expected(net: Net) -> Vectors:
    """What the network gives for the ids above, each by itself: padding changes the last bits."""
    return net.run([row[:length] for row, length in zip(IDS, LENGTHS, strict=True)])


def test_vllm_is_sent_token_ids(serve: Callable[..., Any], net: Net) -> None:
    """The ids with their special tokens and without padding, the model and the key."""
    runtime, [server] = serve(1, model="the-model", api_key=KEY)
    np.testing.assert_array_equal(runtime.forward(IDS, LENGTHS), expected(net))
    [request] = server.received
    assert request.path == "/v1/embeddings"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert (
        request.content
        == json.dumps(
            {"input": [[2, 5, 6, 3], [2, 7, 3]], "encoding_format": "base64", "model": "the-model"},
            separators=(",", ":"),
        ).encode()
    )


@pytest.mark.parametrize(
    ("dialect", "path", "body"),
    [
        ("tei", "/embed", {"inputs": ["the cat", "dog"], "normalize": True, "truncate": False}),
        ("infinity", "/embeddings", {"input": ["the cat", "dog"], "encoding_format": "base64"}),
        (
            "openai",
            "/v1/embeddings",
            {"input": ["the cat", "dog"], "encoding_format": "base64", "dimensions": 32},
        ),
    ],
)
def test_others_are_sent_texts(
    serve: Callable[..., Any], net: Net, dialect: str, path: str, body: dict[str, Any]
) -> None:
    """Windows are written as texts, which are read as the same ids there."""
    runtime, [server] = serve(1, dialect=dialect, ask_dimension=dialect == "openai")
    np.testing.assert_array_equal(runtime.forward(IDS, LENGTHS), expected(net))
    [request] = server.received
    assert (request.path, request.body) == (path, body)
    assert "authorization" not in request.headers


def test_large_pass_becomes_several_requests(serve: Callable[..., Any], net: Net) -> None:
    """No request has more inputs than the server takes, and rows stay in order."""
    runtime, servers = serve(2, max_request_inputs=3)
    ids = np.array([[2, 5 + row, 3] for row in range(8)], np.int32)
    lengths = np.full(8, 3, np.int32)
    np.testing.assert_array_equal(runtime.forward(ids, lengths), net.run(list(ids)))
    sizes = [len(request.body["input"]) for each in servers for request in each.received]
    assert sorted(sizes) == [2, 3, 3]
    assert all(server.received for server in servers)


def test_replica_with_fewer_requests_is_asked(serve: Callable[..., Any]) -> None:
    """While one replica is at work, the other is sent what comes."""
    runtime, servers = serve(2)
    holds = [Hold(), Hold()]
    for server, hold in zip(servers, holds, strict=True):
        server.play(hold)
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(runtime.forward, IDS, LENGTHS)
        busy = 0 if _first_set(holds[0].asked, holds[1].asked) == 0 else 1
        servers[1 - busy].next_play()
        for _ in range(4):
            runtime.forward(IDS, LENGTHS)
        holds[busy].released.set()
        slow.result()
    assert [len(servers[busy].received), len(servers[1 - busy].received)] == [1, 4]


def _first_set(*events: threading.Event) -> int:
    while True:
        for position, event in enumerate(events):
            if event.wait(0.005):
                return position


@pytest.mark.parametrize(
    "play",
    [
        Trouble.DROP,
        Reply(500, b"it failed"),
        Reply(503, b""),
        Reply(401, b"no"),
        Reply(200, b"not json"),
        Reply(200, b'{"data": [', {"Content-Length": "5000"}),
        Change(lambda vectors: vectors[:-1]),
        Change(lambda vectors: vectors[:, :-1]),
        Change(lambda vectors: np.where(vectors > 0.5, np.nan, vectors)),
        Change(lambda vectors: vectors * 0),
    ],
)
def test_failure_of_one_replica_is_nobody_elses(
    serve: Callable[..., Any], net: Net, play: Any
) -> None:
    """What one replica cannot answer, or answers wrongly, another one does."""
    runtime, servers = serve(2)
    for server in servers:
        server.play(play)
    servers[0].next_play()
    for _ in range(3):
        np.testing.assert_array_equal(runtime.forward(IDS, LENGTHS), expected(net))
    assert runtime.trouble() is None
    assert runtime.counts.retries == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_refusal_of_a_request_is_not_repeated(serve: Callable[..., Any], status: int) -> None:
    """What can never succeed is sent once, and the refusal says what the server said."""
    runtime, servers = serve(2)
    for server in servers:
        server.play(Reply(status, f"too long, said {KEY}".encode()))
    with pytest.raises(UpstreamRejected, match=f"{status}: too long"):
        runtime.forward(IDS, LENGTHS)
    assert sum(len(server.received) for server in servers) == 1


def test_key_is_never_shown(serve: Callable[..., Any]) -> None:
    """What a server repeats of the key is not passed on, and settings hide it."""
    runtime, [server] = serve(1, api_key=KEY)
    server.play(Reply(400, f"your key {KEY} is fine".encode()))
    with pytest.raises(UpstreamRejected) as caught:
        runtime.forward(IDS, LENGTHS)
    assert KEY not in caught.value.message
    assert "your key *** is fine" in caught.value.message


def test_sick_replica_is_left_alone(serve: Callable[..., Any]) -> None:
    """After some failures in a row a replica gets nothing for a while, and the other all."""
    runtime, servers = serve(2, breaker_failures=3, breaker_open_s=600)
    servers[0].play(*[Reply(500)] * 100)
    for _ in range(20):
        runtime.forward(IDS, LENGTHS)
    assert len(servers[0].received) == 3
    assert len(servers[1].received) == 20


def test_no_replica_at_all_is_said(serve: Callable[..., Any]) -> None:
    """With every replica lost, a pass fails at once, blames no input, and tells operators why."""
    runtime, servers = serve(2, health_interval_s=0.05)
    for server in servers:
        server.stop()
    with pytest.raises(Unanswered, match="no server that runs these weights answers") as caught:
        runtime.forward(IDS, LENGTHS)
    assert servers[0].url not in caught.value.message
    said = runtime.trouble()
    assert said
    assert all(server.url in said for server in servers)


def test_replica_that_comes_back_is_asked_again(net: Net) -> None:
    """A server that was started again is looked at, tested, and serves."""
    with (
        ReplicaServer(net) as first,
        opened(net, first, **QUIET | {"health_interval_s": 0.02}) as runtime,
    ):
        first.stop()
        with pytest.raises(Unanswered):
            runtime.forward(IDS, LENGTHS)
        with ReplicaServer(net, port=first.port) as second:
            while runtime.trouble():
                second.looked.acquire(timeout=10)
            np.testing.assert_array_equal(runtime.forward(IDS, LENGTHS), expected(net))
            assert len(second.received) == 2  # the test, then the pass


def test_server_that_came_back_as_another_is_not_asked(net: Net, tmp_path: Path) -> None:
    """A server that runs another network after a restart is found out before it is asked."""
    with (
        ReplicaServer(net) as first,
        opened(net, first, **QUIET | {"health_interval_s": 0.02}) as runtime,
    ):
        first.stop()
        with pytest.raises(Unanswered):
            runtime.forward(IDS, LENGTHS)
        with ReplicaServer(Net(tmp_path / "other", seed=9), port=first.port) as second:
            while "other vectors" not in (runtime.trouble() or ""):
                second.looked.acquire(timeout=10)
            with pytest.raises(Unanswered, match="runs another model"):
                runtime.forward(IDS, LENGTHS)


def test_unwell_replica_is_not_asked(serve: Callable[..., Any]) -> None:
    """A replica that says it is not well gets nothing until it says that it is."""
    runtime, [server] = serve(1, health_interval_s=0.02)
    server.is_well = False
    while not runtime.trouble():
        server.looked.acquire(timeout=10)
    assert "its health is 503" in (runtime.trouble() or "")
    server.is_well = True
    while runtime.trouble():
        server.looked.acquire(timeout=10)
    assert runtime.forward(IDS, LENGTHS).shape == (2, runtime.width)


def test_slow_replica_is_overtaken(serve: Callable[..., Any], net: Net) -> None:
    """A pass that takes far longer than others is sent to a second replica, whose answer counts."""
    runtime, servers = serve(2, hedge_share=1.0)
    for _ in range(LEAST_SAMPLES):
        runtime.forward(IDS, LENGTHS)
    hedges = runtime.counts.hedges
    hold = Hold()
    last = [len(server.received) for server in servers]
    for server in servers:
        server.play(hold)
    with ThreadPoolExecutor(1) as pool:
        passing = pool.submit(runtime.forward, IDS, LENGTHS)
        assert hold.asked.wait(10)
        asked = 0 if len(servers[0].received) > last[0] else 1
        servers[1 - asked].next_play()
        result = passing.result(timeout=10)
    np.testing.assert_array_equal(result, expected(net))
    assert servers[asked].abandoned.wait(10)
    assert runtime.counts.hedges == hedges + 1
    assert runtime.counts.won_hedges >= 1


def test_hedges_can_be_turned_off(serve: Callable[..., Any]) -> None:
    """Without a share, nobody is asked twice, however long it takes."""
    runtime, servers = serve(2, hedge_share=0.0)
    for _ in range(LEAST_SAMPLES * 2):
        runtime.forward(IDS, LENGTHS)
    assert runtime.counts.hedges == 0
    assert sum(len(server.received) for server in servers) == LEAST_SAMPLES * 2


def test_busy_replica_is_left_alone_as_long_as_it_asks(serve: Callable[..., Any], net: Net) -> None:
    """`Retry-After` keeps requests from that replica; the other one takes them."""
    runtime, servers = serve(2)
    busy = Reply(429, b"busy", {"Retry-After": "600"})
    servers[0].play(*[busy] * 10)
    for _ in range(6):
        np.testing.assert_array_equal(runtime.forward(IDS, LENGTHS), expected(net))
    assert len(servers[0].received) == 1
    assert len(servers[1].received) == 6


def test_busy_servers_are_said_to_be_busy(serve: Callable[..., Any]) -> None:
    """When all ask for more time than there is, the caller hears how long."""
    runtime, [server] = serve(1)
    server.play(Reply(429, b"busy", {"Retry-After": "600"}))
    for _ in range(2):
        with pytest.raises(Overloaded) as caught:
            runtime.forward(IDS, LENGTHS)
        assert 590 < caught.value.retry_after_s <= 600
    assert len(server.received) == 1


def test_short_pause_that_is_asked_for_is_kept(serve: Callable[..., Any], net: Net) -> None:
    """A pause that there is time for is waited for, and then the request succeeds."""
    runtime, [server] = serve(1)
    server.play(Reply(429, b"busy", {"Retry-After": "0.2"}))
    np.testing.assert_array_equal(runtime.forward(IDS, LENGTHS), expected(net))
    assert len(server.received) == 2


def test_answer_that_takes_too_long_is_given_up(serve: Callable[..., Any], net: Net) -> None:
    """A replica that says nothing in time has failed, and another one is asked."""
    runtime, servers = serve(2, attempt_timeout_s=0.3)
    for server in servers:
        server.play(Hold())
    servers[1].next_play()
    for _ in range(2):
        np.testing.assert_array_equal(runtime.forward(IDS, LENGTHS), expected(net))
    assert servers[0].abandoned.wait(10)


def test_start_waits_for_a_server(net: Net) -> None:
    """A start says which servers did not answer in time."""
    with ReplicaServer(net) as server:
        url = server.url
    with (
        pytest.raises(UpstreamUnavailable, match=url),
        opened(net, server, start_timeout_s=0.1),
    ):
        pass


@pytest.mark.parametrize(
    ("play", "said"),
    [
        (Reply(401, b"who are you?"), "401: who are you"),
        (Reply(404, b"no such model"), "404: no such model"),
        (Change(lambda vectors: vectors[:, :16]), "shape"),
    ],
)
def test_start_refuses_what_the_settings_do_not_say(net: Net, play: Any, said: str) -> None:
    """A server that wants another key, has another model or another width fails the start."""
    with ReplicaServer(net) as server:
        server.play(play)
        with pytest.raises(Conflict, match=said), opened(net, server):
            pass


def test_start_refuses_replicas_that_differ(net: Net, tmp_path: Path) -> None:
    """Two servers with different networks are not replicas of one."""
    other = Net(tmp_path / "other", seed=9)
    with (
        ReplicaServer(net) as one,
        ReplicaServer(other) as two,
        pytest.raises(Conflict, match="other vectors"),
        opened(net, one, two),
    ):
        pass


def test_many_passes_at_once_stay_within_the_limit(serve: Callable[..., Any], net: Net) -> None:
    """No replica gets more requests at once than it may, and none is lost."""
    runtime, servers = serve(2, max_concurrent=2)
    assert runtime.concurrency == 4
    with ThreadPoolExecutor(12) as pool:
        for result in pool.map(lambda _: runtime.forward(IDS, LENGTHS), range(60)):
            np.testing.assert_array_equal(result, expected(net))
    assert max(server.most_at_once for server in servers) <= 2


def test_failures_are_all_of_our_kinds(serve: Callable[..., Any]) -> None:
    """Whatever a server does, a pass fails with a kind that every front door knows."""
    runtime, [server] = serve(1, max_attempts=1)
    for status in (301, 400, 401, 403, 404, 408, 429, 500, 501, 502, 503):
        server.play(Reply(status))
        with pytest.raises(ServiceError):
            runtime.forward(IDS, LENGTHS)


def waiting(left_s: float) -> Patience:
    """Wait so long from now."""
    return Patience(time.monotonic() + left_s)


def read_time_left_s(server: ReplicaServer) -> float:
    """Say how long another Milvane would take the last request's sender to wait."""
    headers = [
        (name.encode(), value.encode()) for name, value in server.received[-1].headers.items()
    ]
    told = time_left_s(Request({"type": "http", "headers": headers}))
    assert told is not None
    return told


def test_server_is_told_how_long_it_is_waited_for(serve: Callable[..., Any]) -> None:
    """It hears what those who wait have left, or the usual time if that is shorter."""
    runtime, [server] = serve(1, attempt_timeout_s=40)
    runtime.forward(IDS, LENGTHS)
    assert 39 < read_time_left_s(server) <= 40
    runtime.forward_within(IDS, LENGTHS, waiting(50))
    assert 39 < read_time_left_s(server) <= 40
    runtime.forward_within(IDS, LENGTHS, waiting(20))
    assert 10 < read_time_left_s(server) <= 20


def test_request_ends_with_the_deadline_of_those_who_wait(
    serve: Callable[..., Any], net: Net
) -> None:
    """Past it nothing is asked of a server any more, which is not to blame."""
    runtime, [server] = serve(1, breaker_failures=1, breaker_open_s=600)
    server.play(Hold())
    with pytest.raises(DeadlineExceeded):
        runtime.forward_within(IDS, LENGTHS, waiting(0.2))
    assert server.abandoned.wait(10)
    np.testing.assert_array_equal(runtime.forward(IDS, LENGTHS), expected(net))
    with pytest.raises(DeadlineExceeded):
        runtime.forward_within(IDS, LENGTHS, waiting(-1))
    assert len(server.received) == 2


def test_request_ends_when_nobody_waits(serve: Callable[..., Any], net: Net) -> None:
    """Once the last caller has left, the server is left alone, and is not to blame."""
    runtime, [server] = serve(1, breaker_failures=1, breaker_open_s=600)
    hold, patience = Hold(), Patience()
    server.play(hold)
    with ThreadPoolExecutor(1) as pool:
        passing = pool.submit(runtime.forward_within, IDS, LENGTHS, patience)
        assert hold.asked.wait(10)
        patience.end()
        with pytest.raises(DeadlineExceeded):
            passing.result(timeout=10)
    assert server.abandoned.wait(10)
    with pytest.raises(DeadlineExceeded):
        runtime.forward_within(IDS, LENGTHS, patience)
    np.testing.assert_array_equal(runtime.forward(IDS, LENGTHS), expected(net))


@pytest.mark.parametrize("status", [408, 504])
def test_server_that_says_there_is_too_little_time_is_believed(
    serve: Callable[..., Any], status: int
) -> None:
    """In a hurry it is the deadline that failed; with the usual time it is the server."""
    runtime, [server] = serve(1, breaker_failures=1, breaker_open_s=600, max_attempts=1)
    server.play(*[Reply(status)] * 3)
    for _ in range(2):
        with pytest.raises(DeadlineExceeded):
            runtime.forward_within(IDS, LENGTHS, waiting(20))
    for kind in (UpstreamUnavailable, Unanswered):
        with pytest.raises(kind):
            runtime.forward(IDS, LENGTHS)
    assert len(server.received) == 3


def test_replica_that_hangs_is_left_alone_even_by_the_hurried(serve: Callable[..., Any]) -> None:
    """What takes far longer than nearly all others do is sick, however soon a deadline ends it."""
    runtime, servers = serve(2, breaker_failures=1, breaker_open_s=600)
    longest_s = 0.0
    for _ in range(LEAST_SAMPLES):
        begun_s = time.monotonic()
        runtime.forward(IDS, LENGTHS)
        longest_s = max(longest_s, time.monotonic() - begun_s)
    left_s = 1.1 * HOPELESS * longest_s
    servers[0].play(*[Hold()] * 9)
    late = 0
    for _ in range(9):
        try:
            runtime.forward_within(IDS, LENGTHS, waiting(left_s))
        except DeadlineExceeded:
            late += 1
    assert late == 1


def test_each_replica_is_counted_by_itself(serve: Callable[..., Any]) -> None:
    """What it was sent, what came of that, and how it stands, under its own address."""
    runtime, servers = serve(2, breaker_failures=2, breaker_open_s=600)
    servers[0].play(Reply(500), Reply(200, b"not json"))
    for _ in range(3):
        runtime.forward(IDS, LENGTHS)
    first, second = runtime.replicas
    assert [first.url, second.url] == [server.url for server in servers]
    assert [first.counts.requests, second.counts.requests] == [2, 3]
    assert first.counts.failures == {"server": 1, "answer": 1}
    assert not second.counts.failures
    assert sum(first.counts.answer_times_s.counts) == 0
    assert sum(second.counts.answer_times_s.counts) == 3
    assert (first.condition, first.outstanding) == (Condition.BROKEN, 0)
    assert (second.condition, second.outstanding) == (Condition.READY, 0)


def test_replica_that_is_busy_is_shown_so(serve: Callable[..., Any]) -> None:
    """Requests under way are counted until they end, those given up too."""
    runtime, [server] = serve(1)
    hold, patience = Hold(), Patience()
    server.play(hold, Reply(429, b"", {"Retry-After": "600"}))
    with ThreadPoolExecutor(1) as pool:
        passing = pool.submit(runtime.forward_within, IDS, LENGTHS, patience)
        assert hold.asked.wait(10)
        assert runtime.replicas[0].outstanding == 1
        patience.end()
        with pytest.raises(DeadlineExceeded):
            passing.result(timeout=10)
    with pytest.raises(Overloaded):
        runtime.forward(IDS, LENGTHS)
    [replica] = runtime.replicas
    assert (replica.outstanding, replica.condition) == (0, Condition.RESTING)
    assert (replica.counts.requests, replica.counts.given_up) == (2, 1)
    assert replica.counts.failures == {"busy": 1}
