"""A hub on a loopback port: the real ones' HTTP APIs, and connections that break on demand."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c" * 40
LARGE_BYTES = 2_000
"""Size from which a file is kept in Git's large file storage, and redirected to."""


@dataclass
class HubState:
    """What the hub holds, how it behaves, and what it was asked."""

    folder: Path
    repository: str = "org/tiny"
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """Path with query, and the Range header."""
    problems: list[str] = field(default_factory=list)
    """Requests that no real hub would understand."""
    cut_after_bytes: int | None = None
    """Break the connection after so many bytes of a body, while `cuts_left` is above 0."""
    cuts_left: int = 0
    ignores_ranges: bool = False
    gives_other_bytes: bool = False
    token: str | None = None
    page_size: int = 4
    status: int | None = None
    """Answer everything so."""
    status_after_cuts: int | None = None
    """Answer everything so once `cuts_left` has come down to 0."""

    def files(self) -> dict[str, bytes]:
        """Read everything in the repository."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }


class _Handler(BaseHTTPRequestHandler):
    state: HubState
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Write nothing."""

    def do_GET(self) -> None:
        state = self.state
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        path = unquote(parts.path)
        state.requests.append((self.path, self.headers.get("Range")))
        if not self.headers.get("User-Agent", "").startswith("milvane/"):
            state.problems.append(f"who asks for {path}?")
        if state.status is not None:
            self._answer(b"no", status=state.status)
        elif path.startswith("/storage/"):
            if self.headers.get("Authorization"):
                state.problems.append("the token was given to the storage")
            self._file(path.removeprefix("/storage/"))
        elif state.token and self.headers.get("Authorization") != f"Bearer {state.token}":
            self._answer(b"{}", status=401)
        elif path.startswith("/api/v1/"):
            self._modelscope(path, query)
        else:
            self._huggingface(path, query)

    def _huggingface(self, path: str, query: dict[str, str]) -> None:
        state, top = self.state, f"/api/models/{self.state.repository}"
        if path == f"{top}/revision/main":
            self._json({"sha": COMMIT, "id": state.repository})
        elif path == f"{top}/tree/{COMMIT}":
            self._tree(query)
        elif path.startswith(f"/{state.repository}/resolve/{COMMIT}/"):
            self._resolve(path.removeprefix(f"/{state.repository}/resolve/{COMMIT}/"))
        else:
            self._answer(b"{}", status=404)

    def _modelscope(self, path: str, query: dict[str, str]) -> None:
        scope = f"/api/v1/models/{self.state.repository}/repo"
        if path == f"{scope}/files":
            self._modelscope_files(query)
        elif path == scope and query.get("Revision") == "master":
            self._file(query["FilePath"])
        else:
            self._answer(b"{}", status=404)

    def _tree(self, query: dict[str, str]) -> None:
        if query.get("recursive") != "true":
            self.state.problems.append("the tree was not asked for as a whole")
        entries = []
        for name, content in self.state.files().items():
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324
            entry: dict[str, Any] = {
                "type": "file", "oid": blob, "size": len(content), "path": name,
            }  # fmt: skip
            if len(content) >= LARGE_BYTES:
                digest = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 133}
                entry["oid"] = "0" * 40
            entries.append(entry)
        entries.append({"type": "directory", "oid": "1" * 40, "size": 0, "path": "1_Pooling"})
        start = int(query.get("cursor", 0))
        page = entries[start : start + self.state.page_size]
        headers = {}
        if start + self.state.page_size < len(entries):
            host = self.headers["Host"]
            path = urlsplit(self.path).path
            cursor = start + self.state.page_size
            address = f"http://{host}{path}?recursive=true&cursor={cursor}"
            headers["Link"] = f'<{address}>; rel="next"'
        self._json(page, headers)

    def _resolve(self, name: str) -> None:
        content = self.state.files().get(name)
        if content is None:
            self._answer(b"Entry not found", status=404)
        elif len(content) >= LARGE_BYTES:
            port = self.server.server_address[1]
            location = f"http://localhost:{port}/storage/{name}"  # another host, as the real one
            linked = {"X-Linked-Size": str(len(content)), "X-Repo-Commit": COMMIT}
            self._answer(b"", status=302, headers={"Location": location, **linked})
        else:
            self._file(name)

    def _modelscope_files(self, query: dict[str, str]) -> None:
        if query != {"Revision": "master", "Recursive": "true"}:
            self.state.problems.append(f"ModelScope was asked for {query}")
        listed = [
            {
                "Name": Path(name).name, "Path": name, "Type": "blob", "Size": len(content),
                "Sha256": hashlib.sha256(content).hexdigest(), "Revision": COMMIT,
            }
            for name, content in self.state.files().items()
        ]  # fmt: skip
        listed.append({"Name": "1_Pooling", "Path": "1_Pooling", "Type": "tree", "Size": 0})
        self._json({"Code": 200, "Data": {"Files": listed}, "Success": True})

    def _file(self, name: str) -> None:
        content = self.state.files()[name]
        if self.state.gives_other_bytes:
            content = bytes(byte ^ 1 for byte in content)
        wanted = self.headers.get("Range")
        if wanted is None or self.state.ignores_ranges:
            self._body(content, 200, {})
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            self._answer(b"", status=416)
            return
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._body(content[start:], 206, {"Content-Range": span})

    def _body(self, content: bytes, status: int, headers: dict[str, str]) -> None:
        state = self.state
        cut = state.cut_after_bytes
        if cut is None or state.cuts_left <= 0 or len(content) <= cut:
            self._answer(content, status=status, headers=headers)
            return
        state.cuts_left -= 1
        if not state.cuts_left:
            state.status = state.status_after_cuts
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content[:cut])
        self.wfile.flush()
        self.close_connection = True

    def _json(self, content: Any, headers: dict[str, str] | None = None) -> None:
        self._answer(json.dumps(content).encode(), headers=headers)

    def _answer(
        self, content: bytes, *, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)


@contextlib.contextmanager
def served_hub(state: HubState) -> Iterator[str]:
    """Serve a hub on a free port; gives its address."""
    handler = type("Handler", (_Handler,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)
