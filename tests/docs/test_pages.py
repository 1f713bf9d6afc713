"""The pages say what the code says: metrics, options, messages, links."""

import inspect
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote

import pandas as pd
import pytest
import torch
import yaml
from pydantic import Field
from torch import Tensor, nn

import facelab.models
import facelab.protocols
from facelab import cli
from facelab.metrics.classification import NAMES
from facelab.models.base import FaceModule
from facelab.nets import IResNet, MobileFaceNet
from facelab.protocols import Protocol
from facelab.runs.record import _OF_THE_FIT
from tests.conftest import ROOT
from tests.docs.test_commands import hooks

DOCS = ROOT / "docs"


def _placed(name: str) -> str:
    """A metric's name with a placeholder for its target, such as `verification/tar_at_far_<FAR>`."""
    return re.sub(
        r"(far|fpir)_1e-\d$", lambda found: f"{found[1]}_<{found[1].upper()}>", re.sub(r"rank_\d+$", "rank_<k>", name)
    )


def test_each_declared_metric_is_defined_once() -> None:
    declared = {metric.name for metric in (*_OF_THE_FIT, *facelab.protocols.Identification().metrics)} | set(NAMES)
    for package, base in ((facelab.protocols, Protocol), (facelab.models, FaceModule)):
        for name in package.__all__:
            member = getattr(package, name)
            if inspect.isclass(member) and issubclass(member, base):
                declared |= {metric.name for metric in getattr(member, "metrics", getattr(member, "term_metrics", ()))}
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    tables = re.findall(r"\| metric \| formula \| source \| trap \|\n\|---\|---\|---\|---\|\n((?:\|.*\n)+)", text)
    first_cells = [line.split(" | ")[0] for table in tables for line in table.splitlines()]
    defined = Counter(name for cell in first_cells for name in re.findall(r"`([^`]+)`", cell))
    assert set(defined) == {_placed(name) for name in declared}
    assert max(defined.values()) == 1


def test_each_page_is_in_the_navigation() -> None:
    def pages(node: Any) -> list[str]:
        if isinstance(node, str):
            return [node]
        return [page for inner in (node.values() if isinstance(node, dict) else node) for page in pages(inner)]

    listed = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    assert {page for page in listed if (DOCS / page).is_file()} == {path.name for path in DOCS.glob("*.md")}
    assert {page for page in listed if page.startswith("experiments/")} == {
        path.relative_to(ROOT).as_posix() for path in ROOT.glob("experiments/*/README.md")
    }
    groups = {f"options/{group}.md" for group in hooks().GROUPS}
    assert {page for page in listed if page.startswith("options/")} == {"options/index.md", *groups}
    packages = {f"reference/{package}.md" for package in hooks().PACKAGES}
    assert {page for page in listed if page.startswith("reference/")} == packages


def test_every_command_and_group_has_a_page_of_options() -> None:
    assert set(hooks().command_roots()) == set(cli._TASKS)
    assert set(hooks().GROUPS) == {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()} - {"hydra"}


def test_every_option_has_a_meaning() -> None:
    options = [
        option for name, root in hooks().command_roots().items() for option in hooks().command_options(name, root)
    ]
    for choice in ("verification", "identification", "generation_same_people"):
        options += hooks().choice_options("protocol", choice)[1]
    options += hooks().choice_options("split", "ratio")[1]
    options += hooks().choice_options("model", "gan")[1]
    ours = [option for option in options if not re.search(r"optimizers?\.(generator|discriminator)\.", option.key)]
    assert len(ours) > 100
    assert [option.key for option in ours if not option.meaning] == []
    by_key = {option.key: option for option in options}
    assert by_key["split.few"].value == "error"
    assert by_key["split.few"].type == "`error`, `drop` or `train`"
    assert by_key["model.objective.penalties.0.gamma"].value == "0.3"
    assert by_key["+model.recipe.sampling"].type == "`images`, `balanced` or `pk`"


