"""
Hostile and broken sources: each is refused in clear words, in its time, and costs nobody else.

Names are looked up by a resolver of the test, and every connection ends at loopback, whatever
address it was made for: nothing here leaves the machine.
"""

from __future__ import annotations

import asyncio
import gzip
import ssl
import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from certificates import Authority
from drawn_media import drawn_image, drawn_video, huge_png, sound_file
from media_origins import PUBLIC, Detour, Names, Origin, Reply, served_origin
from media_readings import HOME, VIEWING, data_uri, reading, refusal
from milvane.domain.contents import MediaPart
from milvane.domain.errors import MediaRejected, Overloaded
from milvane.logs import CHATTY
from milvane.media.fetching.fetcher import Fetcher
from milvane.media.opening import open_reader
from milvane.media.policy import UNREACHABLE
from milvane.media.reader import OwnStores
from milvane.media.reading_settings import MediaReaderSettings

NAME = "media.example"


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    """A server on loopback."""
    async with served_origin() as served:
        yield served


@pytest.fixture
def names() -> Names:
    """A resolver that knows one public name."""
    resolver = Names()
    resolver.say(NAME, PUBLIC)
    return resolver


# --- whom we ask ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.31.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "192.0.2.1",
        "::1",
        "::",
        "fe80::1",
        "fd00:ec2::254",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "2001:db8::1",
    ],
)
async def test_no_connection_is_made_to_a_closed_address(
    tmp_path: Path, names: Names, address: str
) -> None:
    """One closed address among those of a name is enough, wherever it stands."""
    detour = Detour()
    async with reading(tmp_path, names=names, detour=detour) as reader:
        for answer in ([address], [PUBLIC, address], [address, PUBLIC]):
            names.say(NAME, answer)
            assert await refusal(reader, f"http://{NAME}/a.png") == UNREACHABLE
        literal = f"[{address}]" if ":" in address else address
        assert await refusal(reader, f"http://{literal}/a.png") == UNREACHABLE
    assert detour.dialled == []


async def test_a_name_that_changes_its_answer_gains_nothing(
    tmp_path: Path, names: Names, origin: Origin
) -> None:
    """A name is looked up once for a connection, and what was checked is what is connected to."""
    origin.replies["/a.png"] = Reply(drawn_image())
    names.say(NAME, PUBLIC, "127.0.0.1")
    detour = Detour()
    async with reading(tmp_path, names=names, detour=detour) as reader:
        await reader.fetch(MediaPart(f"http://{NAME}:{origin.port}/a.png"))
        assert (names.asked, detour.dialled) == ([NAME], [PUBLIC])
        said = await refusal(reader, f"http://{NAME}:{origin.port}/b.png")
    assert said == UNREACHABLE
    assert detour.dialled == [PUBLIC]


@pytest.mark.parametrize(
    "place", ["http://127.0.0.1:{port}/", "http://169.254.169.254/latest", "//inner.example/x"]
)
async def test_a_redirect_leads_nowhere_else_than_an_address_does(
    tmp_path: Path, names: Names, origin: Origin, place: str
) -> None:
    """Where a redirect leads to is checked as if the caller had written it."""
    names.say("inner.example", "10.0.0.1")
    location = place.format(port=origin.port)
    origin.replies["/a"] = Reply(status="302 Found", headers=[f"Location: {location}"])
    origin.replies["/"] = Reply(drawn_image())
    detour = Detour()
    async with reading(tmp_path, names=names, detour=detour) as reader:
        assert await refusal(reader, f"http://{NAME}:{origin.port}/a") == UNREACHABLE
    assert detour.dialled == [PUBLIC]


async def test_a_redirect_leads_to_no_closed_domain(
    tmp_path: Path, names: Names, origin: Origin
) -> None:
    """The operator's domains hold for redirects too."""
    names.say("closed.example", PUBLIC)
    location = f"Location: http://closed.example:{origin.port}/b"
    origin.replies["/a"] = Reply(status="301 Moved", headers=[location])
    origin.replies["/b"] = Reply(drawn_image())
    async with reading(
        tmp_path, names=names, detour=Detour(), denied_domains=["closed.example"]
    ) as reader:
        assert "nothing is fetched" in await refusal(reader, f"http://{NAME}:{origin.port}/a")
    assert len(origin.asked) == 1


