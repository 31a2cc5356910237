"""The console's files: all there, all from here, and in two languages alike."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from milvane.apis.app import create_app
from milvane.apis.authentication import is_public
from milvane.apis.settings import ApisSettings
from milvane.console import pages
from milvane.console.pages import CHARTS, HEADERS, PREFIX, console_router, read_assets
from milvane.domain.catalogue import ALL_MINILM_L6_V2
from milvane.domain.readiness import Readiness
from milvane.serving.access import AccessSettings, Authenticator
from milvane.serving.embedding import EmbeddingService
from milvane.serving.settings import ServingSettings
from milvane.testing.engines import HashingEngine

STATIC = Path(pages.__file__).parent / "static"
SOURCES = {
    path.relative_to(STATIC).as_posix(): path.read_text()
    for path in sorted(STATIC.rglob("*"))
    if path.is_file()
}
MODULES = {name: text for name, text in SOURCES.items() if name.endswith(".js")}
OWN_MODULES = {name: text for name, text in MODULES.items() if not name.startswith("languages/")}
WORD = re.compile(r'^  "([^"]+)": "((?:[^"\\]|\\.)*)",$', re.MULTILINE)
PAGES = re.search(r"const PAGES = \[(.*?)\];", SOURCES["app.js"], re.DOTALL)
PAGE_NAMES = re.findall(r'"(\w+)"', PAGES[1]) if PAGES else []

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A server that asks everybody for a key."""
    service = EmbeddingService({ALL_MINILM_L6_V2.name: HashingEngine()}, ServingSettings())
    app = create_app(
        service,
        ApisSettings(),
        Readiness,
        authenticator=Authenticator(AccessSettings(required=True)),
        pages=[console_router()],
    )
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def words(language: str) -> dict[str, str]:
    """Read a dictionary."""
    return dict(WORD.findall(SOURCES[f"languages/{language}.js"]))


def addresses_in(name: str) -> set[str]:
    """Find what a file makes the browser load, by its path on the server."""
    text = SOURCES[name]
    found = set(re.findall(r'"(/console/[^"]+)"', text))
    folder = (STATIC / name).parent
    for relative in re.findall(r'(?:from|import\()\s*"(\.[^"]+)"', text):
        target = (folder / relative).resolve().relative_to(STATIC.resolve())
        found.add(PREFIX + target.as_posix())
    if name == "app.js":
        found |= {f"{PREFIX}pages/{page}.js" for page in PAGE_NAMES}
    return found


async def test_page_and_whatever_it_leads_to_is_served(client: httpx.AsyncClient) -> None:
    """Each file with its type and the headers that shut out everybody else; no key is needed."""
    waiting, seen = ["/"], set()
    while waiting:
        path = waiting.pop()
        seen.add(path)
        reply = await client.get(path)
        name = path.removeprefix(PREFIX) if path != "/" else "console.html"
        assert reply.status_code == 200, path
        assert reply.headers["content-type"] == TYPES[name.rpartition(".")[2]], path
        assert HEADERS.items() <= dict(reply.headers).items(), path
        head = await client.head(path)
        assert (head.status_code, head.headers["etag"]) == (200, reply.headers["etag"]), path
        if name in SOURCES:
            assert reply.text == SOURCES[name]
            waiting += addresses_in(name) - seen
    assert seen == {"/", PREFIX + CHARTS} | {PREFIX + name for name in SOURCES} - {
        PREFIX + "console.html"
    }


def test_policy_lets_in_nothing_from_elsewhere() -> None:
    """Scripts are files of this server: neither written into a page nor made out of texts."""
    rules = dict(
        rule.strip().split(" ", 1) for rule in HEADERS["content-security-policy"].split(";")
    )
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["connect-src"] == "'self'"
    assert rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert not [rule for rule in rules.values() if "http" in rule or "*" in rule]


@pytest.mark.parametrize("name", SOURCES)
def test_no_file_names_another_server(name: str) -> None:
    """Nothing is loaded from outside, and no page leads there; namespaces are names."""
    found = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", SOURCES[name]))
    assert found <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("name", MODULES)
