"""Print the study's tables, over all folds: python experiments/expression/table.py SETS [runs folder].

SETS is what prepare.py wrote; two classical baselines are trained on its folds.
"""

import csv
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from skimage.feature import hog
from sklearn.base import ClassifierMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support
from sklearn.svm import LinearSVC

warnings.filterwarnings("ignore", category=ConvergenceWarning)

EXPRESSIONS = ("happy", "sad", "sleepy", "surprised", "wink", "normal")
PARTS = {"01 to 07, tuned on": range(1, 8), "08 to 15": range(8, 16), "all 15": range(1, 16)}

Pairs = list[tuple[str, str]]  # true and predicted expression of every picture
Folds = dict[int, Pairs]  # by subject left out


def trained(runs: Path) -> dict[str, dict[int, Folds]]:
    """Predictions by recipe, seed and subject, from the finished runs in a folder that left one subject out."""
    found: dict[str, dict[int, Folds]] = defaultdict(lambda: defaultdict(dict))
    for path in sorted(runs.glob("*/metrics.json")):
        config = yaml.safe_load((path.parent / "config.yaml").read_text(encoding="utf-8"))
        if config["data"].get("label") != "expression" or "LeaveOneGroupOut" not in config["split"]["_target_"]:
            continue
        start = "from scratch" if config["model"]["init_from"] is None else "from LFW"
        with (path.parent / "predictions.csv").open(encoding="utf-8") as file:
            pairs = [(row["label"], row["predicted"]) for row in csv.DictReader(file)]
        found[config["name"] or start][config["seed"]][config["split"]["group"] + 1] = pairs
    return found


def pixels(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Grey levels in [0, 1]."""
    return image.ravel() / 255.0


def gradients(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Histograms of oriented gradients (Dalal and Triggs, 2005): nine orientations, cells of 4 x 4 pixels."""
    return np.asarray(hog(image, orientations=9, pixels_per_cell=(4, 4), cells_per_block=(2, 2)))


BASELINES: Mapping[str, tuple[Callable[[NDArray[np.uint8]], NDArray[np.float64]], ClassifierMixin]] = {
    "linear SVM, pixels": (pixels, LinearSVC(C=0.1, random_state=0)),
    "logistic regression, HOG": (gradients, LogisticRegression(C=0.1, max_iter=1000)),
}


def baseline(pictures: Path, name: str) -> dict[int, Folds]:
    """Predictions of a classical classifier on the same folds, as of one seed."""
    paths = sorted(pictures.glob("*.png"))
    subjects = np.array([int(path.name[7:9]) for path in paths])
    expressions = np.array([path.name.split(".")[1] for path in paths])
    features, classifier = BASELINES[name]
    described = np.stack([features(np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))) for path in paths])
    found = {}
    for subject in np.unique(subjects):
        test = subjects == subject
        predicted = clone(classifier).fit(described[~test], expressions[~test]).predict(described[test])
        found[int(subject)] = list(zip(map(str, expressions[test]), map(str, predicted), strict=True))
    return {0: found}


def scores(pairs: Pairs) -> NDArray[np.float64]:
    """Accuracy, macro precision, macro recall and macro F1 of all pictures together, in %."""
    true, predicted = zip(*pairs, strict=True)
    macro = precision_recall_fscore_support(true, predicted, labels=EXPRESSIONS, average="macro", zero_division=0)
    return 100 * np.array([accuracy_score(true, predicted), *macro[:3]])


def pooled(folds: Mapping[int, Pairs], subjects: Iterable[int]) -> Pairs:
    """The pictures of some subjects, each judged by the run that left its subject out."""
    return [pair for subject in subjects for pair in folds[subject]]


def print_scores(recipe: str, seeds: Mapping[int, Folds]) -> None:
    """A row a part: means over the seeds, and every seed's accuracy."""
    for part, subjects in PARTS.items():
        complete = {seed: folds for seed, folds in sorted(seeds.items()) if folds.keys() >= set(subjects)}
        if not complete:
            continue
        rows = np.array([scores(pooled(folds, subjects)) for folds in complete.values()])
        each = ", ".join(f"{row[0]:.1f}" for row in rows)
        print(f"| {recipe} | {part} | " + " | ".join(f"{mean:.1f}" for mean in rows.mean(axis=0)) + f" | {each} |")


def print_confusions(recipe: str, seeds: Mapping[int, Folds]) -> None:
    """The sum of the seeds' confusion matrices, of the seeds with all folds."""
    complete = [folds for folds in seeds.values() if folds.keys() >= set(PARTS["all 15"])]
    if not complete:
        return
    true, predicted = zip(*(pair for folds in complete for pair in pooled(folds, PARTS["all 15"])), strict=True)
    print(f"\n{recipe}, {len(complete)} seeds, rows are true:\n")
    print("| | " + " | ".join(EXPRESSIONS) + " |\n|---|" + "---|" * len(EXPRESSIONS))
    for name, row in zip(EXPRESSIONS, confusion_matrix(true, predicted, labels=EXPRESSIONS), strict=True):
        print(f"| {name} | " + " | ".join(map(str, row)) + " |")


def main() -> None:
    """Print Markdown."""
    sets = Path(sys.argv[1])
    found = trained(Path(sys.argv[2] if len(sys.argv) > 2 else "runs"))
    print("| recipe | subjects | accuracy | precision | recall | F1 | accuracy of each seed |\n" + "|---" * 7 + "|")
    for name in BASELINES:
        print_scores(name, baseline(sets / "yale", name))
    for recipe, seeds in sorted(found.items()):
        print_scores(recipe, seeds)
    for recipe, seeds in sorted(found.items()):
        print_confusions(recipe, seeds)


if __name__ == "__main__":
    main()
