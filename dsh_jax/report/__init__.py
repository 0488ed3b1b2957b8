"""The report of one or several runs, a single self-contained HTML file.

run_files.py reads a run, curves.py computes what figures.py draws with
drawing.py, gallery.py shows queries with their nearest items, and page.py
writes the page.
"""

from dsh_jax.report.page import write as write
