"""Shared fixtures: real AT&T faces, a real MLflow store, the real command line.

FACELAB_TEST_DATA in the environment may name a folder with further face sets, such as lfw/PERSON/PERSON_0001.jpg; tests
that need them are skipped without it.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from mlflow import MlflowClient
from mlflow.entities import Run

from facelab import cli
from facelab.data.faces import FaceSet
from facelab.data.sources.orl import ORL

ROOT = Path(__file__).parents[1]
# Files that take more than half a minute.
LONGEST = (
    "test_conf.py",
    "test_sweep.py",
    "test_interrupted.py",
    "test_resume.py",
    "test_run.py",
    "test_searching.py",
    "test_families.py",
    "test_distributed.py",
)

# A recogniser of six people that trains in a moment.
TINY = (
    "data.last_person=6",
    "data.image_size=32",
    "trainer=cpu",
    "trainer.threads=1",
    "trainer.validations=2",
    "runtime.workers=0",
)
# The runs that judge a generative model's faces, as small.
_NEEDED = "'model=cnn','trainer=cpu','trainer.threads=1','model.encoder.widths=[8,16]','model.recipe.batch_size=16'"
TINY_REFERENCE_MODELS = (
    "protocol.generation.samples=20",
    f"protocol.generation.embedder=[{_NEEDED},'model.recipe.max_images=32']",
    f"protocol.generation.label_classifier=[{_NEEDED},'model.recipe.max_images=32']",
    f"protocol.generation.face_classifier=[{_NEEDED},'data=face_nonface','data.image_size=32','model.recipe.max_images=32']",
)
TINY_CNN = (*TINY, "model.encoder.widths=[8,16]", "model.recipe.batch_size=16", "model.recipe.max_images=160")
TINY_GAN = (
    *TINY,
    *TINY_REFERENCE_MODELS,
    "model.latent_dim=4",
    "model.generator.widths=[16,8]",
    "model.discriminator.widths=[8,16]",
    "model.recipe.batch_size=16",
    "model.recipe.max_images=160",
)


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    status: int
    out: str
    error: str


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, so that parallel workers end at about the same time."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_started: list[tuple[Path, subprocess.Popen[str]]] = []  # by the current test


def start(folder: Path, *overrides: str, before: str = "") -> subprocess.Popen[str]:
    """Start `train.py` in a folder; configs may name classes of these tests. Killed at the end of the test.

    Args:
        folder: to work in.
        overrides: of the config.
        before: Python statements to be executed in the process first.
    """
    path = str(ROOT / "train.py")
    script = ["-c", f"import runpy; {before}; runpy.run_path({path!r}, run_name='__main__')"] if before else [path]
    process = subprocess.Popen(
        [sys.executable, *script, *overrides],
        cwd=folder,
        env={**os.environ, "FACELAB_ALLOW": "tests", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    _started.append((folder, process))
    return process


def kill_all(folder: Path, process: subprocess.Popen[str]) -> None:
    """Kill a process with its group, its children, and all processes that work in its folder.

    The jobs of a sweep lead groups of their own, and outlive the sweep for a moment. This process may work there too,
    with helpers of `multiprocessing` that it needs again.
    """

    def works_there(other: psutil.Process) -> bool:
        place = other.info["cwd"]  # None if it is another user's, or gone
        is_own = os.getpid() in (other.pid, other.info["ppid"])
        return not is_own and place is not None and Path(place).is_relative_to(folder.resolve())

    found = [other for other in psutil.process_iter(["cwd", "ppid"]) if works_there(other)]
    with suppress(psutil.NoSuchProcess):
        found += psutil.Process(process.pid).children(recursive=True)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for other in found:
        with suppress(psutil.NoSuchProcess):
            other.kill()
    psutil.wait_procs(found, timeout=30)
    process.wait(30)
    if process.stdout is not None:
        process.stdout.close()


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """Kill what the test has started: a sweep that goes on would starve all later tests."""
    yield
    while _started:
        kill_all(*_started.pop())


def wait_for_checkpoint(folder: Path, process: subprocess.Popen[str], after: int = 0) -> Path:
    """The folder of the run, as soon as it has a checkpoint of more than so many images."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        for path in folder.glob("runs/*/checkpoints/*.ckpt"):
            if int(path.stem.partition("=")[2]) > after:
                return path.parents[1]
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    raise AssertionError("no checkpoint in 90 s")


@contextmanager
def server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """An MLflow server that keeps its runs in a folder; killed at the end, whatever it is doing."""
    place = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    kept = ["--backend-store-uri", f"sqlite:///{folder / 'db.sqlite'}", "--artifacts-destination", str(folder / "a")]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *place, *kept],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "the server does not start"
                time.sleep(0.3)
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


Command = Callable[..., Outcome]


@pytest.fixture
def facelab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Call `facelab <arguments>` in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Outcome:
        GlobalHydra.instance().clear()
        capsys.readouterr()
        status = cli.main(arguments)
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sqlite store for the whole session: making its tables takes seconds."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def experiment(store_folder: Path, request: pytest.FixtureRequest) -> tuple[str, str]:
    """Overrides that record into the session's store, under an experiment of this test's own."""
    name = request.node.name.replace("[", "-").replace("]", "").replace("=", "-").replace(",", "-")
    return f"tracking.folder={store_folder}", f"tracking.experiment='{name}'"


@pytest.fixture
def runs(store_folder: Path, experiment: tuple[str, str]) -> Callable[[], list[Run]]:
    """The runs this test has recorded, newest first."""

    def find() -> list[Run]:
        client = MlflowClient(f"sqlite:///{store_folder / 'mlflow.db'}")
        found = client.get_experiment_by_name(experiment[1].partition("=")[2].strip("'"))
        return list(client.search_runs([found.experiment_id])) if found else []

    return find


@pytest.fixture
def client(store_folder: Path) -> MlflowClient:
    """On the session's store."""
    return MlflowClient(f"sqlite:///{store_folder / 'mlflow.db'}")


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded pictures of the tests are not kept in the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def orl() -> FaceSet:
    """All AT&T faces at 32 x 32."""
    return ORL(image_size=32).load()


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """Path of a real set, such as `lfw`, in the folder that FACELAB_TEST_DATA names; skips where it is absent."""

    def find(name: str) -> Path:
        folder = os.environ.get("FACELAB_TEST_DATA", "")
        if not folder or not (Path(folder) / name).exists():
            pytest.skip(f"needs {name} in the folder FACELAB_TEST_DATA")
        return Path(folder) / name

    return find


@pytest.fixture(scope="session")
def lfw(real_data: Callable[[str], Path]) -> Path:
    """The folder of Labeled Faces in the Wild, a folder per person."""
    return real_data("lfw")


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Give every test the threads it began with."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
