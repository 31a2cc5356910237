"""
The composition root: builds every component, joins them, and takes them down in reverse.

The only package that names everyone. `server` is the whole; the other modules build its parts.
"""
