"""The benchmarks: what opsapp costs, as ratios that any machine can repeat.

Run them from the checkout's root: ``python -m bench.startup``,
``python -m bench.million``, ``python -m bench.transfer``, ``python -m bench.web``.
Each prints a table and exits 6 if a target is missed. ``docs/performance.md``
has the figures.
"""
