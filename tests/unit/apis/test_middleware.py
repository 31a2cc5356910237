"""Every request has an id, a size and an answer."""

import logging

import httpx
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from milvane.apis.middleware import BodyCap, LastResort, RequestIds, choose_request_id

CAP_BYTES = 1_000


class Defect(Exception):
    """Something that nobody foresaw."""


async def measure(request: Request) -> Response:
    """Read the body and say its length."""
    return PlainTextResponse(str(len(await request.body())))


async def fail(request: Request) -> Response:
    """Fail with a text that must not leave."""
    raise Defect("a secret")


async def fail_halfway(request: Request) -> Response:
    """Fail when half an answer is out."""

    async def chunks():
        yield b"half"
        raise Defect("a secret")

    return StreamingResponse(chunks())


async def refuse(request: Request, error: HTTPException) -> Response:
    """Say why HTTP alone refuses."""
    return PlainTextResponse(error.detail, error.status_code)


def client() -> httpx.AsyncClient:
    """Speak to an application wrapped as the real one is."""
    app = Starlette(
        routes=[
            Route("/measure", measure, methods=["POST"]),
            Route("/fail", fail),
            Route("/halfway", fail_halfway),
        ],
        middleware=[
            Middleware(RequestIds),
            Middleware(LastResort, answer=lambda request_id, _: PlainTextResponse(request_id, 500)),
            Middleware(BodyCap, max_body_bytes=CAP_BYTES),
        ],
        exception_handlers={HTTPException: refuse},
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://milvane")


@pytest.mark.parametrize("offered", ["a", "7f3d-1.x:Y_z", "x" * 128])
def test_sane_request_id_is_kept(offered: str) -> None:
    """A caller finds its own id again."""
    assert choose_request_id(offered) == offered


@pytest.mark.parametrize("offered", [None, "", "x" * 129, "a b", "a\nb", "a\n", "é", '"'])
def test_other_request_ids_are_replaced(offered: str | None) -> None:
    """What could break a log line or a header is not repeated, and no two ids are alike."""
    chosen = {choose_request_id(offered), choose_request_id(offered)}
    assert offered not in chosen
    assert len(chosen) == 2


async def test_every_answer_names_its_request() -> None:
    """Successes, refusals and failures carry the id, the caller's own where there is one."""
    async with client() as http:
        for path in ("/measure", "/fail", "/nowhere"):
            answer = await http.post(path, headers={"x-request-id": "mine"})
            assert answer.headers["x-request-id"] == "mine"
        assert (await http.get("/nowhere")).headers["x-request-id"]


async def test_unexpected_failure_stays_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The caller gets an id to ask with; the log has the same id and the whole story."""
    async with client() as http:
        answer = await http.get("/fail", headers={"x-request-id": "mine"})
    assert (answer.status_code, answer.text) == (500, "mine")
    (record,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert "mine" in record.getMessage()
    assert record.exc_info
    assert record.exc_info[0] is Defect


async def test_failure_after_the_start_breaks_the_connection() -> None:
    """Half an answer is never finished as if it were whole."""
    async with client() as http:
        with pytest.raises(Defect):
            await http.get("/halfway")


async def test_body_of_exactly_the_cap_is_taken() -> None:
    """The cap is the largest size taken."""
    async with client() as http:
        answer = await http.post("/measure", content=b"x" * CAP_BYTES)
    assert (answer.status_code, answer.text) == (200, str(CAP_BYTES))


async def test_announced_size_is_refused_unread() -> None:
    """A size above the cap in the header is enough: nothing is read."""
    async with client() as http:
        answer = await http.post(
            "/measure", headers={"content-length": str(CAP_BYTES + 1)}, content=unreadable()
        )
    assert answer.status_code == 413
    assert str(CAP_BYTES) in answer.text


async def test_unannounced_size_is_refused_while_it_arrives() -> None:
    """A body of unknown length is read no further than the cap."""
    sent_bytes = 0

    async def endless():
        nonlocal sent_bytes
        while True:
            sent_bytes += 100
            yield b"x" * 100

    async with client() as http:
        answer = await http.post("/measure", content=endless())
    assert answer.status_code == 413
    assert sent_bytes <= CAP_BYTES + 200


async def unreadable():
    """Fail whoever reads."""
    raise AssertionError("the body was read")
    yield b""
