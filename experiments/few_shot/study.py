"""The study's tables, figure and verdict, from the store that its runs were recorded in.

    python experiments/few_shot/study.py design      # before the runs: which differences the design can detect
    python experiments/few_shot/study.py             # prints the results; refuses an incomplete grid
    python experiments/few_shot/study.py partial     # the same of the runs that have finished, and which are missing
    python experiments/few_shot/study.py write       # writes README.md and accuracy.svg; also with partial or design

Further arguments: `sweep=<name>` (few_shot), `folder=<folder of the store>` (the current one).
"""

import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from facelab.compare.figures import COLOURS
from facelab.compare.grid import Axes, Grid, grid_of, half_width
from facelab.compare.html import svg
from facelab.compare.shown import shown_p
from facelab.compare.statistics import Difference
from facelab.errors import ConfigError, FacelabError
from facelab.tracking import ChildRow, SqliteStore, children, find_sweep

HERE = Path(__file__).parent
REGISTRATION, STUDY, README, FIGURE = "registration.toml", "study.yaml", "README.md", "accuracy.svg"
BEGIN, END = "<!-- study: from experiments/few_shot/study.py -->", "<!-- end of study -->"
AXES = Axes("model", "split.train_per_identity", "split.seed")
NAMED_CELLS = 10
NOTHING = "No run has finished yet."


def registered() -> dict[str, Any]:
    """What was fixed before the first run."""
    return tomllib.loads((HERE / REGISTRATION).read_text(encoding="utf-8"))


def listed() -> dict[str, list[str]]:
    """All values of each axis, from study.yaml."""
    params = yaml.safe_load((HERE / STUDY).read_text(encoding="utf-8"))["hydra"]["sweeper"]["params"]
    seeds = int(str(params[AXES.replicate]).removeprefix("range(").removesuffix(")"))
    others = {key: str(params[key]).split(",") for key in (AXES.arm, AXES.condition)}
    return {AXES.replicate: [str(seed) for seed in range(seeds)], **others}


def rows_of(folder: str, sweep: str) -> list[ChildRow]:
    """The runs of the sweep.

    Raises:
        ConfigError: there is no such sweep in the store.
    """
    store = SqliteStore(folder=folder)
    store.refuse_missing()
    found = find_sweep(store, sweep)
    if found is None:
        raise ConfigError(f"sweep={sweep}: {folder} has no such sweep. Run: python train.py +few_shot=study")
    return children(store, found.id)


def refuse_changed(rows: Sequence[ChildRow]) -> None:
    """Compare the registration with the one in the commit that trained the first run.

    Raises:
        ConfigError: they differ, or that commit had none.
    """
    commits = [row.commit for row in rows if row.commit]
    if not commits:
        return
    place = f"{commits[0]}:experiments/few_shot/{REGISTRATION}"
    shown = subprocess.run(["git", "show", place], cwd=HERE, capture_output=True, text=True, check=False)
    if shown.returncode:
        raise ConfigError(
            f"{REGISTRATION} cannot be read as it was before the first run (git show {place}): "
            f"{shown.stderr.strip()}. Commit it before the runs, and give this script the repository that has them."
        )
    if shown.stdout != (HERE / REGISTRATION).read_text(encoding="utf-8"):
        raise ConfigError(
            f"{REGISTRATION} was changed after the first run, of commit {commits[0][:9]}. Change it back (git diff "
            f"{place} {REGISTRATION}), or repeat the study under another sweep.name."
        )


def refuse_missing(grid: Grid) -> None:
    """Raise if a cell has no value.

    Raises:
        ConfigError: names the first of them.
    """
    if grid.missing:
        raise ConfigError(
            f"{missing_in_words(grid)} To finish them: python train.py +few_shot=study. For what there is: "
            "study.py partial"
        )


def missing_in_words(grid: Grid) -> str:
    """How many cells are missing, and which."""
    total = len(grid.arms) * len(grid.conditions) * len(grid.replicates)
    some = [f"{arm} k={k} split {seed}" for arm, k, seed in grid.missing[:NAMED_CELLS]]
    more = f" and {len(grid.missing) - NAMED_CELLS} more" if len(grid.missing) > NAMED_CELLS else ""
    return f"The grid is incomplete: {len(grid.missing)} of {total} cells are missing: {', '.join(some)}{more}."


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def design(plan: Mapping[str, Any], splits: int) -> str:
    """Which differences the design can detect."""
    rows = [
        [f"{deviation:.0f}", f"{half_width(deviation, splits):.1f}"] for deviation in plan["expected_deviation_points"]
    ]
    head = ("standard deviation of paired differences, points", f"half-width of the interval over {splits} splits")
    return (
        "A difference can be told from 0 if it exceeds the half-width of its 95 % interval (Student's t), before the "
        f"correction for several comparisons:\n\n{table(head, rows)}"
    )


def accuracies(grid: Grid) -> str:
    """Mean accuracy of each arm, with 95 % intervals over splits."""
    rows = []
    for arm in grid.arms:
        found = [grid.estimate(arm, k) for k in grid.conditions]
        cells = [
            "-"
            if one is None
            else f"{100 * one.mean:.1f} ± {100 * (one.half_width or 0):.1f}"
            + (f" ({one.n})" if one.n < len(grid.replicates) else "")
            for one in found
        ]
        rows.append([f"`{arm}`", *cells])
    return table(["model", *(f"k={k}" for k in grid.conditions)], rows)


