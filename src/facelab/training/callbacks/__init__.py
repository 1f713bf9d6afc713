"""Lightning callbacks: counting, logging, validation, averaging, progress."""
