"""Print the table: python experiments/lfw_view1/table.py [runs folder]"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from scipy.stats import t
from sklearn.decomposition import PCA

from facelab.config.build import build
from facelab.data import FaceSet, Splits
from facelab.data.splits.base import prepare
from facelab.models.base import FaceModule
from facelab.models.trained import embeddings, load
from facelab.protocols import Outputs, Report, Subject, Verification
from facelab.protocols.backends import Backend

ENDS = ("low", "high")
NAMES = ("verification/accuracy", "verification/auc", "verification/eer", "verification/tar_at_far_1e-1")


def evaluated(
    faces: FaceSet,
    splits: Splits,
    vectors: NDArray[np.float32],
    module: FaceModule,
    pairs: str,
    backend: Backend = "cosine",
) -> Report:
    """The report on embeddings of all images, as a run makes it."""
    parts = [
        Outputs(vectors[part], None, faces.labels[part], faces.identities[part], part)
        for part in (splits.train, splits.val, splits.test)
    ]
    subject = Subject(faces, splits, parts[0], parts[2], module, 0, parts[1])
    return Verification(pairs, backend).evaluate(subject)


def eigenfaces(faces: FaceSet, splits: Splits) -> NDArray[np.float32]:
    """150 whitened principal components of standardised grey levels, fitted to the training images."""
    levels = np.stack([faces.pixels[i].mean(axis=2).ravel() for i in range(len(faces))]).astype(np.float32)
    levels = (levels - levels.mean(axis=1, keepdims=True)) / levels.std(axis=1, keepdims=True)
    fitted = PCA(150, whiten=True, svd_solver="randomized", random_state=0).fit(levels[splits.train])
    return np.asarray(fitted.transform(levels), np.float32)


def untrained(
    faces: FaceSet, config: dict[str, dict[str, object]], seed: int
) -> tuple[FaceModule, NDArray[np.float32]]:
    """The run's network with random weights, and its embeddings."""
    torch.manual_seed(seed)
    module: FaceModule = build({"model": config["model"]})["model"](image_shape=faces.image_shape, num_classes=2)
    images = np.stack([faces.pixels[i] for i in range(len(faces))])
    return module.eval(), embeddings(module.eval(), images).numpy()


def parts(faces: FaceSet, folder: Path) -> dict[str, NDArray[np.float32]]:
    """Embeddings of all images, one view each, by a run's whole model, and by its network and its texture alone."""
    module = load(folder).module.eval()
    whole = embeddings(module, np.stack([faces.pixels[i] for i in range(len(faces))])).numpy()
    network = int(module.encoder.trained_dim)  # type: ignore[union-attr, arg-type]
    return {"whole model": whole, "network alone": whole[:, :network], "texture alone": whole[:, network:]}


def line(name: str, metrics: dict[str, float]) -> str:
    """One row, in percent, with the 95 % interval of the accuracy over people."""
    low, high = (100 * metrics[f"verification/accuracy_{end}"] for end in ENDS)
    cells = [f"{100 * metrics[key]:.1f}" for key in NAMES]
    return f"| {name} | {cells[0]} ({low:.1f} to {high:.1f}) | " + " | ".join(cells[1:]) + " |"


def mean(seeds: Sequence[dict[str, float]]) -> str:
    """The row of the means, with 95 % intervals over the seeds (Student's t)."""
    values = 100 * np.array([[metrics[name] for name in NAMES] for metrics in seeds])
    halves = t.ppf(0.975, len(seeds) - 1) * values.std(axis=0, ddof=1) / len(seeds) ** 0.5
    cells = [f"{value:.1f} ± {half:.1f}" for value, half in zip(values.mean(axis=0), halves, strict=True)]
    return f"| mean of {len(seeds)} seeds | {' | '.join(cells)} |"


def flat(report: Report) -> dict[str, float]:
    """Metrics with the ends of their intervals, named as in metrics.json."""
    pairs = report.intervals.items()
    ends = {f"{name}_{end}": value for name, pair in pairs for end, value in zip(ENDS, pair, strict=True)}
    return {**report.metrics, **ends}


def main() -> None:
    """Print one line per run, their mean, what the parts are worth, and two baselines on the first run's images."""
    runs = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    found = []
    for path in sorted(runs.glob("*/metrics.json")):
        config = yaml.safe_load((path.parent / "config.yaml").read_text(encoding="utf-8"))
        metrics = json.loads(path.read_text(encoding="utf-8"))
        if config["split"]["_target_"] == "facelab.data.Official" and NAMES[0] in metrics:
            found.append((config["seed"], config, metrics, path.parent))
    found.sort(key=lambda run: run[0])
    print("| | accuracy, % | AUC | EER | TAR at FAR 1e-1 |\n|---|---|---|---|---|")
    for seed, _, metrics, _ in found:
        print(line(f"seed {seed}, test-time augmentation and PLDA", metrics), flush=True)
    if len(found) > 1:
        print(mean([metrics for _, _, metrics, _ in found]))
    seed, config, _, folder = found[0]
    faces, splits = prepare(build({"data": config["data"]})["data"].load(), build({"split": config["split"]})["split"])
    pairs = config["protocol"]["verification"]["pairs"]
    for name, vectors in parts(faces, folder).items():
        report = flat(evaluated(faces, splits, vectors, load(folder).module, pairs, "plda"))
        print(line(f"seed {seed}, the image alone, PLDA: {name}", report), flush=True)
    module, vectors = untrained(faces, config, seed=1)
    report = flat(evaluated(faces, splits, vectors, module, pairs))
    print(line("the same network, untrained, cosine", report), flush=True)
    report = flat(evaluated(faces, splits, eigenfaces(faces, splits), module, pairs))
    print(line("eigenfaces, cosine", report), flush=True)


if __name__ == "__main__":
    main()
