"""Print a table over people and numbers of images: python experiments/few_shot/table.py [runs folder]."""

import csv
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import stdev

import numpy as np
import yaml

from facelab.compare.statistics import estimate
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


def cell(values: Sequence[float]) -> str:
    """Mean and 95 % interval of it over the splits (Student's t), and their standard deviation, in percent."""
    found = estimate(values)
    interval = "" if found.half_width is None else f" ± {100 * found.half_width:.1f} (sd {100 * stdev(values):.1f})"
    return f"{100 * found.mean:.1f}{interval}{'' if found.n == SPLITS else f' [{found.n} splits]'}"


def main() -> None:
    """Print Markdown."""
    found = accuracies(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))
    print("| people | classifier | " + " | ".join(f"k={k}" for k in KS) + " |")
    print("|---|---|" + "---|" * len(KS))
    for people, classifier in sorted({(people, classifier) for people, classifier, _ in found}):
        by_k = [found.get((people, classifier, k), {}) for k in KS]
        cells = [cell([by_split[seed] for seed in sorted(by_split)]) if by_split else "-" for by_split in by_k]
        print(f"| {people} | {classifier} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