async def test_redirects_are_followed_three_times(
    tmp_path: Path, names: Names, origin: Origin
) -> None:
    """Three redirects are followed, a fourth is not."""
    for step in range(5):
        origin.replies[f"/{step}"] = Reply(
            status="307 Temporary Redirect", headers=[f"Location: {step + 1}"]
        )
    origin.replies["/5"] = Reply(drawn_image())
    async with reading(tmp_path, names=names, detour=Detour()) as reader:
        base = f"http://{NAME}:{origin.port}"
        assert (await reader.fetch(MediaPart(f"{base}/2"))).facts.format == "png"
        assert "more than 3 times" in await refusal(reader, f"{base}/1")


async def test_who_answers_behind_the_firewall_is_not_told(
    tmp_path: Path, names: Names, origin: Origin
) -> None:
    """In an allowed private network, a status, no answer and no name are the same words."""
    origin.replies["/500"] = Reply(status="500 Oh")
    origin.replies["/junk"] = Reply(b"?", headers=["Content-Length: 99"])
    async with reading(tmp_path, names=names, **HOME) as reader:
        said = {
            await refusal(reader, f"{origin.url}{path}")
            for path in ("/404", "/500", "/junk", "/none")
        }
        said.add(await refusal(reader, f"http://none.example:{origin.port}/"))
        said.add(await refusal(reader, "http://10.0.0.1/"))
        async with served_origin() as gone:
            closed = gone.url
        said.add(await refusal(reader, closed))
    assert said == {UNREACHABLE}


async def test_a_public_server_is_quoted_with_its_status(
    tmp_path: Path, names: Names, origin: Origin
) -> None:
    """A server of the Internet answers with a status that the caller may know."""
    async with reading(tmp_path, names=names, detour=Detour()) as reader:
        said = await refusal(reader, f"http://{NAME}:{origin.port}/none?Signature=s3cret")
    assert said == "it cannot be fetched: its server answers with status 404"


