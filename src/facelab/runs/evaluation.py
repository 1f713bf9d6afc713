"""Evaluate a finished run on its own or on other faces, and record that as a run of its own."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from facelab.config.build import build
from facelab.config.identity import config_hash
from facelab.data.augment import Augmentation
from facelab.data.faces import IDENTITY, FaceSet
from facelab.data.image_list import IMAGES, ImageList, namings, read_image_list
from facelab.data.module import FaceDataModule
from facelab.data.order import ByImage
from facelab.data.splits.base import Splits, prepare
from facelab.errors import ConfigError
from facelab.metrics.declaration import to_text
from facelab.models.finished import find_run
from facelab.models.trained import CONFIG, WEIGHTS, Trained, load
from facelab.models.transfer import weights_digest
from facelab.protocols.base import Outputs, Protocol
from facelab.runs.begin import params_of
from facelab.runs.closing import recorded
from facelab.runs.dependencies import Dependency
from facelab.runs.description import opening_of_evaluation
from facelab.runs.embeddings import write_embeddings
from facelab.runs.evaluate import embed_splits, parts_needed, reports_of
from facelab.runs.experiment import Evaluation
from facelab.runs.fit import Result
from facelab.runs.prepare import applicable
from facelab.runs.record import RunRecord
from facelab.runs.resume import read_config, write_config
from facelab.runs.run import dependency_run
from facelab.runs.seen import find_overlap, refuse_familiar, refuse_seen, refuse_unlisted
from facelab.runs.summary import print_summary
from facelab.system import make_console
from facelab.tracking import (
    COMMAND,
    CONFIG_HASH,
    EVALUATED_BY,
    METRICS,
    NEEDS,
    SPLIT_FINGERPRINT,
    WEIGHTS_SHA256,
    RecordedRun,
    Store,
    TrackedRun,
    evaluation_tags,
    tag_recorded,
)
from facelab.tracking.note import without_passwords
from facelab.training.callbacks.progress import ProgressBar
from facelab.training.interrupt import StopRequest
from facelab.training.trainer import TrainerSettings


@dataclass(frozen=True)
class FinishedRun:
    """A trained run that is to be evaluated.

    Args:
        recorded: what its store has of it.
        folder: of its weights.
        trained: its model.
    """

    recorded: RecordedRun
    folder: Path
    trained: Trained

    @classmethod
    def of(cls, recorded: RecordedRun, runs_folder: Path, store: Store) -> "FinishedRun":
        """Load the run from its folder, or from its store.

        Raises:
            ConfigError: it has no weights or others than it recorded, or this version of facelab cannot load them.
            TrackingError: the store cannot be read.
        """
        folder = find_run(recorded.id, runs_folder, store)
        if recorded.tags.get(WEIGHTS_SHA256, own := weights_digest(folder)) != own:
            raise ConfigError(
                f"run={recorded.id}: {(folder / WEIGHTS).absolute()} is damaged or was changed, since the run recorded "
                "another SHA-256. Delete this file, and the run is downloaded from its store."
            )
        try:
            return cls(recorded, folder, load(folder))
        except ConfigError as error:
            raise ConfigError(f"run={recorded.id}, made by {recorded.made_by}: {error}") from error


@dataclass(frozen=True)
class PreparedEvaluation:
    """What an evaluation needs, built and checked.

    Args:
        run: the run to evaluate.
        config: of `Evaluation`, checked, with every `auto` resolved.
        choices: the file chosen in each config group.
        settings: hardware and precision.
        faces: the face set; if `with_head`, its classes are numbered as in training.
        splits: train, val and test.
        protocols: by name, those that apply to the model.
        dependencies: folders of the runs that the protocols depend on, by name.
        with_head: whether the classes of the face set are those of the model's classification head.
        notes: what to know before the results are used.
    """

    run: FinishedRun
    config: Mapping[str, Any]
    choices: Mapping[str, str]
    settings: TrainerSettings
    faces: FaceSet
    splits: Splits
    protocols: Mapping[str, Protocol]
    dependencies: Mapping[str, Path]
    with_head: bool
    notes: Sequence[str]

    @classmethod
    def of(
        cls,
        run: FinishedRun,
        config: Mapping[str, Any],
        choices: Mapping[str, str],
        dependencies: Mapping[str, Dependency],
        store: Store,
        runs_folder: Path,
    ) -> "PreparedEvaluation":
        """Load the faces and check everything; nothing is recorded.

        Args:
            run: the run to evaluate.
            config: of `Evaluation`, checked, with every `auto` resolved.
            choices: the file chosen in each config group.
            dependencies: runs that the protocols depend on, by role.
            store: where the run is recorded.
            runs_folder: where runs keep their files.

        Raises:
            FacelabError: the data or the split are unusable, a protocol does not apply to them, or the run has seen
                what it is tested on.
        """
        evaluation = Evaluation(**build(config))
        loaded = evaluation.data.load()
        faces, splits = prepare(loaded, evaluation.split)
        for note in (*faces.notes, *splits.notes):
            print(note)
        protocols = applicable(evaluation.protocol, type(run.trained.module))
        _check_protocols(protocols, splits, faces)
        is_own = _is_own(run, config, faces, splits)
        used = read_image_list(run.folder / IMAGES) if (run.folder / IMAGES).is_file() else None
        notes = _seen(run, evaluation, faces, splits, used, is_own, protocols)
        faces, with_head = _as_trained(run.trained, evaluation, faces, used, is_own)
        known_people = any(protocol.tests_known_people for protocol in protocols.values())
        if known_people and run.trained.module.classifies and not with_head:
            notes.append("The classes are not those the model was trained on, so its own head is not used.")
        own_needs, threads = _has_own_needs(run, config), evaluation.trainer.threads
        folders = {
            name: find_run(run.recorded.tags[f"{NEEDS}{name}"], runs_folder, store)
            if own_needs and f"{NEEDS}{name}" in run.recorded.tags
            else dependency_run(name, dependency.with_threads(threads), None, store, runs_folder)[0]
            for name, dependency in dependencies.items()
            if is_own or "split" not in dependency.need.same  # those learn the labels that the run learnt
        }
        for name, folder in folders.items():
            if dependencies[name].need.of_strangers:
                refuse_familiar(evaluation.data, faces, folder)
        return cls(run, config, choices, evaluation.trainer, faces, splits, protocols, folders, with_head, tuple(notes))


def _has_own_needs(run: FinishedRun, config: Mapping[str, Any]) -> bool:
    """Whether data and protocols are those of the training, so that the runs it depended on serve again."""
    own = run.trained.config
    same = (node == own["protocol"].get(name) for name, node in config["protocol"].items())
    return config["data"] == own["data"] and all(same)


def _check_protocols(protocols: Mapping[str, Protocol], splits: Splits, faces: FaceSet) -> None:
    for name, protocol in protocols.items():
        if not len(splits.train) and protocol.needs_training_images(splits, faces):
            raise ConfigError(
                f"protocol={name}: it is fitted to, or compares with, images for training, and split=all has none. "
                "Choose another split, such as split=identity_disjoint, or a protocol that needs none, such as "
                "protocol=verification with protocol.verification.backend=cosine."
            )
        protocol.check(splits, faces)


def _is_own(run: FinishedRun, config: Mapping[str, Any], faces: FaceSet, splits: Splits) -> bool:
    """Whether the images and their split are those of the training, so that exactly its own test images are tested."""
    own, tags = run.trained.config, run.recorded.tags
    same = (
        faces.fingerprint == tags.get("data.fingerprint")
        and config["split"] == own["split"]
        and all(config["data"].get(key) == own["data"].get(key) for key in ("label", "group"))
    )
    if same and tags.get(SPLIT_FINGERPRINT) not in (None, splits.fingerprint(faces)):  # older versions recorded none
        print(f"The split of {faces.name} has changed since the run was trained, so these are not its own test images.")
        return False
    return same


def _seen(
    run: FinishedRun,
    evaluation: Evaluation,
    faces: FaceSet,
    splits: Splits,
    used: ImageList | None,
    is_own: bool,
    protocols: Mapping[str, Protocol],
) -> list[str]:
    """Notes on test images and people that the run has seen; an error if that is not allowed."""
    run_id, seen = run.recorded.id, evaluation.seen
    if is_own:  # its own test images are new to it, unless training started from a run that had seen them
        return [] if used is None else find_overlap(evaluation.data, faces, splits, used, False).sentences()
    unlisted = [run_id] if used is None else used.unlisted
    notes = refuse_unlisted(run_id, run.recorded.made_by, unlisted, seen)
    if used is None:
        return notes
    with_people = not all(protocol.tests_known_people for protocol in protocols.values())
    overlap = find_overlap(evaluation.data, faces, splits, used, with_people)
    return notes + refuse_seen(overlap, run_id, seen)


def _as_trained(
    trained: Trained, evaluation: Evaluation, faces: FaceSet, used: ImageList | None, is_own: bool
) -> tuple[FaceSet, bool]:
    """The face set with its classes numbered as in training, and True; the set itself and False for other classes."""
    names = trained.metadata.label_names
    if is_own:
        return faces, True
    if trained.config["data"].get("label", IDENTITY) != faces.label or set(faces.label_names) != set(names):
        return faces, False
    if faces.label == IDENTITY:  # the same names may be other people
        known = set() if used is None else set(used.table["naming"].unique().to_pylist())
        if not set(namings(evaluation.data, faces)) <= known:
            return faces, False
    place = {name: code for code, name in enumerate(faces.label_names)}
    return faces.with_first(np.array([place[name] for name in names])), True


def evaluate_run(
    prepared: PreparedEvaluation, store: Store, runs_folder: Path, embeddings: Path | None = None, command: str = ""
) -> Result:
    """Evaluate a run and record it.

    Args:
        prepared: the evaluation.
        store: where the run is recorded.
        runs_folder: where runs keep their files; the evaluation's go to a folder named by its id.
        embeddings: where to write the embeddings of all images; None for nowhere.
        command: the command line that evaluates it again; empty if there is none.

    Raises:
        FacelabError: the store cannot be written, or a file cannot.
        KeyboardInterrupt: the user stopped it; it is closed as KILLED.
    """
    run, faces, splits = prepared.run, prepared.faces, prepared.splits
    tracked = _begin(prepared, store, runs_folder)
    console, stop = make_console(), StopRequest()
    with recorded(tracked, stop, "The evaluation was stopped. Repeat its command to evaluate again."):
        if command:
            tracked.tag(COMMAND, without_passwords(command))
        record = RunRecord(tracked, faces, opening_of_evaluation(run.recorded.name, run.recorded.id, faces, splits))
        record.describe()
        tracked.tag(METRICS, to_text(metric for protocol in prepared.protocols.values() for metric in protocol.metrics))
        record.dataset(splits, "evaluation")
        module = run.trained.module.to(memory_format=torch.channels_last)  # as in training
        seed = prepared.config["seed"]
        data = FaceDataModule(faces, splits, Augmentation([]), ByImage(splits.train, 1, seed), 1, seed, 0)
        trainer = prepared.settings.make([ProgressBar(console, 0)], 1, has_validation=False)
        found = _embedded(prepared, trainer, data, every_part=embeddings is not None)
        module.to(trainer.strategy.root_device)
        reports = reports_of(found, module, data, prepared.protocols, prepared.dependencies, console)
        record.results(reports, {}, prepared.notes)
        if embeddings is not None:
            source = {"run": run.recorded.id, "weights": weights_digest(run.folder), "data": faces.fingerprint}
            write_embeddings(embeddings, found, faces, source)
    said = {"model": f"{run.recorded.name} ({run.recorded.id})"}
    if embeddings is not None:
        said["vectors"] = f"{embeddings}, and which image each row is of in {embeddings.with_suffix('.csv').name}"
    print_summary(console, reports, tracked, said)
    for note in prepared.notes:
        console.print(f"Note: {note}", highlight=False, soft_wrap=True)
    return Result(tracked.id, tracked.folder, {key: value for one in reports for key, value in one.metrics.items()})


def _embedded(
    prepared: PreparedEvaluation, trainer: pl.Trainer, data: FaceDataModule, every_part: bool
) -> dict[str, Outputs]:
    """Outputs on each part; without labels predicted by a head that was trained on other classes."""
    parts = {"train", "val", "test"} if every_part else parts_needed(prepared.protocols, data)
    found = embed_splits(trainer, prepared.run.trained.module, data, parts, make_console())
    return found if prepared.with_head else {part: replace(one, predicted=None) for part, one in found.items()}


def _begin(prepared: PreparedEvaluation, store: Store, runs_folder: Path) -> TrackedRun:
    """Create the run in MLflow, in the experiment of the evaluated one and below it, and its folder."""
    run = prepared.run.recorded
    beside = copy.copy(store)
    beside.experiment = run.experiment
    needs = {f"{NEEDS}{name}": folder.name for name, folder in prepared.dependencies.items()}
    hashes = {
        f"{NEEDS}{name}.config_hash": config_hash(read_config(folder)) for name, folder in prepared.dependencies.items()
    }
    tags = {**evaluation_tags(run), **needs, **hashes, CONFIG_HASH: config_hash(prepared.config)}
    name = f"eval on {prepared.faces.name} of {run.name}"  # MLflow's column is narrow, and the run is above it
    tracked = TrackedRun.create(beside, name, params_of(prepared.config, prepared.choices), runs_folder, tags)
    write_config(prepared.config, tracked.folder)
    tracked.file(CONFIG)
    tag_recorded(store, run.id, f"{EVALUATED_BY}{tracked.id}", prepared.faces.name)
    return tracked
