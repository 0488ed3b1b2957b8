"""Retrieval: packed codes, the joint histogram, metrics, search.

A ranking by Hamming distance has at most K+1 distinct distances, so it is a
sequence of tied buckets. `histogram` counts what lies in every bucket,
`metrics` turns the counts into scores that are exact under ties, `evaluate`
names the scores, `search` finds the neighbours themselves.
"""
