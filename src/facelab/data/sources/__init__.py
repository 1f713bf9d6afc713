"""Data sources, one module per data set."""