def test_no_module_makes_markup_or_code_of_texts(name: str) -> None:
    """Whatever the server says becomes text nodes: it cannot run."""
    found = re.findall(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser"
        r"|srcdoc|createContextualFragment|javascript:",
        MODULES[name],
    )
    assert found == []


def test_html_runs_no_script_of_its_own() -> None:
    """The policy would stop it."""
    html = SOURCES["console.html"]
    assert re.findall(r"<script(?![^>]*\bsrc=)", html) == []
    assert re.findall(r"\son\w+=|\sstyle=|<style", html) == []


def test_languages_have_the_same_words() -> None:
    """Each with the same places for values, and none of them empty."""
    english, chinese = words("en"), words("zh")
    assert len(english) > 300
    assert list(english) == list(chinese)
    for key, text in english.items():
        assert text
        assert chinese[key]
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", chinese[key])), key


def test_every_word_that_modules_say_is_in_the_dictionaries() -> None:
    """Those whose names are put together are there for each value that is known here."""
    known = words("en")
    said: set[str] = set()
    for text in OWN_MODULES.values():
        said |= set(re.findall(r'\bt\(\s*"([^"]+)"', text))
        for either in re.findall(r't\(\w+ \? "([^"]+)" : "([^"]+)"\)', text):
            said |= set(either)
    assert said - set(known) == set()
    for page in PAGE_NAMES:
        assert f"nav.{page}" in known


def test_dictionaries_have_no_word_that_nobody_says() -> None:
    """A word is said whole, named in a list, or put together from a beginning in some module."""
    texts = "\n".join(OWN_MODULES.values())
    whole = set(re.findall(r'"([a-z_]+(?:\.[a-z_0-9.]+)?)"', texts))
    beginnings = tuple(re.findall(r"t\(`([a-z_]+\.)\$\{", texts))
    unused = [key for key in words("en") if key not in whole and not key.startswith(beginnings)]
    assert unused == []


def test_ids_that_modules_look_for_are_on_the_page() -> None:
    """Or are made by the module itself."""
    on_page = set(re.findall(r'\sid="([^"]+)"', SOURCES["console.html"]))
    listed = re.search(r"\[([^\]]+)\]\.map\(\(id\)", SOURCES["app.js"])
    assert listed
    wanted = set(re.findall(r'"(\w+)"', listed[1]))
    for text in OWN_MODULES.values():
        wanted |= set(re.findall(r'getElementById\("([^"]+)"\)', text))
    assert wanted == on_page


async def test_file_that_is_known_is_not_sent_again(client: httpx.AsyncClient) -> None:
    """The browser asks whether it has changed, and is told that it has not."""
    first = await client.get(f"{PREFIX}app.js", headers={"accept-encoding": "identity"})
    again = await client.get(f"{PREFIX}app.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "content-encoding" not in first.headers
    other = await client.get(f"{PREFIX}app.js", headers={"if-none-match": '"another"'})
    assert other.status_code == 200


async def test_chart_library_comes_packed_out_of_its_package(client: httpx.AsyncClient) -> None:
    """Less than half of its size goes over the wire."""
    asset = pages.read_charts()
    assert gzip.decompress(asset.packed) == asset.content
    assert b"Plotly" in asset.content
    reply = await client.get(PREFIX + CHARTS, headers={"accept-encoding": "gzip"})
    assert reply.headers["content-encoding"] == "gzip"
    assert int(reply.headers["content-length"]) < len(asset.content) / 2


@pytest.mark.parametrize(
    "path", ["nothing.js", "..%2fpages.py", "%2e%2e/pages.py", "", "pages", "/etc/passwd"]
)
async def test_nothing_but_the_consoles_files_is_handed_out(
    client: httpx.AsyncClient, path: str
) -> None:
    """Files are looked up by name in what was read at the start."""
    reply = await client.get(PREFIX + path)
    assert reply.status_code == 404
    assert is_public("GET", PREFIX + "x")


def test_own_files_are_small() -> None:
    """A page is there before anybody waits: all of them together are less than a photograph."""
    packed = sum(len(asset.packed) for asset in read_assets().values())
    assert packed < 100_000
