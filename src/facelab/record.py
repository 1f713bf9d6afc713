"""What a training run leaves behind: files in its folder, and the same in MLflow."""

import csv
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from facelab import pictures
from facelab.data.faces import FaceSet
from facelab.data.module import Sample
from facelab.data.split import Parts
from facelab.models.base import FaceModule
from facelab.protocols.base import Answers, Report
from facelab.tracking import TrackedRun

_GRID_FACES = 32


class RunRecord:
    """A run's files: `<runs folder>/<run id>/` with config, weights, metrics and pictures.

    Args:
        tracked: the run in MLflow.
        faces: the face set.
    """

    def __init__(self, tracked: TrackedRun, faces: FaceSet) -> None:
        self.tracked, self.faces = tracked, faces
        self.folder = tracked.folder

    def begin(self, config: Mapping[str, Any], parts: Parts, batch: Sample) -> None:
        """Before the first step: the resolved config, the data's identity, and a batch as the model will see it.

        Args:
            config: every value of it resolved.
            parts: the split.
            batch: of augmented training pictures.
        """
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        (self.folder / "config.yaml").write_text(text, encoding="utf-8")
        self.tracked.file("config.yaml")
        counts = {part: len(indices) for part, indices in parts.items()}
        profile = {"pictures": len(self.faces), "classes": len(self.faces.label_names), **counts}
        self.tracked.dataset(
            self.faces.name, self.faces.fingerprint, self.faces.source, json.dumps(profile), "training and test"
        )
        self.tracked.tag("data.fingerprint", self.faces.fingerprint)
        shown = batch["image"][:_GRID_FACES].permute(0, 2, 3, 1).numpy()
        self._picture("augmented_batch", pictures.face_grid(shown, title="training pictures as augmented"))

    def conclude(self, module: FaceModule, report: Report, test: Answers, facts: Mapping[str, float]) -> None:
        """After the last step: weights, metrics and pictures of the test.

        Args:
            module: the trained model.
            report: of the protocol.
            test: what the model said of the test pictures.
            facts: further final metrics.
        """
        weights = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
        save_file(weights, self.folder / "model.safetensors")
        self.tracked.file("model.safetensors")
        ends = {f"{name}_{end}": value for name, pair in report.intervals.items() for end, value in _ends(pair)}
        metrics = {**report.metrics, **ends, **facts, "fit/images_seen": float(module.images_seen)}
        (self.folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        self._write_predictions(report.predicted, test)
        # All at step 0, also after runs of different lengths: MLflow then draws bars, and pictures side by side.
        self.tracked.metrics(metrics, 0)
        names = self.faces.label_names
        accuracy = f"accuracy {report.metrics['test/accuracy']:.1%}"
        confusion = pictures.confusion_matrix(test.labels, report.predicted, names, f"test faces, {accuracy}")
        self._picture("confusion_matrix", confusion)
        self._picture("misclassified", self._misclassified(report.predicted, test))
        if len(test.labels) >= 5:
            scatter = pictures.embedding_scatter(test.embeddings, test.labels, names, "embeddings of the test faces")
            self._picture("embeddings", scatter)

    def _write_predictions(self, predicted: NDArray[np.int64], test: Answers) -> None:
        """Every test picture by its number in the face set, with the true and the given label."""
        names = self.faces.label_names
        with (self.folder / "predictions.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["picture", "label", "predicted"])
            rows.writerows(
                (i, names[t], names[p]) for i, t, p in zip(test.indices, test.labels, predicted, strict=True)
            )
        self.tracked.file("predictions.csv")

    def _misclassified(self, predicted: NDArray[np.int64], test: Answers) -> NDArray[np.uint8]:
        wrong = np.flatnonzero(predicted != test.labels)
        if not len(wrong):
            return pictures.notice("no test face is misclassified")
        shown = wrong[:_GRID_FACES]
        names = self.faces.label_names
        captions = [f"{names[test.labels[i]]}\ntaken for {names[predicted[i]]}" for i in shown]
        images = [self.faces.pixels[int(test.indices[i])] for i in shown]
        more = f", the first {len(shown)}" if len(wrong) > len(shown) else ""
        return pictures.face_grid(images, captions, title=f"{len(wrong)} of {len(test.labels)} misclassified{more}")

    def _picture(self, key: str, image: NDArray[np.uint8]) -> None:
        Image.fromarray(image).save(self.folder / f"{key}.png")
        self.tracked.picture(key, f"{key}.png", 0)


def _ends(pair: tuple[float, float]) -> tuple[tuple[str, float], tuple[str, float]]:
    return ("low", pair[0]), ("high", pair[1])
