"""The command `facelab check`: look at the images of a face set before training."""

import functools
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.table import Table
from rich.text import Text

from facelab.checking.findings import Finding, class_summary, findings
from facelab.checking.page import page
from facelab.config.build import build
from facelab.config.check import check_node, plain
from facelab.config.compose import explain_composition, options_of
from facelab.config.identity import flatten
from facelab.data.source import FaceSource
from facelab.data.splits.base import Split
from facelab.data.survey import SplitOutcome, Survey, split_outcome, survey
from facelab.errors import ConfigError, DataError, TrackingError
from facelab.system import check_path, counted, make_console, visible
from facelab.tracking import Store, record_check
from facelab.tracking.note import without_passwords

_PAGE = "facelab-check.html"
_SHOWN_LINES = {"error": 20, "warning": 5, "note": 0}
_PARTS = ("train", "val", "test")
_COLOURS = {"error": "red", "warning": "yellow", "note": "dim"}


@dataclass(frozen=True)
class Check:
    """The root of the `check` config.

    Args:
        data: the face set.
        split: the rule that is to divide it.
        tracking: the store that keeps the page.
        out: the page, a name that ends in .html, or a folder for it; a page from before is replaced.
    """

    data: FaceSource
    split: Split
    tracking: Store
    out: str = _PAGE


def check_images(config: Mapping[str, Any]) -> None:
    """Read all images, print what was found, and write it with pictures as one HTML page.

    Args:
        config: a checked config of `Check`.

    Raises:
        ConfigError: the page cannot be written.
        DataError: training would fail; the page says why.
    """
    options = Check(**build(config))
    console = make_console()
    place = _place(options.out)
    draft = place.with_name(f".{place.name}.{os.getpid()}")
    with _writing(place):  # before the images are read, which may take long
        place.parent.mkdir(parents=True, exist_ok=True)
        draft.touch()
    try:
        found = survey(options.data)
        outcomes = _outcomes(found, options.split)
        listed = findings(found, options.data, options.split, outcomes[0] if outcomes else None)
        command = " ".join(["facelab check", *(shlex.quote(argument) for argument in sys.argv[1:])])
        text = page(found, options.data, listed, outcomes, without_passwords(command))
        with _writing(place):
            draft.write_text(text, encoding="utf-8")
            draft.replace(place)
    finally:
        draft.unlink(missing_ok=True)
    _print(console, found, listed, outcomes)
    console.print(Text(f"  page     {visible(str(place))}"), soft_wrap=True)
    _record(options.tracking, config, found, listed, place, console)
    errors = [one for one in listed if one.level == "error"]
    if errors:
        more = f" And {len(errors) - 1} more on the page." if errors[1:] else ""
        raise DataError(f"training on {visible(found.rows.name)} would fail: {errors[0].text}{more}")


_NO_TRAINING = "all"  # the rule that leaves no image for training


def _outcomes(found: Survey, rule: Split) -> list[SplitOutcome]:
    """What the chosen rule and then every other one makes of the usable images, with the values that were typed."""
    if found.faces is None:
        return []
    hydra = HydraConfig.get()
    choice = str(hydra.runtime.choices["split"])
    typed = [text for text in hydra.overrides.task if text.startswith("split.")]
    outcomes = [split_outcome(found.faces, " ".join([f"split={choice}", *typed]), lambda: rule)]
    for other in options_of("split"):
        if other not in (choice, _NO_TRAINING):
            overrides = _overrides(other, typed)
            outcomes.append(split_outcome(found.faces, " ".join(overrides), functools.partial(_rule, overrides)))
    return outcomes


def _overrides(choice: str, typed: Sequence[str]) -> list[str]:
    """The overrides that choose a rule, with those of another one's values that are keys of this one too."""
    try:
        keys = compose("check", [f"split={choice}"]).split
    except (HydraException, OmegaConfBaseException):
        return [f"split={choice}"]  # `_rule` says why
    return [f"split={choice}", *(text for text in typed if text.partition("=")[0].removeprefix("split.") in keys)]


def _rule(overrides: list[str]) -> Split:
    """Build a rule.

    Raises:
        ConfigError: its file or its values are invalid.
    """
    try:
        composed = compose("check", overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain_composition(error, "check", overrides)) from error
    node = plain(OmegaConf.masked_copy(composed, ["split"]))
    check_node(node["split"], "split")
    rule: Split = build(node)["split"]
    return rule


def _place(out: str) -> Path:
    path = Path(out).absolute()
    check_path("out", path)
    return path if path.suffix.lower() in (".html", ".htm") and not path.is_dir() else path / _PAGE


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    """Report that the page cannot be written.

    Raises:
        ConfigError: the block raised OSError.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"out: {place} cannot be written ({error}). Choose another file or folder with out=<path>."
        ) from error


def _print(console: Console, found: Survey, listed: Sequence[Finding], outcomes: Sequence[SplitOutcome]) -> None:
    title = f"{visible(found.rows.name)}: {counted(len(found.usable), 'usable image')}, {class_summary(found)}"
    console.print(Text(title, style="bold"), soft_wrap=True)
    for one in listed:
        console.print(Text.assemble((f"  {one.level:<9}", _COLOURS[one.level]), one.text), soft_wrap=True)
        shown = _SHOWN_LINES[one.level]
        for line in one.lines[:shown]:
            console.print(Text(f"           {line}", style="dim"), soft_wrap=True)
        if shown and len(one.lines) > shown:
            console.print(f"           and {len(one.lines) - shown:,} more, on the page", style="dim")
    if not listed:
        console.print("  nothing to report")
    _print_splits(console, outcomes)


def _print_splits(console: Console, outcomes: Sequence[SplitOutcome]) -> None:
    table = Table(box=None, title="images (people) of each part", title_justify="left", title_style="")
    for name in ("split", *_PARTS):
        table.add_column(name, justify="left" if name == "split" else "right", overflow="fold")
    for one in outcomes:
        if one.images:
            table.add_row(Text(visible(one.name)), *(f"{one.images[part]:,} ({one.people[part]:,})" for part in _PARTS))
    if table.row_count:
        console.print(table)
    said: dict[str, list[str]] = {}  # several rules may say the same
    for one in outcomes:
        for text in filter(None, (one.error, *one.notes)):
            said.setdefault(text, []).append(visible(one.name))
    for text, names in said.items():
        console.print(Text.assemble(f"  {', '.join(names)}: ", (text, "dim")), soft_wrap=True)


def _record(
    store: Store, config: Mapping[str, Any], found: Survey, listed: Sequence[Finding], place: Path, console: Console
) -> None:
    """Keep the page in MLflow; if the store cannot be written, say so."""
    counts = {
        "images": len(found.usable),
        "classes": int((found.class_sizes > 0).sum()),
        "problems": len(found.problems),
        "pairs": len(found.pairs),
        **{f"{level}s": sum(one.level == level for one in listed) for level in ("error", "warning")},
    }
    params = {key: str(value) for key, value in flatten({key: config[key] for key in ("data", "split")}).items()}
    text = "\n".join(f"- {one.level}: {one.text}" for one in listed) or "Nothing to report."
    try:
        run_id = record_check(store, visible(found.rows.name), place, params, counts, text)
    except TrackingError as error:
        console.print(Text(f"The page could not be kept in MLflow: {error}"), style="yellow", soft_wrap=True)
        return
    console.print(Text(f"  run      {run_id} in {store.uri}"), soft_wrap=True)
