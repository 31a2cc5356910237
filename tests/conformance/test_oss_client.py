"""The media store, as the unmodified `oss2` and people with bad intentions reach it."""

from __future__ import annotations

import base64
import hashlib
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from media_shops import MINE, THEIRS, Shop, oss2, served_shop
from milvane.media.settings import MediaSettings

MAX_BYTES = 3_000_000
PICTURE = bytes(range(256)) * 5000
NAMES = [
    "a.jpg",
    "milvus-embedding-test/ba na+na&=?#%.JPEG",
    "图片/橙子.png",
    "a/../../b",
    "x/..",
    "~/x",
]


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """A store with small limits, on a port."""
    async with served_shop(tmp_path, MediaSettings(max_object_bytes=MAX_BYTES)) as shop:
        yield shop


@pytest.fixture(params=[1, 4])
def bucket(request: pytest.FixtureRequest, shop: Shop) -> oss2.Bucket:
    """The client of an empty bucket, for each version of signatures."""
    return shop.bucket(version=request.param)


@pytest.mark.parametrize("name", NAMES)
def test_put_get_head_sign_delete(bucket: oss2.Bucket, tmp_path: Path, name: str) -> None:
    """What is put under a name is read under it, by key and by address, until it is deleted."""
    path = tmp_path / "file"
    path.write_bytes(PICTURE)
    put = bucket.put_object_from_file(name, str(path))
    assert put.status == 200
    assert put.etag == hashlib.md5(PICTURE, usedforsecurity=False).hexdigest().upper()
    assert bucket.get_object(name).read() == PICTURE  # compares CRC-64 with ours
    head = bucket.head_object(name)
    assert (head.content_length, head.server_crc) == (len(PICTURE), put.crc)
    assert bucket.object_exists(name)
    url = bucket.sign_url("GET", name, 3600)
    assert httpx.get(url).content == PICTURE
    bucket.delete_object(name)
    assert not bucket.object_exists(name)
    with pytest.raises(oss2.exceptions.NoSuchKey):
        bucket.get_object(name)
    assert httpx.get(url).status_code == 404


def test_facts_travel_with_the_object(bucket: oss2.Bucket) -> None:
    """Type and headers come back as they were sent; an empty object is an object."""
    headers = {"Content-Type": "image/webp", "x-oss-meta-source": "camera", "Cache-Control": "a"}
    bucket.put_object("a", b"", headers=headers)
    head = bucket.head_object("a")
    assert head.content_type == "image/webp"
    assert head.headers["x-oss-meta-source"] == "camera"
    assert head.headers["cache-control"] == "a"
    assert head.headers["content-security-policy"].startswith("sandbox")
    assert bucket.get_object("a").read() == b""
    bucket.put_object_from_file("b.mp4", __file__)
    assert bucket.head_object("b.mp4").content_type == "text/x-python"


@pytest.mark.parametrize(
    ("wanted", "got"),
    [((0, 9), PICTURE[:10]), ((100, None), PICTURE[100:]), ((None, 7), PICTURE[-7:])],
)
def test_range_is_served(
    bucket: oss2.Bucket, wanted: tuple[int | None, int | None], got: bytes
) -> None:
    """A part that is asked for is all that comes."""
    bucket.put_object("a", PICTURE)
    part = bucket.get_object("a", byte_range=wanted)
    assert part.status == 206
    assert part.read() == got


def test_put_by_address_takes_that_alone(shop: Shop, bucket: oss2.Bucket) -> None:
    """An address that is signed for putting puts, and reads nothing."""
    url = bucket.sign_url("PUT", "a.bin", 60, slash_safe=True)
    assert bucket.put_object_with_url(url, b"abc").status == 200
    assert shop.bucket().get_object("a.bin").read() == b"abc"
    assert httpx.get(url).status_code == 403


def test_names_are_listed_in_their_order(bucket: oss2.Bucket) -> None:
    """All names with a prefix are listed once, page by page, in the order of their bytes."""
    names = [f"a/{number:02}.jpg" for number in range(7)]
    for name in ["b", *reversed(names), "图"]:
        bucket.put_object(name, b"x")
    found = [each.key for each in oss2.ObjectIterator(bucket, prefix="a/", max_keys=3)]
    assert found == names
    assert [each.key for each in oss2.ObjectIterator(bucket)] == [*names, "b", "图"]


