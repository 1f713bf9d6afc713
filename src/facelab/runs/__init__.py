"""Training runs: prepare, train, evaluate, record and resume them."""

from facelab.runs.experiment import Experiment, Runtime, ValidationSettings

__all__ = ["Experiment", "Runtime", "ValidationSettings"]
