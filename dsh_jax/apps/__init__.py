"""Commands that use a finished run: encode, search, serve, export, evaluate."""
