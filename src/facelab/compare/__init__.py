"""Compare the runs of a sweep, or any runs: tables with intervals, paired tests, and one HTML page."""
