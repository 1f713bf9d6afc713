from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo.made import Served, make_run, served, subject_of


@pytest.fixture(scope="session")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="session")
def cnn_folder(runs_folder: Path) -> Path:
    return make_run(runs_folder, "cnn")


@pytest.fixture(scope="session")
def gan_folder(runs_folder: Path) -> Path:
    return make_run(runs_folder, "gan_conditional")


@pytest.fixture(scope="session")
def cnn(cnn_folder: Path) -> Iterator[Served]:
    """A demo of a CNN."""
    with served(subject_of(cnn_folder)) as found:
        yield found


@pytest.fixture(scope="session")
def vae(runs_folder: Path) -> Iterator[Served]:
    """A demo of a variational autoencoder, which reconstructs and generates."""
    with served(subject_of(make_run(runs_folder, "vae"))) as found:
        yield found


@pytest.fixture(scope="session")
def gan(gan_folder: Path) -> Iterator[Served]:
    """A demo of a conditional GAN of six people."""
    with served(subject_of(gan_folder)) as found:
        yield found
