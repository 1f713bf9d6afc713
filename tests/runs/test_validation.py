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


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["validation.metric=val/f2"], ["validation.metric=val/f2", "Did you mean 'val/f1'"]),
        (["validation.protocols=[reconstruction]"], ["validation.protocols", "'reconstruction'", "classification"]),
        (["validation.protocols=[verification]", "protocol=[classification,verification]"], ["protocol=verification"]),
        (["validation.metric=val/f1", "split=few_shot"], ["no validation images", "split=ratio"]),
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
