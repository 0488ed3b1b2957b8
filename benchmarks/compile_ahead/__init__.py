"""Compiles programs for hardware that is not there, and estimates their cost.

`python -m benchmarks.compile_ahead --target=v5e:2x4 --config=...`
"""
