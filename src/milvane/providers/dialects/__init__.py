"""One module per provider: a pure reading of its parameters, requests and replies."""
