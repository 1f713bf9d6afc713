"""Trained models outside facelab: ONNX and torch.export files, and the model that MLflow serves."""
