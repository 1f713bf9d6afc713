"""Record a training run: files in its folder, and the same in MLflow."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facelab.data.faces import FaceSet
from facelab.data.image_list import IMAGES, ImageList
from facelab.data.module import Sample
from facelab.data.splits.base import Splits
from facelab.exporting.served import interface
from facelab.metrics.declaration import Metric, to_text
from facelab.models.base import FaceModule
from facelab.models.trained import CONFIG, WEIGHTS, ModelMetadata, save
from facelab.models.transfer import weights_digest
from facelab.protocols import plots
from facelab.protocols.base import Report
from facelab.runs.description import Described, describe_end, describe_start
from facelab.runs.near_duplicates import FILE as NEAR_DUPLICATES
from facelab.runs.near_duplicates import NearDuplicates
from facelab.runs.pictures import record_pictures
from facelab.tracking import (
    COMMAND,
    METRICS,
    SPLIT_FINGERPRINT,
    TOTAL_IMAGES,
    WEIGHTS_SHA256,
    ModelRecord,
    TrackedRun,
)

_GRID_FACES = 32
_AUGMENTED = "augmented_batch"
_OF_THE_FIT = (
    Metric("fit/seconds", "training time", False, "s"),
    Metric("fit/images_per_second", "training speed", True),
    Metric("fit/images_seen", "images seen", True, "images"),
    Metric("fit/best_images_seen", "images seen by the weights that were kept", True, "images"),
)


class RunRecord:
    """A run's files: `<runs folder>/<run id>/` with config, weights, metrics and images.

    Args:
        tracked: the run in MLflow.
        faces: the face set.
        opening: what the run trains or evaluates, in Markdown.
    """

    def __init__(self, tracked: TrackedRun, faces: FaceSet, opening: str) -> None:
        self.tracked, self.faces = tracked, faces
        self.folder = tracked.folder
        self._described = Described(opening, tracked.recorded_tag(COMMAND) or "", tracked.page)

    def begin(self, total_images: int, splits: Splits, batch: Sample, declared: Iterable[Metric]) -> None:
        """Record length, data and a sample batch before the first step.

        Args:
            total_images: length of the run.
            splits: train, val and test.
            batch: of augmented training images.
            declared: the metrics the run may record.
        """
        self.describe()
        self.tracked.tag(TOTAL_IMAGES, str(total_images))
        self.tracked.tag(METRICS, to_text([*declared, *_OF_THE_FIT]))
        self.dataset(splits, "training and test")
        shown = batch["image"][:_GRID_FACES].permute(0, 2, 3, 1).numpy()
        self._image(_AUGMENTED, plots.face_grid(shown, title="augmented training images"))

    def describe(self) -> None:
        """Record the description of a run without results."""
        self.tracked.describe(describe_start(self._described))

    def dataset(self, splits: Splits, context: str) -> None:
        """Record the face set, and its fingerprint and that of its split as tags.

        Args:
            splits: train, val and test.
            context: purpose of the data, such as training.
        """
        counts = {part: len(indices) for part, indices in splits.items()}
        said = [*self.faces.notes, *splits.notes]
        notes = {"notes": said} if said else {}
        profile = {"images": len(self.faces), "classes": len(self.faces.label_names), **counts, **notes}
        self.tracked.dataset(self.faces.name, self.faces.fingerprint, self.faces.source, json.dumps(profile), context)
        self.tracked.tag("data.fingerprint", self.faces.fingerprint)
        self.tracked.tag(SPLIT_FINGERPRINT, splits.fingerprint(self.faces))

    def images(self, used: ImageList) -> None:
        """Record the list of the images that the run uses, so that a later test on one of them can be refused."""
        used.write(self.folder / IMAGES)
        self.tracked.file(IMAGES)

    def near_duplicates(self, found: NearDuplicates) -> None:
        """Record near-duplicates in two splits: a contact sheet and a list."""
        self._image(NEAR_DUPLICATES, found.sheet)
        self._file(NEAR_DUPLICATES, found.rows)

    def sheet(self, name: str, image: NDArray[np.uint8]) -> None:
        """Record a contact sheet (H, W, 3) uint8."""
        self._image(name, image)

    def sample_grid(self, name: str, grid: NDArray[np.uint8], images_seen: int) -> None:
        """Record a sample grid; MLflow shows all grids of a name on a slider over images seen.

        Args:
            name: name in MLflow.
            grid: (rows, columns, H, W, C) uint8.
            images_seen: images seen when it was generated.
        """
        file = Path(name) / f"{images_seen:09d}.png"
        (self.folder / name).mkdir(exist_ok=True)
        Image.fromarray(plots.tile(grid)).save(self.folder / file)
        self.tracked.image(name, str(file), images_seen)

    def weights(self, module: FaceModule, metadata: ModelMetadata, register: str | None) -> None:
        """Save the weights after the last step, before evaluation can fail, and log them as a model.

        Args:
            module: the trained model.
            metadata: image shape and labels it was built for.
            register: name under which a version is registered; None for none.
        """
        save(module, metadata, self.folder)
        digest, kind = weights_digest(self.folder), type(module).__name__
        self.tracked.tag(WEIGHTS_SHA256, digest)
        self.tracked.model(ModelRecord(CONFIG, WEIGHTS, digest, interface(module, metadata), kind, register))

    def conclude(
        self,
        images_seen: int,
        reports: Sequence[Report],
        grids: Mapping[str, NDArray[np.uint8]],
        further: Mapping[str, float],
        remarks: Sequence[str] = (),
    ) -> None:
        """Record metrics and images after the evaluation.

        Args:
            images_seen: length of the run.
            reports: of the protocols.
            grids: additional sample grids by name, each (rows, columns, H, W, C) uint8.
            further: additional final metrics.
            remarks: what to know about all metrics, a sentence or two each.
        """
        for name, grid in grids.items():
            self._image(name, plots.tile(grid))
        self.results(reports, {**further, "fit/images_seen": float(images_seen)}, remarks)

    def results(self, reports: Sequence[Report], further: Mapping[str, float], remarks: Sequence[str] = ()) -> None:
        """Record the metrics, files and images of the protocols, and the description of the results.

        Args:
            reports: of the protocols.
            further: additional metrics.
            remarks: what to know about all metrics, a sentence or two each.
        """
        metrics = dict(further)
        for report in reports:
            ends = {f"{name}_{end}": value for name, pair in report.intervals.items() for end, value in _ends(pair)}
            metrics.update({**report.metrics, **ends})
            for name, rows in report.files.items():
                self._file(name, rows)
        notes = [*remarks, *(note for report in reports for note in report.notes)]
        if notes:
            self.tracked.tag("evaluation.notes", " ".join(notes))
        (self.folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        # All at step 0, whatever the length of the run: MLflow then draws bars, and images side by side.
        self.tracked.metrics(metrics, 0)
        for report in reports:
            for name, image in report.images.items():
                self._image(name, image)
        pictures = record_pictures(self.tracked, apart_from=(_AUGMENTED, NEAR_DUPLICATES))
        self.tracked.describe(describe_end(self._described, reports, notes, pictures))

    def _file(self, name: str, rows: Iterable[Sequence[object]]) -> None:
        with (self.folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
        self.tracked.file(f"{name}.csv")

    def _image(self, key: str, image: NDArray[np.uint8]) -> None:
        Image.fromarray(image).save(self.folder / f"{key}.png")
        self.tracked.image(key, f"{key}.png", 0)


def _ends(pair: tuple[float, float]) -> tuple[tuple[str, float], tuple[str, float]]:
    return ("low", pair[0]), ("high", pair[1])
