"""
The HTTP APIs: one dialect per package, all in front of the one use case of `serving`.

Invariants: every answer carries `x-request-id`; every failure speaks the dialect of the path it
happened on, and no stack trace leaves the server; a request is refused before it costs tokens; a
caller who hangs up stops the work done for them. May import `serving` and `domain`.
"""
