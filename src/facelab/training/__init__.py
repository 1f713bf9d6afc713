"""Training: trainer settings, checkpoints, interruption and callbacks."""

from facelab.training.trainer import TrainerSettings

__all__ = ["TrainerSettings"]