def test_bucket_may_stand_in_the_host(shop: Shop) -> None:
    """A client that puts the bucket before the endpoint's name reaches the same object."""
    shop.bucket(name="films").put_object("a/b", b"abc")
    port = urlsplit(shop.url).port
    bucket = oss2.Bucket(shop.auth(), f"http://oss.example.com:{port}", "films")
    parts = urlsplit(bucket.sign_url("GET", "a/b", 60))
    assert parts.hostname == "films.oss.example.com"
    answer = httpx.get(f"{shop.url}{parts.path}?{parts.query}", headers={"host": parts.netloc})
    assert answer.content == b"abc"


def test_tenants_have_buckets_of_their_own(shop: Shop) -> None:
    """A name in somebody else's bucket is another object, and cannot be seen from here."""
    mine, theirs = shop.bucket(MINE), shop.bucket(THEIRS)
    mine.put_object("a", b"mine")
    with pytest.raises(oss2.exceptions.NoSuchKey):
        theirs.get_object("a")
    theirs.put_object("a", b"theirs")
    theirs.put_object("b", b"mine")
    theirs.delete_object("b")
    assert mine.get_object("a").read() == b"mine"
    assert [each.key for each in oss2.ObjectIterator(theirs)] == ["a"]


def _other_name(url: str) -> str:
    return url.replace("/a?", "/b?")


def _other_bucket(url: str) -> str:
    return url.replace("/002test/", "/003test/")


def _later(url: str) -> str:
    return url.replace("Expires=1", "Expires=2").replace("x-oss-expires=60", "x-oss-expires=61")


def _other_signature(url: str) -> str:
    head, _, signature = url.rpartition("ignature=")
    return f"{head}ignature={'A' if signature[0] != 'A' else 'B'}{signature[1:]}"


@pytest.mark.parametrize("change", [_other_name, _other_bucket, _later, _other_signature])
@pytest.mark.parametrize("version", [1, 4])
def test_changed_address_opens_nothing(
    shop: Shop, version: int, change: Callable[[str], str]
) -> None:
    """An address is good for the object, the bucket and the time that it was signed for."""
    bucket = shop.bucket(version=version)
    bucket.put_object("a", b"abc")
    bucket.put_object("b", b"abc")
    url = bucket.sign_url("GET", "a", 60)
    assert httpx.get(url).status_code == 200
    assert change(url) != url
    answer = httpx.get(change(url))
    assert answer.status_code == 403
    assert b"<Code>SignatureDoesNotMatch</Code>" in answer.content
    assert httpx.delete(url).status_code == 403
    assert httpx.put(url, content=b"evil").status_code == 403
    assert bucket.get_object("a").read() == b"abc"


@pytest.mark.parametrize("version", [1, 4])
def test_expired_address_opens_nothing(shop: Shop, version: int) -> None:
    """An address ends to be good at its time; one for longer than is allowed never is."""
    bucket = shop.bucket(version=version)
    bucket.put_object("a", b"abc")
    url = bucket.sign_url("GET", "a", 60)
    shop.clock.off_s = 59 - 5
    assert httpx.get(url).status_code == 200
    shop.clock.off_s = 61
    answer = httpx.get(url)
    assert answer.status_code == 403
    assert b"Request has expired" in answer.content
    shop.clock.off_s = 0
    assert httpx.get(bucket.sign_url("GET", "a", 30 * 24 * 3600)).status_code == 403


@pytest.mark.parametrize("version", [1, 4])
@pytest.mark.parametrize("off_s", [-1000, 1000])
def test_request_of_another_time_is_refused(shop: Shop, version: int, off_s: float) -> None:
    """A request that was signed long ago, or for later, is not repeated now."""
    bucket = shop.bucket(version=version)
    shop.clock.off_s = off_s
    with pytest.raises(oss2.exceptions.ServerError) as refusal:
        bucket.put_object("a", b"abc")
    assert refusal.value.code == "RequestTimeTooSkewed"


