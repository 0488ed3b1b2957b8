"""Tables of methods: cells, runs, rows, text."""
