"""A sweep that goes on with runs whose folders somebody has changed does not run what they name."""

from pathlib import Path

import pytest
import yaml

from tests.conftest import Command
from tests.sweep.test_sweep import FAULTY, faulty

__all__ = ["faulty"]


def test_tracking_in_a_runs_folder_is_judged_before_it_is_built(
    facelab: Command, experiment: tuple[str, str], faulty: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = ("train", "-m", *FAULTY, *experiment, "data.how=once", "data.number=1,2")
    assert facelab(*sweep).status == 1
    marker = tmp_path / "marker"
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "hubconf.py").write_text(f"open({str(marker)!r}, 'w')\ndef model(): ...\n")
    command = {"class_path": "os.system", "init_args": {"command": f"touch {marker}"}}
    prepared: list[dict[str, object]] = [
        {"_target_": "torch.hub.load", "repo_or_dir": str(tmp_path / "hub"), "model": "model", "source": "local"},
        {"_target_": "pytorch_lightning.cli.instantiate_class", "args": [], "init": command},
    ]
    # Before the two runs began, so did the sweep's own, whose folder has no config.
    files = sorted((tmp_path / "runs").glob("*/config.yaml"))
    for file, tracking in zip(files, prepared, strict=True):
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "tracking": tracking}))
    (tmp_path / "mended").touch()
    outcome = facelab(*sweep)
    assert outcome.status == 1
    assert "2 of 2 jobs failed" in outcome.error
    for tracking in prepared:
        assert str(tracking["_target_"]) in outcome.error
    assert not marker.exists()
