"""Fetching from addresses that callers write, within the rules of `policy`."""
