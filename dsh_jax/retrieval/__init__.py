"""Retrieval: packed codes, the joint histogram, metrics, nearest neighbours.

A ranking by Hamming distance has at most K+1 distinct distances, so it is a
sequence of tied buckets. `histogram` counts the items of each bucket,
`metrics` turns the counts into scores that are exact under ties, `evaluation`
finds metrics by name, `neighbors` returns the nearest items themselves.
"""
