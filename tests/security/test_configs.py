"""A config, a run's folder or a store cannot run code, write files or read what is not theirs."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from facelab.config.build import build, resolve_target
from facelab.errors import ConfigError, TrackingError
from facelab.models.trained import load
from facelab.tracking import SqliteStore, TrackedRun
from facelab.tracking.spool import Spool
from tests.conftest import TINY_CNN, Command

HELPERS = (
    "pytorch_lightning.cli.instantiate_class",
    "pytorch_lightning.core.saving.save_hparams_to_yaml",
    "torch.nn.utils.parametrize.type_before_parametrizations",
    "torch.nn.init.xavier_uniform_",
    "albumentations.core.serialization.load",
    "albumentations.core.serialization.save",
    "torch.hub.load",
    "os.system",
    "facelab.config.build.os.system",
    "facelab.config.build.importlib.import_module",
    "facelab.models.trained.load",
    "facelab.runs.run.train",
    "facelab.data.source.package_folder",
)


@pytest.mark.parametrize("target", HELPERS)
def test_a_config_builds_components_only(target: str) -> None:
    with pytest.raises(ConfigError):
        resolve_target(target)
    with pytest.raises(ConfigError):
        build({"augment": {"transforms": [{"_target_": target, "path": "x"}]}})


@pytest.mark.parametrize("key", ["_args_", "_convert_", "_recursive_"])
def test_hydras_other_keys_of_a_node_are_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        build({"tracking": {"_target_": "facelab.tracking.SqliteStore", key: []}})


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("model.encoder._target_=facelab.losses.cross_entropy", "model.encoder"),
        ("model.optimizer._target_=torch.nn.ReLU", "model.optimizer"),
        ("model.loss._target_=facelab.models.Recipe", "model.loss"),
        ("tracking._target_=facelab.data.ORL", "tracking"),
    ],
)
def test_a_slot_takes_what_its_annotation_says(facelab: Command, override: str, key: str) -> None:
    outcome = facelab("train", *TINY_CNN, override)
    assert outcome.status == 2
    assert key in outcome.error


def _own_config(folder: Path, text: str) -> None:
    (folder / "experiments" / "own").mkdir(parents=True)
    (folder / "experiments" / "own" / "study.yaml").write_text(f"# @package _global_\n{text}")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("hydra:\n  callbacks:\n    a:\n      _target_: hydra.experimental.callback.Callback\n", "hydra.callbacks"),
        ("hydra:\n  job:\n    env_set:\n      MARK: '1'\n", "hydra.job.env_set"),
        ("hydra:\n  run:\n    dir: elsewhere\n", "hydra.run.dir"),
        ("hydra:\n  output_subdir: written\n", "hydra.output_subdir"),
        (
            "hydra:\n  job_logging:\n    version: 1\n    handlers:\n      a:\n        class: logging.FileHandler\n"
            "        filename: written\n",
            "hydra.job_logging",
        ),
        ("hydra:\n  launcher:\n    _target_: os.system\n", "hydra.launcher._target_"),
    ],
)
def test_hydras_own_section_is_fixed(facelab: Command, tmp_path: Path, text: str, key: str) -> None:
    _own_config(tmp_path, text)
    outcome = facelab("train", "+own=study", *TINY_CNN)
    assert outcome.status == 2
    assert key in outcome.error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["experiments"], "nothing was written"


def test_a_config_does_not_read_the_environment(
    facelab: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hidden-value")
    _own_config(tmp_path, "name: ${oc.env:SECRET_TOKEN}\n")
    outcome = facelab("train", "+own=study", *TINY_CNN)
    assert outcome.status == 2
    assert "name: ${oc.env:" in outcome.error
    assert "hidden-value" not in outcome.error + outcome.out
    assert not (tmp_path / "runs").exists()


def test_a_runs_folder_cannot_build_helpers(tmp_path: Path, trained: Path) -> None:
    config: dict[str, Any] = yaml.safe_load((trained / "config.yaml").read_text())
    config["model"]["encoder"]["_target_"] = "torch.hub.load"
    (trained / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match=r"torch\.hub\.load"):
        load(trained)


@pytest.fixture
def trained(facelab: Command, tmp_path: Path, experiment: tuple[str, str]) -> Path:
    """The folder of a finished run."""
    outcome = facelab("train", *TINY_CNN, *experiment)
    assert outcome.status == 0, outcome.error
    return next((tmp_path / "runs").glob("*/config.yaml")).parent


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/hostname", "link"])
def test_a_spool_uploads_files_of_its_own_folder_only(tmp_path: Path, store_folder: Path, name: str) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    run = TrackedRun.create(SqliteStore(str(store_folder), "spools"), "name", {}, tmp_path / "runs", {})
    (run.folder / "link").symlink_to(tmp_path / "secret.txt")
    Spool(run.folder).add({"artifact": name})
    with pytest.raises(TrackingError, match="outside the run's folder"):
        run.deliver(SqliteStore(str(store_folder), "spools").open()[0])


def test_sync_does_not_send_to_a_server_that_only_the_folder_names(facelab: Command, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / ("a" * 32)
    folder.mkdir(parents=True)
    spool = Spool(folder)
    spool.add({"run": "a" * 32, "uri": "http://127.0.0.1:9", "name": "theirs"})
    spool.add({"tag": "a", "value": "b"})
    outcome = facelab("sync")
    assert outcome.status != 0
    assert "facelab sync uri=http://127.0.0.1:9" in outcome.error
