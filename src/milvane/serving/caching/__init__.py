"""
Vectors that were computed once, so that nobody pays for the same text twice.

Owns what a vector is known by (`keys`) and written as (`forms`), the vectors that were used last
(`memory`), those on the disk (`disk`, with `membership` to know without asking what is not there),
the whole with requests for the same text at the same time (`cache`), and the cache in front of
remote providers (`providers`).

Invariants: what a cache gives is what would be computed, up to rounding; tenants never see that
others asked the same; no failure of a disk fails or delays a request.
"""
