"""The console in a real browser, against a real server with two instances."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

CLIENT = "playwright"
ROOT = Path(__file__).parent.parent.parent
MODEL = "text-embedding-v4"
PAGES = [
    "overview", "services", "usage", "instances", "playground", "jobs", "keys", "alerts", "models",
    "audit", "settings",
]  # fmt: skip
PATIENCE_MS = 30_000
MAX_DRAW_MS = 3_000
"""For 30,000 points, on a machine that does other things as well."""

pytestmark = pytest.mark.skipif(
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


@pytest.fixture(scope="module")
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


def wait_for_port(port: int) -> None:
    """Wait until somebody listens."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=60).close()
        except ConnectionRefusedError:
            continue
        return


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
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


def fill_collection(uri: str, name: str, calls: int = 3) -> None:
    """Create a collection with a function, insert, and search it."""
    from pymilvus import DataType, Function, FunctionType, MilvusClient

    client = MilvusClient(uri=uri)
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


def test_first_login_opens_the_overview(signed_in: Console) -> None:
    """With the password of the first start; another one is refused."""
    assert signed_in.figure("Health") == "Ready"
    assert signed_in.page.locator(".steps li").count() == 4
    assert signed_in.page.locator("tbody tr", has_text="elsewhere").count() == 1


def test_service_is_disabled_and_enabled(signed_in: Console) -> None:
    """A call that names it is refused meanwhile."""
    signed_in.open("services")
    row = signed_in.row(MODEL)
    row.get_by_role("button", name="Disable").click()
    signed_in.page.locator("dialog button[type=submit]").click()
    row.get_by_text("Disabled").wait_for()
    assert signed_in.server.embed("any") == 403
    signed_in.page.get_by_role("button", name="Enable Embedding").click()
    row.get_by_text("Enabled", exact=True).wait_for()
    assert signed_in.server.embed("any") == 200


def test_instances_are_bound_in_a_batch(signed_in: Console) -> None:
    """Both at once, in the dialog of a Service ID; raw texts go into both from then on."""
    page = signed_in.page
    signed_in.open("services")
    for tick, expected in ((False, 0), (True, 2)):
        signed_in.row(MODEL).get_by_role("button", name="Batch Enable").click()
        boxes = page.locator("dialog .options input[type=checkbox]")
        assert boxes.count() == 2
        for place in range(2):
            boxes.nth(place).set_checked(tick)
        page.locator("dialog button[type=submit]").click()
        page.locator("dialog").wait_for(state="detached")
        badges = signed_in.row(MODEL).locator(".badge.accent")
        assert badges.count() == expected
    for uri in signed_in.server.milvus_uris.values():
        fill_collection(uri, "bound", calls=1)
    signed_in.open("instances")
    page.wait_for_selector("h3:has-text('bound')")
    assert page.locator("tbody tr", has_text="TextEmbedding").inner_text().count(MODEL) == 1


def test_dialog_is_closed_with_its_page(signed_in: Console) -> None:
    """What is open of a page that is left does not stand over the next one."""
    page = signed_in.page
    signed_in.open("services")
    signed_in.row(MODEL).get_by_role("button", name="Batch Enable").click()
    page.wait_for_selector("dialog[open]")
    page.go_back()
    page.locator("dialog").wait_for(state="detached")


def test_charts_move_and_filter(signed_in: Console) -> None:
    """Five of them: what clients do is seen, by operation and instance, as a table and as CSV."""
    page, server = signed_in.page, signed_in.server
    fill_collection(server.milvus_uris["elsewhere"], "charted")
    signed_in.open("usage?since=15m")
    page.wait_for_selector(".chart[data-chart=rt] .main-svg")
    assert page.locator(".chart .main-svg").count() >= 5
    before = calls(signed_in)
    fill_collection(server.milvus_uris["default"], "charted")
    page.wait_for_function(
        "before => Number(document.querySelector('.figure-value').textContent) >= before + 6",
        arg=before,
    )
    everything = calls(signed_in)
    choose(signed_in, "Operation", "Search")
    page.wait_for_function(
        "all => Number(document.querySelector('.figure-value').textContent) < all", arg=everything
    )
    assert "operation=search" in page.url
    searches = calls(signed_in)
    choose(signed_in, "Instance", "elsewhere")
    page.wait_for_function(
        "all => Number(document.querySelector('.figure-value').textContent) < all", arg=searches
    )
    signed_in.open("usage?since=15m&group_by=operation")
    legend = page.locator(".chart[data-chart=tokens] .legendtext")
    legend.first.wait_for()
    assert {"Insert", "Search"} <= set(legend.all_text_contents())
    page.get_by_role("button", name="Table").click()
    page.locator("tbody tr", has_text="Insert").first.wait_for()
    with page.expect_download() as download:
        page.get_by_text("Download CSV").click()
    head, *rows = Path(download.value.path()).read_text().splitlines()
    assert head.startswith("group,at,requests")
    assert {row.partition(",")[0] for row in rows} >= {"insert", "search"}


