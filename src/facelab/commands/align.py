"""The command `facelab align`: find and align the faces in ordinary photos."""

import errno
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from facelab.config.build import build
from facelab.data.images import read_rgb
from facelab.data.photos.align import align as aligned
from facelab.data.photos.alignments import (
    FACES,
    PHOTOS,
    UNKNOWN,
    AlignedFace,
    Alignments,
    State,
    name_in_record,
    open_alignments,
    state_of,
)
from facelab.data.photos.detect import Detector, weights_version
from facelab.data.photos.files import Listing, file_of_face, list_photos, names_of_faces
from facelab.data.photos.workers import in_order
from facelab.errors import ConfigError, DataError
from facelab.system import check_path, counted, progress, say

_SHOWN = 20


@dataclass(frozen=True)
class Alignment:
    """The root of the `align` config.

    Args:
        source: folder of photos, with any folders in it.
        out: folder for the aligned faces, with the same folders; created if it does not exist.
        size: side of an aligned face, in pixels.
        faces: `all`, or `largest` for one face per photo.
        min_score: least score of the detector.
        min_size_pixels: side of the smallest faces to find.
    """

    source: str
    out: str
    size: Annotated[int, Field(ge=16, le=1024)] = 112
    faces: Literal["all", "largest"] = "all"
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.9
    min_size_pixels: Annotated[int, Field(ge=20, le=10_000)] = 40


def align(config: Mapping[str, Any]) -> None:
    """Write every face of the photos below a folder, aligned, and the lists `faces.csv` and `photos.csv`.

    Args:
        config: a checked config of `Alignment`.

    Raises:
        ConfigError: there is no such folder, or `out` lies in it, is in other use, has faces of photos that are gone,
            or cannot be written.
        DataError: the detector's weights are not installed, there are no photos, or some could not be used; the others
            are done.
    """
    options = Alignment(**build(config))
    source, out = _folders(options)
    settings = {**asdict(options), "source": str(source), "detector": weights_version()}
    del settings["out"]
    listing = list_photos(source)
    if not listing.photos and not listing.problems:
        raise DataError(f"source: {source} holds no photos. Set source to a folder that has some, in any folders.")
    try:
        with open_alignments(out, settings) as record:
            _reconcile(record, listing, source, out)
            for path, problem in listing.problems.items():
                record.add_problem(path, problem)
            _process(listing.photos, _Worker(options, source, out), record)
    except OSError as error:
        raise ConfigError(f"out: {out} cannot be written ({error}). Choose another folder, or free space.") from error
    _summarise(record, options.faces, out)


def _folders(options: Alignment) -> tuple[Path, Path]:
    """The absolute folders `source` and `out`, checked."""
    source, out = Path(options.source).absolute(), Path(options.out).absolute()
    check_path("source", source)
    check_path("out", out)
    if not source.is_dir():
        raise ConfigError(
            f"source: {source} is not a folder. Expected a folder of photos. Hydra does not expand ~; type $HOME/... "
            "instead."
        )
    if out.resolve().is_relative_to(source.resolve()):
        raise ConfigError(f"out: {out} is in the source, {source}. Choose a folder outside it with out=<folder>.")
    return source, out


@dataclass(frozen=True)
class _Outcome:
    """What one photo gave: faces, or a problem."""

    found: int = 0
    faces: Sequence[AlignedFace] = ()
    state: State = UNKNOWN
    problem: str = ""


