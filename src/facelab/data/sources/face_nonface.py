"""Faces against other images: two classes."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelab.data.faces import Channels, FaceSet, FaceSource, ImageSize, InMemory, digest, package_folder
from facelab.data.images import resize
from facelab.errors import DataError


class FaceNonFace(FaceSource):
    """100 faces and 100 non-faces, 25 x 25 grey, embedded in the wheel of scikit-image: the binary task.

    Format: `lfw_subset.npy`, (200, 25, 25) float in [0, 1]. Classes: face, non_face. Nobody is known to be on two
    pictures, so each has an identity of its own.
    Source: cut from Labeled Faces in the Wild (Huang et al., 2007) by the scikit-image developers.

    Args:
        image_size: side of the square the pictures are resized to, in pixels.
        channels: 1 for grey, 3 for RGB (three equal channels).
    """

    name = "face_nonface"

    def __init__(self, image_size: ImageSize = 64, channels: Channels = 1) -> None:
        self.image_size, self.channels = image_size, channels

    def load(self) -> FaceSet:
        """Every picture."""
        path = package_folder("skimage") / "data" / "lfw_subset.npy"
        if not path.is_file():
            raise DataError(f"{path} is missing; reinstall scikit-image: pip install --force-reinstall scikit-image.")
        grey = np.rint(np.load(path, allow_pickle=False) * 255).astype(np.uint8)
        faces, others = grey[:100], self._non_faces(grey[:100], grey[100:])
        mode = "L" if self.channels == 1 else "RGB"
        shown = np.concatenate([faces, others])
        pixels = np.stack([resize(Image.fromarray(image).convert(mode), self.image_size) for image in shown])
        return FaceSet(
            name=self.name,
            source="skimage/data/lfw_subset.npy",
            pixels=InMemory(pixels),
            names=[f"face/{i:03d}" for i in range(100)] + [f"non_face/{i:03d}" for i in range(len(others))],
            labels=np.repeat(np.arange(2, dtype=np.int64), [100, len(others)]),
            label_names=("face", "non_face"),
            identities=np.arange(len(shown), dtype=np.int64),
            digests=[digest(image) for image in pixels],
        )

    def _non_faces(self, faces: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return others


class FaceSpoiltFace(FaceNonFace):
    """As `FaceNonFace`, and two spoilt copies of every face among the non-faces: 100 faces, 300 non-faces.

    One copy has its 5 x 5 patches of 5 x 5 pixels shuffled; the other keeps only the strength of each spatial frequency
    and gets the phases of noise. Who is to tell faces from these must look at how a face is built: a classifier of
    faces against other things takes plain noise and shuffled faces for faces. Arguments as for `FaceNonFace`.
    """

    name = "face_spoilt_face"

    def _non_faces(self, faces: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.uint8]:
        random = np.random.default_rng(0)
        return np.concatenate([others, [_shuffled(f, random) for f in faces], [_scrambled(f, random) for f in faces]])


def _shuffled(image: NDArray[np.uint8], random: np.random.Generator, patch: int = 5) -> NDArray[np.uint8]:
    """A square picture whose sides are multiples of `patch`, with its patches in another order."""
    across = len(image) // patch
    patches = image.reshape(across, patch, across, patch).swapaxes(1, 2).reshape(-1, patch, patch)
    mixed = random.permutation(patches).reshape(across, across, patch, patch)
    return mixed.swapaxes(1, 2).reshape(image.shape)


def _scrambled(image: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """A picture of equal spectrum and mean, with the phases of white noise."""
    spectrum, noise = np.fft.rfft2(image), np.fft.rfft2(random.standard_normal(image.shape))
    mixed = np.abs(spectrum) * np.exp(1j * np.angle(noise))
    mixed[0, 0] = spectrum[0, 0]
    return np.clip(np.rint(np.fft.irfft2(mixed, s=image.shape)), 0, 255).astype(np.uint8)
