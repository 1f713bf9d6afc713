"""The command `facelab identify`: say who is in photos."""

import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from rich.table import Table
from rich.text import Text

from facelab.config.build import build
from facelab.data.images import kind_of_file
from facelab.data.photos.files import list_photos
from facelab.data.photos.workers import in_order
from facelab.data.source import readable
from facelab.errors import ConfigError, DataError
from facelab.galleries.faces import FaceReader, Reading
from facelab.galleries.gallery import Gallery
from facelab.galleries.identification import Results, as_csv, identify, limit_in_words
from facelab.galleries.index import LEAST_PEOPLE, IndexedSearch, refuse_missing
from facelab.galleries.page import MOST_FACES, page
from facelab.galleries.recogniser import Recogniser
from facelab.system import check_path, make_console, progress, replace_files, say, visible
from facelab.tracking import Store

STDIN = "-"
CSV, PAGE = "identify.csv", "page.html"
_MOST_BYTES = 64 * 2**20  # of an image on standard input
_SHOWN = 50
_EXPECTED = "Expected a folder of photos, an image file, or - for an image on standard input."
_MODE = 0o600  # faces and names, as in the gallery


@dataclass(frozen=True)
class Identifying:
    """The root of the `identify` config.

    Args:
        gallery: folder of the gallery.
        source: folder of photos, an image file, or `-` for an image on standard input.
        tracking: the store to download the gallery's run from, if it has no folder here.
        out: folder for the CSV file and the page; created if it does not exist.
        aligned: whether the images are faces, cropped as those the run was trained on; null for what the gallery has.
        min_size_pixels: side of the smallest faces to use.
        index: whether to compare each face with everybody, or to search an approximate index of faiss.
        runs_folder: where runs keep their files.
    """

    gallery: str
    source: str
    tracking: Store
    out: str = "identified"
    aligned: bool | None = None
    min_size_pixels: Annotated[int, Field(ge=20, le=10_000)] = 40
    index: Literal["exact", "faiss"] = "exact"
    runs_folder: str = "runs"


def identify_faces(config: Mapping[str, Any]) -> None:
    """Search a gallery with the faces of photos, and print and write who was found.

    Args:
        config: a checked config of `Identifying`.

    Raises:
        ConfigError: the gallery is empty, damaged or of another model, faiss is asked for and not installed, or the
            folder cannot be written.
        DataError: no photo shows a face that can be used. The files say so in place of earlier ones.
    """
    options = Identifying(**build(config))
    if options.index == "faiss":
        refuse_missing()
    gallery = Gallery.open(Path(options.gallery))
    if not len(gallery):
        raise ConfigError(f"gallery: nobody is enrolled in {options.gallery}. Add people with facelab enroll.")
    photos = _photos(options.source)
    recogniser = recogniser_of(gallery, options.gallery, Path(options.runs_folder), options.tracking)
    aligned = gallery.origin.aligned if options.aligned is None else options.aligned
    reader = FaceReader(recogniser.image_size, recogniser.channels, aligned, options.min_size_pixels)
    indexed = _indexed(gallery) if options.index == "faiss" else None
    search = indexed.search if indexed else gallery.search
    with progress("photos searched", len(photos)) as advance:
        results = identify(gallery, recogniser, _readings(photos, reader, advance), MOST_FACES, search)
    results.searched = indexed.in_words() if indexed else ""
    if results.faces:
        _print(results, gallery)
    out = _write(results, gallery, options)
    if not results.faces:
        lines = [f"{visible(name)} {visible(problem)}." for name, problem in results.problems.items()]
        more = [f"and {len(lines) - _SHOWN:,} more"] if len(lines) > _SHOWN else []
        listed = "\n  - ".join(["no face could be judged:", *lines[:_SHOWN], *more])
        raise DataError(f"{listed}\n{visible(str(out / CSV))} has the reasons.")
    print(f"{len(results.faces):,} faces in {out / CSV}, and with pictures in {out / PAGE}")


def recogniser_of(gallery: Gallery, folder: str, runs_folder: Path, store: Store) -> Recogniser:
    """The model that made a gallery.

    Args:
        gallery: the gallery.
        folder: of the gallery, for messages.
        runs_folder: where runs keep their files.
        store: where to look for a run that has no folder here.

    Raises:
        ConfigError: its run cannot be found, or has other weights or another preprocessing now.
        TrackingError: the store cannot be reached or read.
    """
    recogniser = Recogniser.load(gallery.origin.run, runs_folder, store)
    recogniser.refuse_others(gallery.origin, folder)
    return recogniser


