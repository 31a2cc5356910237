"""Input files from elsewhere, against a server that plays elsewhere."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from milvane.apis.dashscope.errors import Refused
from milvane.apis.dashscope.fetching import InputFetcher, origin_of
from offices import Office, open_office

MAX_FILE_BYTES = 1_000_000


class Elsewhere(BaseHTTPRequestHandler):
    """Answers by path."""

    asked: list[str]

    def do_GET(self) -> None:
        """Give a file, too large a one, a way to another, or none."""
        self.asked.append(self.path)
        if self.path == "/moved.txt":
            self.send_response(302)
            self.send_header("Location", "/in.txt")
            self.end_headers()
        elif self.path in ("/in.txt", "/large.txt"):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"a\n" * (MAX_FILE_BYTES if self.path == "/large.txt" else 5))
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """Serve some files; gives the address, and the list of what has been asked for."""
    handler = type("Handler", (Elsewhere,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler.asked
        server.shutdown()
        thread.join()


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    """Where fetched files go."""
    async with open_office(tmp_path) as office:
        yield office


async def test_file_of_a_trusted_origin_is_taken_in(
    office: Office, elsewhere: tuple[str, list[str]]
) -> None:
    """The file is in the store, under its own name."""
    address, _ = elsewhere
    fetcher = InputFetcher(office.files, [address], max_file_bytes=MAX_FILE_BYTES)
    file = await fetcher.fetch(f"{address}/in.txt")
    assert file.name == "in.txt"
    assert office.files.path_of(file).read_bytes() == b"a\n" * 5


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/none.txt", "InvalidURL"),
        ("/moved.txt", "InvalidURL"),
        ("/large.txt", "InvalidFile.TooLarge"),
    ],
)
async def test_what_cannot_be_had_leaves_nothing(
    office: Office, elsewhere: tuple[str, list[str]], path: str, code: str
) -> None:
    """A missing, moved or too large file is refused, and no redirect is followed."""
    address, asked = elsewhere
    fetcher = InputFetcher(office.files, [address], max_file_bytes=MAX_FILE_BYTES)
    with pytest.raises(Refused) as caught:
        await fetcher.fetch(address + path)
    assert caught.value.code == code
    assert asked == [path]
    assert not [each for each in (office.folder / "files").rglob("*") if each.is_file()]


async def test_server_that_is_not_there_is_refused(office: Office) -> None:
    """An origin that does not answer is the caller's wrong address."""
    fetcher = InputFetcher(office.files, ["http://127.0.0.1:1"], max_file_bytes=MAX_FILE_BYTES)
    with pytest.raises(Refused, match="failed"):
        await fetcher.fetch("http://127.0.0.1:1/in.txt")


@pytest.mark.parametrize(
    ("url", "is_trusted"),
    [
        ("https://files.example.com/in.txt", True),
        ("https://FILES.example.com:443/a/b.txt?c", True),
        ("http://files.example.com/in.txt", False),
        ("https://files.example.com:444/in.txt", False),
        ("https://files.example.com.evil.org/in.txt", False),
        ("https://files.example.com@evil.org/in.txt", False),
        ("https://user@files.example.com/in.txt", False),
        ("https://evil.org/https://files.example.com/in.txt", False),
        ("https://files.example.com:x/in.txt", False),
        ("file:///etc/passwd", False),
        ("//files.example.com/in.txt", False),
        ("", False),
    ],
)
async def test_only_whole_origins_are_trusted(
    office: Office, url: str, *, is_trusted: bool
) -> None:
    """Scheme, host and port must all be those that the operator has named, and nobody's else."""
    origins = ["https://files.example.com", "not an origin"]
    fetcher = InputFetcher(office.files, origins, max_file_bytes=1)
    assert fetcher.may_fetch(url) == is_trusted
    assert not InputFetcher(office.files, [], max_file_bytes=1).may_fetch(url)


def test_origins_have_ports() -> None:
    """The port that a scheme implies is the same as the one that is written."""
    assert origin_of(urlsplit("http://a")) == origin_of(urlsplit("http://a:80/b")) == "http://a:80"