class _Worker:
    """Finds, aligns and writes the faces of a photo; each thread has a detector of its own."""

    def __init__(self, options: Alignment, source: Path, out: Path) -> None:
        self._options, self._source, self._out = options, source, out
        self._of_thread = threading.local()

    def prepare(self) -> None:
        """Load the networks; every thread begins with it."""
        self._of_thread.detector = Detector(self._options.min_size_pixels, self._options.min_score)

    def __call__(self, photo_and_name: tuple[PurePath, PurePath]) -> _Outcome:
        """Process one photo, and name its faces. Only writing the faces raises an error (OSError)."""
        photo, name = photo_and_name
        path = self._source / photo
        state = state_of(path)  # before it is read: what changes meanwhile is done again
        try:
            pixels = read_rgb(path)
            found = self._of_thread.detector(pixels)
            used = len(found) if self._options.faces == "all" else min(len(found), 1)
            crops = [aligned(pixels, points, self._options.size) for points in found.points[:used]]
        except DataError as error:
            return _Outcome(problem=str(error).removeprefix(str(path)).strip(" ."))
        except (MemoryError, cv2.error) as error:
            return _Outcome(problem=f"needs too much memory ({error}); make it smaller, or raise min_size_pixels")
        files = [file_of_face(name, i + 1) for i in range(used)]
        if not self._written(crops, files):
            return _Outcome(problem="has a name too long for those of its faces; rename it")
        faces = [
            AlignedFace(file, float(found.scores[i]), found.boxes[i], found.points[i]) for i, file in enumerate(files)
        ]
        return _Outcome(len(found), faces, state)

    def _written(self, crops: Sequence[NDArray[np.uint8]], files: Sequence[PurePath]) -> bool:
        """Write the faces of a photo: all, or none if a name is too long."""
        for i, (crop, file) in enumerate(zip(crops, files, strict=True)):
            try:
                (self._out / file).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(crop).save(self._out / file)
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
                for written in files[:i]:
                    (self._out / written).unlink()
                return False
        return True


def _reconcile(record: Alignments, listing: Listing, source: Path, out: Path) -> None:
    """Bring the record in line with the source: forget photos that have changed since they were done.

    Raises:
        ConfigError: photos that are done are gone, so that their faces belong to no photo any more.
    """
    photos = {name_in_record(photo): photo for photo in listing.photos}
    unreachable = {name_in_record(path) for path in listing.problems}  # photos, and folders of some
    gone = [
        name
        for name in record.faces
        if name not in photos and not unreachable & {name, *map(str, PurePosixPath(name).parents)}
    ]
    if gone:
        raise ConfigError(
            f"out: {out} has the faces of {counted(len(gone), 'photo')} that {source} holds no longer: "
            f"{_some(gone, ', ')}. Put them back, or choose another folder with out=<folder>. Or delete their rows in "
            f"{PHOTOS} and the files that {FACES} names for them."
        )
    changed = {
        name for name, state in record.states.items() if name in photos and state != state_of(source / photos[name])
    }
    if changed:
        say(f"{counted(len(changed), 'photo')} changed since their faces were aligned, which is done again.")
        record.forget(changed)


def _process(photos: Sequence[PurePath], worker: _Worker, record: Alignments) -> None:
    """Process and record the photos that are not in the record yet."""
    left = [photo for photo in photos if name_in_record(photo) not in record.faces]
    names = names_of_faces(photos)
    done = len(photos) - len(left)
    if done:
        say(f"{done:,} of {len(photos):,} photos are done already.")
    try:
        outcomes = in_order([(photo, names[photo]) for photo in left], worker, worker.prepare)
        with closing(outcomes), progress("photos aligned", len(photos), done) as advance:
            for (photo, _), outcome in outcomes:
                if outcome.problem:
                    record.add_problem(photo, outcome.problem)
                else:
                    record.add(photo, outcome.found, outcome.faces, outcome.state)
                advance()
    except KeyboardInterrupt:
        say(f"{len(record.faces):,} of {len(photos):,} photos are done. The same command continues with the others.")
        raise


def _summarise(record: Alignments, faces: Literal["all", "largest"], out: Path) -> None:
    """Print what was found.

    Raises:
        DataError: some photos could not be used; lists them.
    """
    without = [name for name, found in record.faces.items() if not found]
    with_faces = len(record.faces) - len(without)
    count = with_faces if faces == "largest" else sum(record.faces.values())
    print(f"{count:,} faces of {with_faces:,} photos in {out}; {FACES} lists them.")
    if without:
        print(f"Photos without a face, of {PHOTOS}: {len(without):,} ({_some(without, ', ')})")
    if record.problems:
        lines = [f"{name} {problem}." for name, problem in record.problems.items()]
        raise DataError(
            f"{len(lines):,} photos could not be used. {PHOTOS} lists all of them; the same command tries them "
            f"again:\n  - {_some(lines, chr(10) + '  - ')}"
        )


def _some(items: Sequence[str], separator: str) -> str:
    more = [f"and {len(items) - _SHOWN:,} more"] if len(items) > _SHOWN else []
    return separator.join([*items[:_SHOWN], *more])
