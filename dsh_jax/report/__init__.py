"""The report of one or several runs: one HTML file that needs nothing else.

runs.py reads what a run left on disk, curves.py turns codes into numbers,
figures.py shows them by means of drawing.py, gallery.py finds pictures, page.py
puts the page together.
"""

from dsh_jax.report.page import write as write
