"""One run from its beginning to its end."""

from facelab.runs.experiment import Experiment, Runtime, ValidationSettings

__all__ = ["Experiment", "Runtime", "ValidationSettings"]
