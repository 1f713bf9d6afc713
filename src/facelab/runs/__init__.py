"""One run from its beginning to its end."""

from facelab.runs.experiment import Experiment, Runtime

__all__ = ["Experiment", "Runtime"]
