"""
The Milvus endpoints that we stand in front of.

Owns: how the embedded Milvus Lite is run (`lite`), how any endpoint is called (`upstream`), and
what each RPC touches (`access`). May import `domain`, `logs` and `sections`.

Invariants: one data directory has at most one process; a collection has one writer at a time, and
is never read while its rows move from memory to disk; whatever Milvus Lite acknowledged is there
exactly once after any death of its process; a connection failure reaches a caller as
`UpstreamUnavailable`, and a status of the upstream as `UpstreamStatus`, untouched.
"""
