"""Whole runs with faces that a GAN makes of one real image of each person, after it has learnt from other people."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from mlflow import MlflowClient

from facelab import cli
from facelab.data.columns import Column
from facelab.data.faces import FaceSet
from facelab.data.image_list import read_image_list
from facelab.errors import ConfigError
from facelab.models import CNN, ConditionalGAN, TransferGAN
from facelab.models.trained import load
from facelab.synthetic import GeneratedFaces, TransferredFaces
from facelab.synthetic.transferred import _given
from tests.conftest import TINY_CNN, Command

GENERATOR = [
    "model=gan_transfer",
    "protocol=classification",
    "trainer=cpu",
    "trainer.threads=1",
    "model.latent_dim=4",
    "model.generator.widths=[16,8]",
    "model.generator.code_dim=8",
    "model.discriminator.widths=[8,16]",
    "model.recipe.batch_size=16",
    "model.recipe.max_images=64",
]
NINE_TENTHS = ("split.train=0.9", "split.val=0", "split.test=0.1")
SINGLE = ("split=few_shot", "split.train_per_identity=1")
PEOPLE = ("split=identity_disjoint", "split.train_people=4")
DONORS = "synthetic.donors=['data=orl','data.first_person=31']"
TRANSFER = ("synthetic=gan_transfer", f"synthetic.generator={[*GENERATOR, *NINE_TENTHS]}", "synthetic.per_identity=3")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, store_folder: Path) -> Sequence[str]:
    """One runs folder and experiment for this file."""
    runs = tmp_path_factory.mktemp("transferred") / "runs"
    return f"runtime.runs_folder={runs}", f"tracking.folder={store_folder}", "tracking.experiment=transferred"


@pytest.fixture(scope="module")
def runs_folder(place: Sequence[str]) -> Path:
    """The runs folder of this file."""
    return Path(place[0].partition("=")[2])


@pytest.fixture(scope="module")
def run(place: Sequence[str], runs_folder: Path) -> Path:
    """The run of a recogniser of six people, one real and three generated images of each."""
    GlobalHydra.instance().clear()
    assert cli.main(["train", *TINY_CNN, *SINGLE, *TRANSFER, DONORS, *place]) == 0
    (found,) = (
        path.parent
        for path in runs_folder.glob("*/metrics.json")
        if "models.CNN" in (path.parent / "config.yaml").read_text()
    )
    return found


@pytest.fixture(scope="module")
def generator(run: Path, client: MlflowClient, runs_folder: Path) -> Path:
    """The run that generated them."""
    return runs_folder / str(client.get_run(run.name).data.tags["needs.generator"])


@pytest.fixture(scope="module")
def client(store_folder: Path) -> MlflowClient:
    """On the session's store."""
    return MlflowClient(f"sqlite:///{store_folder / 'mlflow.db'}")


def test_one_image_of_each_becomes_many(run: Path, generator: Path, client: MlflowClient) -> None:
    tags = client.get_run(run.name).data.tags
    assert (tags["synthetic.images"], tags["synthetic.new_classes"]) == ("18", "0")
    assert client.get_run(generator.name).data.tags[f"needed_by.{run.name}"] == "generator"
    assert "18 generated images of the same people" in tags["mlflow.note.content"]
    used = read_image_list(run / "images.parquet").table.to_pandas()
    donors = set(used.loc[used["part"] == "pretrained", "identity"])
    assert donors == {f"s{person}" for person in range(31, 41)}  # an evaluation on them is refused
    assert set(used.loc[used["part"] == "train", "identity"]) == {f"s{person}" for person in range(1, 7)}
    shown = {
        Path(item.path).name.partition("%")[0].partition("+")[0]
        for item in client.list_artifacts(generator.name, "images")
    }
    assert {"samples", "interpolations"} <= shown


def test_the_nth_face_of_a_person_depends_on_no_others(orl: FaceSet, generator: Path) -> None:
    real = orl.only(np.array([0, 1, 10, 20, 21, 22]))
    runs = {"generator": load(generator)}
    few, many = (TransferredFaces(generator=[], per_identity=count, seed=5) for count in (2, 5))
    plans = [source.plan(real.labels, real.label_names) for source in (few, many)]
    made = [source.make(plan, real, runs).astype(int) for source, plan in zip((few, many), plans, strict=True)]
    first = [n for n, number in enumerate(plans[1].numbers) if number < 2]
    assert abs(made[0] - made[1][first]).max() <= 1
    assert len(np.unique(made[1].reshape(15, -1), axis=0)) == 15
    given = _given(plans[1], real)
    assert [int((given[n] == real.pixels[i]).all()) for n, i in ((0, 0), (1, 1), (2, 0), (5, 2), (12, 5))] == [1] * 5
    # A generator that has hardly learnt returns nearly what it was given.
    nearest = [min(range(6), key=lambda i: abs(face - real.pixels[i].astype(int)).mean()) for face in made[1]]
    assert (real.labels[nearest] == plans[1].labels).all()
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(made[1], replace(many, seed=6).make(plans[1], real, runs))


