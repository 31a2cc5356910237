"""
Milvus Lite in a process of its own, behind a guard.

Two sides that share only `settings` and the command line between them: `supervisor` lives in the
gateway's process; `process` and everything it imports live in the Lite process. The pure decisions
are `locks`, `flushing`, and the plans of `recovery`.
"""
