"""Limits that losses, retrieval and the configuration share."""

MAX_BITS = 256  # The largest K.
