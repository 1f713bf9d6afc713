"""What a trained model is asked. Protocols know embeddings and scores, never models."""
