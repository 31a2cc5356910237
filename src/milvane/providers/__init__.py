"""
Remote services that compute vectors: one pure dialect each, and one shell that talks HTTP.

Satisfies `serving.ports.RemoteProviders` without importing it. A dialect knows a provider's URL,
request, reply and batch cap; credentials, retries, deadlines and the circuit breaker are the same
for all. A secret is in memory and in the request that needs it, and nowhere else. May import
`domain` and `sections`.
"""
