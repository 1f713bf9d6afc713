"""A gallery: a folder whose one file holds the enrolled people, and everything that is needed to search for them.

`gallery.safetensors` is replaced as a whole by every change, so it is complete at any time, and nothing of a removed
person stays in it. Its tensors:

- `embeddings`, (N, D) float32: one of each person, of length 1;
- `thumbnails` and `thumbnail_ends`: a JPEG of each person, one after the other, and where each ends;
- `development`, (M, D) float32, `development_owners`, (M,) int64, and `development_digests`, (M, 32) uint8: faces of
  people who are not enrolled, by which the threshold is set.

The header's entry `facelab` is JSON: names, the run and the SHA-256 of its weights, preprocessing, threshold.
"""

import io
import json
import stat
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from facelab.data.images import opened
from facelab.errors import ConfigError
from facelab.galleries.names import MOST_CHARACTERS, normalised
from facelab.galleries.partial import partial_folder
from facelab.galleries.search import Nearest, nearest
from facelab.galleries.thumbnails import Thumbnails
from facelab.system import check_path

FILE = "gallery.safetensors"
_FORMAT = 1
_LISTED = 20
_ROWS = 2**16  # that are checked at a time
_OF_LENGTH_1 = 1e-3  # the largest deviation

_RunId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Origin:
    """How a gallery turns faces into embeddings.

    Args:
        run: id of the run whose model makes the embeddings.
        weights: SHA-256 of its weights, in hexadecimal.
        image_size: side of the square faces that the model takes, in pixels.
        channels: 1 for grey, 3 for RGB.
        aligned: whether the enrolled images were faces already; if not, faces were found in photos and aligned.
        variants: images whose embeddings are averaged for each face: 1 without test-time augmentation.
    """

    run: _RunId
    weights: _Digest
    image_size: Annotated[int, Field(ge=8, le=1024)]
    channels: Annotated[int, Field(ge=1, le=3)]
    aligned: bool
    variants: Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Threshold:
    """The lowest score at which a face counts as an enrolled person's, and the searches that set it.

    Args:
        score: cosine; a face at or above it is identified.
        target: FPIR that must not be exceeded.
        fpir: share of the searches that returned anyone, in [0, target].
        searches: number of searches of people who are not enrolled.
        people: number of these people.
        enrolled: number of people in the gallery that they were searched in.
    """

    score: float
    target: _Share
    fpir: _Share
    searches: int
    people: int
    enrolled: int


@dataclass(frozen=True)
class Development:
    """Faces of people who are not enrolled, by which the threshold is set.

    Args:
        embeddings: (M, D) float32.
        owners: (M,) int64, index into `names`.
        digests: (M, 32) uint8, SHA-256 of the pixels of each face, as the model takes it.
        names: of these people.
        source: where they come from, in words.
    """

    embeddings: Tensor
    owners: Tensor
    digests: Tensor
    names: Sequence[str]
    source: str

    def without(self, people: Sequence[bool]) -> "Development":
        """The same without some people, one flag for each of `names`; they are gone from all its parts."""
        gone = torch.tensor(people, dtype=torch.bool)
        kept, places = ~gone[self.owners], torch.cumsum(~gone, 0) - 1
        names = [name for name, flag in zip(self.names, people, strict=True) if not flag]
        return Development(self.embeddings[kept], places[self.owners[kept]], self.digests[kept], names, self.source)


