"""Print View 2's result: python experiments/lfw_view2/table.py [runs folder]"""

import json
import sys
from pathlib import Path

import numpy as np
import yaml

from facelab.tracking import TrackedRun

FOLDS = 10
NAMES = {"accuracy": "accuracy, %", "auc": "AUC, %", "eer": "EER, %"}


def folds(runs: Path) -> dict[str, dict[int, dict[str, float]]]:
    """Metrics of the finished runs of split=pair_folds, by name and fold."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    for path in sorted(runs.glob("*/metrics.json")):
        config = yaml.safe_load((path.parent / "config.yaml").read_text(encoding="utf-8"))
        if config["split"]["_target_"] == "facelab.data.PairFolds":
            metrics = json.loads(path.read_text(encoding="utf-8"))
            name = config["name"] or TrackedRun.open(path.parent).name.split(" · ")[0]
            found.setdefault(f"`{name}`, seed {config['seed']}", {})[config["split"]["fold"]] = metrics
    return found


def cell(values: list[float]) -> str:
    """Mean and standard error in percent, as papers on LFW report."""
    shares = 100 * np.array(values)
    return f"{shares.mean():.2f} ± {shares.std(ddof=1) / len(shares) ** 0.5:.2f}"


def main() -> None:
    """Print one line for each model with all ten folds; name those that lack some."""
    print("| | " + " | ".join(NAMES.values()) + " |\n|---|" + "---|" * len(NAMES))
    for name, of_fold in folds(Path(sys.argv[1] if len(sys.argv) > 1 else "runs")).items():
        missing = [fold for fold in range(FOLDS) if fold not in of_fold]
        if missing:
            print(f"{name}: folds {', '.join(map(str, missing))} are missing", file=sys.stderr)
            continue
        cells = [cell([of_fold[fold][f"verification/{key}"] for fold in range(FOLDS)]) for key in NAMES]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
