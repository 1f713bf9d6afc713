"""facelab: train, track and compare face recognisers."""

import os

# albumentations asks the network for a newer version when it is imported; facelab never uses the network unasked.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

__version__ = "0.1.0"
