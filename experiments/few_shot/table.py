"""Print a table over people and numbers of images: python experiments/few_shot/table.py [runs folder]."""

import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.stats import t

from facelab.tracking import TrackedRun

KS, SPLITS = (1, 2, 3, 5), 10
ALL, LAST = "all 40", "s21 to s40 among all 40"
Accuracies = dict[tuple[str, str, int], dict[int, float]]


def accuracies(runs: Path) -> Accuracies:
    """By (people, classifier, k) and split seed, from the finished few-shot runs of all 40 people in a folder."""
    found: Accuracies = defaultdict(dict)
    for path in sorted(runs.glob("*/metrics.json")):
        config = yaml.safe_load((path.parent / "config.yaml").read_text(encoding="utf-8"))
        people = (config["data"].get("first_person"), config["data"].get("last_person"))
        if "FewShot" not in config["split"]["_target_"] or people != (1, 40):
            continue
        metrics = json.loads(path.read_text(encoding="utf-8"))
        k, seed = config["split"]["train_per_identity"], config["split"]["seed"]
        name = TrackedRun.open(path.parent).name.split(" · ")[0]
        found[ALL, name, k][seed] = metrics["test/accuracy"]
        if name.startswith("cnn"):
            found[ALL, f"{name}, linear probe", k][seed] = metrics["linear_probe/accuracy"]
            found[ALL, f"{name}, 1-NN", k][seed] = metrics["knn/accuracy"]
        with (path.parent / "predictions.csv").open(encoding="utf-8") as file:
            right = [row["label"] == row["predicted"] for row in csv.DictReader(file) if int(row["label"][1:]) > 20]
        found[LAST, name, k][seed] = float(np.mean(right))
    return found


def cell(values: Iterable[float]) -> str:
    """Mean and 95 % interval of it over the splits (Student's t), and their standard deviation, in percent."""
    shares: NDArray[np.float64] = 100 * np.array(list(values))
    if not len(shares):
        return "-"
    deviation = shares.std(ddof=1) if len(shares) > 1 else float("nan")
    half = t.ppf(0.975, len(shares) - 1) * deviation / len(shares) ** 0.5
    missing = "" if len(shares) == SPLITS else f" [{len(shares)} splits]"
    return f"{shares.mean():.1f} ± {half:.1f} (sd {deviation:.1f}){missing}"


def main() -> None:
    """Print Markdown."""
    found = accuracies(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))
    print("| people | classifier | " + " | ".join(f"k={k}" for k in KS) + " |")
    print("|---|---|" + "---|" * len(KS))
    for people, classifier in sorted({(people, classifier) for people, classifier, _ in found}):
        cells = [cell(found[people, classifier, k].values()) if (people, classifier, k) in found else "-" for k in KS]
        print(f"| {people} | {classifier} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
