"""Print the table: python experiments/unseen_people/table.py [RUNS...], folders of finished runs and of evaluations."""

import json
import sys
from collections import defaultdict
from pathlib import Path

import yaml

from facelab.compare.statistics import estimate

NAMES = {
    "verification/eer": "EER",
    "verification/tar_at_far_1e-2": "TAR at FAR 1e-2",
    "identification/rank_1": "rank-1 rate",
    "identification/fnir_at_fpir_3e-1": "FNIR at FPIR 0.3",
}
Seeds = dict[int, dict[str, float]]


def finished(folders: list[Path]) -> dict[tuple[str, str], Seeds]:
    """Metrics on AT&T's people s21 to s40, by encoder and the set it was trained on, and by seed."""
    found: dict[tuple[str, str], Seeds] = defaultdict(dict)
    for path in sorted(path for folder in folders for path in folder.glob("*/metrics.json")):
        config = yaml.safe_load((path.parent / "config.yaml").read_text(encoding="utf-8"))
        metrics = json.loads(path.read_text(encoding="utf-8"))
        if not config["split"]["_target_"].endswith("IdentityDisjoint") or not NAMES.keys() <= metrics.keys():
            continue
        trained = "another set" if "evaluates" in config else "AT&T, s1 to s20"
        encoder = config["model"]["encoder"]["_target_"].rpartition(".")[2]
        found[encoder, trained][config["seed"]] = metrics
    return found


def cell(values: list[float]) -> str:
    """Mean and 95 % interval of it over the seeds (Student's t), in percent."""
    found = estimate([100 * value for value in values])
    return f"{found.mean:.1f}" + ("" if found.half_width is None else f" ± {found.half_width:.1f}")


def main() -> None:
    """Print Markdown."""
    print(f"| encoder | trained on | seeds | {' | '.join(NAMES.values())} |\n|---|---|---|" + "---|" * len(NAMES))
    for (encoder, trained), seeds in finished([Path(path) for path in sys.argv[1:] or ["runs"]]).items():
        cells = [cell([metrics[name] for metrics in seeds.values()]) for name in NAMES]
        print(f"| `{encoder}` | {trained} | {len(seeds)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
