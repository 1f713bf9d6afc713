"""Galleries: enrolled people who are found by their faces."""

from facelab.galleries.faces import Face, FaceReader, Reading
from facelab.galleries.gallery import Development, Gallery, Origin, Threshold
from facelab.galleries.recogniser import Recogniser
from facelab.galleries.search import Nearest

__all__ = [
    "Development",
    "Face",
    "FaceReader",
    "Gallery",
    "Nearest",
    "Origin",
    "Reading",
    "Recogniser",
    "Threshold",
]
