"""Print the study's tables, over all folds: python experiments/expression/table.py [runs folder]."""

import csv
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

EXPRESSIONS = ("happy", "sad", "sleepy", "surprised", "wink", "normal")
PARTS = {"01 to 07, tuned on": range(1, 8), "08 to 15": range(8, 16), "all 15": range(1, 16)}

Pairs = list[tuple[str, str]]  # true and predicted expression of every picture
Folds = dict[int, Pairs]  # by subject left out


def trained(runs: Path) -> dict[str, dict[int, Folds]]:
    """Predictions by recipe, seed and subject, from the finished runs on prepared folds in a folder."""
    found: dict[str, dict[int, Folds]] = defaultdict(lambda: defaultdict(dict))
    for path in sorted(runs.glob("*/metrics.json")):
        config = yaml.safe_load((path.parent / "config.yaml").read_text(encoding="utf-8"))
        root = Path(config["data"].get("root", ""))
        if root.parent.name != "folds":
            continue
        start = "from scratch" if config["model"]["init_from"] is None else "from LFW"
        with (path.parent / "predictions.csv").open(encoding="utf-8") as file:
            pairs = [(row["label"], row["predicted"]) for row in csv.DictReader(file)]
        found[config["name"] or start][config["seed"]][int(root.name)] = pairs
    return found


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
    found = trained(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))
    print("| recipe | subjects | accuracy | precision | recall | F1 | accuracy of each seed |\n" + "|---" * 7 + "|")
    for recipe, seeds in sorted(found.items()):
        print_scores(recipe, seeds)
    for recipe, seeds in sorted(found.items()):
        print_confusions(recipe, seeds)


if __name__ == "__main__":
    main()
