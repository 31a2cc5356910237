"""
The Milvus-protocol front door: a byte-level proxy that owns about a dozen RPCs.

Owns what a client sees of embedding functions: they are taken out of the schema before the
upstream sees it, kept in a hidden collection property there, and put back into descriptions.
Invariants: a request that the gateway does not own reaches the upstream as the same bytes; nothing
is embedded before the rows are valid; the gateway holds no state that the upstream does not have.
Milvus messages live here and in `instances` only. May import `serving`, `instances`, `domain`.
"""
