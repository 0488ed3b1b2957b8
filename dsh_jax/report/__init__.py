"""The report of one or several runs, a self-contained HTML file.

run_files.py reads runs, curves.py computes what figures.py and code_figures.py
draw with drawing.py, gallery.py shows nearest items, page.py writes the page.
"""

from dsh_jax.report.page import write as write
