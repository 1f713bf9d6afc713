"""Print the study's table, with the classical baselines: python experiments/few_shot/table.py [runs folder]."""

import csv
import json
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.stats import t
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import LinearSVC

from facelab.data.sources.orl import ORL
from facelab.data.splits.base import split
from facelab.data.splits.rules import FewShot

warnings.filterwarnings("ignore", message="The number of unique classes")  # one picture a person is what is asked
warnings.filterwarnings("ignore", category=ConvergenceWarning)

KS, SEEDS = (1, 2, 3, 5), range(10)


def baseline(first_person: int, k: int, make: Callable[[], KNeighborsClassifier | LinearSVC]) -> list[float]:
    """Accuracies of a classifier of pixels, one a split."""
    faces = ORL(first_person=first_person).load()
    pixels = np.stack([faces.pixels[i].ravel() for i in range(len(faces))]) / 255.0
    found = []
    for seed in SEEDS:
        splits = split(faces, FewShot(k, seed))
        fitted = make().fit(pixels[splits.train], faces.labels[splits.train])
        found.append(float(np.mean(fitted.predict(pixels[splits.test]) == faces.labels[splits.test])))
    return found


def accuracies(runs: Path) -> dict[tuple[str, str, int], dict[int, float]]:
    """By (people, judge, k) and split seed, from the finished few-shot runs of model=cnn in a folder."""
    found: dict[tuple[str, str, int], dict[int, float]] = defaultdict(dict)
    for path in sorted(runs.glob("*/metrics.json")):
        config = yaml.safe_load((path.parent / "config.yaml").read_text(encoding="utf-8"))
        if "FewShot" not in config["split"]["_target_"] or config["data"].get("last_person") != 40:
            continue
        metrics = json.loads(path.read_text(encoding="utf-8"))
        k, seed = config["split"]["train_per_identity"], config["split"]["seed"]
        people = {1: "all 40", 21: "s21 to s40 alone"}[config["data"]["first_person"]]
        for judge, key in (("cnn", "test"), ("cnn, linear probe", "linear_probe"), ("cnn, 1-NN", "knn")):
            found[people, judge, k][seed] = metrics[f"{key}/accuracy"]
        if people == "all 40":
            with (path.parent / "predictions.csv").open(encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if int(row["label"][1:]) > 20]
            found["s21 to s40 among all 40", "cnn", k][seed] = float(
                np.mean([row["label"] == row["predicted"] for row in rows])
            )
    return found


def cell(values: Iterable[float]) -> str:
    """Mean and 95 % interval of it over the splits (Student's t), and their standard deviation, in percent."""
    shares: NDArray[np.float64] = 100 * np.array(list(values))
    if not len(shares):
        return "-"
    deviation = shares.std(ddof=1) if len(shares) > 1 else float("nan")
    half = t.ppf(0.975, len(shares) - 1) * deviation / len(shares) ** 0.5
    missing = "" if len(shares) == len(SEEDS) else f" [{len(shares)} splits]"
    return f"{shares.mean():.1f} ± {half:.1f} (sd {deviation:.1f}){missing}"


def main() -> None:
    """Print Markdown."""
    found = accuracies(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))
    print("| people | classifier | " + " | ".join(f"k={k}" for k in KS) + " |")
    print("|---|---|" + "---|" * len(KS))
    rows = dict.fromkeys((people, judge) for people, judge, _ in found)
    for people, judge in sorted(rows):
        cells = [cell(found[people, judge, k].values()) for k in KS]
        print(f"| {people} | {judge} | " + " | ".join(cells) + " |")
    for first_person, people in ((1, "all 40"), (21, "s21 to s40 alone")):
        for name, make in (
            ("pixels, 1-NN", lambda: KNeighborsClassifier(1)),
            ("pixels, linear SVM", lambda: LinearSVC(C=1.0, random_state=0)),
        ):
            cells = [cell(baseline(first_person, k, make)) for k in KS]
            print(f"| {people} | {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