def _indexed(gallery: Gallery) -> IndexedSearch | None:
    """A search of the gallery by an index; None, with a note, for so few people that they need none."""
    people = len(gallery)
    if people < LEAST_PEOPLE:
        say(f"Note: index=faiss: {people:,} people are searched exactly; an index is made of {LEAST_PEOPLE:,} or more.")
        return None
    return IndexedSearch(gallery.embeddings, progress)


def _photos(source: str) -> dict[str, Path | bytes | str]:
    """Photos by name: a file, the content of standard input, or the problem of a file that cannot be used."""
    if source == STDIN:
        return {"standard input": _standard_input()}
    path = Path(source)
    check_path("source", path)
    mode = path.stat().st_mode if path.exists() else None
    if mode is None:
        raise ConfigError(
            f"source: {path.absolute()} does not exist. {_EXPECTED} Hydra does not expand ~; type $HOME/... instead."
        )
    if stat.S_ISDIR(mode):
        listing = list_photos(path)
        photos: dict[str, Path | bytes | str] = {readable(name.as_posix()): path / name for name in listing.photos}
        photos |= {readable(name.as_posix()): problem for name, problem in listing.problems.items()}
        if not photos:
            raise DataError(f"source: {path.absolute()} holds no photos. Set source to a folder that has some.")
        return photos
    if not stat.S_ISREG(mode):
        raise ConfigError(f"source: {path.absolute()} is {kind_of_file(mode)}. {_EXPECTED}")
    return {readable(path.name): path}


def _standard_input() -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        raise ConfigError("source=-: nothing is piped in. Type: facelab identify ... source=- < frame.jpg")
    content = sys.stdin.buffer.read(_MOST_BYTES + 1)
    if not content:
        raise DataError("source=-: standard input is empty (0 bytes). Expected one encoded image, such as a JPEG.")
    if len(content) > _MOST_BYTES:
        raise DataError(f"source=-: standard input has more than {_MOST_BYTES // 2**20} MiB. Expected one image.")
    return content


def _readings(
    photos: Mapping[str, Path | bytes | str], reader: FaceReader, advance: Callable[[], None]
) -> Iterator[tuple[str, Reading]]:
    def read(item: tuple[str, Path | bytes | str]) -> Reading:
        photo = item[1]
        if isinstance(photo, str):
            return Reading([], photo)
        return reader.decode(photo) if isinstance(photo, bytes) else reader.read(photo)

    with closing(in_order(photos.items(), read)) as readings:
        for (name, _), reading in readings:
            advance()
            yield name, reading


def _print(results: Results, gallery: Gallery) -> None:
    table = Table()
    for column in ("photo", "who", "score", "nearest"):
        table.add_column(column, justify="right" if column == "score" else "left")
    for face in results.faces[:_SHOWN]:
        names = [visible(gallery.names[place]) for place in face.people]
        photo = visible(face.photo) + (f" (face {face.number})" if face.number > 1 else "")
        others = ", ".join(f"{name} {score:.3f}" for name, score in zip(names, face.scores, strict=True))
        who = Text(names[0], "bold") if face.is_known else Text("nobody known", "dim")
        table.add_row(Text(photo), who, f"{face.scores[0]:.3f}", Text(others))
    console = make_console()
    console.print(table)
    if len(results.faces) > _SHOWN:
        print(f"and {len(results.faces) - _SHOWN:,} more faces in {CSV}")
    for photo, problem in list(results.problems.items())[:_SHOWN]:
        console.print(f"Not judged: {visible(photo)} {visible(problem)}.", highlight=False, soft_wrap=True)
    if len(results.problems) > _SHOWN:
        print(f"and {len(results.problems) - _SHOWN:,} more photos in {CSV}")
    limit = visible(limit_in_words(gallery))
    console.print(f"{limit[0].upper()}{limit[1:]}.", highlight=False, soft_wrap=True)
    if results.searched:
        console.print(results.searched, highlight=False, soft_wrap=True)


def _write(results: Results, gallery: Gallery, options: Identifying) -> Path:
    out = Path(options.out).absolute()
    command = f"facelab identify gallery={options.gallery} source={options.source}"
    command += " index=faiss" if results.searched else ""
    texts = {CSV: as_csv(results, gallery), PAGE: page(results, gallery, options.gallery, command)}
    try:
        replace_files({out / name: text.encode() for name, text in texts.items()}, _MODE)
    except OSError as error:
        raise ConfigError(f"out: {out} cannot be written ({error}). Choose another folder.") from error
    return out
