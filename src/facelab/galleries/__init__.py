"""Galleries: enrolled people who are found by their faces."""

from facelab.galleries.gallery import Development, Gallery, Origin, Threshold
from facelab.galleries.search import Nearest

__all__ = ["Development", "Gallery", "Nearest", "Origin", "Threshold"]
