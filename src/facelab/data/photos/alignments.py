"""The record of a folder of aligned faces: which command fills it, and two CSV files that survive an interruption.

`align.json` holds the settings, `faces.csv` one row per face, `photos.csv` one row per finished photo. The rows of a
photo's faces are written before its own, so a photo without a row is simply not finished.
"""

import csv
import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from facelab.data.source import readable
from facelab.errors import ConfigError
from facelab.system import replace_files

SETTINGS, FACES, PHOTOS = "align.json", "faces.csv", "photos.csv"
_LOCK = ".lock"
_NOTHING_YET = {_LOCK, f".{SETTINGS}.partial"}  # what a start that was killed may leave
_POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
_FACE_COLUMNS = (
    *("photo", "file", "score", "left", "top", "right", "bottom"),
    *(f"{point}_{axis}" for point in _POINTS for axis in "xy"),
)
_PHOTO_COLUMNS = ("photo", "faces", "problem", "bytes", "modified_ns")

Row = Sequence[str]
State = tuple[str, str]  # of a photo's file: bytes and time of modification, as the record has them
UNKNOWN: State = ("", "")


@dataclass(frozen=True)
class AlignedFace:
    """One aligned face.

    Args:
        file: path of the crop, relative to the folder of aligned faces.
        score: of the detector, in [0, 1].
        box: (4,) left, top, right, bottom in the photo, in pixels.
        points: (5, 2) in the photo, in pixels.
    """

    file: PurePath
    score: float
    box: NDArray[np.float32]
    points: NDArray[np.float32]


class Alignments:
    """The record of one folder, opened by `open_alignments`.

    Attributes:
        faces: number of faces found, by photo.
        states: of these photos when they were read, as `state_of` gives them; other ones if they are unknown.
        problems: why a photo or folder could not be used.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.faces: dict[str, int] = {}
        self.states: dict[str, State] = {}
        self.problems: dict[str, str] = {}
        self._restore()

    def add(self, photo: PurePath, found: int, faces: Sequence[AlignedFace], state: State) -> None:
        """Record a finished photo.

        Args:
            photo: relative to the source.
            found: number of faces found.
            faces: those that were aligned and written.
            state: of the photo when it was read.
        """
        name = name_in_record(photo)
        rows = [
            (
                *(name, name_in_record(face.file), f"{face.score:.4f}"),
                *(f"{value:.2f}" for value in (*face.box, *face.points.ravel())),
            )
            for face in faces
        ]
        _append(self._folder / FACES, rows)
        _append(self._folder / PHOTOS, [(name, str(found), "", *state)])
        self.faces[name], self.states[name] = found, state

    def add_problem(self, photo: PurePath, problem: str) -> None:
        """Record a photo that cannot be used; the next run tries it again."""
        name = name_in_record(photo)
        _append(self._folder / PHOTOS, [(name, "", problem, *UNKNOWN)])
        self.problems[name] = problem

    def forget(self, photos: Collection[str]) -> None:
        """Delete the faces and the rows of photos, which are unfinished then.

        Raises:
            OSError: a file cannot be deleted or written.
        """
        files = {row[1] for row in _rows(self._folder / FACES, (len(_FACE_COLUMNS),)) if row[0] in photos}
        for path in sorted(self._folder.rglob("*.png")):  # no path can be made of a name with escaped bytes
            if name_in_record(path.relative_to(self._folder)) in files:
                path.unlink()
        self._restore(photos)

    def _restore(self, without: Collection[str] = ()) -> None:
        """Keep the rows of finished photos, and drop those of unfinished, unusable and some other ones."""
        lengths = (len(_PHOTO_COLUMNS), len(_PHOTO_COLUMNS) - len(UNKNOWN))  # earlier versions recorded no states
        rows = [row for row in _rows(self._folder / PHOTOS, lengths) if row[1].isdecimal() and row[0] not in without]
        photos: list[Row] = [(*row, *UNKNOWN)[: len(_PHOTO_COLUMNS)] for row in rows]
        self.faces = {row[0]: int(row[1]) for row in photos}
        self.states = {row[0]: (row[3], row[4]) for row in photos}
        faces = [row for row in _rows(self._folder / FACES, (len(_FACE_COLUMNS),)) if row[0] in self.faces]
        tables = {FACES: [_FACE_COLUMNS, *faces], PHOTOS: [_PHOTO_COLUMNS, *photos]}
        replace_files({self._folder / name: _text(rows) for name, rows in tables.items()})


def name_in_record(path: PurePath) -> str:
    """A path as the CSV files spell it: with slashes, and bytes that are not UTF-8 escaped."""
    return readable(path.as_posix())


def state_of(photo: Path) -> State:
    """The state of a photo's file; `UNKNOWN` if it cannot be looked up."""
    try:
        found = photo.stat()
    except OSError:
        return UNKNOWN
    return str(found.st_size), str(found.st_mtime_ns)


@contextmanager
def open_alignments(folder: Path, settings: Mapping[str, Any]) -> Iterator[Alignments]:
    """Create the folder, or continue in one that a run of the same settings has left; lock it for this process.

    Args:
        folder: for the aligned faces.
        settings: plain values that decide what the folder holds.

    Raises:
        ConfigError: the folder holds something else, or the faces of other settings, or another process writes into it.
        OSError: it cannot be written.
    """
    _check(folder, settings)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / _LOCK, timeout=0):
            _check(folder, settings)  # another process may have been faster
            if not (folder / SETTINGS).exists():
                replace_files({folder / SETTINGS: (json.dumps(settings, indent=2) + "\n").encode()})
            yield Alignments(folder)
    except Timeout:
        raise ConfigError(
            f"out: another process is writing into {folder}. Wait for it, or choose another folder."
        ) from None


def _check(folder: Path, settings: Mapping[str, Any]) -> None:
    if not folder.exists() or (folder.is_dir() and {entry.name for entry in folder.iterdir()} <= _NOTHING_YET):
        return
    try:
        then = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError(f"out: {folder} exists and is not empty. Choose another folder with out=<folder>.") from None
    if then != settings:
        before = then if isinstance(then, dict) else {}
        changed = [key for key in settings if before.get(key) != settings[key]]
        differences = ", ".join(f"{key}={before.get(key)} (now {settings[key]})" for key in changed)
        raise ConfigError(
            f"out: {folder} holds faces of other settings: {differences}. Choose another folder with out=<folder>, or "
            "use the same settings to go on with that one."
        )


def _rows(path: Path, lengths: Collection[int]) -> list[Row]:
    """Rows of these lengths of a CSV file, without its header; the last may be cut, by a crash or a full disk."""
    if not path.exists():
        return []
    text = path.read_bytes().decode("utf-8", "replace")
    rows = list(csv.reader(io.StringIO(text, newline="")))[1:]
    if rows and not text.endswith("\n"):
        rows.pop()
    return [row for row in rows if len(row) in lengths]


def _append(path: Path, rows: Sequence[Row]) -> None:
    with path.open("ab") as file:
        file.write(_text(rows))


def _text(rows: Sequence[Row]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