def test_wrong_keys_are_told_apart(shop: Shop) -> None:
    """An unknown key, a wrong secret and an unknown signature have errors of their own."""
    key_id = shop.keys[MINE].access_key_id
    codes = []
    for auth in (oss2.Auth("nobody", "x"), oss2.Auth(key_id, "x"), shop.auth(version=2)):
        with pytest.raises(oss2.exceptions.ServerError) as refusal:
            oss2.Bucket(auth, shop.url, "002test").get_object("a")
        codes.append((refusal.value.status, refusal.value.code))
    assert codes == [
        (403, "InvalidAccessKeyId"),
        (403, "SignatureDoesNotMatch"),
        (400, "InvalidArgument"),
    ]


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "\\a", "a\x00b", "a\nb", "x" * 2000, "图" * 342, "a\x7f"]
)
def test_names_that_cannot_be_are_refused(shop: Shop, name: str) -> None:
    """A name against the rules leaves nothing behind, wherever it points to."""
    bucket = shop.bucket()
    with pytest.raises(oss2.exceptions.ServerError) as refusal:
        bucket.put_object(name, b"abc")
    assert (refusal.value.status, refusal.value.code) == (400, "InvalidObjectName")
    assert shop.contents() == shop.leftovers() == []


def test_names_never_become_paths(shop: Shop, tmp_path: Path) -> None:
    """Whatever names say, files appear under digests in the store's folder and nowhere else."""
    before = {path for path in tmp_path.rglob("*") if path.parent != shop.folder / "contents"}
    bucket = shop.bucket()
    for name in ("../../evil", "a/../../../../evil", "x/..", "%2e%2e/evil", "contents/x"):
        bucket.put_object(name, name.encode())
        assert bucket.get_object(name).read() == name.encode()
    after = {path for path in tmp_path.rglob("*") if path.parent != shop.folder / "contents"}
    assert {path for path in after - before if "milvane.db" not in path.name} == set()
    assert all(len(name) == 64 for name in shop.contents())


def test_wrong_digest_is_refused(shop: Shop) -> None:
    """Content that is not the announced one is not kept, and what was there stays."""
    bucket = shop.bucket()
    bucket.put_object("a", b"old", headers={"Content-MD5": _md5(b"old")})
    for claim in (_md5(b"other"), "nonsense"):
        with pytest.raises(oss2.exceptions.ServerError) as refusal:
            bucket.put_object("a", b"new", headers={"Content-MD5": claim})
        assert (refusal.value.status, refusal.value.code) == (400, "InvalidDigest")
    assert bucket.get_object("a").read() == b"old"
    assert len(shop.contents()) == 1
    assert shop.leftovers() == []


def _md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def test_too_large_is_refused_while_it_comes(shop: Shop) -> None:
    """A body without a length is cut off at the limit; one with a length is not even read."""
    bucket = shop.bucket()
    bucket.put_object("a", bytes(MAX_BYTES))
    sent = 0

    def endless() -> object:
        nonlocal sent
        while sent < 100 * MAX_BYTES:
            sent += 100_000
            yield bytes(100_000)

    url = bucket.sign_url("PUT", "b", 60)
    try:
        answer = httpx.put(url, content=endless())
        assert answer.status_code == 400
        assert b"EntityTooLarge" in answer.content
    except (httpx.WriteError, httpx.ReadError):  # the connection was closed while we sent
        pass
    assert sent < 100 * MAX_BYTES
    with socket.create_connection(("127.0.0.1", urlsplit(url).port)) as connection:
        target = url.removeprefix(shop.url)
        connection.sendall(
            f"PUT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3000001\r\n\r\n".encode()
        )
        assert b" 400 " in connection.recv(100)
    assert not bucket.object_exists("b")
    assert shop.leftovers() == []


def test_refusal_is_told_to_who_still_sends(shop: Shop) -> None:
    """A client learns why its large object is refused, also if it sends all of it first."""
    bucket = oss2.Bucket(oss2.Auth(shop.keys[MINE].access_key_id, "x"), shop.url, "002test")
    with pytest.raises(oss2.exceptions.SignatureDoesNotMatch):
        bucket.put_object("a", bytes(MAX_BYTES))
    assert shop.contents() == shop.leftovers() == []


