"""What a trained model is evaluated on."""

from facelab.protocols.base import Protocol, Report
from facelab.protocols.classification import Classification
from facelab.protocols.generation import GenerationSettings
from facelab.protocols.verification import Verification

__all__ = ["Classification", "GenerationSettings", "Protocol", "Report", "Verification"]
