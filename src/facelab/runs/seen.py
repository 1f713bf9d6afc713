"""Find test images and test people that a trained run has already seen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from facelab.data.faces import IDENTITY, FaceSet
from facelab.data.image_list import ImageList, namings
from facelab.data.listing import some_of
from facelab.data.other_people import embedder_images
from facelab.data.source import FaceSource
from facelab.data.splits.base import Splits
from facelab.errors import ConfigError
from facelab.runs.experiment import Seen

_SAW = "In training or validation it saw {count} of the {tested} {kind} it is tested on: {names}."
_BEHIND = (
    "A run behind this one, whose weights or images it takes, saw {count} of the {tested} test {kind} in training or "
    "validation: {names}. Results on them say little about new faces."
)


@dataclass(frozen=True)
class Overlap:
    """What of a test a run was trained on, or chose its weights by.

    Args:
        images: names of the test images.
        people: names of the test people.
        tested_images: number of test images.
        tested_people: number of test people.
    """

    images: Sequence[str]
    people: Sequence[str]
    tested_images: int
    tested_people: int

    def sentences(self, form: str = _SAW) -> list[str]:
        """How many and which, of images and of people; empty if there are none.

        Args:
            form: of each, with {count}, {tested}, {kind} and {names}.
        """
        rows = (("images", self.images, self.tested_images), ("people", self.people, self.tested_people))
        return [
            form.format(count=f"{len(names):,}", tested=f"{tested:,}", kind=kind, names=some_of(names))
            for kind, names, tested in rows
            if names
        ]


def find_overlap(source: FaceSource, faces: FaceSet, splits: Splits, used: ImageList, with_people: bool) -> Overlap:
    """Compare a test split with the images of a run; those of the run's own test split do not count.

    Images are the same if their pixels are, at the size of the model, or if they have one person and one file name,
    whatever its suffix, in sources whose equal names mean the same person, as below. People are the same if

    - the run was trained on an image of the face set that shows this person, or
    - their names are equal and of the same origin: the same published set (LFW, CelebA, AT&T), a source of the same
      class whose folder or file has the same name, or sources that share images, all under equal names.

    So `s1` of two different sets are two people.

    Args:
        source: that the faces were loaded from.
        faces: the face set.
        splits: train, val and test.
        used: the images of the run.
        with_people: whether to compare people too; the others are people known in training by design.
    """
    table = used.table.select(["name", "part", "identity", "naming", "digest"]).to_pandas()
    table = table.astype({"naming": str, "identity": str})
    trained = table[table["part"] != "test"]
    own = pd.DataFrame({"name": faces.names, "digest": [bytes.fromhex(digest) for digest in faces.digests]})
    known = own["digest"].isin(pd.Index(trained["digest"].unique())).to_numpy()
    if not faces.has_identities:
        return Overlap([faces.names[index] for index in splits.test if known[index]], [], len(splits.test), 0)
    own["identity"] = faces.columns[IDENTITY].texts
    own["naming"] = list(namings(source, faces))
    people = own.iloc[splits.test].query("identity != ''").drop_duplicates("identity")
    names = trained[["naming", "identity"]].drop_duplicates()
    by_name = pd.Series(False, index=people.index)
    for first, second in _same_names(own, table, set(people["naming"]), set(names["naming"])):
        theirs = names.loc[names["naming"] == second, "identity"]
        by_name |= (people["naming"] == first) & people["identity"].isin(theirs)
        known = known | ((own["naming"] == first).to_numpy() & _copies(own, table[table["naming"] == second]))
    images = [faces.names[index] for index in splits.test if known[index]]
    if not with_people:
        return Overlap(images, [], len(splits.test), 0)
    by_image = people["identity"].isin(own.loc[known, "identity"])
    return Overlap(images, list(people.loc[by_image | by_name, "identity"]), len(splits.test), len(people))


def _copies(own: pd.DataFrame, table: pd.DataFrame) -> NDArray[np.bool_]:
    """Which images (N,) have person and file name, without its suffix, of one that a run was trained on.

    An image that the run lists for its test under the very same name is another one.
    """
    tested = table["part"] == "test"
    trained = pd.MultiIndex.from_arrays(_person_and_stem(table[~tested]))
    is_copy = pd.MultiIndex.from_arrays(_person_and_stem(own)).isin(trained) & (own["identity"] != "").to_numpy()
    found: NDArray[np.bool_] = is_copy & ~own["name"].isin(table.loc[tested, "name"]).to_numpy()
    return found


def _person_and_stem(rows: pd.DataFrame) -> list[pd.Series]:
    return [rows["identity"], rows["name"].astype(str).str.replace(r"\.[^./]*$", "", regex=True)]


def _same_names(own: pd.DataFrame, table: pd.DataFrame, firsts: set[str], seconds: set[str]) -> list[tuple[str, str]]:
    """Pairs of namings whose equal names mean the same person."""
    shared = own.merge(table, on="digest", suffixes=("", "_there"))
    agree = (shared["identity"] == shared["identity_there"]).groupby([shared["naming"], shared["naming_there"]]).all()
    agreed = {pair for pair, equal in agree.items() if equal}
    return [(one, other) for one in firsts for other in seconds if one == other or (one, other) in agreed]


def seen_before(source: FaceSource, faces: FaceSet, splits: Splits, used: ImageList) -> list[str]:
    """What the runs behind a run have seen of its test, a sentence each: images, and people unknown in training.

    Args:
        source: that the faces were loaded from.
        faces: the face set.
        splits: train, val and test.
        used: the images of the run, with those of the runs that it starts from or takes images from.
    """
    inherited, none = used.inherited(), splits.train[:0]
    if not len(inherited):
        return []
    is_stranger = ~np.isin(faces.identities[splits.test], faces.identities[splits.train])
    strangers = Splits(none, none, splits.test[is_stranger])
    images = find_overlap(source, faces, splits, inherited, with_people=False)
    people = find_overlap(source, faces, strangers, inherited, with_people=True)
    return replace(images, people=people.people, tested_people=people.tested_people).sentences(_BEHIND)


def refuse_familiar(source: FaceSource, faces: FaceSet, folder: Path) -> None:
    """Check that a face embedder knows none of the people whose generated faces it evaluates.

    Args:
        source: that the faces were loaded from.
        faces: the face set of the generative model.
        folder: of the embedder's run, which was trained on another face set.

    Raises:
        ConfigError: it knows some of them, or did not record its images.
    """
    none = np.arange(0)
    everyone = Splits(none, none, np.arange(len(faces)))
    overlap = find_overlap(source, faces, everyone, embedder_images(folder), with_people=True)
    if overlap.sentences():
        raise ConfigError(
            f"protocol.generation: the face embedder should know none of the people of this run. "
            f"{' '.join(overlap.sentences())} Set protocol.generation.lfw=null for an embedder of AT&T people, or "
            "choose protocol=generation_same_people, with which precision and the copy test say little."
        )


def refuse_seen(overlap: Overlap, run_id: str, seen: Seen) -> list[str]:
    """Notes on what the run has seen; an error if that is not allowed.

    Args:
        overlap: of the test with the run's images.
        run_id: of the run.
        seen: whether it is allowed.

    Raises:
        ConfigError: the run was trained on images or people of the test.
    """
    sentences = overlap.sentences()
    if sentences and seen == "refuse":
        raise ConfigError(
            f"run={run_id}: {' '.join(sentences)} Results on them say little about new faces. Evaluate its own split "
            "(leave data and split out), choose other data or another split, or type seen=allow to evaluate all the "
            "same."
        )
    return sentences


def refuse_unlisted(run_id: str, made_by: str, unlisted: Sequence[str], seen: Seen) -> list[str]:
    """Notes on runs that did not list their images; an error if that is not allowed.

    Args:
        run_id: of the run to evaluate.
        made_by: version of facelab that made it.
        unlisted: ids of the runs without a list: the run itself, or those that its weights or its images come from.
        seen: whether it is allowed.

    Raises:
        ConfigError: there are such runs.
    """
    if not unlisted:
        return []
    whose = (
        f"it was made by {made_by}, which did not record the images it used"
        if run_id in unlisted
        else f"its weights or its images come from {', '.join(unlisted)}, and what that was trained on is not recorded"
    )
    if seen == "refuse":
        raise ConfigError(
            f"run={run_id}: {whose}, so whether it has seen the test images is unknown. Evaluate its own split (leave "
            "data and split out), train it again, or type seen=allow to evaluate all the same."
        )
    return [f"Whether the run has seen the test images is unknown: {whose}."]
