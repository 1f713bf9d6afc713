"""The command line as a person meets it: help, and one clear message for whatever is wrong."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from facelab import cli
from tests.conftest import TINY_CNN, Command, free_port

ROOT = Path(__file__).parents[1]
_EMBEDDER, _CLASSIFIER = "protocol.generation.embedder=", "protocol.generation.face_classifier="


def test_help_lists_every_choice_without_heavy_imports() -> None:
    program = (
        "import sys; from facelab.cli import main; status = main(['train', '--help']); "
        "heavy = {'torch', 'mlflow', 'albumentations', 'pytorch_lightning', 'sklearn'} & set(sys.modules); "
        "print('HEAVY', sorted(heavy)); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    for group in (ROOT / "conf").iterdir():
        if group.is_dir() and group.name != "hydra":
            choices = ", ".join(sorted(path.stem for path in group.glob("*.yaml")))
            assert f"{group.name}: {choices}" in done.stdout
    assert "few_shot: study, sweep" in done.stdout
    assert "HEAVY []" in done.stdout


def test_messages_name_the_command_that_was_typed(facelab: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert "facelab train -m sweep" in facelab("train", "sweep.jobs=2").error
    GlobalHydra.instance().clear()
    assert cli.train(["sweep.jobs=2"]) == 2
    assert "python train.py -m sweep" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["compare", "sweep=x"], ["compare", "runs=[abc]"], ["best", "sweep=x"], ["runs"]])
def test_a_missing_store_is_told_and_not_created(facelab: Command, tmp_path: Path, words: list[str]) -> None:
    outcome = facelab(*words)
    assert outcome.status == 2
    for text in ("tracking.folder", str(tmp_path), "mlflow.db", "facelab train"):
        assert text in outcome.error
    assert not [*tmp_path.iterdir()]


def test_train_py_prints_the_composed_config() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "model=cnn_classic", "--cfg", "job"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "facelab.nets.ClassicEncoder" in done.stdout


def test_commands_are_listed(facelab: Command) -> None:
    assert "facelab train" in facelab("--help").out
    outcome = facelab("trian")
    assert outcome.status == 2
    assert "no command 'trian'" in outcome.error


def test_errors_do_not_control_the_terminal(facelab: Command) -> None:
    outcome = facelab("gallery", "gallery='a\x1b[2J\x07\u202e'")
    assert outcome.status == 2
    assert "a\\x1b[2J\\x07\\u202e holds no gallery" in outcome.error
    outcome = facelab("a\x1b[2J")
    assert outcome.error.startswith("Error: there is no command 'a\\x1b[2J'.\n\nfacelab: train, track")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["modle=cnn"], ["modle: unknown key", "'model'"]),
        (["model=cn"], ["model=cn", "Did you mean 'cnn'?", "cnn_arcface, cnn_classic"]),
        (["model.optimizer.lrr=1"], ["model.optimizer.lrr", "Did you mean 'model.optimizer.lr'?"]),
        (["batch_size=8"], ["batch_size", "Did you mean 'model.recipe.batch_size'?"]),
        (["+experiment=typo"], ["experiment: unknown key", "+few_shot=sweep"]),
        (["few_shot=sweep"], ["few_shot: an experiment is added with +", "+few_shot=sweep"]),
        (["+model.recipe.batch_size=8"], ["model.recipe.batch_size: this key exists", "Leave out the +"]),
        (["+few_shot=swep"], ["+few_shot=swep", "+few_shot=sweep"]),
        (["data=folder", "data.root=~/x"], ["$HOME"]),
        (["seed=x"], ["seed: expected a valid integer, got 'x' (str)"]),
        (["data=folder"], ["data.root", "data.root=<value>"]),
        (["data=folder", "data.root=nowhere"], ["data.root", "nowhere", "is not a folder"]),
        (["data.first_person=3", "data.last_person=3"], ["at least two people"]),
        (["split.train=0.9"], ["split: train + val + test must be 1"]),
        (
            ["split=few_shot", "split.train_per_identity=10"],
            ["split.train_per_identity=10", "40 have 10", "'s1'", "needs 11"],
        ),
        (["split.train=0.98", "split.val=0.01", "split.test=0.01"], ["40 of 40 classes have too few", "'s1'"]),
        (["model.encoder.widths=[8,8,8,8,8,8,8]"], ["model: 7 blocks need", "data.image_size"]),
        (["model=cnn_arcface", "model.loss.margin_rad=4"], ["margin_rad must be in [0, pi/2], got 4"]),
        (["model=cnn_classic", "+model.loss.label_smoothing=2"], ["label_smoothing must be in [0, 1), got 2"]),
        (["model.encoder.embedding_dim=3000000000"], ["model:", "GiB", "embedding_dim"]),
        (["model.encoder.widths=[1000000]"], ["model:", "GiB", "widths"]),
        (["model.recipe.batch_size=100000000000"], ["model.recipe.batch_size", "65536"]),
        (["model.optimizer.lr=-1"], ["model.optimizer: Invalid learning rate"]),
        (["model=gan", "model.optimizers.generator.lr=-1"], ["model.optimizers.generator", "Invalid learning rate"]),
        (["model=gan", "data.image_size=50"], ["model: 4 widths", "multiples of 16, got 50 x 50", "data.image_size"]),
        (["model=autoencoder", "data.image_size=8"], ["model: ", "16 x 16", "8 x 8", "data.image_size"]),
        (["model=autoencoder", "model.latent_dim=0"], ["model.latent_dim: expected", "greater than or equal to 1"]),
        (["model=gan", "model.objective.augment.cutout=1.5"], ["model.objective.augment: cutout must be in [0, 1)"]),
        (["model=gan", "model.objective.penalty_every=0"], ["model.objective.penalty_every: expected"]),
        (
            ["model=gan", "model.objective.penalties.0.gama=2"],
            ["model.objective.penalties.0.gama", "Did you mean", "gamma"],
        ),
        (["model=gan", "protocol.generation.inception=nowhere.ts"], ["protocol.generation.inception", "nowhere.ts"]),
        (["model=gan", "protocol.generation.lfw=nowhere"], ["protocol.generation.lfw: there is no folder", "nowhere"]),
        (
            ["model=gan", "protocol=generation_same_people", "protocol.generation.lfw=lfw"],
            ["protocol.generation.lfw has no effect", "people=other"],
        ),
        (
            ["model=vae", "protocol.generation.embedder=['model=cm']"],
            ["protocol.generation.embedder: model=cm", "gan_conditional"],
        ),
        (["model=vae", "protocol.generation.embedder=['model=gan']"], ["protocol.generation.embedder", "generative"]),
        (
            ["model=gan", "protocol.generation.face_classifier=['model=vae']"],
            ["protocol.generation.face_classifier", "generative"],
        ),
        (["model=gan", "protocol.generation.face_classifier=['model=autoencoder']"], ["has no head"]),
        (
            ["model=gan", "protocol.generation.face_classifier=['model=cnn']"],
            ["expected data=face_spoilt_face", "got ORL"],
        ),
        (["model=gan", "protocol.generation.embedder=['seed=x']"], ["protocol.generation.embedder: seed: expected"]),
        (["split=identity_disjoint"], ["20 test classes", "'s21'", "protocol=verification"]),
        (["protocol=verification"], ["40 of 40", "split=identity_disjoint"]),
        (["split=identity_disjoint", "split.train_people=39"], ["split.train_people=39", "at most 38"]),
        (["model.recipe.length=null"], ["max_images, max_epochs and length are all null"]),
        (["augment.transforms=[{_target_:albumentations.Resize,height:8,width:8}]"], ["augment.transforms", "(8, 8"]),
        (["split=all"], ["split=all: every image is tested", "split=ratio"]),
        (["trainer.devices=3", "model.recipe.batch_size=16"], ["batch_size=16", "devices=3", "multiple"]),
        (["tracking=server", "tracking.uri=http://127.0.0.1:9"], ["tracking.uri", "127.0.0.1:9", "tracking=sqlite"]),
        (["tracking=server", "tracking.uri=nonsense"], ["tracking: uri must be an http"]),
        (["tracking=server", "tracking.uri=http://host:port"], ["tracking: uri must be an http", "http://host:port"]),
        (["tracking=server", "tracking.uri=http://host:99999"], ["tracking: uri must be an http", "http://host:99999"]),
        (["split.seed=4294967296"], ["split.seed", "4294967295", "4294967296"]),
        (["seed=2147483648"], ["seed", "2147483648"]),
        (["runtime.runs_folder=''"], ["runtime.runs_folder: expected a folder"]),
        (["runtime.runs_folder=/dev/null"], ["runtime.runs_folder", "/dev/null", "Choose another one"]),
        (["tracking.folder=/proc/none"], ["tracking.folder: ", "tracking.folder=<folder>"]),
        (["search=tpe"], ["search:", "facelab train -m search"]),
        (["sweep.jobs=2"], ["sweep:", "facelab train -m sweep"]),
        (["+few_shot=sweep", "hydra.mode=RUN", "sweep.name=a"], ["sweep:", "-m"]),
        (["~executor"], ["executor"]),
        (["-m", "seed=1,2", "model=cnn", "seed=3"], ["seed=1,2 and seed=3", "swept and fixed"]),
        (["-m", "resume=abc"], ["resume:", "remove -m"]),
        (["-m", "seed=1,2", "sweep.name='a/b'"], ["sweep", "letters, digits", "'a/b'"]),
        (
            ["-m", "model=vae,gan", "protocol.generation.embedder=['model=gan']"],
            ["protocol.generation.embedder", "generative"],
        ),
        (["-m", "seed=1,2", "model=cnn,cn"], ["model=cn", "Did you mean 'cnn'?"]),
        (["-m", "seed=1,x"], ["seed: expected a valid integer"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and "=" in value[-1] else "",
)
def test_bad_input_gives_one_clear_message_and_leaves_nothing(
    facelab: Command, tmp_path: Path, overrides: list[str], says: list[str]
) -> None:
    outcome = facelab("train", *overrides)
    assert outcome.status in (1, 2)
    assert outcome.error.startswith("Error: ")
    assert "Traceback" not in outcome.error
    for words in says:
        assert words in outcome.error
    assert not list(tmp_path.iterdir())


def test_a_password_in_the_servers_address_is_refused_and_not_repeated(facelab: Command, tmp_path: Path) -> None:
    outcome = facelab("train", "tracking=server", "tracking.uri=http://me:secret@127.0.0.1:9")
    assert outcome.status == 2
    assert "MLFLOW_TRACKING_PASSWORD" in outcome.error
    assert "secret" not in outcome.error
    assert not list(tmp_path.iterdir())


def test_a_length_that_a_limit_replaces_is_told(facelab: Command) -> None:
    stopped = ("tracking=server", "tracking.uri=http://127.0.0.1:9")
    limit, length = "model.recipe.max_images=640", "model.recipe.length.epochs=3"
    assert (
        "model.recipe.length has no effect, since model.recipe.max_images=640"
        in facelab("train", limit, length, *stopped).out
    )
    assert "has no effect" not in facelab("train", limit, *stopped).out


def test_gpu_is_refused_where_there_is_none(facelab: Command) -> None:
    import torch

    if torch.cuda.is_available():
        assert facelab("train", "trainer=gpu", *TINY_CNN[:-1], "trainer.devices=99").status == 2
    else:
        assert "0 CUDA devices" in facelab("train", "trainer=gpu").error


@pytest.mark.slow
@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGHUP])  # Ctrl-C, and a terminal that closes
def test_the_page_is_served_until_interrupted(
    facelab: Command, experiment: tuple[str, str], tmp_path: Path, ended_by: signal.Signals
) -> None:
    assert facelab("train", *TINY_CNN, *experiment, "model.recipe.max_images=16").status == 0
    port, program = free_port(), "from facelab.cli import main; raise SystemExit(main())"
    page = subprocess.Popen(
        [sys.executable, "-c", program, "ui", f"port={port}", experiment[0]],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline, status = time.monotonic() + 60, 0
    while status != 200 and time.monotonic() < deadline:
        try:
            status = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).status
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    os.killpg(page.pid, ended_by)
    output, _ = page.communicate(timeout=30)
    assert status == 200, output
    assert page.returncode == 0, output
    assert f"http://127.0.0.1:{port}" in output
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)


def test_a_page_of_no_store_is_refused_and_none_is_made(facelab: Command, tmp_path: Path) -> None:
    outcome = facelab("ui")
    assert outcome.status == 2
    assert f"there is no store in {tmp_path}" in outcome.error
    assert not list(tmp_path.iterdir())


def test_a_page_on_no_port_is_refused(facelab: Command) -> None:
    assert "port: expected" in facelab("ui", "port=0").error


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("resume abc", "facelab train resume=abc"),
        ("resume", "facelab train resume=<run id>"),
        ("sweep model=cnn,gan", "facelab train -m model=cnn,gan"),
        ("tran", "Did you mean 'train'?"),
        ("ls", "facelab runs"),
        ("model=cnn", "facelab train model=cnn"),
        ("few_shot=sweep", "facelab train +few_shot=sweep"),
        ("-m seed=1,2", "facelab train -m seed=1,2"),
        ("-sc", "python train.py -sc install=bash"),
    ],
)
def test_a_wrong_command_is_told_what_to_write(facelab: Command, line: str, says: str) -> None:
    outcome = facelab(*line.split())
    assert outcome.status == 2
    assert says in outcome.error
    assert "facelab generate" in outcome.error, "the commands are listed"


def test_the_version_is_facelabs(facelab: Command) -> None:
    import facelab as package

    expected = (0, f"facelab {package.__version__}\n", "")
    for line in (["--version"], ["train", "--version"], ["runs", "--version"]):
        outcome = facelab(*line)
        assert (outcome.status, outcome.out, outcome.error) == expected


@pytest.mark.parametrize(
    "command",
    [
        *(
            "train",
            "check",
            "evaluate",
            "generate",
            "demo",
            "align",
            "enroll",
            "identify",
            "gallery",
            "compare",
            "best",
            "runs",
        ),
        *("sync", "ui"),
    ],
)
def test_every_command_has_help_with_its_choices(facelab: Command, command: str) -> None:
    outcome = facelab(command, "--help")
    assert outcome.status == 0
    assert f"facelab {command}" in outcome.out or "python train.py" in outcome.out
    if command not in ("align", "gallery", "sync"):
        assert "sqlite" in outcome.out
