"""
A loopback HTTP server that plays every provider of vectors, with its replies and its failures.

Vectors depend on the text and on nothing else, so a test can say which vector belongs to which row.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

DIMENSION = 8
"""Of the vectors of a server that is told no other."""


def vector_of(text: str, dimension: int = DIMENSION) -> NDArray[np.float32]:
    """Make the vector of a text: exact in JSON, and different for different texts."""
    seed = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
    grid = np.random.default_rng(seed).integers(-512, 513, dimension)
    return (grid / 512).astype(np.float32)


def int8_vector_of(text: str, dimension: int = DIMENSION) -> NDArray[np.int8]:
    """Make the vector of a text in whole numbers."""
    return np.round(vector_of(text, dimension) * 127).astype(np.int8)


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came in."""

    path: str
    """With its query."""
    headers: Mapping[str, str]
    """By name in lower case."""
    content: bytes

    @property
    def body(self) -> Any:
        """The JSON of the request."""
        return json.loads(self.content)


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply to play instead of the usual one."""

    status: int = 200
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Trouble(Enum):
    """A failure to play instead of the usual reply."""

    HANG = "hang"
    """Say nothing until the client goes away."""
    DROP = "drop"
    """End the connection."""
    BAD_JSON = "bad json"
    NO_VECTORS = "no vectors"
    """Some JSON that has no vectors in it."""
    WRONG_COUNT = "wrong count"
    """One vector too few; two for one text."""
    WRONG_DIMENSION = "wrong dimension"
    """One component too many."""


@dataclass(frozen=True, slots=True)
class Script:
    """How one provider's requests are read, and its replies written."""

    texts: Callable[[Any], Sequence[str]]
    reply: Callable[[list[list[float]]], Any]
    usage: Callable[[int], Mapping[str, Any]] | None = None
    """What a reply says of tokens used; none where it says nothing of them."""
    is_int8: Callable[[Any], bool] = lambda _: False


def _numbered(index: str) -> Callable[[list[list[float]]], list[dict[str, Any]]]:
    """Number the vectors, and give them in another order: the numbers are what counts."""

    def write(vectors: list[list[float]]) -> list[dict[str, Any]]:
        return [
            {index: position, "embedding": vector}
            for position, vector in reversed(list(enumerate(vectors)))
        ]

    return write


_OPENAI = Script(
    texts=lambda body: body["input"],
    reply=lambda found: {"data": _numbered("index")(found)},
    usage=lambda tokens: {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}},
)
_BARE = Script(texts=lambda body: body["inputs"], reply=lambda found: found)
SCRIPTS: Mapping[str, Script] = {
    "openai": _OPENAI,
    "azure_openai": _OPENAI,
    "siliconflow": _OPENAI,
    "voyageai": Script(
        texts=_OPENAI.texts,
        reply=_OPENAI.reply,
        usage=lambda tokens: {"usage": {"total_tokens": tokens}},
        is_int8=lambda body: body["output_dtype"] == "int8",
    ),
    "dashscope": Script(
        texts=lambda body: body["input"]["texts"],
        reply=lambda found: {"output": {"embeddings": _numbered("text_index")(found)}},
        usage=lambda tokens: {"usage": {"total_tokens": tokens}},
    ),
    "cohere": Script(
        texts=lambda body: body["texts"],
        reply=lambda found: {"embeddings": {"float": found, "int8": found}},
        usage=lambda tokens: {"meta": {"billed_units": {"input_tokens": tokens}}},
        is_int8=lambda body: body["embedding_types"] == ["int8"],
    ),
    "bedrock": Script(
        texts=lambda body: [body["inputText"]],
        reply=lambda found: {"embedding": found[0]},
        usage=lambda tokens: {"inputTextTokenCount": tokens},
    ),
    "vertexai": Script(
        texts=lambda body: [instance["content"] for instance in body["instances"]],
        reply=lambda found: {"predictions": [{"embeddings": {"values": v}} for v in found]},
        usage=lambda tokens: {"usageMetadata": {"promptTokenCount": tokens}},
    ),
    "gemini": Script(
        texts=lambda body: [r["content"]["parts"][0]["text"] for r in body["requests"]],
        reply=lambda found: {"embeddings": [{"values": vector} for vector in found]},
        usage=lambda tokens: {"usageMetadata": {"promptTokenCount": tokens}},
    ),
    "tei": _BARE,
    "huggingface": _BARE,
    "yc": Script(
        texts=lambda body: body.get("texts") or [body["text"]],
        reply=lambda found: {"embedding": found[0]} if len(found) == 1 else {"embeddings": found},
        usage=lambda tokens: {"numTokens": str(tokens)},
    ),
}
"""By the provider's name."""

