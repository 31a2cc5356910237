"""
Milvus messages to domain values and back: schemas, rows, queries.

Every module here is pure: no IO, no clock, no event loop.
"""