def test_truncated_body_leaves_nothing(shop: Shop) -> None:
    """A client that hangs up in the middle has put nothing, and what was there stays."""
    bucket = shop.bucket()
    bucket.put_object("a", b"old")
    target = bucket.sign_url("PUT", "a", 60).removeprefix(shop.url)
    head = f"PUT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2500000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", urlsplit(shop.url).port)) as connection:
        connection.sendall(head.encode() + bytes(2_000_000))
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(20)
        assert b" 200 " not in connection.recv(100)  # it says 400, or just ends
    assert bucket.get_object("a").read() == b"old"
    assert len(shop.contents()) == 1
    assert shop.leftovers() == []


def test_readers_see_whole_objects_while_they_are_replaced(shop: Shop) -> None:
    """Under concurrent writers each read gives one of the contents that were put, whole."""
    versions = [bytes([number]) * 700_000 for number in range(8)]
    bucket = shop.bucket()
    bucket.put_object("a", versions[0])

    def put(content: bytes) -> None:
        shop.bucket().put_object("a", content)

    def read(_: int) -> bytes:
        return shop.bucket().get_object("a").read()

    with ThreadPoolExecutor(6) as pool:
        writes = [pool.submit(put, content) for content in versions]
        seen = list(pool.map(read, range(24)))
        for write in writes:
            write.result()
    assert set(seen) <= set(versions)
    assert bucket.get_object("a").read() in versions
    assert len(shop.contents()) == 1
    assert shop.leftovers() == []


def test_overwriting_can_be_forbidden(shop: Shop) -> None:
    """Who asks for it replaces nothing."""
    bucket, headers = shop.bucket(), {"x-oss-forbid-overwrite": "true"}
    bucket.put_object("a", b"old", headers=headers)
    with pytest.raises(oss2.exceptions.ServerError) as refusal:
        bucket.put_object("a", b"new", headers=headers)
    assert (refusal.value.status, refusal.value.code) == (409, "FileAlreadyExists")
    assert bucket.get_object("a").read() == b"old"


def test_what_is_not_done_is_refused(shop: Shop) -> None:
    """A request for something else is not taken for one to put or to read."""
    bucket = shop.bucket()
    bucket.put_object("a", b"abc")
    for ask in (
        lambda: bucket.init_multipart_upload("b"),
        lambda: bucket.copy_object("002test", "a", "b"),
        lambda: bucket.get_object("a", process="image/resize,w_10"),
        lambda: bucket.put_object("b", b"x", headers={"x-oss-object-acl": "public-read"}),
        lambda: bucket.append_object("b", 0, b"x"),
        lambda: bucket.delete_bucket(),
    ):
        with pytest.raises(oss2.exceptions.ServerError) as refusal:
            ask()
        assert refusal.value.status in (405, 501)
    assert not bucket.object_exists("b")
    assert bucket.create_bucket().status == 200


def test_door_takes_only_what_is_signed_for_it(shop: Shop) -> None:
    """Requests without a signature of OSS go where they always went, whatever their path."""
    shop.bucket(name="api").put_object("v1/files", b"abc")
    for path in ("/api/v1/files", "/002test/a?Expires=1&Signature=x", "/"):
        assert httpx.get(f"{shop.url}{path}").status_code == 418
        assert (
            httpx.get(f"{shop.url}{path}", headers={"authorization": "Bearer x"}).status_code == 418
        )
    for query in (
        "OSSAccessKeyId=",
        "x-oss-signature-version=OSS4-HMAC-SHA256",
        "OSSAccessKeyId=%FF",
    ):
        answer = httpx.get(f"{shop.url}/api/v1/files?{query}")
        assert answer.status_code in (400, 403)
        assert answer.headers["content-type"] == "application/xml"


async def test_signed_address_is_found_without_the_network(shop: Shop) -> None:
    """What fetches media may look up an address of the store itself, and only such a one."""
    shop.bucket().put_object("a/b", b"abc")
    url = shop.bucket().sign_url("GET", "a/b", 60)
    found = await shop.desk.find_address(url)
    assert found is not None
    assert found.content.sha256 == hashlib.sha256(b"abc").hexdigest()
    elsewhere = oss2.Bucket(
        oss2.Auth("other", "x"), "https://oss-cn-hangzhou.aliyuncs.com", "002test"
    )
    assert await shop.desk.find_address(elsewhere.sign_url("GET", "a/b", 60)) is None
    assert await shop.desk.find_address("https://example.com/a.jpg") is None
