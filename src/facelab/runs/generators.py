"""Check the run whose generator makes synthetic faces against the run that trains on them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
from pyarrow import compute

from facelab.config.build import build, resolve_target
from facelab.data.columns import Indices
from facelab.data.faces import FaceSet
from facelab.data.image_list import ImageList, namings
from facelab.data.listing import some_of
from facelab.data.source import FaceSource
from facelab.data.splits.base import Splits, prepare
from facelab.errors import ConfigError
from facelab.models.base import FaceModule
from facelab.models.finished import find_run
from facelab.models.trained import Trained, load
from facelab.runs.dependencies import Dependency
from facelab.runs.origins import images_used, listed
from facelab.runs.seen import find_overlap
from facelab.synthetic import GeneratedFaces, TransferredFaces
from facelab.synthetic.generated import ROLES
from facelab.tracking import Store

_OTHER_DONORS = (
    "Choose donors who are nobody in this run: other data in synthetic.donors, or people whom this run leaves out, as "
    "with data.first_person=21 here and synthetic.donors=['data=orl','data.last_person=20']."
)
_WAY_OUT = (
    "Leave synthetic.run out, and a generator is trained on the training images of this run; or choose a run with the "
    "same data and split."
)
_SELECTS = "It would select faces like them for training."
_SHOWS = "Its faces would show them to the model in training."


def find_generator(settings: GeneratedFaces, runs_folder: Path, store: Store) -> Path:
    """The folder of the finished run that `synthetic.run` names.

    Raises:
        ConfigError: it is no id of a run, there is no such run, or it has no weights.
        TrackingError: the store cannot be reached or read, or the download was cut.
    """
    assert settings.run is not None
    return find_run(settings.run, runs_folder, store, "synthetic.run")


def check_generator(settings: GeneratedFaces, folder: Path, source: FaceSource, faces: FaceSet, splits: Splits) -> None:
    """Check that a given run may generate training faces.

    Images are the same if their pixels are, people as `facelab evaluate` compares them.

    Args:
        settings: of the synthetic faces, with a `run`.
        folder: of that run.
        source: that the faces were loaded from.
        faces: the face set.
        splits: train, val and test.

    Raises:
        ConfigError: its model makes no faces of given people, or images of another size; it was not trained on all
            people of this training, unless it learns from donors; or as for `refuse_informed`.
    """
    trained, key = load(folder), f"synthetic.run={settings.run}"
    try:
        settings.check_model(type(trained.module), settings.selection)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from error
    _check_shape(trained, faces, key)
    if not isinstance(settings, TransferredFaces):
        _check_people(trained, _known(listed(folder), key), source, faces, splits, key)
    refuse_informed(folder, source, faces, splits, key, of_donors=isinstance(settings, TransferredFaces))


def refuse_informed(
    folder: Path, source: FaceSource, faces: FaceSet, splits: Splits, key: str, of_donors: bool = False
) -> None:
    """Refuse a run that would carry what it knows of validation and test into the training faces.

    It may have chosen its weights by the validation images, as the run that trains does, and not have learnt from them.

    Args:
        folder: of the run.
        source: that the faces were loaded from.
        faces: the face set.
        splits: train, val and test.
        key: of the config that names the run, for messages.
        of_donors: whether it learnt from donors, who are people of whom this run has no further images.

    Raises:
        ConfigError: it has seen a test image, was trained on a validation image or, if the split keeps people apart,
            knows a person of these; or what it has seen is not known; or it learnt from donors, and knows people of
            this run from further images.
    """
    _refuse_informed(_known(listed(folder), key), source, faces, splits, key, of_donors)


def check_needed(dependencies: Mapping[str, Dependency], source: FaceSource, faces: FaceSet, splits: Splits) -> None:
    """As `refuse_informed`, for the generator and the recogniser of synthetic faces, before they are trained.

    Args:
        dependencies: runs that this run depends on, by role.
        source: that the faces were loaded from.
        faces: the face set.
        splits: train, val and test.

    Raises:
        ConfigError: one would see what this run is tested on; or, if it learns from donors, further images of its
            people, or it cannot learn from the donors' images; or a run that it starts from cannot be found.
        DataError: the donors' images cannot be read or split.
        TrackingError: the store cannot be reached or read.
    """
    for role in sorted(dependencies.keys() & ROLES):
        dependency, of_donors = dependencies[role], not dependencies[role].need.same
        key = "synthetic.donors" if of_donors else f"synthetic.{role}"
        own = _donors_of(dependency.config) if of_donors else (source, faces, splits)
        try:
            used = _images_to_use(dependency, own)
            if of_donors:
                model = cast(type[FaceModule], resolve_target(dependency.config["model"]["_target_"]))
                model.check_training(own[1], own[2].train, with_synthetic=False)
        except ConfigError as error:
            raise ConfigError(f"{key}: {error}") from error
        _refuse_informed(_known(used, key), source, faces, splits, key, of_donors)


_Own = tuple[FaceSource, FaceSet, Splits]


def _donors_of(config: Mapping[str, Any]) -> _Own:
    built = build({"data": config["data"], "split": config["split"]})
    return built["data"], *prepare(built["data"].load(), built["split"])


def _images_to_use(dependency: Dependency, own: _Own) -> ImageList:
    """The images of a run that is needed, and those behind the runs that its own synthetic faces need."""
    used = images_used(dependency.config, *own)
    for role in sorted(dependency.dependencies.keys() & ROLES):
        behind = dependency.dependencies[role]
        used = used.after(_images_to_use(behind, own if behind.need.same else _donors_of(behind.config)), role)
    return used


def _refuse_informed(
    used: ImageList, source: FaceSource, faces: FaceSet, splits: Splits, key: str, of_donors: bool
) -> None:
    way_out = f"{_SELECTS if key == 'synthetic.recogniser' else _SHOWS} {_OTHER_DONORS if of_donors else _way_out(key)}"
    _refuse_seen("test", used, source, faces, splits, key, way_out)
    _refuse_seen("val", _without_validation(used), source, faces, splits, key, way_out)
    if of_donors:
        _refuse_acquainted(_without(used, ("test",)), source, faces, splits, key)


def _refuse_acquainted(used: ImageList, source: FaceSource, faces: FaceSet, splits: Splits, key: str) -> None:
    """Refuse a generator that knows people of a run from images that are in neither its training nor its validation."""
    own = {bytes.fromhex(faces.digests[i]) for i in (*splits.train, *splits.val)}
    is_further = pa.array([digest not in own for digest in used.table["digest"].to_pylist()], pa.bool_())
    further, none = replace(used, table=used.table.filter(is_further)), splits.train[:0]
    everyone = Splits(none, none, np.arange(len(faces)))
    people = find_overlap(source, faces, everyone, further, with_people=True).people
    if people:
        raise ConfigError(
            f"{key}: the donors are {len(people):,} of the people of this run, with further images of them: "
            f"{some_of(list(people))}. What this run has of a person would be more than its training images. "
            f"{_OTHER_DONORS}"
        )


def _way_out(key: str) -> str:
    if key.startswith("synthetic.run"):
        return _WAY_OUT
    return (
        f"Leave out of {key} what names another run, such as model.init_from or synthetic.run, or name one with the "
        "same data and split."
    )


def _known(used: ImageList | None, key: str) -> ImageList:
    """The images of a run; an error if not all are known."""
    if used is None or used.unlisted:
        which = "it" if used is None else f"{', '.join(used.unlisted)}, where its weights or its images come from,"
        raise ConfigError(
            f"{key}: which images {which} was trained on is not recorded, so whether it has seen the test images is "
            f"unknown. Train it again with this version of facelab. {_way_out(key)}"
        )
    return used


def _check_shape(trained: Trained, faces: FaceSet, key: str) -> None:
    (channels, height, _), (own_channels, own_height, _) = trained.metadata.image_shape, faces.image_shape
    if (channels, height) != (own_channels, own_height):
        raise ConfigError(
            f"{key}: it generates images of {height} x {height} with {channels} channels; those of this run have "
            f"{own_height} x {own_height} and {own_channels}. Set data.image_size={height} data.channels={channels}, "
            "or choose another run."
        )


def _without(used: ImageList, parts: tuple[str, ...]) -> ImageList:
    """The images of a run that are in none of the parts."""
    kept = compute.invert(compute.is_in(used.table["part"].cast(pa.string()), pa.array(parts)))
    return replace(used, table=used.table.filter(kept))


def _without_validation(used: ImageList) -> ImageList:
    """The same, with the validation images among those of the test, which it has not learnt from either."""
    parts = used.table["part"].cast(pa.string())
    parts = compute.if_else(compute.equal(parts, "val"), "test", parts).dictionary_encode()
    return replace(used, table=used.table.set_column(used.table.schema.get_field_index("part"), "part", parts))


def _check_people(
    trained: Trained, used: ImageList, source: FaceSource, faces: FaceSet, splits: Splits, key: str
) -> None:
    """Require that the generator was trained on every class of the training images."""
    table = _without(used, ("test", "val")).table.select(["naming", "label"]).to_pandas().astype(str)
    known = set(zip(table["naming"], table["label"], strict=True))
    names, own = namings(source, faces), faces.columns[faces.label].texts
    wanted = {(names[i], str(own[i])) for i in splits.train.tolist()}
    strange = sorted(label for naming, label in wanted - known)
    strange += sorted({label for _, label in wanted} - {*trained.metadata.label_names, *strange})
    if strange:
        raise ConfigError(
            f"{key}: it is a generator of other people: it was not trained on {len(strange):,} of the {len(wanted):,} "
            f"classes in training here: {some_of(strange)}. {_WAY_OUT}"
        )


def _refuse_seen(
    part: Literal["test", "val"],
    used: ImageList,
    source: FaceSource,
    faces: FaceSet,
    splits: Splits,
    key: str,
    way_out: str,
) -> None:
    """Refuse a generator that has seen images of a part, or people of it who are not in training."""
    indices, none = dict(splits.items())[part], splits.train[:0]
    strangers = indices[~np.isin(faces.identities[indices], faces.identities[splits.train])]

    def seen(which: Indices, with_people: bool) -> tuple[list[str], list[str]]:
        found = find_overlap(source, faces, Splits(none, none, which), used, with_people)
        return list(found.images), list(found.people)

    images, people = seen(indices, False)[0], seen(strangers, True)[1] if len(strangers) else []
    name = {"test": "test", "val": "validation"}[part]
    for kind, found in (("images", images), ("people", people)):
        if found:
            raise ConfigError(
                f"{key}: it has seen {len(found):,} of the {name} {kind} of this run: {some_of(found)}. {way_out}"
            )
