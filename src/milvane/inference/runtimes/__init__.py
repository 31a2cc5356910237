"""
One module per way to run a network, behind the port in `port`.

A checkpoint becomes a `network` (`stored`, `checking`, `families`, `reading`), which each runtime
runs; so a family is read once and a runtime written once. The only place for tensor libraries; each
is imported when its runtime is opened, not before. All runtimes keep one contract suite, and
`numpy_network` is the reference the others are held to.
"""
