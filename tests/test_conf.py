"""Every choice of every group composes, is right, and runs."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from facelab.commands.train import check_training, dependencies_of
from facelab.config.compose import config_folder
from tests.conftest import TINY, TINY_REFERENCE_MODELS, Command
from tests.data.made import make_folder
from tests.data.made_formats import make_packed, write_pair_folds

CHOICES = sorted(
    f"{group.name}={path.stem}"
    for group in config_folder().iterdir()
    if group.is_dir() and group.name != "hydra"
    for path in group.glob("*.yaml")
)
OVERLAYS = sorted(
    f"+{path.parent.name}={path.stem}" for path in (config_folder().parent / "experiments").glob("*/*.yaml")
)
# Needs hardware, a server, a cluster, further processes or a finished run: run by tests of their own.
ELSEWHERE = {"split=all", "trainer=gpu", "trainer=ddp", "tracking=server", "executor=slurm"}
# Generators are trained by tests/runs/test_synthetic.py.
ELSEWHERE |= {"synthetic=gan_conditional", "synthetic=mixed_identities"}
# Learns from pairs of more people than are here: tests/synthetic/test_transferred.py.
ELSEWHERE |= {"model=gan_transfer", "synthetic=gan_transfer"}
# Have no recipe to shorten; tests/runs/test_classical.py trains them.
FITTED_ONCE = {"model=pixels", "model=eigenfaces", "model=fisherfaces", "model=linear_svm"}
# Like model=mobilefacenet but for the encoder, which tests/nets/test_published.py trains; a run takes half a minute.
TOO_LARGE = {"model=iresnet18", "model=iresnet50", "model=iresnet100"}
# Each is a sweep in processes of its own; search=tpe is run among the quick tests.
SLOW = {
    "augment=light",
    "augment=medium",
    "augment=standard",
    "data=face_nonface",
    "data=orl",
    "model=dcgan",
    "model=diffusion",
    "model=diffusion_conditional",
    "model=gan_conditional",
    "model=gan_transfer",
    "model=vae",
    "protocol=generation_same_people",
    "search=cmaes",
    "search=grid",
    "search=random",
    "search=tpe",
    "split=few_shot_rotated",
}
GENERATIVE = {
    "protocol=generation",
    "protocol=generation_same_people",
    "model=gan",
    "model=gan_conditional",
    "model=dcgan",
    "model=vae",
    "model=diffusion",
    "model=diffusion_conditional",
}
# Values that a choice cannot do without.
REQUIRED = {
    "data=concat": [
        "+data@data.sources.few=orl",
        "+data@data.sources.others=orl",
        "data.sources.few.last_person=3",
        "data.sources.others.first_person=38",
    ],
    "data=csv": ["data.file=faces.csv"],
    "data=folder": ["data.root=faces"],
    "data=lfw": ["data.root=faces"],
    "data=pattern": ["data.root=faces", r"data.pattern='(?P<identity>\w+)/.*'"],
    "data=bin": ["data.path=faces.bin"],
    "data=celeba": ["data.root=faces"],
    "data=fer2013": ["data.root=faces"],
    "data=rafdb": ["data.root=faces"],
    "data=recordio": ["data.path=faces.rec"],
    "protocol=attributes": ["protocol.attributes.column=half"],
    "protocol=templates": ["protocol.templates.templates=templates.txt", "protocol.templates.pairs=pairs.txt"],
    "split=pair_folds": ["split.pairs=pairs.csv"],
    "tracking=server": ["tracking.uri=http://127.0.0.1:5000"],
}


@pytest.mark.parametrize("choice", CHOICES + OVERLAYS)
def test_every_choice_composes_and_is_right(choice: str) -> None:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        check_training(compose("train", [choice, *REQUIRED.get(choice, [])]))


def _make_faces(choice: str, folder: Path) -> list[str]:
    """Make the files that a data set is read from; returns further overrides."""
    kind = choice.removeprefix("data=")
    if kind in ("bin", "celeba", "fer2013", "rafdb", "recordio"):
        return make_packed(kind, folder)
    paths = sorted(make_folder(folder / "faces", people=4, pictures=6).glob("*/*.png"))
    if choice == "data=csv":
        lines = [f"{path.relative_to(folder)},{path.parent.name}" for path in paths]
        (folder / "faces.csv").write_text("\n".join(["path,identity", *lines]))
    if choice == "data=lfw":
        for path in paths:
            path.rename(path.with_name(f"{path.parent.name}_000{int(path.stem) + 1}.png"))
    return []


def _make_halves(folder: Path) -> list[str]:
    """Ten people each of two groups, as a table; returns further overrides."""
    paths = sorted(make_folder(folder / "faces", people=20, pictures=6).glob("*/*.png"))
    lines = [f"{path.relative_to(folder)},{path.parent.name},{int(path.parent.name[6:]) % 2}" for path in paths]
    (folder / "faces.csv").write_text("\n".join(["path,identity,half", *lines]))
    return ["data=csv", "data.file=faces.csv", "split.train=0.5", "split.val=0", "split.test=0.5"]


def _make_templates(folder: Path) -> list[str]:
    """Two templates of each of two people, and all pairs of them; returns further overrides."""
    make_folder(folder / "faces", people=6, pictures=6)
    images = [f"person{4 + image // 6}/{image % 6}.png {image // 3} {image // 3}\n" for image in range(12)]
    pairs = [f"{one} {other} {int(one // 2 == other // 2)}\n" for one in range(4) for other in range(one)]
    (folder / "templates.txt").write_text("".join(images))
    (folder / "pairs.txt").write_text("".join(pairs))
    return ["data=folder", "data.root=faces", "split=identity_disjoint", "split.train_people=4"]


@pytest.mark.parametrize(
    "choice",
    [
        pytest.param(choice, marks=pytest.mark.slow) if choice in SLOW else choice
        for choice in CHOICES
        if choice not in ELSEWHERE | FITTED_ONCE | TOO_LARGE
    ],
)
def test_every_choice_runs(facelab: Command, tmp_path: Path, store_folder: Path, choice: str) -> None:
    size = [override for override in TINY if not override.startswith("data.last_person")]
    if not choice.startswith("data="):
        size.append("data.last_person=6")
    if choice in REQUIRED and choice.startswith("data="):
        size += [*REQUIRED[choice], *_make_faces(choice, tmp_path)]
    if choice == "split=official":
        for path in make_folder(tmp_path / "faces", people=4, pictures=6).glob("*/*.png"):
            part = "train" if int(path.stem) < 3 else "test"
            (tmp_path / "faces" / part / path.parent.name).mkdir(parents=True, exist_ok=True)
            path.rename(tmp_path / "faces" / part / path.parent.name / path.name)
        for emptied in (tmp_path / "faces").glob("person*"):
            emptied.rmdir()
        size = [*size[:-1], "data=folder", "data.root=faces"]
    if choice == "synthetic=autoencoder":
        generator = ["model=autoencoder", "trainer=cpu", "trainer.threads=1", "model.recipe.max_images=64"]
        size.append(f"synthetic.generator={generator}")
    if choice.startswith("trainer="):
        size.remove("trainer=cpu")
    if choice == "split=identity_disjoint":
        size += ["split.train_people=4", "protocol=verification"]
    if choice == "split=group_kfold":
        size += ["split.folds=3", "protocol=verification"]
    if choice == "split=pair_folds":
        size += [*REQUIRED[choice], "protocol=verification", "protocol.verification.pairs=pairs.csv"]
        write_pair_folds(tmp_path / "pairs.csv", people=6)
    if choice == "split=leave_one_group_out":
        size += ["protocol=reconstruction", "model=autoencoder"]
    if choice == "protocol=verification":
        size += ["split=identity_disjoint", "split.train_people=4"]
    if choice == "protocol=attributes":
        size = [*size[:-1], *REQUIRED[choice], *_make_halves(tmp_path)]
    if choice == "protocol=templates":
        size = [*size[:-1], *REQUIRED[choice], *_make_templates(tmp_path)]
    if choice == "protocol=identification":
        size += ["split=identity_disjoint", "split.train_people=2"]
    if choice == "protocol=reconstruction":
        size.append("model=autoencoder")
    if choice.startswith("protocol=generation"):
        size.append("model=gan")
    if "diffusion" in choice:
        size.append("model.steps=2")
    if choice in GENERATIVE:
        size += [*TINY_REFERENCE_MODELS, f"runtime.runs_folder={store_folder / 'runs'}"]  # the judges are trained once
    short = [f"tracking.folder={store_folder}", "tracking.experiment=choices", "model.recipe.batch_size=16"]
    if choice.startswith("search="):
        size += ["search.trials=1", "model.optimizer.lr=range(0.001,0.003,0.001)", f"sweep.name={choice[7:]}"]
    sweep = ["-m"] if choice.startswith("search=") else []
    outcome = facelab("train", *sweep, choice, *size, *short, "model.recipe.max_images=32")
    assert outcome.status == 0, outcome.error
    assert any(
        words in outcome.out
        for words in ("test faces", "unseen people", "4 templates", "generated faces", "Best: trial 0")
    )


def test_a_conf_folder_of_ones_own_adds_choices(facelab: Command, tmp_path: Path, store_folder: Path) -> None:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text("defaults:\n  - cnn\nencoder:\n  embedding_dim: 5\n")
    (tmp_path / "experiments" / "own").mkdir(parents=True)
    (tmp_path / "experiments" / "own" / "study.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /model: mine\nseed: 77\n"
    )
    assert "linear_svm, mine, mobilefacenet" in facelab("train", "--help").out
    outcome = facelab("train", "+own=study", "--cfg", "job")
    assert "embedding_dim: 5" in outcome.out
    assert "seed: 77" in outcome.out
    assert "+own=study" in facelab("train", "+owm=study").error


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["data.last_person=20", "data.image_size=48"], {"first_person": 21, "last_person": 40, "image_size": 48}),
        (["data.first_person=16"], {"first_person": 1, "last_person": 15}),
        (["data.last_person=31"], {"first_person": 1, "last_person": 31}),  # nine others are too few
        (["protocol.generation.lfw=a b,c"], {"_target_": "facelab.data.LFW", "root": "a b,c", "channels": 1}),
        (["data.last_person=20", "protocol=generation_same_people"], {"first_person": 1, "last_person": 20}),
    ],
)
def test_an_embedder_learns_other_people(overrides: list[str], expected: dict[str, object]) -> None:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        quoted = [override.replace("=a b,c", "='a b,c'") for override in overrides]
        data = dependencies_of(check_training(compose("train", ["model=gan", *quoted])), {})["embedder"].config["data"]
    assert {key: data[key] for key in expected} == expected


def test_the_models_that_evaluate_a_generator_learn_faces_like_its_own() -> None:
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = check_training(compose("train", ["model=gan", "data=folder", "data.root=faces", "data.channels=3"]))
        found = dependencies_of(config, {})
    embedder = found["embedder"].config
    assert embedder["data"]["_target_"] == "facelab.data.ORL"
    assert [embedder["data"][key] for key in ("first_person", "last_person", "channels")] == [1, 40, 3]
    assert found["face_classifier"].config["data"]["faces"] == config["data"]
    assert found["face_classifier"].config["data"]["channels"] == 3
    assert embedder["split"]["few"] == "drop"  # people with one image must not stop it