async def test_nothing_signed_is_in_messages_or_the_log(
    tmp_path: Path, names: Names, origin: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    """No part of an address but the host is repeated anywhere."""
    caplog.set_level("DEBUG")
    origin.replies["/s3cret"] = Reply(
        status="302 Found", headers=["Location: http://127.0.0.1/s3cret"]
    )
    async with reading(tmp_path, names=names, detour=Detour()) as reader:
        for path in ("/a?Signature=s3cret", "/s3cret", "/a?x=s3cret#s3cret"):
            assert "s3cret" not in await refusal(reader, f"http://{NAME}:{origin.port}{path}")
        assert "s3cret" not in await refusal(reader, f"http://user:s3cret@{NAME}/")
    assert any(record.name.startswith("milvane") for record in caplog.records)
    tellers = {record.name for record in caplog.records if "s3cret" in record.getMessage()}
    assert all(name.startswith(CHATTY) for name in tellers)  # which nobody lets speak


async def test_a_certificate_is_verified_for_the_name(tmp_path: Path, names: Names) -> None:
    """TLS goes to the checked address, and the certificate must be that of the name."""
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(pair.certificate, pair.key)
    asked: list[str | None] = []
    server_side.sni_callback = lambda _, name, __: asked.append(name)
    trusted = ssl.create_default_context(cafile=str(authority.file))
    names.say("localhost", PUBLIC)
    settings = MediaReaderSettings(decoders=1, timeout_s=5)
    async with served_origin(server_side) as origin:
        origin.replies["/a"] = Reply(drawn_image())
        fetcher = Fetcher(settings, resolver=names, connecting=Detour(), certificates=trusted)
        async with open_reader(settings, tmp_path, OwnStores(), fetcher=fetcher) as reader:
            media = await reader.fetch(MediaPart(f"https://localhost:{origin.port}/a"))
            assert media.facts.format == "png"
            assert await refusal(reader, f"https://{NAME}:{origin.port}/a") == UNREACHABLE
        assert [line for line in origin.asked[0] if line.startswith("Host:")] == [
            f"Host: localhost:{origin.port}"
        ]
    assert asked == ["localhost", NAME]


async def test_addresses_are_not_fetched_where_the_operator_says_so(
    tmp_path: Path, names: Names, origin: Origin
) -> None:
    """Addresses as a whole, plain HTTP, and hosts by name can be closed."""
    origin.replies["/a"] = Reply(drawn_image())
    url = f"http://{NAME}:{origin.port}/a"
    for settings in (
        {"fetches_addresses": False},
        {"allows_http": False},
        {"denied_domains": ["*.example"]},
        {"allowed_domains": ["other.example"]},
        {"denied_networks": ["93.184.0.0/16"]},
    ):
        async with reading(tmp_path, names=names, detour=Detour(), **settings) as reader:
            await refusal(reader, url)
    assert not origin.asked
    async with reading(
        tmp_path, names=names, detour=Detour(), allowed_domains=["*.example"]
    ) as reader:
        await reader.fetch(MediaPart(url))
    assert origin.asked


# --- what is sent --------------------------------------------------------------------------------


async def test_a_body_that_never_ends_is_cut_off(tmp_path: Path, origin: Origin) -> None:
    """Bytes are counted as they come, whatever was announced, and the server's memory stays."""
    piece = b"\0" * 65536
    origin.replies["/endless"] = Reply(drawn_image(), endless=piece)
    origin.replies["/announced"] = Reply(headers=["Content-Length: 99999999999"], stalls=True)
    async with reading(tmp_path, **HOME, max_image_bytes=2_000_000) as reader:
        before = psutil.Process().memory_info().rss
        assert "more than 2000000 bytes" in await refusal(reader, f"{origin.url}/endless")
        assert "more than" in await refusal(reader, f"{origin.url}/announced", max_bytes=10_000_000)
        assert psutil.Process().memory_info().rss - before < 32 * 1024**2
    assert list((tmp_path / "media-cache" / "incoming").iterdir()) == []


async def test_a_compressed_bomb_is_cut_off(tmp_path: Path, origin: Origin) -> None:
    """What is sent compressed is expanded bit by bit, up to the limit."""
    bomb = gzip.compress(drawn_image() + b"\0" * 100_000_000, 9)
    origin.replies["/bomb"] = Reply(bomb, headers=["Content-Encoding: gzip"])
    origin.replies["/good"] = Reply(
        gzip.compress(drawn_image()), headers=["Content-Encoding: gzip"]
    )
    origin.replies["/cut"] = Reply(
        zlib.compress(drawn_image())[:-9], headers=["Content-Encoding: deflate"]
    )
    origin.replies["/other"] = Reply(b"x", headers=["Content-Encoding: br"])
    async with reading(tmp_path, **HOME, max_image_bytes=5_000_000) as reader:
        before = psutil.Process().memory_info().rss
        assert "more than" in await refusal(reader, f"{origin.url}/bomb")
        assert psutil.Process().memory_info().rss - before < 32 * 1024**2
        assert "damaged" in await refusal(reader, f"{origin.url}/cut")
        assert "coding" in await refusal(reader, f"{origin.url}/other")
        assert (await reader.fetch(MediaPart(f"{origin.url}/good"))).facts.format == "png"


async def test_a_server_that_stalls_costs_its_time_only(tmp_path: Path, origin: Origin) -> None:
    """A request ends in its time, and those to other hosts, and others from it, go on meanwhile."""
    origin.replies["/slow"] = Reply(drawn_image()[:20], stalls=True)
    origin.replies["/quick"] = Reply(drawn_image())
    async with reading(tmp_path, **HOME, timeout_s=2, max_concurrent_per_host=4) as reader:
        await reader.fetch(MediaPart(data_uri(drawn_image())))  # has a process begin
        slow = asyncio.gather(*(refusal(reader, f"{origin.url}/slow?{n}") for n in range(4)))
        await asyncio.gather(*(origin.arrival(f"/slow?{n}") for n in range(4)))
        assert await refusal(reader, f"{origin.url}/quick", time_left_s=0.2) == UNREACHABLE
        media = await reader.fetch(MediaPart(f"http://localhost:{origin.port}/quick"))
        assert media.facts.format == "png"
        assert not slow.done()
        assert sum("/quick" in head[0] for head in origin.asked) == 1  # the other had no turn
        assert set(await slow) == {UNREACHABLE}


async def test_who_has_no_turn_in_time_may_try_again(tmp_path: Path, origin: Origin) -> None:
    """Waiting too long for others' fetches is no fault of the address."""
    origin.replies["/slow"] = Reply(drawn_image()[:20], stalls=True)
    limits = {"timeout_s": 0.5, "max_concurrent_per_host": 1}
    async with reading(tmp_path, **HOME, **limits) as reader:
        said = await asyncio.gather(
            *(reader.fetch(MediaPart(f"{origin.url}/slow?{n}")) for n in range(6)),
            return_exceptions=True,
        )
    kinds = [type(each) for each in said]
    assert kinds[0] is MediaRejected
    assert kinds.count(Overloaded) >= 4


async def test_no_tenant_takes_all_turns(tmp_path: Path, names: Names, origin: Origin) -> None:
    """Addresses of many hosts that stall, for one tenant, leave others theirs."""
    origin.replies["/slow"] = Reply(stalls=True)
    origin.replies["/quick"] = Reply(drawn_image())
    limits = {"max_concurrent": 3, "max_concurrent_per_tenant": 2}
    hosts = [f"{n}.example" for n in range(6)]
    for host in hosts:
        names.say(host, PUBLIC)
    async with reading(tmp_path, names=names, detour=Detour(), **limits) as reader:
        slow = [
            asyncio.ensure_future(
                reader.fetch(MediaPart(f"http://{host}:{origin.port}/slow?{host}"), tenant="one")
            )
            for host in hosts
        ]
        await asyncio.gather(*(origin.arrival(f"/slow?{host}") for host in hosts[:2]))
        quick = MediaPart(f"http://{hosts[0]}:{origin.port}/quick")
        assert (await reader.fetch(quick, tenant="two")).facts.format == "png"
        assert not any(each.done() for each in slow)
        for each in slow:
            each.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
    assert sum("/slow" in head[0] for head in origin.asked) == 2


async def test_a_caller_may_have_less_time(tmp_path: Path, origin: Origin) -> None:
    """A caller's deadline ends a request before the operator's."""
    origin.replies["/slow"] = Reply(stalls=True)
    async with reading(tmp_path, **HOME, timeout_s=60) as reader:
        began_s = time.monotonic()
        assert await refusal(reader, f"{origin.url}/slow", time_left_s=0.2) == UNREACHABLE
        assert time.monotonic() - began_s < 5


async def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    """Whatever else is sent is refused in words that say what it is; the next picture is read."""
    async with reading(tmp_path) as reader:
        before = psutil.Process().memory_info().rss
        for content, words in (
            (b"<!DOCTYPE html><html>", "an HTML page"),
            (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg">', "an SVG drawing"),
            (b"%PDF-1.7", "a PDF document"),
            (b'{"error": 1}', "JSON"),
            (b"hello", "a text"),
            (b"", "empty"),
            (b"PK\x03\x04....", "a ZIP archive"),
            (sound_file(), "it has no pictures"),
            (drawn_image("JPEG", quality=90)[:-200], "damaged"),
            (drawn_image("PNG")[:60], "damaged"),
            (drawn_video()[:300], "damaged"),
            (huge_png(), "30000 x 30000 pixels"),
        ):
            assert words in await refusal(reader, data_uri(content))
        media = await reader.fetch(MediaPart(data_uri(drawn_image())))
        await reader.see(media, VIEWING)
        assert psutil.Process().memory_info().rss - before < 32 * 1024**2


async def test_only_what_is_named_in_full_is_read(tmp_path: Path) -> None:
    """Paths, other schemes and damaged URIs are refused before anything is opened."""
    async with reading(tmp_path) as reader:
        for source in (
            "/etc/passwd",
            "file:///etc/passwd",
            "ftp://media.example/a.png",
            "a cat",
            "data:image/png;base64,####",
            "data:image/png",
            "oss://none/here",
            "http://",
            "http://\udcff/",
            "http://a b/",
            "http://media.example:99999/",
            "http://media.example:22/",
            "https://[::1%25lo]/",
        ):
            assert await refusal(reader, source)


async def test_a_reader_refuses_more_than_may_wait(tmp_path: Path, origin: Origin) -> None:
    """What would wait beyond the limit is refused at once, and can be sent again."""
    origin.replies["/slow"] = Reply(stalls=True)
    async with reading(tmp_path, **HOME, timeout_s=1, max_waiting=1) as reader:
        slow = asyncio.ensure_future(refusal(reader, f"{origin.url}/slow"))
        await origin.arrival("/slow")
        with pytest.raises(Overloaded):
            await reader.fetch(MediaPart(data_uri(drawn_image())))
        assert await slow == UNREACHABLE
        await reader.fetch(MediaPart(data_uri(drawn_image())))


async def test_the_next_address_of_a_name_is_tried(
    tmp_path: Path, names: Names, origin: Origin
) -> None:
    """An address that does not answer costs a name nothing that has another one."""
    origin.replies["/a"] = Reply(drawn_image())
    names.say(NAME, ["93.184.215.15", PUBLIC])
    detour = Detour(unreachable=["93.184.215.15"])
    async with reading(tmp_path, names=names, detour=detour) as reader:
        await reader.fetch(MediaPart(f"http://{NAME}:{origin.port}/a"))
    assert detour.dialled == ["93.184.215.15", PUBLIC]
