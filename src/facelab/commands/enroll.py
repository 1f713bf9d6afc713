"""The commands `facelab enroll` and `facelab gallery`: add, list, remove and rename the people of a gallery."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from rich.table import Table
from rich.text import Text

from facelab.config.build import build
from facelab.config.command_line import quoted
from facelab.data.faces import IDENTITY
from facelab.data.listing import some_of
from facelab.errors import ConfigError, DataError
from facelab.galleries.development import in_words, people_of_folder, validation_people
from facelab.galleries.enrolment import Changed, changing, empty, enrolled, refuse_unsupported, removed, renamed
from facelab.galleries.faces import FaceReader
from facelab.galleries.gallery import FILE, Development, Gallery, Origin
from facelab.galleries.identification import limit_in_words
from facelab.galleries.names import normalised
from facelab.galleries.people import Folders, Portraits, list_people, portraits
from facelab.galleries.recogniser import Recogniser
from facelab.system import counted, make_console, progress, visible
from facelab.tracking import Store

_FPIR = 0.01
_LISTED = 100


@dataclass(frozen=True)
class Enrolling:
    """The root of the `enroll` config.

    Args:
        run: id of a finished run.
        source: folder of people, a folder for each.
        gallery: folder of the gallery; people are added to one that exists.
        tracking: the store to download the run from, if it has no folder here.
        fpir: FPIR that the threshold must not exceed; null for 0.01, or what the gallery has.
        development: folder of people who set the threshold of a new gallery; null for the validation people of the
            run.
        aligned: whether the images are faces, cropped as those the run was trained on; null for false, or what the
            gallery has.
        unusable: `refuse`, or `skip` to enrol the others if some images cannot be used.
        min_size_pixels: side of the smallest faces to use.
        runs_folder: where runs keep their files.
    """

    run: str
    source: str
    gallery: str
    tracking: Store
    fpir: Annotated[float, Field(gt=0, lt=1)] | None = None
    development: str | None = None
    aligned: bool | None = None
    unusable: Literal["refuse", "skip"] = "refuse"
    min_size_pixels: Annotated[int, Field(ge=20, le=10_000)] = 40
    runs_folder: str = "runs"


def enroll(config: Mapping[str, Any]) -> None:
    """Make a gallery of the people in a folder, or add them to one.

    Args:
        config: a checked config of `Enrolling`.

    Raises:
        FacelabError: the run, the images or the development people cannot be used; nothing is changed.
    """
    options = Enrolling(**build(config))
    folder = Path(options.gallery)
    _refuse_inside(folder, {"source": options.source, "development": options.development})
    asked = list_people(options.source, "source")
    with changing(folder):
        before = Gallery.open(folder) if (folder / FILE).exists() else None
        there = set() if before is None else {normalised(name) for name in before.names}
        new = {name: images for name, images in asked.items() if name not in there}
        known = [name for name in asked if name not in new]
        recogniser = Recogniser.load(options.run, Path(options.runs_folder), options.tracking)
        if before is not None:
            recogniser.refuse_others(before.origin, options.gallery)
        start = _start(options, before, recogniser)
        refuse_unsupported(start.fpir, start.development)
        found = _portraits(new, options, start, recogniser)
        changed = enrolled(start, found)
        changed.gallery.write(folder)
    people, images = counted(len(found.names), "person"), counted(len(found.owners), "image")
    print(f"Enrolled {people} with {images} in {folder.absolute()}.")
    _say_left_out(changed)
    if known:
        _note(
            f"Already enrolled, and left as they are ({counted(len(known), 'person')}): {some_of(known)}. To enrol "
            f"one anew, first type: facelab gallery gallery={options.gallery} remove=<name>"
        )
    _note_embeddings(recogniser, options, start)
    print(f"The gallery has {counted(len(changed.gallery), 'person')}: {visible(limit_in_words(changed.gallery))}.")


def _refuse_inside(folder: Path, sources: Mapping[str, str | None]) -> None:
    """Refuse a gallery inside a folder of people, where it would be taken for a person's."""
    for key, source in sources.items():
        if source is not None and _is_inside(folder, Path(source)):
            raise ConfigError(
                f"gallery={folder}: it lies in {key}={source}, where each folder is a person's. Choose one outside."
            )


def _is_inside(folder: Path, source: Path) -> bool:
    try:
        return folder.resolve().is_relative_to(source.resolve())
    except (OSError, RuntimeError):  # of circular links; neither is a folder then
        return False


def _start(options: Enrolling, before: Gallery | None, recogniser: Recogniser) -> Gallery:
    """The gallery that people are added to: the one before, or an empty one with its development people."""
    if before is None:
        aligned, size, channels = bool(options.aligned), recogniser.image_size, recogniser.channels
        origin = Origin(recogniser.run, recogniser.weights, size, channels, aligned, recogniser.variants)
        return empty(origin, _development(options, aligned, recogniser), options.fpir or _FPIR)
    aligned, source = before.origin.aligned, before.development.source
    if options.aligned not in (None, aligned):
        raise ConfigError(
            f"aligned={str(options.aligned).lower()}: the people in {options.gallery} were enrolled with aligned="
            f"{str(aligned).lower()}. Leave it out, or choose another gallery."
        )
    if options.development is not None and in_words(options.development) != source:
        raise ConfigError(
            f"development={options.development}: the threshold of {options.gallery} is set by other people ({source}). "
            "Leave it out, or choose another gallery."
        )
    return replace(before, fpir=options.fpir or before.fpir)


