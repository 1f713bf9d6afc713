"""Runs that several files of this folder use."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import TINY, TINY_CNN
from tests.runs.synthetic import GAN, train_run


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, store_folder: Path) -> Sequence[str]:
    """One runs folder and experiment for the files about synthetic faces."""
    folder = tmp_path_factory.mktemp("synthetic")
    (folder / "runs").mkdir()
    store = (f"tracking.folder={store_folder}", "tracking.experiment=synthetic")
    return f"runtime.runs_folder={folder / 'runs'}", *store


@pytest.fixture(scope="session")
def generator(place: Sequence[str]) -> Path:
    """The run of a conditional GAN on six people."""
    return train_run(place, "model=gan_conditional", "protocol=classification", *TINY, *GAN)


@pytest.fixture(scope="session")
def plain(place: Sequence[str]) -> Path:
    """The run of a CNN on real faces alone."""
    return train_run(place, *TINY_CNN)
