"""
One module per model family: what its files are called, and the `Network` that they hold.

Each has one function from a folder to a network, named in `reading.FAMILIES`.
"""
