"""
Networks that run on servers elsewhere: TEI, vLLM, Infinity, and whatever speaks OpenAI's API.

`runtime` is the runtime that the engine sees; `asking` sends its passes to one of several replicas,
`balancing` and `hedging` decide which and when, `dialects` knows the servers' JSON, `counting` is
what is shown of the replicas.
"""
