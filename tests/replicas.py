"""Loopback servers that run a tiny network as TEI and vLLM do, and play their failures."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from checkpoints import tiny_weights, write_tiny_bert
from milvane.domain.catalogue import Weights
from milvane.inference.encoders.recipe import read_recipe
from milvane.inference.encoders.text import TextEncoder
from milvane.inference.remote.runtime import RemoteRuntime
from milvane.inference.remote.settings import RemoteSettings
from milvane.inference.runtimes.network import Head
from milvane.inference.runtimes.numpy_network import NumpyNetwork
from milvane.inference.runtimes.reading import read_network
from milvane.testing.provider_servers import Received, Reply, Trouble

Vectors = NDArray[np.float32]


@dataclass
class Hold:
    """Answer only when told to; `asked` says that the question is there."""

    asked: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)


@dataclass
class Change:
    """Answer as usual, but with other vectors."""

    vectors: Callable[[Vectors], Any]


Play = Reply | Trouble | Hold | Change


class Net:
    """A tiny network that takes token ids as vLLM does, and texts as the others do."""

    def __init__(self, folder: Path, *, seed: int = 0) -> None:
        write_tiny_bert(folder, seed=seed)
        self.folder = folder
        self.weights: Weights = tiny_weights(folder)
        self.encoder = TextEncoder(folder, read_recipe(folder), self.weights.window_tokens)
        self.runtime = NumpyNetwork(read_network(folder), Head("mean"))

    def run(self, inputs: Sequence[Any]) -> Vectors:
        """Compute each input by itself."""
        return np.concatenate([self._run_one(self._read(each)) for each in inputs])

    def _read(self, given: Any) -> NDArray[np.int32]:
        if isinstance(given, str):
            [ids] = self.encoder.tokenize([given], purpose=None)
            return self.encoder.frame(ids)
        return np.array(given, np.int32)

    def _run_one(self, ids: NDArray[np.int32]) -> Vectors:
        return self.runtime.forward(ids[None, :], np.array([len(ids)], np.int32))


class ReplicaServer:
    """One server on a free port of this machine, from entering the context to leaving it."""

    def __init__(self, net: Net, *, port: int = 0) -> None:
        self.net = net
        self.received: list[Received] = []
        """Every request for vectors, oldest first."""
        self.looks: list[Received] = []
        """Every question about health or models."""
        self.abandoned = threading.Event()
        """A client went away while its request was held."""
        self.looked = threading.Semaphore(0)
        """Counts the looks."""
        self.is_well = True
        self.most_at_once = 0
        """Requests under way, at most."""
        self._at_once = 0
        self._counting = threading.Lock()  # guards the two counts
        self._plays: deque[Play] = deque()
        self._refusal: tuple[Callable[[Any], bool], Reply] | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._connections: list[Any] = []

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its address without a path."""
        return f"http://127.0.0.1:{self.port}"

    def play(self, *plays: Play) -> None:
        """Answer the next requests for vectors with these, one each."""
        self._plays.extend(plays)

    def refuse(self, is_bad: Callable[[Any], bool], reply: Reply) -> None:
        """Answer so whenever one of the inputs is bad."""
        self._refusal = (is_bad, reply)

    def refusal_of(self, inputs: Sequence[Any]) -> Reply | None:
        """Say how these inputs are refused, if they are."""
        if self._refusal is None or not any(map(self._refusal[0], inputs)):
            return None
        return self._refusal[1]

    def next_play(self) -> Play | None:
        """Take the next play."""
        return self._plays.popleft() if self._plays else None

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count a request as under way."""
        with self._counting:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self._counting:
                self._at_once -= 1

    def note_connection(self, connection: Any) -> None:
        """Remember a connection, to be cut with the server."""
        self._connections.append(connection)

    def stop(self) -> None:
        """End it, with every connection it has."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(2)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._thread.is_alive():
            self.stop()


def write_answer(path: str, body: Any, vectors: Any) -> Any:
    """Write vectors as the server of this path does."""
    if path.endswith("/embed"):
        return np.asarray(vectors).tolist()
    data = [
        {"index": index, "object": "embedding", "embedding": _written(body, vector)}
        for index, vector in reversed(list(enumerate(vectors)))
    ]
    return {"object": "list", "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}


def _written(body: Any, vector: Any) -> Any:
    row = np.asarray(vector, np.float32)
    if body.get("encoding_format") == "base64":
        return base64.b64encode(row.astype("<f4").tobytes()).decode()
    return row.tolist()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    replica: ClassVar[ReplicaServer]

    def setup(self) -> None:
        super().setup()
        self.replica.note_connection(self.connection)

    def do_GET(self) -> None:
        self.replica.looks.append(self._received(b""))
        self._answer(Reply(200 if self.replica.is_well else 503, b"{}"))
        self.replica.looked.release()

    def do_POST(self) -> None:
        request = self._received(self.rfile.read(int(self.headers["content-length"])))
        self.replica.received.append(request)
        play = self.replica.next_play()
        if isinstance(play, Reply):
            self._answer(play)
        elif play is Trouble.DROP or (isinstance(play, Hold) and not self._held(play)):
            self.close_connection = True
        else:
            self._embed(request, play)

    def _embed(self, request: Received, play: Play | None) -> None:
        body = request.body
        inputs = body["inputs"] if "inputs" in body else body["input"]
        if refusal := self.replica.refusal_of(inputs):
            self._answer(refusal)
            return
        with self.replica.counted():
            vectors: Any = self.replica.net.run(inputs)
        if isinstance(play, Change):
            vectors = play.vectors(vectors)
        self._answer(Reply(content=json.dumps(write_answer(self.path, body, vectors)).encode()))

    def _held(self, hold: Hold) -> bool:
        """Wait until told to go on; false if the client left first."""
        hold.asked.set()
        self.connection.settimeout(0.01)
        while not hold.released.is_set():
            try:
                if not self.connection.recv(1):
                    self.replica.abandoned.set()
                    return False
            except TimeoutError:
                continue
        self.connection.settimeout(None)
        return True

    def _received(self, content: bytes) -> Received:
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Received(self.path, headers, content)

    def _answer(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if "Content-Length" in reply.headers:  # not its own: it dies before the end
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(reply.content)))
        self.end_headers()
        self.wfile.write(reply.content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the library
        """Say nothing: the test has the requests."""


def _handler(server: ReplicaServer) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (_Handler,), {"replica": server})


@contextlib.contextmanager
def opened(net: Net, *servers: ReplicaServer, **chosen: Any) -> Iterator[RemoteRuntime]:
    """Open the runtime of some servers; their requests of the start are forgotten."""
    usual = {"dialect": "vllm", "weights": "tiny", "precision": "f32"}
    urls = [server.url for server in servers]
    settings = RemoteSettings.model_validate({"urls": urls, **usual, **chosen})
    runtime = RemoteRuntime(settings, net.weights, net.encoder)
    for server in servers:
        server.received.clear()
        server.looks.clear()
    try:
        yield runtime
    finally:
        runtime.close()
