"""A browser on the console, and what lies behind it: shared by the tests of all pages."""

from __future__ import annotations

import json
import shutil
import socket
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
MODEL = "text-embedding-v4"
PAGES = [
    "overview", "services", "usage", "instances", "playground", "jobs", "keys", "alerts", "models",
    "audit", "settings",
]  # fmt: skip
PATIENCE_MS = 30_000

NEEDS_CHROMIUM = pytest.mark.skipif(
    shutil.which("chromium") is None, reason="chromium is not on this machine"
)


@dataclass
class Server:
    """A running server, and what lies behind it."""

    http_url: str
    milvus_uris: dict[str, str]
    password: str

    def embed(self, key: str) -> int:
        """Embed a text with a key; returns the status."""
        request = urllib.request.Request(  # noqa: S310 - our server
            f"{self.http_url}/v1/embeddings",
            json.dumps({"model": MODEL, "input": "a text"}).encode(),
            {"authorization": f"Bearer {key}", "content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request) as answer:  # noqa: S310
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code


@dataclass
class Console:
    """A page of the console, and all that its browser has asked for or complained about."""

    page: Any
    server: Server
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self, place: str) -> None:
        """Go to a page by its link or, with parameters, by its address."""
        name = place.partition("?")[0]
        if place == name:
            self.page.click(f".nav a[href='#/{name}']")
        else:
            self.page.goto(f"{self.server.http_url}/#/{place}")
        self.page.wait_for_selector(f".nav a[href='#/{name}'][aria-current=page]")
        self.page.wait_for_selector(f"main .page[data-page={name}]:not([aria-busy]) h1")

    def row(self, text: str) -> Any:
        """Find the row of a table that has a text."""
        return self.page.locator("tbody tr", has_text=text)

    def figure(self, label: str) -> str:
        """Read a figure by its label."""
        found = self.page.locator(".figure", has=self.page.get_by_text(label, exact=True))
        return found.locator(".figure-value").inner_text()


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_for_port(port: int) -> None:
    """Wait until somebody listens."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=60).close()
        except ConnectionRefusedError:
            continue
        return


def fill_collection(uri: str, name: str, calls: int = 3, *, database: str = "default") -> None:
    """Create a collection with a function, insert, and search it."""
    from pymilvus import DataType, Function, FunctionType, MilvusClient

    client = MilvusClient(uri=uri, db_name=database)
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("document", DataType.VARCHAR, max_length=200)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=1024)
    params = {"provider": "aliyun_milvus", "model_name": MODEL}
    schema.add_function(
        Function("embed", FunctionType.TEXTEMBEDDING, ["document"], ["dense"], params=params)
    )
    index = client.prepare_index_params()
    index.add_index("dense", index_type="AUTOINDEX", metric_type="COSINE")
    if client.has_collection(name):
        client.drop_collection(name)
    client.create_collection(name, schema=schema, index_params=index)
    for number in range(calls):
        client.insert(name, [{"id": number, "document": f"text {number}"}])
        client.search(name, [f"text {number}"], anns_field="dense", limit=1)
    client.close()


def choose(console: Console, label: str, option: str) -> None:
    """Tick an option of a filter."""
    group = console.page.locator(".field", has=console.page.get_by_text(label, exact=True))
    group.locator("summary").click()
    group.get_by_label(option, exact=True).check()
    console.page.keyboard.press("Escape")
