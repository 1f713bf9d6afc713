"""Write a study's README and figures from the store."""

from collections.abc import Mapping
from pathlib import Path

from facelab.compare.people import FILE
from facelab.compare.recorded import Recorded
from facelab.errors import ConfigError
from facelab.studies.figure import accuracy_figure, difference_figure
from facelab.studies.generators import beside, sheets
from facelab.studies.grid import Grid, grid_of
from facelab.studies.registration import RegisteredStudy, refuse_changed
from facelab.studies.report import ACCURACY, DIFFERENCES, NOTHING, page, refuse_holes, sheet_file
from facelab.system import replace_files
from facelab.tracking import ChildRow, Store, SweepRow, children

README = "README.md"
_END = "<!-- end of study -->"


def study_grid(study: RegisteredStudy, sweep: SweepRow, store: Store, runs_folder: Path) -> Grid:
    """The grid of a study's runs.

    Args:
        study: as registered.
        sweep: that made the runs.
        store: of the sweep.
        runs_folder: where runs keep their files.

    Raises:
        ConfigError: the registration is not the one that the runs were started with, or a run lacks its predictions.
        TrackingError: the store cannot be read.
    """
    refuse_changed(study, sweep)
    recorded = Recorded(store, runs_folder)

    def by_person(row: ChildRow) -> Mapping[str, float]:
        return _accuracies(row, recorded)

    people = by_person if study.plan.of_people else None
    grid = grid_of(children(store, sweep.id), study.plan.axes, study.listed, study.plan.metric, people)
    _refuse_other_people(study, grid)
    return grid


def write_study(
    study: RegisteredStudy, grid: Grid | None, store: Store, runs_folder: Path, is_partial: bool
) -> tuple[str, list[Path]]:
    """Write README.md, between its marks, and the figures.

    Args:
        study: as registered.
        grid: of its runs; None to write the design alone.
        store: of the runs.
        runs_folder: where runs keep their files.
        is_partial: whether an incomplete grid may be written.

    Returns:
        The written text in Markdown, and the files.

    Raises:
        ConfigError: the grid is incomplete, README.md has no marks or holds results where there are none now, or a file
            cannot be written.
        TrackingError: the store cannot be read.
    """
    if grid is not None and not is_partial:
        refuse_holes(study, grid)
    readme = study.folder / README
    try:
        before, held, after = _at_marks(readme, study.folder.name)
        if grid is None or not grid.values:
            _refuse_to_empty(study, held)
            text, figures = page(study, None), {}
        else:
            faces = sheets(grid, Recorded(store, runs_folder))
            names = study.plan.generator_metrics
            text = page(study, grid, beside(grid, names, store) if names else [], faces)
            figures = _figures(study, grid, faces)
        files = {readme: f"{before}\n{text}\n{after}".encode(), **figures}
        replace_files(files)  # a hand-written page is not lost by an interruption
    except OSError as error:
        raise ConfigError(f"study={study.folder.name}: its files cannot be written ({error}).") from error
    return text, list(files)


def _refuse_other_people(study: RegisteredStudy, grid: Grid) -> None:
    for (arm, condition, replicate), shares in grid.by_person.items():
        if len(shares) != study.plan.people or shares.keys() != next(iter(grid.by_person.values())).keys():
            row = grid.runs[arm, condition, replicate]
            raise ConfigError(
                f"study={study.folder.name}: {row.id} ({row.name}) was tested on {len(shares)} people, or others than "
                f"other runs. The registration says {study.plan.people}, whom every run must be tested on."
            )


def _figures(study: RegisteredStudy, grid: Grid, faces: Mapping[str, bytes]) -> dict[Path, bytes]:
    drawn = {ACCURACY: accuracy_figure(study.plan, grid), DIFFERENCES: difference_figure(study.plan, grid)}
    return {
        **{study.folder / name: svg.encode() for name, svg in drawn.items()},
        **{study.folder / sheet_file(arm): picture for arm, picture in faces.items()},
    }


def _refuse_to_empty(study: RegisteredStudy, held: str) -> None:
    if held.strip() and NOTHING not in held:
        raise ConfigError(
            f"study={study.folder.name}: {study.folder / README} holds results, and here is no finished run to replace "
            "them by. Change to the folder of the runs, or name their store with tracking.folder=<folder>."
        )


def _at_marks(readme: Path, name: str) -> tuple[str, str, str]:
    """The text up to the first mark, what is between the marks, and the text from the second."""
    begin = f"<!-- study: written by facelab compare study={name} -->"
    before, found, rest = readme.read_text(encoding="utf-8").partition(begin)
    held, end, after = rest.partition(_END)
    if not (found and end):
        raise ConfigError(f"{readme}: expected the lines {begin} and {_END}, between which the results are written.")
    return before + begin, held, end + after


def _accuracies(row: ChildRow, recorded: Recorded) -> dict[str, float]:
    """Share of right answers by person."""
    answers: dict[str, list[bool]] = {}
    for line in recorded.rows(row, FILE):
        answers.setdefault(line["label"], []).append(line["predicted"] == line["label"])
    if not answers:
        raise ConfigError(
            f"{row.id} ({row.name}) has recorded no {FILE}, so there are no intervals over people. Add "
            "protocol=classification, or repeat the run."
        )
    return {person: sum(right) / len(right) for person, right in answers.items()}
