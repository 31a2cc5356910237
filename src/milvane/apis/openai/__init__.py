"""
The OpenAI dialect: `embeddings` and `models`.

`wire` declares the bodies, `translate` turns them into the domain's values and back, `errors` says
a failure in the dialect, `routes` joins them to the use case.
"""
