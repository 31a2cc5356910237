"""The RPCs of the Milvus service: their messages, and which of them the embedded engine answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf.message_factory import GetMessageClass
from milvus_lite.adapter.grpc.servicer import MilvusServicer
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from milvane.instances.lite.servicer import Servicer

_ANSWERED = vars(MilvusServicer).keys() | vars(Servicer).keys()
_LEGACY_CODES = {8: common_pb2.ErrorCode.RateLimit}


@dataclass(frozen=True, slots=True)
class Rpc:
    """One unary RPC."""

    name: str
    request_type: Any
    response_type: Any
    is_implemented: bool

    def failure(self, code: int, reason: str) -> Any:
        """
        Make a response that reports a failure as Milvus does: in its status.

        Args:
            code: Milvus's code of the failure.

            reason: What the caller reads.
        """
        status = common_pb2.Status(
            code=code,
            reason=reason,
            error_code=_LEGACY_CODES.get(code, common_pb2.ErrorCode.UnexpectedError),
        )
        if self.response_type is common_pb2.Status:
            return status
        return self.response_type(status=status)


def unary_rpcs() -> dict[str, Rpc]:
    """List the unary RPCs by name; the two streams of the protocol are not implemented anyway."""
    service = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"]
    return {
        method.name: Rpc(
            method.name,
            GetMessageClass(method.input_type),
            GetMessageClass(method.output_type),
            method.name in _ANSWERED,
        )
        for method in service.methods
        if not (method.client_streaming or method.server_streaming)
    }
