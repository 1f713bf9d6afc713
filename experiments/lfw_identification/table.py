"""Print the table: python experiments/lfw_identification/table.py LFW [runs folder]."""

import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import yaml
from scipy.stats import t
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from facelab.data import LFW, KFold
from facelab.data.splits.base import prepare

FOLDS = 5
CLASSIFIERS = {
    "test/accuracy": "its head",
    "linear_probe/accuracy": "linear probe",
    "knn/accuracy": "nearest neighbour",
}


def eigenfaces(root: str) -> list[float]:
    """Accuracy in each fold of 150 whitened principal components of grey pixels and a kernel SVM.

    Turk and Pentland, "Eigenfaces for Recognition", 1991; the classifier and its settings are those of scikit-learn's
    example on these images: radial basis functions, C = 1000, gamma = 0.005, classes weighted.
    """
    loaded = LFW(root=root, min_images_per_identity=20, image_size=64, channels=1).load()
    found = []
    for fold in range(FOLDS):
        faces, splits = prepare(loaded, KFold(folds=FOLDS, fold=fold, validation=False, duplicates="drop"))
        pixels = np.stack([faces.pixels[i].ravel() for i in range(len(faces))]).astype(np.float64)
        svm = SVC(C=1e3, gamma=0.005, class_weight="balanced")
        model = make_pipeline(StandardScaler(), PCA(150, whiten=True, svd_solver="randomized", random_state=0), svm)
        model.fit(pixels[splits.train], faces.labels[splits.train])
        found.append(model.score(pixels[splits.test], faces.labels[splits.test]))
    return found


def trained(runs: Path) -> dict[tuple[str, int], dict[int, float]]:
    """Accuracy by classifier and seed, then by fold, of the finished five-fold runs of data=lfw in a folder."""
    found: dict[tuple[str, int], dict[int, float]] = defaultdict(dict)
    for path in sorted(runs.glob("*/metrics.json")):
        config = yaml.safe_load((path.parent / "config.yaml").read_text(encoding="utf-8"))
        if config["data"]["_target_"] != "facelab.data.LFW" or config["split"]["_target_"] != "facelab.data.KFold":
            continue
        metrics = json.loads(path.read_text(encoding="utf-8"))
        model = config["name"] or config["model"]["encoder"]["_target_"].rpartition(".")[2]
        for metric, classifier in CLASSIFIERS.items():
            backend = config["protocol"]["classification"].get("backend", "cosine")
            name = f"{model}, {classifier}{f' ({backend})' if metric.startswith('knn') else ''}"
            found[name, config["seed"]][config["split"]["fold"]] = metrics[metric]
    return found


def line(name: str, accuracies: list[float], over: str) -> str:
    """Mean with a 95 % interval over the given figures (Student's t)."""
    values = 100 * np.array(accuracies)
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    interval = "" if np.isnan(half) else f" ± {half:.1f}"
    return f"| {name} | {values.mean():.1f}{interval} | {len(values)} {over} |"


def main() -> None:
    """Print each classifier over the folds, and over the seeds if several have all five folds."""
    root, runs = sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "runs")
    print("| classifier | accuracy, % | over |\n|---|---|---|")
    by_classifier: dict[str, list[list[float]]] = defaultdict(list)
    for (name, _), folds in trained(runs).items():
        if len(folds) == FOLDS:
            by_classifier[name].append([folds[fold] for fold in sorted(folds)])
    for name, seeds in by_classifier.items():
        if len(seeds) > 1:
            print(line(name, [float(np.mean(folds)) for folds in seeds], "seeds"))
        print(line(name, [float(fold) for fold in np.mean(seeds, axis=0)], "folds"))
    print(line("eigenfaces, kernel SVM", eigenfaces(root), "folds"))


if __name__ == "__main__":
    main()
