"""Lightning callbacks: image count, logging, validation, weight averaging, checkpoints and progress."""
