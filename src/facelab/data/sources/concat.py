"""Data source that joins several others."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from facelab.data.encoded import JoinedImages
from facelab.data.faces import IDENTITY
from facelab.data.listing import some_of
from facelab.data.pair_list import PAIR
from facelab.data.source import FaceSource, Rows
from facelab.errors import DataError

SOURCE = "source"


@dataclass
class Concat(FaceSource):
    """Several sources as one set, one after the other; the column `source` holds the name of each image's source.

    Image names are preceded by the source's name. The columns are those of all sources; an image has no value where its
    source has no such column. Values are joined by name: `happy` of two sources is one class, and an identity of two
    sources is one person unless `shared_identities` is false. Pairs of a source are preceded by its name too.

    All images are read with `image_size` and `channels` given here. Those of the sources have no effect, nor have their
    `label`, `group` and `fingerprint`.

    Args:
        sources: the sources by name, at least two.
        shared_identities: whether people of the same name in several sources are the same; otherwise the source's name
            precedes every identity.

    Raises:
        DataError: there are fewer than two sources, or a source's name contains a slash.
    """

    sources: Mapping[str, FaceSource]
    shared_identities: bool = True

    def __post_init__(self) -> None:
        if len(self.sources) < 2:
            raise DataError(
                f"data.sources: expected at least two data sets, got {len(self.sources)}. Add each with a name of your "
                "choice: +data@data.sources.first=orl +data@data.sources.second=folder data.sources.second.root=..."
            )
        if slashed := [name for name in self.sources if "/" in name or not name]:
            raise DataError(f"data.sources: '{slashed[0]}' is not a name for a source. Choose one without a slash.")

    def rows(self) -> Rows:
        """List the rows of all sources."""
        parts = {name: _rows_of(name, source) for name, source in self.sources.items()}
        for name, part in parts.items():
            if SOURCE in part.columns:
                raise DataError(
                    f"data.sources.{name}: its column '{SOURCE}' has the name of the column that data=concat adds. "
                    "Rename it."
                )
        columns = _joined(parts)
        if PAIR in columns:  # every source counts its pairs from 0
            columns[PAIR] = _within_source(columns[SOURCE], columns[PAIR])
        notes = [f"data.sources.{name}: {note}" for name, part in parts.items() for note in part.notes]
        if IDENTITY in columns:
            sources, people = columns[SOURCE], columns[IDENTITY]
            if self.shared_identities:
                notes += _note_on_shared(sources, people)
            else:
                columns[IDENTITY] = _within_source(sources, people)
        return Rows(
            name=" + ".join(self.sources),
            root=Path(os.path.commonpath([part.root.absolute() for part in parts.values()])),
            names=[f"{name}/{image}" for name, part in parts.items() for image in part.names],
            images=JoinedImages([part.images for part in parts.values()]),
            columns=columns,
            source=" + ".join(part.source or str(part.root.absolute()) for part in parts.values()),
            problems=[problem for part in parts.values() for problem in part.problems],
            notes=notes,
        )


def _rows_of(name: str, source: FaceSource) -> Rows:
    try:
        return source.listed()
    except DataError as error:
        raise DataError(f"data.sources.{name}: {error}") from error


def _joined(parts: Mapping[str, Rows]) -> dict[str, list[str]]:
    """The columns of all sources, and the column `source`."""
    names = dict.fromkeys(name for part in parts.values() for name in part.columns)
    columns: dict[str, list[str]] = {name: [] for name in (*names, SOURCE)}
    for source, part in parts.items():
        count = len(part.names)
        for name in names:
            columns[name] += part.columns.get(name) or [""] * count
        columns[SOURCE] += [source] * count
    return columns


def _within_source(sources: Sequence[str], values: Sequence[str]) -> list[str]:
    """Values preceded by their source's name; missing ones stay so."""
    return [f"{source}/{value}" if value else "" for source, value in zip(sources, values, strict=True)]


def _note_on_shared(sources: Sequence[str], people: Sequence[str]) -> list[str]:
    """A note on identities that occur in several sources, if there are any."""
    first: dict[str, str] = {}
    shared = dict.fromkeys(
        person
        for source, person in zip(sources, people, strict=True)
        if person and first.setdefault(person, source) != source
    )
    if not shared:
        return []
    return [
        f"data.sources: {len(shared):,} identities occur in several sources and count as the same people: "
        f"{some_of(list(shared))}. If they are different people, type data.shared_identities=false."
    ]
