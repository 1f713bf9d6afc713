"""A local page on which to try a trained model: FastAPI, and HTML of our own."""
