"""Protocols on the validation images during training, and the weights that are kept by their metrics."""

import math
from collections.abc import Callable

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from facelab.metrics.declaration import from_text
from tests.conftest import TINY, TINY_CNN, Command

AUTOENCODER = (
    *TINY,
    "model=autoencoder",
    "model.latent_dim=4",
    "model.encoder.widths=[8,16]",
    "model.decoder.widths=[16,8]",
    "model.recipe.batch_size=16",
    "model.recipe.max_images=160",
    "trainer.precision=32-true",
    "trainer.validations=5",
)


def test_a_protocols_metric_chooses_the_weights(
    facelab: Command, experiment: tuple[str, str], runs: Callable[[], list[Run]], client: MlflowClient
) -> None:
    outcome = facelab(
        "train",
        *AUTOENCODER,
        *experiment,
        "validation.protocols=[reconstruction,classification]",
        "validation.metric=val/reconstruction/rmse",
    )
    assert outcome.status == 0, outcome.error
    (run,) = runs()
    history = {p.step: p.value for p in client.get_metric_history(run.info.run_id, "val/reconstruction/rmse")}
    loss = {p.step: p.value for p in client.get_metric_history(run.info.run_id, "val/loss")}
    assert len(history) == 5
    # The loss is the mean squared error of images in [-1, 1], the RMSE is on the scale [0, 1].
    assert history == pytest.approx({step: math.sqrt(value / 4) for step, value in loss.items()}, rel=1e-4)
    assert run.data.metrics["fit/best_images_seen"] == min(history, key=lambda step: history[step])
    assert run.data.metrics["best/reconstruction/rmse"] == pytest.approx(min(history.values()))
    assert 0 <= run.data.metrics["val/linear_probe/accuracy"] <= 1
    declared = from_text(run.data.tags["metrics.declared"])
    assert not declared["reconstruction/rmse"].higher_is_better
    assert declared["test/f1"].unit == "share"


STRANGERS = ("split=identity_disjoint", "split.train_people=2", "split.val_people=2", "protocol=verification")
BY_VERIFICATION = ("validation.protocols=[verification]",)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["validation.metric=val/f2"], ["validation.metric=val/f2", "Did you mean 'val/f1'"]),
        (["validation.protocols=[reconstruction]"], ["validation.protocols", "'reconstruction'", "classification"]),
        (["validation.protocols=[verification]", "protocol=[classification,verification]"], ["protocol=verification"]),
        (["validation.metric=val/f1", "split=few_shot"], ["no validation images", "split=ratio"]),
        ([*STRANGERS, *BY_VERIFICATION, "validation.metric=val/verification/accuracy"], ["Did you mean", "val/images"]),
        ([*STRANGERS, *BY_VERIFICATION, "validation.metric=val/verification/tar_at_far_1e-3"], ["verification/auc"]),
        (["protocol=reconstruction"], ["protocol: reconstruction cannot evaluate CNN", "protocol=classification"]),
    ],
)
def test_what_cannot_be_validated_is_refused_before_training(
    facelab: Command, experiment: tuple[str, str], runs: Callable[[], list[Run]], overrides: list[str], says: list[str]
) -> None:
    outcome = facelab("train", *TINY_CNN, *experiment, *overrides)
    assert outcome.status == 2
    assert all(words in outcome.error for words in says), outcome.error
    assert runs() == []


def _recorded(run: Run) -> set[str]:
    return {name for name in run.data.metrics if name.startswith("val/")}


def test_a_classifier_has_no_loss_on_strangers_and_keeps_its_last_weights(
    facelab: Command, experiment: tuple[str, str], runs: Callable[[], list[Run]]
) -> None:
    outcome = facelab("train", *TINY_CNN, *experiment, *STRANGERS)
    assert outcome.status == 0, outcome.error
    assert "no val/loss and val/f1, and keeps its last weights" in outcome.out
    assert "validation.metric=val/verification/auc" in outcome.out
    assert "weights: last" in outcome.out
    (run,) = runs()
    assert _recorded(run) == set()
    assert "fit/best_images_seen" not in run.data.metrics


