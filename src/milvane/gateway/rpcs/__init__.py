"""The RPCs that the gateway rewrites: thin shells around the pure modules of `translate`."""