@dataclass(frozen=True)
class Gallery:
    """Enrolled people, one embedding each.

    Args:
        origin: how the embeddings were made.
        names: of the N people, each different.
        images: number of images that each was enrolled with.
        embeddings: (N, D) float32, each of length 1.
        thumbnails: a JPEG of each.
        development: faces of people who are not enrolled.
        fpir: FPIR that the threshold must not exceed, in (0, 1).
        threshold: as set for these people; None if nobody is enrolled.
    """

    origin: Origin
    names: Sequence[str]
    images: Sequence[int]
    embeddings: Tensor
    thumbnails: Sequence[bytes]
    development: Development
    fpir: float
    threshold: Threshold | None

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def open(cls, folder: Path) -> "Gallery":
        """Read a gallery. Its embeddings are checked, and then stay on the disk until they are searched.

        Raises:
            ConfigError: there is none, it is damaged, or a newer version of facelab made it.
        """
        path = folder / FILE
        check_path("gallery", path)
        if not path.is_file():
            raise ConfigError(
                f"gallery: {folder.absolute()} holds no gallery. Make one with: facelab enroll run=<run id> "
                f"source=<folder of people> gallery={folder}"
            )
        try:
            with safe_open(path, framework="pt") as file:
                header = _read_header((file.metadata() or {}).get("facelab", ""))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            return _gallery_of(header, tensors)
        except (SafetensorError, OSError, ValueError, LookupError, TypeError) as error:
            raise ConfigError(
                f"gallery: {path.absolute()} is damaged, or no gallery ({_first_line(error)}). Restore the file, or "
                "enrol the people again in another folder."
            ) from error

    def write(self, folder: Path) -> None:
        """Write the gallery in place of one that the folder holds; the folder is created if it does not exist.

        A new file is readable by its owner alone; later ones keep the permissions of the file before.

        Raises:
            ConfigError: it could not be read again, or cannot be written; what the folder held stays as it was.
        """
        path, header, tensors = folder / FILE, json.dumps(self._header()), self._tensors()
        try:
            _gallery_of(_read_header(header), tensors)
        except ValueError as error:
            raise ConfigError(
                f"gallery: {folder.absolute()} was not written, since it could not be read again: {error}."
            ) from error
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with partial_folder(folder) as partial:
                new = partial / FILE
                save_file(tensors, new, metadata={"facelab": header})
                new.chmod(stat.S_IMODE(path.stat().st_mode) if path.is_file() else 0o600)
                new.replace(path)
        except (OSError, SafetensorError) as error:
            raise ConfigError(
                f"gallery: {folder.absolute()} cannot be written ({error}). Free space, or choose another folder."
            ) from error

    def search(self, embeddings: NDArray[np.float32], k: int) -> Nearest:
        """Find the k people whose embeddings have the highest cosines to each of some faces.

        Args:
            embeddings: (P, D), of `Recogniser.embed` with the weights of `origin`.
            k: at least 1; everybody if fewer are enrolled.

        Returns:
            People as places in `names`, (P, K) int64, and cosines, (P, K) float32, the best first.
        """
        return nearest(self.embeddings, torch.from_numpy(embeddings), k)

    def accepts(self, score: float) -> bool:
        """Whether a face with this score counts as the enrolled person's; never if nobody is enrolled."""
        return self.threshold is not None and score >= self.threshold.score

    def thumbnail(self, person: int) -> NDArray[np.uint8]:
        """The picture of an enrolled person, (64, 64, 3) uint8 in RGB.

        Raises:
            DataError: it is damaged.
        """
        with opened(io.BytesIO(self.thumbnails[person]), f"the thumbnail of {self.names[person]}") as image:
            return np.asarray(image.convert("RGB"), dtype=np.uint8)

    def place_of(self, name: str) -> int:
        """The place of a person in `names`, in whichever Unicode form the name is given.

        Raises:
            ConfigError: nobody of this name is enrolled.
        """
        try:
            return [normalised(one) for one in self.names].index(normalised(name))
        except ValueError:
            some = ", ".join(self.names[:_LISTED]) + (", ..." if len(self) > _LISTED else "")
            raise ConfigError(f"nobody named '{name}' is enrolled. Enrolled are: {some or 'nobody'}.") from None

    def _tensors(self) -> dict[str, Tensor]:
        ends = np.cumsum([len(one) for one in self.thumbnails], dtype=np.int64)
        return {
            "embeddings": self.embeddings.contiguous(),
            "thumbnails": torch.from_numpy(np.frombuffer(b"".join(self.thumbnails), np.uint8).copy()),
            "thumbnail_ends": torch.from_numpy(ends),
            "development": self.development.embeddings.contiguous(),
            "development_owners": self.development.owners.contiguous(),
            "development_digests": self.development.digests.contiguous(),
        }

    def _header(self) -> dict[str, object]:
        return asdict(
            _Header(
                _FORMAT,
                self.origin,
                list(self.names),
                list(self.images),
                list(self.development.names),
                self.development.source,
                self.fpir,
                self.threshold,
            )
        )


@dataclass(frozen=True)
class _Header:
    format: int
    origin: Origin
    names: list[Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]]
    images: list[Annotated[int, Field(ge=1)]]
    development: list[str]
    development_source: str
    fpir: Annotated[float, Field(gt=0, lt=1)]
    threshold: Threshold | None


_HEADER = TypeAdapter(_Header)


def _read_header(text: str) -> _Header:
    found = json.loads(text or "{}")
    version = found.get("format") if isinstance(found, dict) else None
    if version != _FORMAT:
        raise ValueError(f"its format is {version}; this version of facelab reads {_FORMAT}")
    try:
        return _HEADER.validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _gallery_of(header: _Header, tensors: dict[str, Tensor]) -> Gallery:
    """Check that header and tensors fit each other.

    Raises:
        ValueError: they do not.
        KeyError: a tensor is missing.
    """
    embeddings, ends = tensors["embeddings"], tensors["thumbnail_ends"]
    vectors, owners, digests = (tensors[f"development{part}"] for part in ("", "_owners", "_digests"))
    people, others, dim = len(header.names), len(header.development), embeddings.shape[-1]
    fits = (
        embeddings.shape == (people, dim)
        and vectors.shape == (len(owners), dim)
        and digests.shape == (len(owners), 32)
        and ends.shape == (people,) == (len(header.images),)
        and embeddings.dtype == vectors.dtype == torch.float32
        and ends.dtype == owners.dtype == torch.int64
        and tensors["thumbnails"].dtype == digests.dtype == torch.uint8
        and len(set(header.names)) == people
        and (not len(owners) or (int(owners.min()) >= 0 and int(owners.max()) < others))
        and (header.threshold is None) == (not people)
    )
    if not fits:
        raise ValueError("its tensors do not fit its names")
    if not all(torch.isfinite(some).all() for some in torch.split(vectors, _ROWS)):
        raise ValueError("embeddings of development people are not finite")
    if not all(_are_of_length_1(some) for some in torch.split(embeddings, _ROWS)):
        raise ValueError("embeddings are not finite, or not of length 1")
    thumbnails = Thumbnails(tensors["thumbnails"].numpy(), ends.numpy())
    development = Development(vectors, owners, digests, header.development, header.development_source)
    return Gallery(
        header.origin,
        header.names,
        header.images,
        embeddings,
        thumbnails,
        development,
        header.fpir,
        header.threshold,
    )


def _are_of_length_1(embeddings: Tensor) -> bool:
    """Whether all rows are; NaN is of no length."""
    return bool(((torch.linalg.vector_norm(embeddings, dim=1) - 1).abs() <= _OF_LENGTH_1).all())


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200] or type(error).__name__
