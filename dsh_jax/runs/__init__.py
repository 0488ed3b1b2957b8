"""The files of a run: configuration, checkpoints, logs, codes, scores."""
