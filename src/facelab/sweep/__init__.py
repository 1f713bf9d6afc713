"""The sweep as one object: a parent run, jobs that cannot harm each other, a re-run that does only what is missing."""
