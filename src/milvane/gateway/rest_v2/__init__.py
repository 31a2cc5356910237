"""
The Milvus-protocol front door for HTTP clients: REST v2, on the same port as gRPC.

Owns the shapes of `/v2/vectordb/...`: JSON is turned into the request that a gRPC client would
send, taken through the same dispatcher, and its reply is written as JSON. `paths` is the table.
Modules that translate are pure. May import what `gateway` may.
"""
