"""
The command `milvane`: parses arguments, calls `bootstrap` and prints.

Modules import what is heavy inside the commands that need it, so that `--help` answers at once.
"""