def test_verification_of_strangers_chooses_the_weights(
    facelab: Command, experiment: tuple[str, str], runs: Callable[[], list[Run]], client: MlflowClient
) -> None:
    chosen = ("validation.protocols=[verification]", "validation.metric=val/verification/auc", "trainer.validations=5")
    outcome = facelab("train", *TINY_CNN, *experiment, *STRANGERS, *chosen)
    assert outcome.status == 0, outcome.error
    assert "keeps its last weights" not in outcome.out
    (run,) = runs()
    assert not _recorded(run) & {"val/loss", "val/f1", "val/accuracy"}
    history = {p.step: p.value for p in client.get_metric_history(run.info.run_id, "val/verification/auc")}
    assert len(history) == 5
    best = max(history.values())
    assert run.data.metrics["best/verification/auc"] == pytest.approx(best)
    assert run.data.metrics["fit/best_images_seen"] == min(step for step, value in history.items() if value == best)


def test_protocols_without_a_metric_choose_no_weights(
    facelab: Command, experiment: tuple[str, str], runs: Callable[[], list[Run]]
) -> None:
    outcome = facelab("train", *TINY_CNN, *experiment, *STRANGERS, "validation.protocols=[verification]")
    assert outcome.status == 0, outcome.error
    assert "weights: last" in outcome.out
    (run,) = runs()
    assert "val/verification/auc" in run.data.metrics
    refused = facelab("train", *TINY_CNN, *experiment, *STRANGERS, "validation.metric=val/f1")
    assert refused.status == 2
    assert "validation.metric=val/f1: validation records nothing here" in refused.error


def test_a_rate_that_the_validation_images_do_not_support_is_refused_before_training(facelab: Command) -> None:
    asked = ("validation.protocols=[verification]", "validation.metric=val/verification/tar_at_far_1e-4")
    refused = facelab("train", *TINY_CNN, *STRANGERS, *asked)
    assert refused.status == 2
    assert "validation.metric=val/verification/tar_at_far_1e-4: validation records" in refused.error
    assert "until 30 errors are expected there (rule of 30)" in refused.error


@pytest.mark.parametrize("term", ["generator_loss", "kl"])
def test_the_losses_of_a_gan_choose_no_weights(facelab: Command, term: str) -> None:
    refused = facelab("train", "model=gan", *TINY, "protocol=classification", f"validation.metric=val/{term}")
    assert refused.status == 2
    assert f"validation.metric=val/{term}: validation records nothing here" in refused.error


TRIPLETS = ("model=cnn_triplet", *TINY_CNN)


def test_a_model_without_a_head_keeps_its_last_weights_unless_a_protocol_chooses_them(
    facelab: Command, experiment: tuple[str, str], runs: Callable[[], list[Run]]
) -> None:
    outcome = facelab("train", *TRIPLETS, *experiment)
    assert outcome.status == 0, outcome.error
    assert "there is no head, so this model has no val/loss and val/f1, and keeps its last weights" in outcome.out
    assert "weights: last" in outcome.out
    (run,) = runs()
    assert _recorded(run) == set()
    assert run.data.metrics["test/accuracy"] == run.data.metrics["linear_probe/accuracy"]
    chosen = ("validation.protocols=[classification]", "validation.metric=val/knn/accuracy")
    assert all(words in outcome.out for words in chosen)
    outcome = facelab("train", *TRIPLETS, *experiment, "seed=2", *chosen)
    assert outcome.status == 0, outcome.error
    assert "weights: best on validation" in outcome.out
    assert "keeps its last weights" not in outcome.out


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["validation.metric=val/loss"], ["validation.metric=val/loss: validation records nothing here"]),
        (["model.recipe.batch_size=32"], ["model.recipe: batch_size=32", "takes 8 classes", "the training set has 6"]),
        (["trainer.devices=2", "model.recipe.batch_size=12"], ["3 classes a batch", "trainer.devices=2", "of 8"]),
        (["model.head._target_=facelab.nets.CosineHead"], ["model.head"]),
        (["model.recipe.images_per_class=null"], ["sampling=pk", "images_per_class=4"]),
    ],
)
def test_what_does_not_fit_a_loss_over_pairs_is_refused(
    facelab: Command, overrides: list[str], says: list[str]
) -> None:
    outcome = facelab("train", *TRIPLETS, *overrides)
    assert outcome.status == 2
    assert all(words in outcome.error for words in says), outcome.error
