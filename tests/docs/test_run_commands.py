"""The commands of README and docs, run for real: as they stand, but on small images for a moment.

They run in the order of the list in one folder, as a reader would go through the pages: sweeps before their comparison.
"""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from facelab import cli
from tests.conftest import ROOT, TINY_REFERENCE_MODELS
from tests.data.made import make_folder
from tests.docs.pages import Command, commands, files
from tests.docs.test_commands import ANY, OTHERS, WRONG

pytestmark = pytest.mark.slow

# Need hardware, a server, a set that is not public, an interrupted run, or minutes; with the tests that run the like.
ELSEWHERE = {
    "trainer=gpu": "tests/training/test_machines.py",
    "executor=slurm": "tests/slurm/sweeps.py",
    "tracking=server": "tests/tracking/test_tracking.py",
    "tracking=team": "tests/tracking/test_tracking.py",
    "resume=": "tests/runs/test_resume.py",
    "init_from=": "tests/runs/test_transfer.py",
    "synthetic.run=": "tests/runs/test_synthetic.py",
    "TimmEncoder": "tests/nets/test_timm_encoder.py",
    "pairs": "tests/data/test_pair_list.py",
    "ijbc": "tests/protocols/test_templates.py",
    "facelab demo": "tests/demo/test_demo.py",
    "facelab enroll": "tests/commands/test_gallery.py",
    "facelab identify": "tests/commands/test_gallery.py",
    "facelab gallery": "tests/commands/test_gallery.py",
    "facelab export": "tests/exporting/test_files.py",
    "mlflow models serve": "tests/exporting/test_http.py",
    "curl ": "tests/exporting/test_http.py",
    "+face_sets": "tests/experiments/test_tables.py",
    "+expression": "tests/experiments/test_expression.py",
    "+lfw_identification": "tests/test_conf.py",
    "+unseen_people": "tests/test_conf.py",
    "data=pattern": "tests/data/test_pattern.py",
    "+few_shot=study": "tests/studies/test_registered_sweep.py",
    "study=few_shot": "tests/studies/test_studies.py",
    "mlflow server": "tests/conftest.py",
    "mlflow db": "tests/tracking/test_faults.py",
    "mlflow runs restore": "tests/tracking/test_faults.py",
    "experiments/": "tests/experiments/test_tables.py",
    "docs/tables.py": "tests/docs/test_tables.py",
    "pytest ": "tests/docs/test_commands.py",
    "make ": "tests/docs/test_commands.py",
    "pip ": "tests/docs/test_commands.py",
}
SMALL = (
    "data.image_size=32",
    "trainer.threads=1",
    "trainer.validations=2",
    "runtime.workers=0",
    "model.recipe.batch_size=16",
    "model.recipe.max_images=32",
)
_GENERATOR = ("protocol=classification", "trainer=cpu", "model.recipe.batch_size=16", "model.recipe.max_images=32")
WITHOUT_RECIPE = re.compile("eigenfaces|fisherfaces|linear_svm|pixels")
# What makes a command smaller, by a pattern of its text.
SMALLER = {
    r"^(?!.*(trainer=|--)).*train.py": ["trainer=cpu"],
    r"^(?!.*(identity_disjoint|data=|--)).*train.py": ["data.last_person=6"],
    r"^(?!.*protocol=(?!generation)).*(gan|vae|diffusion)": TINY_REFERENCE_MODELS,
    r"synthetic=gan_transfer": [f"synthetic.generator={['model=gan_transfer', 'split=few_shot', *_GENERATOR]}"],
    r"synthetic=(gan_conditional|mixed)": [f"synthetic.generator={['model=gan_conditional', *_GENERATOR]}"],
    r"synthetic=autoencoder": [f"synthetic.generator={['model=autoencoder', *_GENERATOR]}"],
    r"selection=recogniser": [f"synthetic.recogniser={['model=cnn', *_GENERATOR]}"],
    r"\+few_shot": ["split.seed=0,1"],
    r"search=": ["search.trials=2"],
    r"identity_disjoint.*data=|data=.*identity_disjoint|train_people=\d+ protocol.*MANY": ["split.train_people=8"],
    r"val_people=\d{3}": ["split.val_people=4"],
    r"column=gender": ["split.train=0.5", "split.val=0", "split.test=0.5"],
    r"min_images_per_identity": ["data.min_images_per_identity=2"],
    r"\+tutorial|mine=first": ["name=small"],
}


# Of facelab, beside train.py; others serve a page, or need files that their own tests make.
HERE = {"check", "align", "evaluate", "generate", "compare", "best", "runs"}


def _as_in_a_checkout(command: Command) -> Command:
    """`facelab train` is the same as `python train.py`; tests/test_extending.py runs that of its page."""
    if command.page == "extending.md":
        return command
    return replace(command, text=re.sub("^facelab train ", "python train.py ", command.text))


def _runs_here(command: Command) -> bool:
    program, name, *_ = command.words(ANY)
    if program == "facelab" and name not in HERE:
        return False
    known = command.text in (OTHERS | set(WRONG)) or command.answer or len(command.text.split()) == 2
    return not known and not any(words in command.text for words in ELSEWHERE)


def _order(command: Command) -> tuple[int, int]:
    """Trainings first, then sweeps, then what reads them; deleting last."""
    text = command.text
    kind = 3 if text.startswith("mlflow") else 2 if not text.startswith("python train.py") else 0
    return (kind, 1 if text.endswith("=best") or "+rates" in text else 0)


