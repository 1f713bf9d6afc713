"""Print the study's tables, and put its pictures together: python experiments/families/table.py [runs folder].

Takes all finished few-shot runs of the 40 people in the folder, whatever command they came from.
"""

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from facelab.compare.statistics import estimate
from facelab.errors import ConfigError
from facelab.tracking import TrackedRun

HERE = Path(__file__).parent
Runs = dict[tuple[str, int], list[dict[str, float]]]

RECOGNITION = {
    "test/accuracy": "own head or probe",
    "test/f1": "F1 (macro)",
    "linear_probe/accuracy": "linear probe",
    "knn/accuracy": "1-NN",
}
RECONSTRUCTION = {
    "reconstruction/rmse": "RMSE",
    "reconstruction/pca_rmse": "RMSE of PCA",
    "reconstruction/rmse_over_pca": "ratio",
    "reconstruction/ssim": "SSIM",
    "pca/accuracy": "probe on PCA",
}
GENERATION = {
    "generation/kid_face": "KID, face embedder",
    "generation/kid_face_floor": "its floor",
    "generation/kid_face_over_floor": "multiple of the floor",
    "generation/frechet_face": "Frechet distance",
    "generation/precision": "precision",
    "generation/recall": "recall",
    "generation/face_share": "accepted as faces",
    "generation/copy_z": "copy test, z",
    "generation/copy_share": "near copies",
}
SHARES = ("accuracy", "f1", "precision", "recall", "face_share", "copy_share")


def finished(runs: Path) -> tuple[Runs, dict[str, Path]]:
    """Final metrics by (run name without seed and split, k), and the folder of one run for each model at k=5.

    Raises:
        ConfigError: generative runs were judged by different embedders, so that their figures cannot be compared.
    """
    found: Runs = defaultdict(list)
    folders: dict[str, Path] = {}
    embedders: set[str | None] = set()
    for path in sorted(runs.glob("*/metrics.json")):
        config = yaml.safe_load((path.parent / "config.yaml").read_text(encoding="utf-8"))
        if "FewShot" not in config["split"]["_target_"] or config["data"].get("first_person") != 1:
            continue
        if config["data"].get("last_person") != 40:
            continue
        tracked = TrackedRun.open(path.parent)
        name = tracked.name.split(" · ")[0]
        metrics = json.loads(path.read_text(encoding="utf-8"))
        found[name, config["split"]["train_per_identity"]].append(metrics)
        if config["split"]["train_per_identity"] == 5:
            folders.setdefault(name, path.parent)
        if "generation/kid_face" in metrics:
            embedders.add(tracked.recorded_tag("needs.embedder.config_hash"))
    if len(embedders) > 1:
        raise ConfigError(
            f"the runs in {runs} were judged by {len(embedders)} different face embedders: their distances cannot be "
            "compared. Keep runs of one embedder in the folder."
        )
    return found, folders


def cell(values: Iterable[float], name: str) -> str:
    """Mean and 95 % interval of it over the runs (Student's t); of fewer than three, each value."""
    numbers = np.array([value for value in values if value is not None])
    if not len(numbers):
        return ""
    if name.rpartition("/")[2] in SHARES:
        numbers, digits = 100 * numbers, 1
    else:
        digits = 0 if numbers.mean() >= 100 else 1 if numbers.mean() >= 3 else 3 if name.startswith("recon") else 4
    if len(numbers) < 3:  # too few for an interval
        return ", ".join(f"{number:.{digits}f}" for number in numbers)
    found = estimate(numbers.tolist())
    return f"{found.mean:.{digits}f} ± {found.half_width:.{digits}f}"


def table(found: Runs, columns: dict[str, str]) -> str:
    """Markdown; a row for each model and k that has the first of the metrics."""
    lines = [f"| model | k | runs | {' | '.join(columns.values())} |", "|---|---|---|" + "---|" * len(columns)]
    for (name, k), metrics in sorted(found.items(), key=lambda item: (item[0][1], item[0][0])):
        if next(iter(columns)) in metrics[0]:
            cells = [cell((m[key] for m in metrics if key in m), key) for key in columns]
            lines.append(f"| `{name}` | {k} | {len(metrics)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _file(name: str) -> str:
    return re.sub(r"\W+", "_", name).lower()


def main() -> None:
    """Print Markdown; copy the pictures beside this file."""
    runs = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    try:
        found, folders = finished(runs)
    except ConfigError as error:
        raise SystemExit(f"Error: {error}") from error
    for columns in (RECOGNITION, RECONSTRUCTION, GENERATION):
        print(table(found, columns), end="\n\n")
    for name, folder in folders.items():
        for grid in ("reconstructions", "samples"):
            last = sorted(folder.glob(f"{grid}/*.png"))[-1:]
            for path in last:
                Image.open(path).convert("L").save(HERE / f"{_file(name)}_{grid}.png", optimize=True)
        nearest = folder / "nearest_training_faces.png"
        if nearest.is_file():
            Image.open(nearest).convert("L").save(HERE / f"{_file(name)}_nearest.png", optimize=True)


if __name__ == "__main__":
    main()
