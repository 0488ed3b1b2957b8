"""Kills and damaged files."""
