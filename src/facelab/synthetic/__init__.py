"""Synthetic faces that are added to the training images."""

from facelab.synthetic.base import SyntheticFaces
from facelab.synthetic.copied import DuplicatedFaces, MixedPixels
from facelab.synthetic.generated import GeneratedFaces, MixedIdentities
from facelab.synthetic.transferred import TransferredFaces

__all__ = ["DuplicatedFaces", "GeneratedFaces", "MixedIdentities", "MixedPixels", "SyntheticFaces", "TransferredFaces"]
