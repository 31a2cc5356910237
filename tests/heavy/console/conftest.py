"""A server that has never been used, and a browser whose operator has signed in to it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from browsing import PATIENCE_MS, ROOT, Console, Server, fill_collection, free_port, wait_for_port


@pytest.fixture(scope="session")
def remote_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Milvus without functions of ours."""
    port, folder = free_port(), tmp_path_factory.mktemp("remote")
    program = ROOT / ".venv-heavy" / "bin" / "milvus-lite"
    command = [program, "server", "--data-dir", folder / "data", "--port", str(port)]
    command += ["--host", "127.0.0.1"]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as it:
        wait_for_port(port)
        yield f"http://127.0.0.1:{port}"
        it.terminate()


@pytest.fixture(scope="session")
def server(remote_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that has never been used, with an embedded and a remote instance."""
    folder = tmp_path_factory.mktemp("console")
    config = folder / "milvane.toml"
    config.write_text(
        f"""
        [server]
        data_dir = "{folder / "data"}"
        grpc_port = 0
        http_port = 0
        [metering]
        fold_interval_s = 0.2
        [control]
        poll_interval_s = 0.2
        [[instances]]
        name = "default"
        [[instances]]
        name = "elsewhere"
        uri = "{remote_uri}"
        grpc_port = 0
        """
    )
    python = ROOT / ".venv" / "bin" / "python"
    command = [python, "-m", "milvane.cli", "serve", "--config", config]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        line = next(line for line in process.stdout or () if line.startswith("Milvane is ready"))
        # The first instance is named only where there is one alone.
        uris = re.findall(r"http://127\.0\.0\.1:\d+", line)
        password = (folder / "data" / "admin-password.txt").read_text().strip()
        *milvus, http_url = uris
        yield Server(http_url, dict(zip(("default", "elsewhere"), milvus, strict=True)), password)
        process.terminate()
        process.communicate()


@pytest.fixture(scope="session")
def console(server: Server) -> Iterator[Console]:
    """The console, at its first page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        )
        context = browser.new_context(
            viewport={"width": 1360, "height": 900},
            locale="en-US",
            color_scheme="light",
            accept_downloads=True,
        )
        context.set_default_timeout(PATIENCE_MS)
        opened = Console(context.new_page(), server)
        watch(opened)
        opened.page.goto(f"{server.http_url}/")
        yield opened
        browser.close()


def watch(console: Console) -> None:
    """Take down what the browser asks for, and what it complains about."""

    def complain(message: Any) -> None:
        # That nobody has signed in yet, and what tests do wrong on purpose, is answered with 4xx.
        if message.type in ("error", "warning") and "status of 4" not in message.text:
            console.complaints.append(message.text)

    console.page.on("request", lambda request: console.asked.append(request.url))
    console.page.on("console", complain)
    console.page.on("pageerror", lambda error: console.complaints.append(str(error)))


@pytest.fixture(scope="session")
def signed_in(console: Console) -> Console:
    """The console after the first login."""
    page = console.page
    page.fill("input[name=password]", "a wrong one")
    page.click("form button[type=submit]")
    page.wait_for_selector("[role=alert]:has-text('wrong')")
    page.fill("input[name=password]", console.server.password)
    page.click("form button[type=submit]")
    page.wait_for_selector("h1:has-text('Overview')")
    return console


@pytest.fixture(scope="session")
def charted(server: Server) -> str:
    """A collection in the embedded instance, with rows `text 0` to `text 2`."""
    fill_collection(server.milvus_uris["default"], "charted")
    return "charted"


@pytest.fixture(autouse=True)
def nobody_else_is_asked(console: Console) -> Iterator[None]:
    """Every request of every test goes to the server, and no policy is broken."""
    yield
    assert [url for url in console.asked if not url.startswith(console.server.http_url)] == []
    assert console.complaints == []