@pytest.mark.parametrize("selection", ["recogniser", "discriminator"])
def test_a_selection_keeps_a_quarter(orl: FaceSet, run: Path, generator: Path, selection: str) -> None:
    real = orl.only(10 * np.arange(6))
    plain = TransferredFaces(generator=[], per_identity=8)
    best = TransferredFaces(generator=[], per_identity=2, selection=selection)  # type: ignore[arg-type]
    runs = {"generator": load(generator), "recogniser": load(run)}
    plan = best.plan(real.labels, real.label_names)
    kept = best.make(plan, real, runs)
    among = plain.make(plain.plan(real.labels, real.label_names), real, runs).reshape(6, 8, 32, 32, 1)
    for face, label in zip(kept, plan.labels.tolist(), strict=True):
        assert min(abs(face.astype(int) - other).max() for other in among[label]) <= 1


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["synthetic.donors=['data=orl','data.last_person=20']"], "of the test images of this run"),
        (
            ["synthetic.donors=['data=orl','data.first_person=5','data.last_person=9']"],
            "of the test images of this run: s5/",
        ),
        (["data.last_person=40"], "fewer than ten come before those of this run, and fewer than ten after"),
        (["data.first_person=8", "data.last_person=34"], "fewer than ten come before those of this run"),
        ([f"synthetic.generator={[*GENERATOR, *SINGLE]}"], "synthetic.donors: model=gan_transfer learns from pairs"),
        (["synthetic.generator=['model=gan_conditional']"], "ConditionalVAEGAN cannot vary a given image"),
    ],
)
def test_what_cannot_be_transferred_is_refused_before_anything_is_trained(
    facelab: Command, tmp_path: Path, overrides: list[str], says: str
) -> None:
    outcome = facelab("train", *TINY_CNN, *SINGLE, *TRANSFER, *overrides)
    assert outcome.status == 2
    assert says in outcome.error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ([*SINGLE, "data.image_size=16"], "images of 32 x 32 with 1 channels; those of this run have 16 x 16 and 1"),
        ([*SINGLE, "data.first_person=29", "data.last_person=31"], "of the test images of this run: s31/"),
        ([*PEOPLE, "data.first_person=27", "data.last_person=32"], "18 of the test images"),
    ],
)
def test_a_given_generator_that_does_not_fit_or_knows_the_test_is_refused(
    facelab: Command, place: Sequence[str], generator: Path, overrides: list[str], says: str
) -> None:
    given = ("synthetic=gan_transfer", f"synthetic.run={generator.name}", "protocol=verification")
    outcome = facelab("train", *TINY_CNN, *place, *given, *overrides)
    assert outcome.status == 2
    assert says in outcome.error


def test_generate_says_what_the_model_is_for(facelab: Command, generator: Path) -> None:
    outcome = facelab("generate", f"run={generator.name}", f"runs_folder={generator.parent}")
    assert outcome.status == 2
    assert f"type synthetic=gan_transfer synthetic.run={generator.name}" in outcome.error


def test_models_and_labels_that_do_not_fit(orl: FaceSet) -> None:
    with pytest.raises(ConfigError, match=r"varies given images\. Set synthetic=gan_transfer"):
        GeneratedFaces.check_model(TransferGAN, "none")
    for model in (CNN, ConditionalGAN):
        with pytest.raises(ConfigError, match="cannot vary a given image"):
            TransferredFaces.check_model(model, "none")
    number = Column(np.arange(400) % 10, [str(i) for i in range(10)])
    numbered = replace(orl, columns={**orl.columns, "number": number}, label="number")
    with pytest.raises(ConfigError, match="keeps the person on an image, and may change everything else, 'number'"):
        TransferredFaces(generator=[], per_identity=1).check(numbered)


def test_donors_are_whom_the_run_leaves_out_unless_they_are_named() -> None:
    people = {"_target_": "facelab.data.ORL", "first_person": 21, "last_person": 40}
    config = {"data": {**people, "image_size": 48, "channels": 1}}
    shape = ("data.image_size=48", "data.channels=1")
    for donors, expected in ((None, ("data=orl", "data.last_person=20")), (["data=folder"], ("data=folder",))):
        (generator,) = TransferredFaces.needs({"donors": donors}, config)
        assert generator.overrides == (*expected, *shape)
        assert generator.same == ()
    (recogniser,) = TransferredFaces.needs({"run": "0123", "selection": "recogniser"}, config)
    assert recogniser.same == ("data", "split")