COMMANDS = sorted([*filter(_runs_here, map(_as_in_a_checkout, commands()))], key=_order)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The reader's folder, which is also the home folder, with faces of every kind that the pages name."""
    folder = tmp_path_factory.mktemp("reader")
    _write_faces(folder)
    explained = (ROOT / "experiments" / "tutorial" / "explained.yaml").read_text(encoding="utf-8")
    for name, text in {**files(), "experiments/mine/first.yaml": explained}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    torch.save({"weight": torch.zeros(2)}, folder / "backbone.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HOME", str(folder))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        yield folder


def _write_faces(folder: Path) -> None:
    lines = ["path,identity,expression,gender"]
    for path in sorted(make_folder(folder / "faces", people=20, pictures=6).glob("*/*.png")):
        person, number = path.parent.name, int(path.stem)
        lines.append(f"{path.relative_to(folder)},{person},{('happy', 'sad')[number % 2]},{int(person[6:]) % 2}")
        word = ("happy", "sad", "sleepy", "surprised", "wink", "normal")[number]
        copies = {
            folder / "lfw" / person / f"{person}_{number + 1:04d}.png",
            folder / "yale" / f"subject{int(person[6:]):02d}" / f"subject{int(person[6:]):02d}.{word}.png",
            folder / "photos" / f"{person}_{number}.png",
        }
        for copy in copies if number < 6 else ():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    (folder / "faces.csv").write_text("\n".join(lines), encoding="utf-8")
    for name, of in {"LFW": "lfw", "MANY": "faces"}.items():
        (folder / name).symlink_to(folder / of)


@pytest.fixture(scope="module")
def run_of(folder: Path) -> Callable[[str], str]:
    """The id of a finished run of a model, on all people; trained when it is first asked for."""

    @cache
    def trained(model: str) -> str:
        assert _call("train", f"model={model}", "trainer=cpu", *SMALL, *TINY_REFERENCE_MODELS) == 0
        return max((folder / "runs").glob("*/metrics.json"), key=lambda path: path.stat().st_mtime).parent.name

    return trained


def _call(*words: str) -> int:
    GlobalHydra.instance().clear()
    return cli.main(words)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: f"{command.page}: {command.text[:60]}")
def test_a_command_of_the_pages_runs(
    command: Command, folder: Path, run_of: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = command.text
    ids = {}
    if re.search(r"<[^>]*\bid\b", text):
        model = (
            "gan_conditional"
            if re.search("label=3|per_identity", text)
            else "gan"
            if re.search("facelab generate|protocol=generation", text)
            else "cnn"
        )
        ids["run id"] = run_of(model)
    if "<evaluation id>" in text or text.count("<id>") > 1:
        ids |= {"evaluation id": run_of("vae"), "id": "SEVERAL"}
    program, *words = command.words({**ANY, "name": "rates", "folder": "photos", **ids})
    words = [word.replace("range(10)", "range(2)") for word in (words[: words.index("|")] if "|" in words else words)]
    if "id" in ids:
        words = [re.sub("SEVERAL(,SEVERAL)+", f"{run_of('cnn')},{run_of('vae')}", word) for word in words]
    if program == "mlflow":
        subprocess.run([sys.executable, "-m", "mlflow", *words], check=True, cwd=folder, timeout=300)
    elif words[0] == "-c":
        exec(compile(words[1], "-c", "exec"), {})
    elif program == "facelab":
        _run_facelab(words)
    else:
        small = [] if {"--help", "--cfg"} & set(words) else [*SMALL]
        small += [key for pattern, keys in SMALLER.items() if small and re.search(pattern, text) for key in keys]
        small = [key for key in small if "recipe" not in key or not WITHOUT_RECIPE.search(text)]
        assert _call("train", *words[1:], *small) == 0, capsys.readouterr().err


def _run_facelab(words: list[str]) -> None:
    """Run a command that writes into a folder with a new one, and an evaluation on people whom the run has seen."""
    if words[0] in ("generate", "align"):
        words = [word for word in words if not word.startswith(("out=", "n="))]
        words.append(f"out=out{len([*Path.cwd().iterdir()])}")
    if words[0] == "generate":
        words.append("n=4")
    if words[0] == "evaluate":
        words = [*(word for word in words if not word.startswith("seen=")), "seen=allow", "trainer=cpu"]
        words += TINY_REFERENCE_MODELS if "protocol=generation" in words else []
    assert _call(*words) == 0


def test_the_python_code_embeds_faces_with_a_finished_run(folder: Path, run_of: Callable[[str], str]) -> None:
    page = (ROOT / "docs" / "evaluate.md").read_text(encoding="utf-8")
    code = page[page.index("## From Python") :].split("```")[1].removeprefix("python\n")
    names: dict[str, Any] = {}
    exec(compile(code.replace("<run id>", run_of("cnn")), "evaluate.md", "exec"), names)
    assert names["embeddings"].shape[0] == 20
    assert names["embeddings"].dtype == np.float32


def test_every_command_has_a_place() -> None:
    """Each command runs here, or a test that is named runs the like, or it is a mention or of the system."""
    assert all((ROOT / test).is_file() for test in ELSEWHERE.values())
    assert len(COMMANDS) > 80
