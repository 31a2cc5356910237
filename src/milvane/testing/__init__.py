"""
Public fakes for tests of Milvane and of what is built on it.

A fake is trusted only because it passes the contract suite of its port. Production code never
imports this package; it may import everything.
"""
