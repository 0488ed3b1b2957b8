"""Packed codes, the joint histogram, metrics and nearest neighbours.

A ranking by Hamming distance is a sequence of at most K+1 tied buckets.
`histogram` counts their items, `metrics` turns the counts into scores,
`evaluation` finds metrics by name, `neighbors` returns the nearest items.
"""
