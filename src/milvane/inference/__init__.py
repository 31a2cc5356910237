"""
Content in, vectors out: one set of weights, loaded, run and queued for.

Owns the weight files on disk (`weights`, `installed`), where they come from (`downloads`, `hubs`,
`hub_downloads`), the knowledge of each model family (`encoders`), the ways to run a network
(`runtimes`), the vectors that a load must give (`calibration`, `self_test`), the queue in front of
one runtime (`batching`, `batcher`), what happens to texts longer than a window (`windowing`) and to
widths other than the network's own (`adapting`), and the whole of it (`engine`).

Invariants: a text is embedded whole, whatever its length; its vector does not depend on what it
was batched with, beyond the tolerance of the precision; no input waits for ever; a failing pass
fails only the inputs that fail alone; weights that do not match the catalogue are not run.

May import `domain`, `logs` and `sections`. Tensor libraries only in `runtimes`, and imported
only when a runtime is opened. Where the pure modules end: `batching`, `windowing` and `adapting`
know no clock, no file and no event loop.
"""
