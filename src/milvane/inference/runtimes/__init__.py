"""
One module per way to run a network, behind the port in `port`.

The only place for tensor libraries; each is imported when its runtime is opened, not before.
All runtimes keep one contract suite, and `numpy_bert` is the reference the others are held to.
"""
