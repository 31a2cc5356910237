"""
The process that runs a network for `isolation`: started by it, and gone when it is gone.

Says on its standard output what it runs, a line of JSON; then answers batches on connections to a
Unix socket, one at a time on each. A batch and its answer are the arrays' own bytes.
"""

from __future__ import annotations

import json
import struct
import sys
import threading
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from milvane.inference.encoders.recipe import read_recipe
from milvane.inference.runtimes.opening import open_runtime
from milvane.inference.runtimes.port import Runtime
from milvane.inference.settings import Precision

SHAPE = struct.Struct("<II")
"""Rows and columns, before an array."""

ANSWERED, FAILED = b"\0", b"\1"
"""First byte of an answer: an array follows, or words."""


@dataclass(frozen=True, slots=True)
class RuntimeFacts:
    """What a runtime says of itself; see the port."""

    name: str
    precision: str
    threads: int
    width: int
    max_tokens: int
    weighs_tokens: bool
    concurrency: int
    packs: bool


def facts_of(runtime: Runtime) -> RuntimeFacts:
    """Ask a runtime what it says of itself."""
    return RuntimeFacts(
        name=runtime.name,
        precision=runtime.precision,
        threads=runtime.threads,
        width=runtime.width,
        max_tokens=runtime.max_tokens,
        weighs_tokens=runtime.weighs_tokens,
        concurrency=runtime.concurrency,
        packs=runtime.packs,
    )


def pack_batch(token_ids: NDArray[np.int32], lengths: NDArray[np.int32]) -> bytes:
    """Write a batch as bytes."""
    return SHAPE.pack(*token_ids.shape) + lengths.tobytes() + token_ids.tobytes()


def unpack_batch(content: bytes) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Read a batch."""
    rows, columns = SHAPE.unpack_from(content)
    flat = np.frombuffer(content, np.int32, offset=SHAPE.size)
    return flat[rows:].reshape(rows, columns), flat[:rows]


def pack_vectors(vectors: NDArray[np.float32]) -> bytes:
    """Write an answer as bytes."""
    return ANSWERED + SHAPE.pack(*vectors.shape) + vectors.astype(np.float32).tobytes()


def unpack_vectors(content: bytes) -> NDArray[np.float32]:
    """Read an answer; the array is the caller's own."""
    rows, columns = SHAPE.unpack_from(content, 1)
    flat = np.frombuffer(content, np.float32, offset=1 + SHAPE.size)
    vectors: NDArray[np.float32] = flat.reshape(rows, columns).copy()
    return vectors


def serve(runtime: Runtime, connection: Connection) -> None:
    """Answer batches until the other side closes."""
    while True:
        try:
            content = connection.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            answer = pack_vectors(runtime.forward(*unpack_batch(content)))
        except Exception as error:  # noqa: BLE001 - said to whoever asked; the next one is served
            answer = FAILED + f"{type(error).__name__}: {error}".encode()
        connection.send_bytes(answer)


def main() -> None:
    """Load the network that the arguments name, and serve it until the standard input ends."""
    folder, threads, precision, address = sys.argv[1:]
    recipe = read_recipe(Path(folder))
    runtime = open_runtime(
        Path(folder), recipe, threads=int(threads), precision=cast("Precision", precision)
    )
    with Listener(address, family="AF_UNIX") as listener:
        threading.Thread(target=_accept, args=(listener, runtime), daemon=True).start()
        sys.stdout.write(json.dumps(asdict(facts_of(runtime))) + "\n")
        sys.stdout.flush()
        sys.stdin.buffer.read()  # ends when whoever started us ends, however that happens


def _accept(listener: Listener, runtime: Runtime) -> None:
    while True:
        connection = listener.accept()
        threading.Thread(target=serve, args=(runtime, connection), daemon=True).start()


if __name__ == "__main__":
    main()
