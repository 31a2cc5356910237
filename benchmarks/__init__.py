"""
Is it as fast as it was? Ratios within one run, never absolute promises.

Each module measures one thing and has `measure(*, quick) -> Section`; `python -m benchmarks` runs
them and writes docs/benchmarks.md with its plots.
"""