def difference_in_words(found: Difference | None) -> str:
    """A paired difference in points, its 95 % interval and standard deviation of pairs."""
    if found is None:
        return "-"
    mean, half = 100 * found.estimate.mean, found.estimate.half_width
    return f"{mean:+.1f}" if half is None else f"{mean:+.1f} ± {100 * half:.1f}"


def differences(grid: Grid, first: str, others: Sequence[str]) -> tuple[str, dict[str, list[tuple[Any, Any]]]]:
    """Table of the differences between an arm and others, corrected together, and the same by condition."""
    pairs = [(first, other, k) for other in others for k in grid.conditions]
    found = dict(zip(pairs, grid.differences(pairs), strict=True))
    rows = [
        [
            f"`{first}` less `{other}`",
            *(
                f"{difference_in_words(d)} (p {shown_p(p)})" if d else "-"
                for d, p in (found[first, other, k] for k in grid.conditions)
            ),
        ]
        for other in others
    ]
    by_condition = {k: [found[first, other, k] for other in others] for k in grid.conditions}
    return table(["difference, points", *(f"k={k}" for k in grid.conditions)], rows), by_condition


def verdict(found: Sequence[tuple[Difference | None, float | None]], margin: float, planned: int) -> str:
    """yes, no or undecided, by the registered rule.

    Args:
        found: difference from each classical arm, and its corrected p.
        margin: in points.
        planned: number of replicates that a verdict needs.
    """
    known = [(one.estimate, p) for one, p in found if one is not None and one.estimate.n == planned]
    if len(known) < len(found):
        return "open, runs are missing"
    ends = [(100 * (e.mean - (e.half_width or 0)), 100 * (e.mean + (e.half_width or 0)), p) for e, p in known]
    if any(high < margin for _, high, _ in ends):
        return "no"
    above = all(low > 0 and (p is None or p < 0.05) for low, _, p in ends)
    return "yes" if above and min(100 * e.mean for e, _ in known) >= margin else "undecided"


def figure(grid: Grid) -> str:
    """Accuracy over images a person: means with bands of their 95 % intervals."""
    drawing = Figure(figsize=(7.0, 4.2), layout="constrained")
    axis = drawing.subplots()
    for number, arm in enumerate(grid.arms):
        known = [(int(k), one) for k in grid.conditions if (one := grid.estimate(arm, k)) is not None]
        if known:
            ks, means = [k for k, _ in known], [one.mean for _, one in known]
            ends = [one.half_width or 0 for _, one in known]
            colour = COLOURS[number % len(COLOURS)]
            axis.plot(ks, means, "o-", color=colour, markersize=4, label=arm)
            low, high = ([m + s * e for m, e in zip(means, ends, strict=True)] for s in (-1, 1))
            axis.fill_between(ks, low, high, color=colour, alpha=0.15, linewidth=0)
    axis.set(xlabel="training images a person", ylabel="accuracy", xticks=[int(k) for k in grid.conditions])
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, frameon=False, loc="lower right")
    return svg(drawing)


def report(plan: Mapping[str, Any], grid: Grid) -> str:
    """All of it in Markdown."""
    decides, splits = str(plan["decides"]), len(grid.replicates)
    against, of_condition = differences(grid, decides, plan["classical"])
    beside, _ = differences(grid, decides, [arm for arm in plan["learned"] if arm != decides])
    verdicts = {k: verdict(found, plan["margin_points"], splits) for k, found in of_condition.items()}
    said = "; ".join(f"k={k}: **{text}**" for k, text in verdicts.items())
    parts = [
        *([f"**{missing_in_words(grid)}**"] if grid.missing else []),
        f"{plan['question']} {said}.",
        f"![Accuracy over images a person]({FIGURE})",
        "Accuracy in %, mean ± 95 % interval over splits"
        + (" (in brackets the number of splits, where some are missing)" if grid.missing else "")
        + ":",
        accuracies(grid),
        "Paired by split, p corrected by Holm's method over this table:",
        against,
        "The other learned recognisers, which decide nothing:",
        beside,
    ]
    return "\n\n".join(parts)


def written(text: str, inner: str) -> str:
    """README.md with the part between the marks replaced."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ConfigError(f"{README}: expected the lines {BEGIN} and {END}, between which this script writes.")
    return f"{before}{BEGIN}\n{inner}\n{END}{after}"


def main(arguments: Sequence[str]) -> None:
    """Print or write what the arguments ask for."""
    options = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    asked = {argument for argument in arguments if "=" not in argument}
    unknown = [*(asked - {"design", "partial", "write"}), *(options.keys() - {"sweep", "folder"})]
    if unknown:
        raise ConfigError(f"{unknown[0]}: unknown. Known are design, partial, write, sweep=<name>, folder=<folder>.")
    plan, values = registered(), listed()
    designed = design(plan, len(values[AXES.replicate]))
    grid = None
    if "design" not in asked:
        rows = rows_of(options.get("folder", "."), options.get("sweep", "few_shot"))
        refuse_changed(rows)
        grid = grid_of(rows, AXES, values, plan["metric"])
        if "partial" not in asked:
            refuse_missing(grid)
    inner = f"{designed}\n\n{NOTHING if grid is None else report(plan, grid)}"
    if "write" not in asked:
        print(inner)
        return
    readme = HERE / README
    readme.write_text(written(readme.read_text(encoding="utf-8"), inner), encoding="utf-8")
    print(readme)
    if grid is not None:
        (HERE / FIGURE).write_text(figure(grid), encoding="utf-8")
        print(HERE / FIGURE)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except FacelabError as error:
        sys.exit(f"study.py: {error}")
