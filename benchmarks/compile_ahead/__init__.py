"""Compile programs for hardware that is not there, and estimate their cost.

`python -m benchmarks.compile_ahead --target=v5e:2x4 --config=...`
"""
