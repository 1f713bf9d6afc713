"""Data source for Labeled Faces in the Wild, and readers of its lists of people and pairs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from facelab.data.faces import IDENTITY, PART
from facelab.data.listing import Listing, file_at, folder_at, some_of
from facelab.data.source import FaceSource, Rows, readable
from facelab.errors import DataError

_MOST_BYTES = 64 << 20  # of a list; LFW's longest has 0.2 MB


class Pair(NamedTuple):
    """Two images to compare, each a person's name and the image's number from 1; `fold` counts from 0."""

    fold: int
    first: tuple[str, int]
    second: tuple[str, int]

    @property
    def is_same(self) -> bool:
        """Whether both images show the same person."""
        return self.first[0] == self.second[0]


class Person(NamedTuple):
    """A person and the number of images; `fold` counts from 0."""

    fold: int
    name: str
    images: int


@dataclass
class LFW(FaceSource):
    """Labeled Faces in the Wild: 13,233 photos of 5,749 public figures, found on news sites by a face detector.

    Format: `root/PERSON/PERSON_NNNN.jpg`, RGB, 250 x 250 pixels in the original release; other sizes and image formats
    are read too. Classes: the people. 1,680 of them have two or more images.
    Source: http://vis-www.cs.umass.edu/lfw. Terms of use: for research; the photos belong to their authors.
    Citation: G. B. Huang, M. Ramesh, T. Berg and E. Learned-Miller, "Labeled Faces in the Wild: A Database for Studying
    Face Recognition in Unconstrained Environments", University of Massachusetts, Amherst, Technical Report 07-49, 2007.

    With `train_list` and `test_list`, `split=official` is the development split, View 1, which shares no people: all
    images of the people whom each list names. Images of other people are left out.

    Args:
        root: path of the folder.
        min_images_per_identity: people with fewer images are left out.
        train_list: `pairsDevTrain.txt` or `peopleDevTrain.txt`; None for no official split.
        test_list: `pairsDevTest.txt` or `peopleDevTest.txt`; None for no official split.

    Raises:
        DataError: only one of the lists is given.
    """

    root: str
    min_images_per_identity: Annotated[int, Field(ge=1)] = 1
    train_list: str | None = None
    test_list: str | None = None

    def __post_init__(self) -> None:
        if (self.train_list is None) != (self.test_list is None):
            raise DataError(
                "data.train_list and data.test_list: only one is given. Give both for split=official, or neither."
            )

    def rows(self) -> Rows:
        """List all images of the people who are not left out."""
        root = folder_at(self.root, "data.root", "the folder of LFW, with one subfolder per person")
        where = f"data.root: {readable(str(root.absolute()))}"
        listing = Listing(root)
        images: list[tuple[str, Path]] = []
        for folder, paths in listing.tree(root):
            images += [(folder.name, path) for path in paths]
            listing.problems += [text for path in paths if (text := _misnamed(path, folder, root))]
        if not images:
            raise DataError(f"{where} holds no images. Expected PERSON/PERSON_0001.jpg.")
        _expect_at(root, [path for _, path in images], where)
        notes: list[str] = []
        if not listing.problems:  # of a misnamed image the person is unknown
            images = self._frequent(images, where, notes)
        columns = {IDENTITY: [person for person, _ in images]}
        if self.train_list is not None and self.test_list is not None and not listing.problems:
            part_of = self._parts(self.train_list, self.test_list)
            images, columns = _with_parts(images, part_of, where, notes)
        rows = Rows.of_files("lfw", root, [path for _, path in images], columns)
        return replace(rows, problems=listing.problems, notes=notes)

    def _frequent(self, images: list[tuple[str, Path]], where: str, notes: list[str]) -> list[tuple[str, Path]]:
        """The images of people who have enough; adds a note if others are left out."""
        counts = Counter(person for person, _ in images)
        rare = [person for person, count in counts.items() if count < self.min_images_per_identity]
        if not rare:
            return images
        setting = f"data.min_images_per_identity={self.min_images_per_identity}"
        if len(counts) - len(rare) < 2:
            raise DataError(
                f"{where}: {len(counts) - len(rare)} of {len(counts):,} people have enough images for {setting}. "
                f"Expected at least two; lower it to {sorted(counts.values())[-2:][0]} or less."
            )
        left_out = sum(counts[person] for person in rare)
        notes.append(
            f"{setting}: {len(rare):,} of {len(counts):,} people have fewer images and are left out "
            f"({left_out:,} images)."
        )
        return [(person, path) for person, path in images if counts[person] >= self.min_images_per_identity]

    def _parts(self, train: str, test: str) -> dict[str, str]:
        """The part of each person whom the lists name."""
        names = {"train": _named(train, "data.train_list"), "test": _named(test, "data.test_list")}
        both = sorted(names["train"] & names["test"])
        if both:
            raise DataError(
                f"data.train_list and data.test_list share {len(both):,} people: {some_of(both)}. Expected the lists "
                "of View 1, such as pairsDevTrain.txt and pairsDevTest.txt, which share none."
            )
        return {person: part for part, people in names.items() for person in people}


def _expect_at(root: Path, images: Sequence[Path], where: str) -> None:
    """Name the folder of LFW if `root` is a folder above it, as where its archive was unpacked."""
    homes = Counter(path.parent.parent for path in images if _is_named(path))
    if homes and root not in homes:
        raise DataError(
            f"{where} has LFW's people in a folder below it. Set data.root={readable(str(homes.most_common(1)[0][0]))}."
        )


def _is_named(path: Path) -> bool:
    person, _, number = path.stem.rpartition("_")
    return person == path.parent.name and number.isdecimal() and len(number) == 4


def _misnamed(path: Path, folder: Path, root: Path) -> str | None:
    if folder.parent == root and _is_named(path):
        return None
    return (
        f"{readable(str(path))} is not named as in LFW. Expected {readable(str(root))}/PERSON/PERSON_0001.jpg, with "
        "the person's name twice and four digits. Folders with other names are read with data=folder."
    )


def _with_parts(
    images: Sequence[tuple[str, Path]], part_of: dict[str, str], where: str, notes: list[str]
) -> tuple[list[tuple[str, Path]], dict[str, list[str]]]:
    """The images of the people in a part, with their columns; adds a note if others are left out."""
    people = {person for person, _ in images}
    absent = sorted(set(part_of) - people)
    if len(absent) == len(part_of):
        raise DataError(
            f"{where} holds none of the {len(part_of):,} people of data.train_list and data.test_list: "
            f"{some_of(absent)}. Set data.root to the folder of LFW."
        )
    if absent:
        notes.append(
            f"data.train_list and data.test_list: {len(absent):,} people have no images, or fewer than "
            f"data.min_images_per_identity: {some_of(absent)}."
        )
    kept = [(person, path) for person, path in images if person in part_of]
    if len(kept) < len(images):
        notes.append(
            f"data.train_list and data.test_list name {len(people & set(part_of)):,} of {len(people):,} people; "
            f"{len(images) - len(kept):,} images of others are left out."
        )
    return kept, {IDENTITY: [person for person, _ in kept], PART: [part_of[person] for person, _ in kept]}


def _named(path: str, key: str) -> set[str]:
    """The people whom a list of people or pairs names."""
    lines = _lines(path, key)
    if len(lines) > 1 and len(lines[1][1]) == 2:
        return {person.name for person in read_people(path, key)}
    return {name for pair in read_pairs(path, key) for name in (pair.first[0], pair.second[0])}


def read_people(path: str, key: str = "people") -> list[Person]:
    """Read `people.txt`, `peopleDevTrain.txt` or `peopleDevTest.txt`.

    Format: the number of folds, then, for each fold, its number of people and a line `name<TAB>images` for each; the
    development lists have one fold and do not begin with the number of folds.

    Args:
        path: of the file.
        key: of the config that names it, for messages.

    Returns:
        The people in the order of the file.

    Raises:
        DataError: the file is missing or has another format; names the line.
    """
    lines = _lines(path, key)
    where = f"{key}: {readable(str(Path(path).absolute()))}"
    folds, start = 1, 0
    if len(lines) > 1 and len(lines[1][1]) == 1:  # a fold's number of people follows the number of folds
        folds, start = _numbers(lines[0], lines[0][1], "the number of folds", where)[0], 1
    people: list[Person] = []
    for fold in range(folds):
        if start >= len(lines):
            raise DataError(f"{where} ends before fold {fold + 1} of {folds}. Copy it again.")
        (count,) = _numbers(lines[start], lines[start][1][:1], "the number of people in a fold", where)
        members = lines[start + 1 : start + 1 + count]
        if len(members) < count:
            raise DataError(f"{where} ends within fold {fold + 1} of {folds}. Copy it again.")
        for line in members:
            if len(line[1]) != 2:
                raise _malformed(line, "two fields (name, number of images)", where)
            people.append(Person(fold, line[1][0], *_numbers(line, line[1][1:], "a number of images", where)))
        start += 1 + count
    if start < len(lines):
        raise _malformed(lines[start], "the end of the file", where)
    return people


def read_pairs(path: str, key: str = "pairs") -> list[Pair]:
    """Read `pairs.txt` (View 2, ten folds), `pairsDevTrain.txt` or `pairsDevTest.txt` (View 1, one fold).

    Format: `folds<TAB>n`, or `n` if there is one fold; then, for each fold, n lines `name<TAB>i<TAB>j` of pairs of one
    person and n lines `name<TAB>i<TAB>other<TAB>j` of pairs of two people. Images are numbered from 1.

    Args:
        path: of the file.
        key: of the config that names it, for messages.

    Returns:
        The pairs in the order of the file.

    Raises:
        DataError: the file is missing or has another format; names the line.
    """
    lines = _lines(path, key)
    where = f"{key}: {readable(str(Path(path).absolute()))}"
    if len(lines[0][1]) > 2:
        raise _malformed(lines[0], "the numbers of folds and of pairs", where)
    *several, count = _numbers(lines[0], lines[0][1], "the numbers of folds and of pairs", where)
    folds = several[0] if several else 1
    if len(lines) - 1 != 2 * folds * count:
        raise DataError(
            f"{where}: {len(lines) - 1:,} pairs, but its first line announces {folds} x 2 x {count} = "
            f"{2 * folds * count:,}. Copy it again."
        )
    pairs = []
    for place, line in enumerate(lines[1:]):
        fold, within = divmod(place, 2 * count)
        fields = line[1]
        if within < count:
            if len(fields) != 3:
                raise _malformed(line, "three fields (name, image, image)", where)
            first, second = _numbers(line, fields[1:], "the numbers of two images", where)
            pairs.append(Pair(fold, (fields[0], first), (fields[0], second)))
        else:
            if len(fields) != 4 or fields[0] == fields[2]:
                raise _malformed(line, "four fields (name, image, other name, image)", where)
            first, second = _numbers(line, fields[1::2], "the numbers of two images", where)
            pairs.append(Pair(fold, (fields[0], first), (fields[2], second)))
    return pairs


_Line = tuple[int, list[str]]  # its number, and its fields


def _lines(path: str, key: str) -> list[_Line]:
    """Lines that are not empty."""
    file = file_at(path, key, "a list of LFW, such as pairs.txt", _MOST_BYTES)
    where = f"{key}: {readable(str(file.absolute()))}"
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not UTF-8 text. Expected a list of LFW, such as pairs.txt.") from error
    except OSError as error:
        raise DataError(f"{where} could not be read ({error.strerror}); check its permissions and the disk.") from error
    found = [
        (number, line.split("\t") if "\t" in line else line.split())
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip()
    ]
    if not found:
        raise DataError(f"{where} is empty. Expected a list of LFW, such as pairs.txt.")
    return found


def _numbers(line: _Line, fields: Sequence[str], what: str, where: str) -> list[int]:
    """The fields of a line as numbers from 1."""
    if not all(field.strip().isdecimal() and len(field) < 10 and int(field) > 0 for field in fields):
        raise _malformed(line, what, where)
    return [int(field) for field in fields]


def _malformed(line: _Line, expected: str, where: str) -> DataError:
    shown = " ".join(line[1])[:60]
    return DataError(f"{where}, line {line[0]}: expected {expected}, got '{shown}'. Copy the file again.")