def calls(console: Console) -> int:
    """Read how many calls the page speaks of."""
    return int(console.figure("Calls").replace(",", ""))


def choose(console: Console, label: str, option: str) -> None:
    """Tick an option of a filter."""
    group = console.page.locator(".field", has=console.page.get_by_text(label, exact=True))
    group.locator("summary").click()
    group.get_by_label(option, exact=True).check()
    console.page.keyboard.press("Escape")


def test_key_is_made_used_and_limited(signed_in: Console) -> None:
    """Its secret is shown once; its tenant's quota stops it; its name is a text, never markup."""
    page, server = signed_in.page, signed_in.server
    label = "<img src=x onerror=alert(1)><b>bold</b>"
    signed_in.open("keys")
    page.get_by_role("button", name="Create key").click()
    page.locator("dialog input[name=label]").fill(label)
    page.locator("dialog input[name=tenant]").fill("north")
    page.locator("dialog button[type=submit]").click()
    secret = page.locator("#secret").inner_text()
    assert server.embed(secret) == 200
    page.locator("dialog[open]").get_by_role("button", name="Close").last.click()
    page.locator("dialog").wait_for(state="detached")
    row = signed_in.row(label)
    row.get_by_text("Good").wait_for()
    assert page.locator("main b, main img").count() == 0
    assert secret not in page.content()

    page.get_by_role("button", name="Set a quota").click()
    page.locator("dialog select").last.select_option("north")
    page.locator("dialog input[name=requests_per_minute]").fill("1")
    page.locator("dialog button[type=submit]").click()
    page.get_by_text("Enforced").wait_for()
    statuses = {server.embed(secret) for _ in range(3)}
    assert 429 in statuses


def test_alert_reaches_a_webhook(signed_in: Console) -> None:
    """A rule and a channel that are made here: it fires, and the channel is told."""
    told: Queue[bytes] = Queue()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.put(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Say nothing."""

    hook = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    page = signed_in.page
    signed_in.open("alerts")
    page.get_by_role("button", name="Add channel").click()
    page.get_by_label("Channel", exact=True).fill("hook")
    page.get_by_label("Address").fill(f"json://127.0.0.1:{hook.server_port}/told")
    page.locator("dialog button[type=submit]").click()
    page.locator("dialog").wait_for(state="detached")
    page.get_by_role("button", name="Send a test: hook").click()
    assert b"hook" in told.get(timeout=30)

    page.get_by_role("button", name="Create rule").click()
    page.get_by_label("Rule", exact=True).fill("too many calls")
    page.get_by_label("Watch", exact=True).select_option("queries_per_s")
    page.get_by_label("Operator").select_option(">=")
    page.get_by_label("Threshold", exact=True).fill("0")
    page.get_by_label("Fires after").select_option("0")
    page.locator("dialog button[type=submit]").click()
    signed_in.row("too many calls").get_by_text("Firing").first.wait_for()
    assert b"too many calls" in told.get(timeout=60)
    hook.shutdown()
    hook.server_close()


def test_playground_embeds_and_searches(signed_in: Console) -> None:
    """Vectors with their cosines, and the row that a question means."""
    page = signed_in.page
    signed_in.open("playground")
    page.get_by_role("button", name="Embed", exact=True).click()
    page.wait_for_selector(".matrix tbody tr >> nth=2")
    assert page.locator(".matrix tbody tr").first.locator("td").first.inner_text() == "1.000"
    page.get_by_label("Collection", exact=True).select_option("charted")
    page.locator("input[name=question]").fill("text 2")
    page.get_by_role("button", name="Search", exact=True).click()
    best = page.get_by_role("region", name="Results").locator("tbody tr").first
    best.wait_for()
    assert "text 2" in best.inner_text()


@pytest.mark.parametrize("name", PAGES)
def test_page_has_names_for_whatever_can_be_used(signed_in: Console, name: str) -> None:
    """One heading of the first rank, landmarks, and a label for each field, button and link."""
    signed_in.open(name)
    page = signed_in.page
    assert page.locator("h1").count() == 1
    for landmark in ("banner", "navigation", "main"):
        assert page.get_by_role(landmark).count() == 1
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("a, button, input, select, textarea, summary")]
          .filter((each) => each.offsetParent !== null)
          .filter((each) => !(each.textContent.trim() || each.getAttribute("aria-label")
            || each.labels?.length || each.getAttribute("aria-labelledby")))
          .map((each) => each.outerHTML)"""
    )
    assert nameless == []
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0


