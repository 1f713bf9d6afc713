"""Studies: a question with its arms, analysis and rule of the verdict fixed before the first run."""
