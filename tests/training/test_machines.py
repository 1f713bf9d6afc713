"""Machines people have: little shared memory, a long TMPDIR, a terminal that takes ASCII only."""

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import default_collate

from facelab.data.augment import Augmentation
from facelab.data.faces import FaceSet
from facelab.data.module import FaceDataModule, FaceDataset
from facelab.data.order import ByImage
from facelab.data.sampler import EndlessBatchSampler
from facelab.data.sources.orl import ORL
from facelab.data.splits.base import split
from facelab.data.splits.rules import FewShot
from facelab.system import cores, duration, print_anything, short_temporary_folder
from facelab.training.trainer import TrainerSettings
from tests.conftest import ROOT, TINY, TINY_CNN, Command

MAY_MOUNT = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0

# Three batches of 256 KiB with two workers, and the process that a sweep's jobs are forked from.
PROGRAM = """
from facelab.data.augment import Augmentation
from facelab.data.module import FaceDataModule
from facelab.data.order import ByImage
from facelab.data.sources.orl import ORL
from facelab.data.sources.orl import ORL
from facelab.data.splits.base import split
from facelab.data.splits.rules import FewShot
from facelab.sweep.local import Processes
orl = ORL(image_size=64).load()
splits = split(orl, FewShot(train_per_identity=1))
data = FaceDataModule(orl, splits, Augmentation([]), ByImage(splits.train, 64, 1), 192, 1, workers=2)
print(sum(int(batch["image"].long().sum()) for batch in data.train_dataloader()))
{then}
"""
SWEEP = "with Processes(1): print('ready')"


def _program(shared_memory: str, then: str, temporary: Path) -> subprocess.CompletedProcess[str]:
    """Run it with a /dev/shm and a TMPDIR of its own."""
    program = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o {shared_memory} tmpfs /dev/shm && exec "$@"', "sh"]
    return subprocess.run(
        [*program, sys.executable, "-c", PROGRAM.format(then=then)],
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": f"{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.skipif(not MAY_MOUNT, reason="needs to mount a /dev/shm of its own: root on Linux")
def test_workers_need_neither_shared_memory_nor_a_short_tmpdir(tmp_path: Path) -> None:
    orl = ORL(image_size=64).load()
    splits = split(orl, FewShot(train_per_identity=1))
    data = FaceDataModule(orl, splits, Augmentation([]), ByImage(splits.train, 64, 1), 192, 1, workers=0)
    expected = sum(int(batch["image"].long().sum()) for batch in data.train_dataloader())
    temporary = tmp_path / ("a" * 120)
    temporary.mkdir()
    little = _program("size=64k", SWEEP, temporary)
    assert little.stdout.split() == [str(expected), "ready"], little.stderr
    none = _program("ro", "", temporary)
    assert none.stdout.split() == [str(expected)], none.stderr
    assert "runtime.workers=0" in none.stderr
    assert "/dev/shm" in none.stderr


def test_batches_are_those_of_torchs_own_collation(orl: FaceSet) -> None:
    splits = split(orl, FewShot(train_per_identity=1))
    ours = FaceDataModule(
        orl, splits, Augmentation([]), ByImage(splits.train, 24, 1), 48, 1, workers=2, with_originals=True
    )
    dataset = FaceDataset(orl, Augmentation([]), 1, with_originals=True)
    draws = EndlessBatchSampler(ours.order, 48)
    for batch, chosen in zip(ours.train_dataloader(), draws, strict=True):
        torch.testing.assert_close(batch, default_collate([dataset[draw] for draw in chosen]), rtol=0, atol=0)
        batch["image"].add_(1)  # the model may write to them


def test_sockets_get_a_folder_that_fits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = str(tmp_path / ("a" * 120))
    monkeypatch.setattr(tempfile, "tempdir", long)
    with short_temporary_folder():
        assert len(tempfile.gettempdir()) < 60
    assert tempfile.gettempdir() == long
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    with short_temporary_folder():
        assert tempfile.gettempdir() == "/tmp"


def test_any_text_can_be_printed_in_any_encoding() -> None:
    for encoding, expected in (("ascii", "cnn - k=5 +- \\u738b\n"), ("latin-1", "cnn · k=5 ± \\u738b\n")):
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding=encoding)
        print_anything(stream)
        print("cnn · k=5 ± 王", file=stream, flush=True)
        assert raw.getvalue().decode(encoding) == expected


def test_names_that_are_markup_are_printed_as_they_are_also_in_ascii(
    facelab: Command, experiment: tuple[str, str], orl: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for person, name in enumerate(("[nope]", "[red]", ":smile: ·")):
        (tmp_path / "faces" / name).mkdir(parents=True)
        for number in range(10):
            image = Image.fromarray(orl.pixels[10 * person + number][..., 0])
            image.save(tmp_path / "faces" / name / f"{number}.png")
    raw = io.BytesIO()
    ascii_only = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", ascii_only)
    monkeypatch.setattr(sys, "stderr", ascii_only)

    def printed(*arguments: str) -> tuple[int, str]:
        raw.truncate(raw.seek(0))
        status = facelab(*arguments).status
        return status, raw.getvalue().decode("ascii")

    tiny = [override for override in TINY_CNN if not override.startswith("data.")]
    data = ("data=folder", f"data.root={tmp_path / 'faces'}", "data.image_size=32", "data.channels=1")
    status, text = printed("train", *tiny, *data, *experiment, r"name='[/nope] · :smile:'")
    assert status == 0, text
    assert "[/nope] - :smile:" in text
    assert "accuracy" in text
    (run_id,) = re.findall(r"run +([0-9a-f]{32})", text)
    where = experiment
    for command in (("runs", *where), ("compare", *where, f"runs=[{run_id}]"), ("sync",)):
        status, text = printed(*command)
        assert status == 0, text
        assert "[/nope] - :smile:" in text or command == ("sync",)
    status, text = printed("best", *where, r"sweep='[/nope] ·'")
    assert status == 2
    assert "[/nope] -" in text


@pytest.mark.parametrize("model", ["cnn", "cnn_classic", "autoencoder", "vae", "gan", "diffusion"])
def test_a_step_of_one_image_is_refused_for_every_family(
    facelab: Command, experiment: tuple[str, str], model: str
) -> None:
    outcome = facelab("train", f"model={model}", *TINY, *experiment, "model.recipe.batch_size=1")
    assert outcome.status == 2
    assert "model.recipe.batch_size=1" in outcome.error
    assert "model.recipe.batch_size=2" in outcome.error


def test_facts_of_the_machine_have_one_definition() -> None:
    assert cores() == len(os.sched_getaffinity(0))
    assert [duration(seconds) for seconds in (0.9, 61, 3723)] == ["0:00", "1:01", "1:02:03"]
    for path in (ROOT / "src").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name != "system.py":
            assert not re.search(r"sched_getaffinity|cpu_count|(?<!make_)(?<!\w)Console\(|divmod\(.*60\)", text), path


def test_a_trainer_lets_cudnn_use_repeatable_algorithms_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    TrainerSettings(accelerator="cpu", precision="32-true").make([], 1, has_validation=False)
    assert torch.backends.cudnn.deterministic
