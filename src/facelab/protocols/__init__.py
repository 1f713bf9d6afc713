"""Protocols: evaluations of trained models."""

from facelab.protocols.attributes import Attributes
from facelab.protocols.base import Outputs, Protocol, Report, Subject, Table
from facelab.protocols.classification import Classification
from facelab.protocols.generation import Generation
from facelab.protocols.identification import Identification
from facelab.protocols.reconstruction import Reconstruction
from facelab.protocols.templates import Templates
from facelab.protocols.verification import Verification

__all__ = [
    "Attributes",
    "Classification",
    "Generation",
    "Identification",
    "Outputs",
    "Protocol",
    "Reconstruction",
    "Report",
    "Subject",
    "Table",
    "Templates",
    "Verification",
]
