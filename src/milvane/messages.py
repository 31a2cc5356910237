"""
The Milvus protocol's messages, without the client library that carries them.

pymilvus generates the message classes from the protocol, and importing them through it brings the
whole client with it, pandas included: most of a second and 60 MB that a server has no use for. So
they are loaded from its files under a name of ours. The classes are the same objects either way:
Protocol Buffers keep one class for each message of a process.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

_NAME = "milvane_protocol"


def _load_package() -> None:
    """
    Make pymilvus's generated modules importable as a package of their own.

    Raises:
        ImportError: If pymilvus is not installed, or keeps them elsewhere.
    """
    client = importlib.util.find_spec("pymilvus")
    if client is None or not client.submodule_search_locations:
        raise ImportError("pymilvus is not installed: install milvane again")
    folder = Path(client.submodule_search_locations[0]) / "grpc_gen"
    # An empty package: its own `__init__` would import the gRPC stubs as well.
    package = ModuleType(_NAME)
    package.__path__ = [str(folder)]
    sys.modules[_NAME] = package


def leave_client_out() -> None:
    """
    Let this process import pymilvus's messages by their own name without the client around them.

    For a process that runs code of others which imports nothing else of pymilvus.
    """
    if "pymilvus" not in sys.modules:
        package = ModuleType("pymilvus")
        package.__path__ = [str(Path(sys.modules[_NAME].__path__[0]).parent)]
        sys.modules["pymilvus"] = package


if TYPE_CHECKING:
    from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2
else:
    if _NAME not in sys.modules:
        _load_package()
    common_pb2 = importlib.import_module(f"{_NAME}.common_pb2")
    schema_pb2 = importlib.import_module(f"{_NAME}.schema_pb2")
    milvus_pb2 = importlib.import_module(f"{_NAME}.milvus_pb2")

__all__ = ["common_pb2", "leave_client_out", "milvus_pb2", "schema_pb2"]