TOKEN = "token-of-a-day"  # noqa: S105 - what the token server of the tests gives to everybody
_TOKEN_PATH = "/token"  # noqa: S105 - a path


class ProviderServer:
    """One provider on a free port of this machine, from entering the context to leaving it."""

    def __init__(self, provider: str, *, dimension: int = DIMENSION) -> None:
        self.script = SCRIPTS[provider]
        self.dimension = dimension
        self.received: list[Received] = []
        """Every request but those for tokens, oldest first."""
        self.token_requests: list[Received] = []
        self.abandoned = threading.Event()
        """A client went away while its request was hanging."""
        self.hanging = threading.Event()
        """A request is hanging."""
        self._plays: deque[Reply | Trouble] = deque()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def texts(self) -> list[list[str]]:
        """The texts of each request."""
        return [list(self.script.texts(request.body)) for request in self.received]

    def play(self, *plays: Reply | Trouble) -> None:
        """Answer the next requests with these, one each, instead of with vectors."""
        self._plays.extend(plays)

    def clear(self) -> None:
        """Forget what was received, and what was to be played."""
        self.received.clear()
        self._plays.clear()

    def answer(self, request: Received) -> Reply | Trouble:
        """Take a request in, and say how it is answered."""
        if request.path == _TOKEN_PATH:
            self.token_requests.append(request)
            return Reply(content=json.dumps({"access_token": TOKEN, "expires_in": 3600}).encode())
        self.received.append(request)
        play = self._plays.popleft() if self._plays else None
        if isinstance(play, Reply) or play in (Trouble.HANG, Trouble.DROP):
            return play
        if play is Trouble.BAD_JSON:
            return Reply(content=b'{"data": [')
        if play is Trouble.NO_VECTORS:
            return Reply(content=b'{"object": "sorry"}')
        reply, headers = self.script.reply(self._vectors(request, play)), {}
        tokens = self.tokens_of(request)
        if self.script.usage is not None:
            reply |= self.script.usage(tokens)
        else:  # as Text Embeddings Inference does; the pipeline of Hugging Face says nothing
            headers["X-Compute-Tokens"] = str(tokens)
        return Reply(content=json.dumps(reply).encode(), headers=headers)

    def tokens_of(self, request: Received) -> int:
        """Count the tokens of a request: here, its words."""
        return sum(len(text.split()) for text in self.script.texts(request.body))

    def _vectors(self, request: Received, play: Trouble | None) -> list[list[float]]:
        make = int8_vector_of if self.script.is_int8(request.body) else vector_of
        dimension = self.dimension + (play is Trouble.WRONG_DIMENSION)
        texts = list(self.script.texts(request.body))
        if play is Trouble.WRONG_COUNT:
            texts = texts[:-1] if len(texts) > 1 else texts * 2
        return [make(text, dimension).tolist() for text in texts]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(server: ProviderServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = server.answer(Received(self.path, headers, content))
            if isinstance(answer, Trouble):
                self._trouble(answer)
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def _trouble(self, trouble: Trouble) -> None:
            self.close_connection = True
            if trouble is Trouble.HANG:
                server.hanging.set()
                self.connection.recv(1)  # returns when the client closes its end
                server.abandoned.set()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the library
            """Say nothing: the test has the requests."""

    return Handler