def test_the_numbers_of_weights_are_those_of_the_networks() -> None:
    shape = (3, 112, 112)
    with torch.device("meta"):
        networks = [MobileFaceNet(shape), IResNet(shape, 18), IResNet(shape, 50), IResNet(shape, 100)]
    millions = [f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f}" for network in networks]
    text = (DOCS / "configuration.md").read_text(encoding="utf-8")
    assert f"MobileFaceNet: {millions[0]} million weights" in text
    assert f"IResNet: {millions[1]}, {millions[2]} and {millions[3]} million weights at 112 x 112" in text


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Annotated[int, Field(ge=1)], "int, at least 1"),
        (Annotated[float, Field(ge=0, lt=1)] | None, "float, at least 0, below 1, or null"),
        (Literal["a", "b"], "`a` or `b`"),
        (Sequence[str] | None, "list of text or null"),
        (float | Tensor, "float"),
        (Callable[..., nn.Module], "a component that makes: Module"),
        (tuple[int, int], "list of 2: int, int"),
        (inspect.Parameter.empty, ""),
    ],
    ids=str,
)
def test_a_type_in_words(annotation: Any, words: str) -> None:
    assert hooks().type_words(annotation) == words


def test_the_messages_of_troubleshooting_are_in_the_code() -> None:
    """The text of every message that facelab itself prints; MLflow's, torch's and the system's are not in the code."""
    code = " ".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    code = re.sub(r'"\s*\n\s*f?"', "", code)
    others = ("database is locked", "Address already in use", "database or disk is full", "No space left", "train.py")
    for line in (DOCS / "troubleshooting.md").read_text(encoding="utf-8").splitlines():
        for message in re.findall(r"`([^`]+)`", line.split(" | ")[0]) if line.startswith("| `") else ():
            for piece in re.split(r"\.\.\.|\w+://|<[^>]+>|mlflow\.db|['()=:0-9]", message):
                if len(piece.strip()) > 8 and not any(other in message for other in others):
                    assert piece.strip() in code, message


def test_the_runs_that_saw_a_person_are_found_as_the_page_on_privacy_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for run, people in {"one": ["ada", "bo"], "two": ["bo"], "downloaded/three": ["ada"]}.items():
        (tmp_path / "runs" / run).mkdir(parents=True)
        pd.DataFrame({"identity": people}).to_parquet(tmp_path / "runs" / run / "images.parquet")
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "privacy.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(block, "privacy.md", "exec"), {})
    assert sorted(capsys.readouterr().out.split()) == ["one", "three"]


def test_statistics_are_off_as_the_page_on_privacy_says() -> None:
    from mlflow.environment_variables import MLFLOW_DISABLE_TELEMETRY

    assert MLFLOW_DISABLE_TELEMETRY.get()
    assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert target.startswith("https://") or (ROOT / target.partition("#")[0]).exists(), target


def test_the_readme_is_short_and_has_three_pictures() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    assert len(re.findall(r"!\[", text)) == 3


def _build_site(folder: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """As `make docs` does."""
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(build, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = _build_site(ROOT, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 50
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|link|iframe|source)\b[^>]*?(?:src|href)=\"?((?:https?:)?//[^\" >]+)", text)
        assert not loaded, f"{page.name} loads {loaded}"
        links = re.findall(r"(?:src|href)=\"?(?![a-z]+:|/|#)([^\"> #?]+)", text)
        missing = [link for link in links if not (page.parent / unquote(link)).exists()]
        assert page.name == "404.html" or not missing, f"{page.relative_to(tmp_path)} leads to {missing}"


@pytest.mark.slow
def test_a_broken_link_stops_the_site(tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    without = shutil.ignore_patterns(".*", "runs", "site", "mlruns", "*.db")
    shutil.copytree(ROOT, copied, ignore=without)
    with (copied / "docs" / "index.md").open("a", encoding="utf-8") as page:
        page.write("\n[nowhere](nowhere.md)\n")
    done = _build_site(copied, tmp_path / "site")
    assert done.returncode != 0
    assert "nowhere.md" in done.stdout + done.stderr
