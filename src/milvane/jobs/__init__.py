"""
Durable work in SQL: batches and asynchronous tasks, line by line, in the bulk lane.

Invariants: a job is run by whoever holds its lease, and nothing of one who has lost it counts; a
page of lines counts as done in the one transaction that records its results, so that no line is
lost or repeated whenever the process ends. `lifecycle`, `leasing`, `paging` and `rows` are pure;
`ledger` is the SQL, `runner` the effects, `worker` the loop; `desk` and `cabinet` are what front
doors see of jobs and files, each for its own caller. May import `serving`, `storage`, `domain`.
"""
