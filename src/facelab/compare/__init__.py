"""A sweep, or any runs, beside each other: tables with intervals, paired comparisons, and one page of pictures."""
