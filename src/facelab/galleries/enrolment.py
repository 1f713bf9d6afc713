"""Add, remove and rename the people of a gallery; each change sets the threshold for the people who are then enrolled.

The threshold is the lowest at which the FPIR does not exceed the gallery's target: FPIR(N, T) is the share of searches
of people who are not enrolled that return anyone at or above T, among the N enrolled (ISO/IEC 19795-1:2021). It grows
with N, so the development faces search the gallery again after every change.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout

from facelab.errors import ConfigError
from facelab.galleries.gallery import FILE, Development, Gallery, Origin, Threshold
from facelab.galleries.names import normalised, problem_of
from facelab.galleries.partial import PARTIAL, delete_partial
from facelab.galleries.people import Portraits, stacked
from facelab.galleries.search import nearest
from facelab.metrics.identification import fpir as share_returned
from facelab.metrics.identification import threshold_at_fpir
from facelab.protocols.backends import unit
from facelab.protocols.operating_points import LEAST_ERRORS, supported
from facelab.protocols.searches import templates

_LOCK = ".lock"


@dataclass(frozen=True)
class Changed:
    """A gallery after a change.

    Args:
        gallery: with its threshold set.
        left_out: development people who are left out from now on, since they are enrolled.
    """

    gallery: Gallery
    left_out: Sequence[str]


def empty(origin: Origin, development: Development, fpir: float) -> Gallery:
    """A gallery of nobody."""
    nobody = development.embeddings[:0]
    return Gallery(origin, [], [], nobody, [], development, fpir, None)


def enrolled(gallery: Gallery, found: Portraits) -> Changed:
    """Add people whose names are new: of several faces, the mean of their embeddings, each of length 1.

    Raises:
        ConfigError: the development faces do not support the gallery's FPIR.
    """
    vectors = stacked(found.embeddings, gallery.embeddings.shape[1])
    people = unit(templates(vectors, np.array(found.owners))) if len(vectors) else vectors
    grown = replace(
        gallery,
        names=[*gallery.names, *found.names],
        images=[*gallery.images, *np.bincount(found.owners, minlength=len(found.names)).tolist()],
        embeddings=torch.cat([gallery.embeddings, torch.from_numpy(people)]),
        thumbnails=[*gallery.thumbnails, *found.thumbnails],
    )
    return settled(grown, found.digests)


def removed(gallery: Gallery, names: Sequence[str]) -> Changed:
    """Remove people: enrolled ones, and development people.

    Raises:
        ConfigError: somebody is neither, or the development people who are left do not support the gallery's FPIR.
    """
    wanted, others = {normalised(name) for name in names}, [normalised(name) for name in gallery.development.names]
    for name in names:
        if normalised(name) not in others:
            gallery.place_of(name)
    kept = [place for place, name in enumerate(gallery.names) if normalised(name) not in wanted]
    left = replace(
        gallery,
        names=[gallery.names[place] for place in kept],
        images=[gallery.images[place] for place in kept],
        embeddings=gallery.embeddings[kept],
        thumbnails=[gallery.thumbnails[place] for place in kept],
        development=gallery.development.without([name in wanted for name in others]),
    )
    try:
        return settled(left)
    except ConfigError as error:
        raise ConfigError(
            f"remove: too few development people would be left, so nobody was removed. {error} Or first raise the "
            f"FPIR: facelab enroll run={gallery.origin.run} source=<folder of the enrolled people> gallery=<folder of "
            "the gallery> fpir=<FPIR>."
        ) from error


def renamed(gallery: Gallery, name: str, to: str) -> Changed:
    """Give a person another name.

    Raises:
        ConfigError: nobody has the name, the other one is somebody's, blank, or too long.
    """
    place, names, to = gallery.place_of(name), list(gallery.names), normalised(to)
    problem = problem_of(to)
    if problem:
        raise ConfigError(f"to: the name {problem}.")
    names[place] = to
    if [normalised(one) for one in names].count(to) > 1:
        raise ConfigError(f"to={to}: somebody of this name is enrolled. Choose another name.")
    return settled(replace(gallery, names=names))


def settled(gallery: Gallery, digests: Sequence[bytes] = ()) -> Changed:
    """Leave out development people who are enrolled, and set the threshold by the others.

    Equal names are taken for the same person, so that at worst a few searches are lost.

    Args:
        gallery: with the people who are enrolled.
        digests: of faces that were enrolled, in case a development person is enrolled under another name.

    Raises:
        ConfigError: the development faces do not support the gallery's FPIR.
    """
    others, new = gallery.development, set(digests)
    names = {normalised(name) for name in gallery.names}
    rows = zip(others.owners.tolist(), others.digests.numpy(), strict=True) if new else ()
    shared = {owner for owner, row in rows if row.tobytes() in new}
    gone = [normalised(name) in names or place in shared for place, name in enumerate(others.names)]
    gallery = replace(gallery, development=others.without(gone))
    left_out = [name for name, flag in zip(others.names, gone, strict=True) if flag]
    return Changed(replace(gallery, threshold=_threshold(gallery)), left_out)


def refuse_unsupported(fpir: float, development: Development) -> None:
    """Check that the development faces support an FPIR, by the rule of 30.

    Raises:
        ConfigError: they do not; says which they support.
    """
    searches = len(development.embeddings)
    if supported([fpir], searches):
        return
    lowest = math.ceil(LEAST_ERRORS / max(searches, 1) * 1e4 - 1e-6) / 1e4
    instead = f"the lowest they support is fpir={lowest:g}" if lowest < 1 else "they support none"
    raise ConfigError(
        f"fpir={fpir:g}: {searches:,} searches of people who are not enrolled ({development.source}) do not support "
        f"it, since {LEAST_ERRORS} of them must be expected to return somebody (rule of 30); {instead}. Or give a "
        f"new gallery at least {math.ceil(LEAST_ERRORS / fpir - 1e-6):,} images of people who are neither enrolled nor "
        "in the training: gallery=<new folder> development=<folder of people>."
    )


def _threshold(gallery: Gallery) -> Threshold | None:
    target, others = gallery.fpir, gallery.development
    refuse_unsupported(target, others)
    if not len(gallery):
        return None
    best = nearest(gallery.embeddings, others.embeddings, 1).scores[:, 0]
    score = threshold_at_fpir(best, target)
    return Threshold(score, target, share_returned(best, score), len(best), len(others.names), len(gallery))


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Keep other processes from changing a gallery; folders that are created for one and get none do not stay.

    What a killed process left of a file that it was writing is deleted.

    Raises:
        ConfigError: another process is changing it, or the folder holds something else or cannot be used.
    """
    lock, made = FileLock(folder / _LOCK), list[Path]()
    try:
        try:
            _refuse_other_content(folder)
            _make(folder, made)
            lock.acquire(timeout=0)
            _refuse_other_content(folder)  # another process may have been faster
            delete_partial(folder)
        except Timeout:
            raise ConfigError(
                f"gallery: another process is changing {folder.absolute()}. Wait for it, or choose another folder."
            ) from None
        except OSError as error:
            raise ConfigError(
                f"gallery: {folder.absolute()} cannot be used ({error.strerror or error}). Choose another folder."
            ) from error
        yield
    finally:
        with suppress(OSError):
            # Deleted while it is held: a process that has opened this file already does not get a lock on it.
            if lock.is_locked and not (folder / FILE).exists():
                (folder / _LOCK).unlink()
            for one in reversed(made):
                one.rmdir()  # unless it holds a gallery, or the lock of another process
        lock.release()


def _refuse_other_content(folder: Path) -> None:
    if (folder / FILE).exists() or not folder.exists():
        return
    if not folder.is_dir() or not {entry.name for entry in folder.iterdir()} <= {_LOCK, PARTIAL}:
        raise ConfigError(f"gallery: {folder.absolute()} exists and is no gallery. Choose another folder.")


def _make(folder: Path, made: list[Path]) -> None:
    """Create a folder and those above it; adds what did not exist to `made`, the outermost first."""
    for one in reversed((folder, *folder.parents)):
        if not one.exists():
            with suppress(FileExistsError):  # another process may have been faster
                one.mkdir()
                made.append(one)