def _development(options: Enrolling, aligned: bool, recogniser: Recogniser) -> Development:
    if options.development is None:
        others, notes = validation_people(recogniser, progress)
        if not aligned:
            notes.append(
                "The threshold is set by validation faces as the run read them, while faces of photos are found and "
                "cropped here. If the run was not trained on faces of `facelab align`, give development=<folder of "
                "photos of other people>."
            )
    else:
        reader = FaceReader(recogniser.image_size, recogniser.channels, aligned, options.min_size_pixels)
        others, notes = people_of_folder(options.development, reader, recogniser, progress)
    for note in notes:
        _note(note)
    return others


def _portraits(people: Folders, options: Enrolling, start: Gallery, recogniser: Recogniser) -> Portraits:
    """Embed the faces of people; images that cannot be used are refused, or else named."""
    reader = FaceReader(recogniser.image_size, recogniser.channels, start.origin.aligned, options.min_size_pixels)
    with progress("photos enrolled", sum(map(len, people.values()))) as advance:
        found = portraits(people, reader, recogniser, advance)
    if options.unusable == "refuse" and found.problems:
        lines = "\n  - ".join(found.problems[:_LISTED])
        raise DataError(
            f"{counted(len(found.problems), 'image')} cannot be used, so nobody was enrolled. Correct or delete them, "
            f"or type unusable=skip to enrol the others:\n  - {lines}"
        )
    for problem in found.problems:
        _note(problem)
    usable = set(found.names)
    without = [name for name in people if name not in usable]
    if without:
        _note(f"Not enrolled, for want of a usable image ({counted(len(without), 'person')}): {some_of(without)}.")
    if people and not found.names:
        raise ConfigError("source: no image can be used, so nobody was enrolled.")
    return found


def _note_embeddings(recogniser: Recogniser, options: Enrolling, start: Gallery) -> None:
    label = recogniser.trained.config.get("data", {}).get("label", IDENTITY)
    if label != IDENTITY:
        _note(f"run={options.run} was trained to predict '{label}', so its embeddings tell people apart badly.")


def _say_left_out(changed: Changed) -> None:
    if changed.left_out:
        _note(
            f"{len(changed.left_out):,} development people are left out, since they are enrolled: "
            f"{some_of(changed.left_out)}."
        )


@dataclass(frozen=True)
class Managing:
    """The root of the `gallery` config.

    Args:
        gallery: folder of the gallery.
        remove: name of a person to remove, or a list of names, of enrolled people or of development people.
        rename: name of a person to rename.
        to: the new name.
    """

    gallery: str
    remove: str | list[str] | None = None
    rename: str | None = None
    to: str | None = None


def manage(config: Mapping[str, Any], typed: Mapping[str, str]) -> None:
    """Remove or rename people of a gallery, and list those who are enrolled.

    Args:
        config: a checked config of `Managing`.
        typed: values as typed on the command line, by key.

    Raises:
        ConfigError: there is no gallery, nobody has the name, the development people who are left do not support the
            FPIR, or the gallery cannot be written; nothing is changed.
    """
    options = Managing(**build(config))
    folder = Path(options.gallery)
    _refuse_nobody(options, typed)
    if (options.rename is None) != (options.to is None):
        raise ConfigError("rename, to: one needs the other. Type rename=<name> to=<new name>.")
    if options.rename is not None and options.remove is not None:
        raise ConfigError("remove, rename: type one of them at a time.")
    gallery = Gallery.open(folder)
    if options.remove is not None or options.rename is not None:
        with changing(folder):
            gallery = Gallery.open(folder)
            changed = _changed(gallery, options)
            changed.gallery.write(folder)
        if options.remove is not None:
            gone = len(gallery) - len(changed.gallery)
            others = len(gallery.development.names) - len(changed.gallery.development.names)
            print(f"Removed: enrolled people {gone:,}, development people {others:,}.")
        gallery = changed.gallery
        _say_left_out(changed)
    _list(gallery, folder)


def _refuse_nobody(options: Managing, typed: Mapping[str, str]) -> None:
    """Refuse what was typed and names nobody: null, which is no text in YAML, and the empty list."""
    for key in ("remove", "rename", "to"):
        if key in typed and getattr(options, key) is None:
            raise ConfigError(f"{key}={typed[key]}: null names nobody. As text: {quoted(key, typed[key])}")
    if options.remove is not None and not isinstance(options.remove, str) and not options.remove:
        raise ConfigError("remove=[]: the list is empty. Give at least one name, or leave remove out.")


def _changed(gallery: Gallery, options: Managing) -> Changed:
    if options.rename is not None and options.to is not None:
        return renamed(gallery, options.rename, options.to)
    names: Sequence[str] = [options.remove] if isinstance(options.remove, str) else options.remove or []
    return removed(gallery, names)


def _list(gallery: Gallery, folder: Path) -> None:
    made = gallery.origin
    table = Table()
    table.add_column("name")
    table.add_column("images", justify="right")
    for name, images in list(zip(gallery.names, gallery.images, strict=True))[:_LISTED]:
        table.add_row(Text(visible(name)), f"{images:,}")
    if len(gallery):
        make_console().print(table)
    if len(gallery) > _LISTED:
        print(f"and {len(gallery) - _LISTED:,} more")
    print(f"{counted(len(gallery), 'person')} in {visible(str(folder))}")
    kind = "faces, cropped as in training" if made.aligned else "photos, whose faces were found and aligned"
    averaged = f", averaged over {made.variants} variants of each face" if made.variants > 1 else ""
    print(f"made by run {made.run} (weights {made.weights[:12]}...) from {kind}{averaged}")
    print(visible(limit_in_words(gallery)))


def _note(text: str) -> None:
    make_console().print(f"Note: {visible(text)}", highlight=False, soft_wrap=True)
