"""Milvus Lite by itself, as its own package serves it: prints its port, ends with its input."""

from __future__ import annotations

import sys

from milvus_lite.adapter.grpc.server import start_server_in_thread

if __name__ == "__main__":
    server, database, port = start_server_in_thread(sys.argv[1])
    print(port, flush=True)
    sys.stdin.read()
    server.stop(grace=2).wait()
    database.close()