def test_keyboard_alone_reaches_the_content(signed_in: Console) -> None:
    """The first key leads past the navigation; what has the focus is seen to have it."""
    page = signed_in.page
    signed_in.open("overview")
    page.reload()
    page.wait_for_selector("main .page[data-page=overview]:not([aria-busy]) h1")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_chart_of_ten_thousand_points_is_drawn_quickly(signed_in: Console) -> None:
    """Three curves of as many points as the API gives; a gap stays one."""
    signed_in.open("usage")
    drawn = signed_in.page.evaluate(
        """async () => {
          const { draw, loadCharts, isolated } = await import("/console/charts.js");
          await loadCharts();
          const place = document.createElement("div");
          document.querySelector("main").append(place);
          const times = Array.from({ length: 10000 },
            (_, at) => new Date(1.7e12 + at * 1e4).toISOString());
          const value = (_, at) => at % 1000 < 20 ? null : Math.sin(at / 50) + Math.random() / 9;
          const make = (name) => ({ name, times, values: times.map(value) });
          const range = { since: times[0], until: times.at(-1) };
          const began = performance.now();
          await draw(place, ["a", "b", "c"].map(make), range);
          const took = performance.now() - began;
          const pieces = place.querySelector(".scatterlayer .trace").querySelectorAll(".js-line");
          const counted = pieces.length;
          place.remove();
          return { took, pieces: counted, alone: isolated([1, null, 2, null, 3, 4]) };
        }"""
    )
    print(f"30,000 points drawn in {drawn['took']:.0f} ms")
    assert drawn["took"] < MAX_DRAW_MS
    assert drawn["pieces"] == 10
    assert drawn["alone"] == [0, 2]


def test_language_and_colours_are_chosen(signed_in: Console) -> None:
    """Both stay after the page was loaded anew."""
    page = signed_in.page
    signed_in.open("overview")
    page.get_by_role("button", name="中文").click()
    page.wait_for_selector("h1:has-text('概览')")
    page.get_by_role("button", name="切换到深色").click()
    page.reload()
    page.wait_for_selector("h1:has-text('概览')")
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    if folder := os.environ.get("MILVANE_SCREENSHOTS"):
        photograph(signed_in, Path(folder), "zh-dark")
    page.get_by_role("button", name="切换到浅色").click()
    page.get_by_role("button", name="English").click()
    page.wait_for_selector(".nav a:has-text('Overview')")
    if folder:
        photograph(signed_in, Path(folder), "en-light")


def photograph(console: Console, folder: Path, looks: str) -> None:
    """Keep a picture of each page."""
    for name in PAGES:
        console.open(name)
        if name == "usage":
            console.page.wait_for_selector(".chart[data-chart=rt] .main-svg")
        console.page.screenshot(path=folder / f"{name}-{looks}.png", full_page=True)


def test_session_ends_with_the_sign_out(signed_in: Console) -> None:
    """Whoever comes afterwards has to sign in."""
    page = signed_in.page
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_selector("input[name=password]")
    page.reload()
    page.wait_for_selector("input[name=password]")
    assert page.locator(".nav a").count() == 0


def test_browser_asked_nobody_else_and_did_not_complain(signed_in: Console) -> None:
    """Every request of all these tests went to the server; no policy was broken."""
    assert len(signed_in.asked) > 50
    assert {
        url for url in signed_in.asked if not url.startswith(signed_in.server.http_url)
    } == set()
    assert signed_in.complaints == []
