"""Faces versus other images: binary classification."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelab.data.encoded import ImageArrays
from facelab.data.images import resize
from facelab.data.source import Channels, FaceSource, Rows, package_folder
from facelab.errors import DataError

_PATCHES = 5  # patches along each side of a shuffled image
_FURTHER_PATCH = 7  # pixels per patch of a further set's faces, which are resized to 35 x 35
_MOST_FURTHER = 2000

Pixels = NDArray[np.uint8]
Images = Sequence[Pixels]


@dataclass(kw_only=True)
class FaceNonFace(FaceSource):
    """100 faces and 100 non-faces, grey, 25 x 25 pixels, from the scikit-image package: binary classification.

    Format: `lfw_subset.npy`, (200, 25, 25) float in [0, 1]. Classes: face, non_face. People are unknown, so every image
    has its own identity.
    Source: cut from Labeled Faces in the Wild (Huang et al., 2007) by the scikit-image developers.

    """

    name: ClassVar[str] = "face_nonface"
    channels: Channels = 1
    label: str = "class"

    def rows(self) -> Rows:
        """Read all images."""
        path = package_folder("skimage") / "data" / "lfw_subset.npy"
        if not path.is_file():
            raise DataError(f"{path} is missing; reinstall scikit-image: pip install --force-reinstall scikit-image.")
        grey = np.rint(np.load(path, allow_pickle=False) * 255).astype(np.uint8)
        mode = "L" if self.channels == 1 else "RGB"
        small = [np.asarray(Image.fromarray(image).convert(mode)).reshape(25, 25, -1) for image in grey]
        faces, others = self._classes(small[:100], small[100:])
        names = [f"face/{i:03d}" for i in range(len(faces))] + [f"non_face/{i:03d}" for i in range(len(others))]
        classes = ["face"] * len(faces) + ["non_face"] * len(others)
        images = ImageArrays(path, [*faces, *others])
        return Rows(self.name, path, names, images, {"class": classes}, "skimage/data/lfw_subset.npy")

    def _classes(self, faces: Images, others: Images) -> tuple[Images, Images]:
        """The images of both classes, (H, W, C) uint8 each, of any size."""
        return faces, others


@dataclass(kw_only=True)
class FaceSpoiltFace(FaceNonFace):
    """`FaceNonFace` with two corrupted copies of every face as non-faces, and optionally faces of a further set.

    One copy has its 5 x 5 patches shuffled; the other keeps the magnitude of each spatial frequency and takes its phase
    from noise. A classifier has to learn the structure of a face to reject these; one trained on faces versus other
    objects accepts noise and shuffled faces. It generalises only to faces like its training images: to evaluate a
    generator, pass the generator's training set as `faces`.

    Args:
        faces: a further set; at most 2,000 of its images, evenly spaced, are added as faces. None for scikit-image's
            faces only.
    """

    name: ClassVar[str] = "face_spoilt_face"
    faces: FaceSource | None = None

    def _classes(self, faces: Images, others: Images) -> tuple[Images, Images]:
        random = np.random.default_rng(0)
        if self.faces is not None:
            further = self.faces.load()
            chosen = np.unique(np.linspace(0, len(further) - 1, min(_MOST_FURTHER, len(further))).astype(int))
            faces = [*faces, *(_further(further.pixels[int(index)], self.channels) for index in chosen)]
        spoilt = [_shuffled(face, random) for face in faces] + [_scrambled(face, random) for face in faces]
        return faces, [*others, *spoilt]


def _further(image: Pixels, channels: int) -> Pixels:
    """Convert the image to `channels`, and resize it to a side that is a multiple of `_PATCHES`."""
    mode = "L" if channels == 1 else "RGB"
    return resize(Image.fromarray(image.squeeze()).convert(mode), _PATCHES * _FURTHER_PATCH)


def _shuffled(image: Pixels, random: np.random.Generator) -> Pixels:
    """Shuffle the patches of a square image whose side is a multiple of `_PATCHES`."""
    patch = len(image) // _PATCHES
    grid = image.reshape(_PATCHES, patch, _PATCHES, patch, -1).swapaxes(1, 2)
    mixed = random.permutation(grid.reshape(_PATCHES**2, patch, patch, -1)).reshape(grid.shape)
    return mixed.swapaxes(1, 2).reshape(image.shape)


def _scrambled(image: Pixels, random: np.random.Generator) -> Pixels:
    """Replace the phases of an image by those of white noise, equal in all channels; magnitudes and mean are kept."""
    noise = np.fft.rfft2(random.standard_normal(image.shape[:2]))[..., None]
    spectrum = np.fft.rfft2(image, axes=(0, 1))
    mixed = np.abs(spectrum) * np.exp(1j * np.angle(noise))
    mixed[0, 0] = spectrum[0, 0]
    back = np.fft.irfft2(mixed, s=image.shape[:2], axes=(0, 1))
    return np.clip(np.rint(back), 0, 255).astype(np.uint8)
