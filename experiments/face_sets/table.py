"""Print the study's table, with the classical baselines: python experiments/face_sets/table.py SETS [runs folder]."""

import json
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from facelab.compare.statistics import estimate
from facelab.data import FaceSet, FewShot, Folder
from facelab.data.splits.base import prepare

warnings.filterwarnings("ignore", message="The number of unique classes")  # one picture a person is what is asked
warnings.filterwarnings("ignore", category=ConvergenceWarning)

KS = (1, 3, 5)
Cells = dict[tuple[str, str, int], dict[int, float]]  # by set, classifier and k: accuracy by split seed


def standardised(faces: FaceSet) -> NDArray[np.float64]:
    """(N, H W) grey levels, every picture with mean 0 and standard deviation 1."""
    pixels = np.stack([faces.pixels[i].ravel() for i in range(len(faces))]).astype(np.float64)
    pixels -= pixels.mean(axis=1, keepdims=True)
    pixels /= pixels.std(axis=1, keepdims=True).clip(1e-3)
    return pixels


def linear_svm(pictures: int, classes: int) -> LinearSVC:
    """C = 1, whatever the numbers."""
    return LinearSVC(C=1.0, random_state=0)


def fisherfaces(pictures: int, classes: int) -> ClassifierMixin:
    """Belhumeur et al., "Eigenfaces vs. Fisherfaces", 1997: as many principal components as leave the scatter within
    classes of full rank, then linear discriminants.

    That scatter is then barely of full rank, and with few pictures its inverse is mostly chance; so it is shrunk by the
    rule of Ledoit and Wolf, 2004, which helps the baseline.
    """
    discriminants = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    return make_pipeline(PCA(pictures - classes, svd_solver="full"), discriminants)


BASELINES: Mapping[str, Callable[[int, int], ClassifierMixin]] = {
    "linear SVM, standardised pixels": linear_svm,
    "fisherfaces, standardised pixels": fisherfaces,
}


def baselines(root: Path, seeds: Mapping[int, set[int]]) -> Cells:
    """Accuracies on one set, for the split seeds of each k."""
    found: Cells = defaultdict(dict)
    loaded = Folder(str(root), channels=1).load()
    for k, of_k in seeds.items():
        for seed in of_k:
            faces, splits = prepare(loaded, FewShot(k, seed, duplicates="drop"))
            pixels, classes = standardised(faces), len(np.unique(faces.labels))
            for name, make in BASELINES.items():
                if k > 1 or make is not fisherfaces:  # of one picture a person there is no scatter within classes
                    fitted = make(len(splits.train), classes).fit(pixels[splits.train], faces.labels[splits.train])
                    found[root.name, name, k][seed] = fitted.score(pixels[splits.test], faces.labels[splits.test])
    return found


def trained(runs: Path) -> Cells:
    """Accuracies of the finished few-shot runs of data=folder in a folder, by their heads, by the runs' names."""
    found: Cells = defaultdict(dict)
    for path in sorted(runs.glob("*/metrics.json")):
        config = yaml.safe_load((path.parent / "config.yaml").read_text(encoding="utf-8"))
        if "FewShot" not in config["split"]["_target_"] or "root" not in config["data"]:
            continue
        metrics = json.loads(path.read_text(encoding="utf-8"))
        k, seed = config["split"]["train_per_identity"], config["split"]["seed"]
        found[Path(config["data"]["root"]).name, config["name"] or "cnn", k][seed] = metrics["test/accuracy"]
    return found


def cell(values: Mapping[int, float]) -> str:
    """Mean and 95 % interval of it over the splits (Student's t), in percent, and how many splits."""
    if not values:
        return "-"
    found = estimate([100 * value for value in values.values()])
    interval = "" if found.half_width is None else f" ± {found.half_width:.1f}"
    return f"{found.mean:.1f}{interval} ({found.n})"


def difference(one: Mapping[int, float], other: Mapping[int, float]) -> str:
    """As `cell`, of the differences on the splits both have."""
    return cell({seed: one[seed] - other[seed] for seed in one.keys() & other.keys()})


def main() -> None:
    """Print Markdown."""
    sets = Path(sys.argv[1])
    found = trained(Path(sys.argv[2] if len(sys.argv) > 2 else "runs"))
    names = sorted({name for name, _, _ in found})
    print("| set | classifier | " + " | ".join(f"k={k}" for k in KS) + " |")
    print("|---|---|" + "---|" * len(KS))
    for name in names:
        seeds = {k: set(found[name, "cnn", k]) for k in KS}
        cells = {**found, **baselines(sets / name, seeds)}
        classifiers = ["cnn", *sorted({c for n, c, _ in found if n == name and c != "cnn"}), *BASELINES]
        for classifier in classifiers:
            row = [cell(cells.get((name, classifier, k), {})) for k in KS]
            print(f"| {name} | {classifier} | " + " | ".join(row) + " |", flush=True)
        for other in classifiers[1:]:
            pairs = [(cells[name, "cnn", k], cells.get((name, other, k), {})) for k in KS]
            row = [difference(*pair) for pair in pairs]
            print(f"| {name} | cnn less {other} | " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
