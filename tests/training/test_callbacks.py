"""What happens around the steps."""

import copy
import math
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facelab.errors import ConfigError, Interrupted, TrainingError
from facelab.models.base import Features, to_float, to_uint8
from facelab.models.recipe import Cosine
from facelab.training.callbacks.averaging import ExponentialMovingAverage, ema_decay
from facelab.training.callbacks.checkpoints import Checkpoints
from facelab.training.callbacks.samples import Samples
from facelab.training.callbacks.stop_on_nan import StopOnNaN
from facelab.training.callbacks.training_log import TrainingLog
from facelab.training.callbacks.validation import Criterion, Validation
from facelab.training.checkpoint import checkpoint_path
from facelab.training.gather import gather_features
from facelab.training.interrupt import StopRequest
from tests.training.pointwise import Pointwise, fit


def test_images_seen_drives_the_learning_rate() -> None:
    module = Pointwise()
    fit(module)
    assert module.images_seen == 32
    schedule = Cosine(0.25)
    assert module.rates == pytest.approx([0.1 * schedule.factor(seen, 32) for seen in range(0, 32, 4)])


def test_random_numbers_are_a_function_of_seed_and_images_seen() -> None:
    first, second = Pointwise(), Pointwise()
    fit(first)
    torch.rand(5)
    fit(second)
    assert first.draws == second.draws
    assert len(set(first.draws)) == 8


def test_the_average_by_hand() -> None:
    module = Pointwise()
    start = module.layer.weight.detach().clone()
    fit(module, ExponentialMovingAverage(half_life_images=8, batch_size=4))
    average = module.history[0]  # the average begins as a copy of the first step's weights
    for steps, weights in enumerate(module.history[1:], start=1):
        decay = min(0.5 ** (4 / 8), (1 + steps) / (10 + steps))
        average = decay * average + (1 - decay) * weights
    assert torch.allclose(module.layer.weight, average, atol=1e-6)
    assert not torch.allclose(module.layer.weight, start)


class Showing(Pointwise):
    """Exhibits its own weights, as a picture of 3 x 3 pixels."""

    def sample_grids(self, faces: Tensor) -> dict[str, Tensor]:
        assert not self.training
        assert faces.shape == (2, 3, 1, 1)
        return {"weights": self.layer.weight[None, None, None]}


def test_pictures_on_the_way_show_the_averaged_weights_and_disturb_nothing() -> None:
    recorded: list[tuple[str, int, NDArray[np.uint8]]] = []
    averaging = ExponentialMovingAverage(half_life_images=8, batch_size=4)
    faces = torch.zeros(2, 3, 1, 1, dtype=torch.uint8)
    samples = Samples(lambda name, grid, seen: recorded.append((name, seen, grid)), faces, 40, averaging)
    shown, plain = Showing(), Pointwise()
    plain.load_state_dict(shown.state_dict())
    fit(shown, averaging, samples)
    fit(plain, ExponentialMovingAverage(half_life_images=8, batch_size=4))
    assert [seen for _, seen, _ in recorded] == [4, 8, 12, 16, 20, 24, 28, 32]  # tenths of 40
    assert all(torch.equal(a, b) for a, b in zip(shown.history, plain.history, strict=True))
    assert (recorded[-1][2] == to_uint8(shown.layer.weight.detach()[None, None, None])).all()  # the average, at the end
    as_trained = [to_uint8(weights[None, None, None]) for weights in shown.history]
    assert any((grid != weights).any() for (_, _, grid), weights in zip(recorded, as_trained, strict=True))


def test_floats_become_the_pictures_they_were() -> None:
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert (to_uint8(to_float(images)) == images.movedim(1, -1).numpy()).all()


def test_a_term_that_is_not_there_in_every_step_is_averaged_over_those_that_have_it() -> None:
    recorded: list[dict[str, float]] = []
    log = TrainingLog(lambda values, seen: recorded.append(dict(values)))
    module, trainer = Pointwise(), pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.optimizers = []
    for step in range(20):
        terms = {"loss": torch.tensor(1.0), **({"penalty": torch.tensor(8.0)} if step % 8 == 0 else {})}
        log.on_train_batch_end(trainer, module, {"terms": terms}, None, step)
    assert recorded[0]["train/loss"] == 1
    assert recorded[0]["train/penalty"] == 8


def test_steps_before_an_interruption_do_not_count_as_speed() -> None:
    recorded: list[dict[str, float]] = []
    log = TrainingLog(lambda values, seen: recorded.append(dict(values)))
    module, trainer = Pointwise(), pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.optimizers = []
    log.load_state_dict({"sums": {"loss": torch.tensor(19.0)}, "counts": {"loss": 19}, "steps": 19})
    log.on_train_start(trainer, module)
    time.sleep(0.1)
    log.on_train_batch_end(trainer, module, {"terms": {"loss": torch.tensor(1.0)}}, None, 19)
    assert recorded[0]["train/loss"] == 1
    assert recorded[0]["train/images_per_second"] <= 4 / 0.1  # one step of four images
    log.load_state_dict({"sums": {"loss": torch.tensor(2.0)}, "counts": {"loss": 1}, "steps": 1})
    log.on_train_start(trainer, module)
    log.on_train_end(trainer, module)
    assert recorded[1] == {"train/loss": 2}


def test_the_learning_rate_is_that_of_the_head() -> None:
    recorded: list[dict[str, float]] = []
    log = TrainingLog(lambda values, seen: recorded.append(dict(values)))
    module, trainer = Pointwise(), pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    layers = (
        {"params": [parameter], "lr": rate} for parameter, rate in zip(module.parameters(), (0.1, 0.4), strict=True)
    )
    trainer.strategy.optimizers = [torch.optim.SGD(layers)]
    log.on_train_start(trainer, module)
    log.on_train_batch_end(trainer, module, {"terms": {"loss": torch.tensor(1.0)}}, None, 0)
    log.on_train_end(trainer, module)
    assert recorded[0]["train/learning_rate"] == 0.4


def test_sums_from_a_checkpoint_go_on_on_the_device_of_the_module() -> None:
    log, module = TrainingLog(lambda values, seen: None), Pointwise().to("meta")
    log.load_state_dict({"sums": {"penalty": torch.tensor(8.0)}, "counts": {"penalty": 1}, "steps": 1})
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    log.on_train_start(trainer, module)
    log.on_train_batch_end(trainer, module, {"terms": {"loss": torch.ones((), device="meta")}}, None, 1)
    sums = log.state_dict()["sums"]
    assert {name: total.device.type for name, total in sums.items()} == {"loss": "meta", "penalty": "meta"}
    torch.stack([*sums.values()])  # raises for terms of two devices


class Terminated(Pointwise):
    """Is told to stop when the callbacks have had their turn after the third step."""

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        super().on_train_batch_end(outputs, batch, batch_idx)
        if batch_idx == 2:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_told_to_stop_between_callbacks_saves_and_is_interrupted(tmp_path: Path) -> None:
    module, stop = Terminated(), StopRequest()
    saving = Checkpoints(tmp_path, every_s=1e9, total_images=32, config={}, stop=stop)
    with stop.installed(), stop.listening(), pytest.raises(Interrupted):
        fit(module, saving)
    assert checkpoint_path(tmp_path, 16).is_file(), "the step after the signal is finished and saved"


class _LateFlag(pl.Callback):
    """As on a GPU, where the loss of a step is only known to be NaN after it: this one becomes NaN behind the check."""

    def __init__(self, check: StopOnNaN, step: int) -> None:
        self._check, self._step = check, step

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step == self._step:
            with pytest.raises(TrainingError):
                self._check.on_before_backward(trainer, pl_module, torch.tensor(float("nan")))


@pytest.mark.parametrize("step", [3, 7])  # on the way, and the very last
def test_weights_after_a_loss_of_nan_are_not_saved(tmp_path: Path, step: int) -> None:
    check = StopOnNaN()
    saving = Checkpoints(tmp_path, every_s=0, total_images=32, config={}, stop=StopRequest())
    with pytest.raises(TrainingError, match="NaN or infinite"):
        fit(Pointwise(), check, _LateFlag(check, step), saving)
    saved = {int(path.stem.partition("=")[2]) for path in tmp_path.glob("*.ckpt")}
    assert saved == {4 * steps for steps in range(1, step + 1)}


def test_weights_after_a_loss_of_nan_are_not_validated() -> None:
    check, module = StopOnNaN(), Pointwise()
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    check.on_validation_start(trainer, module)
    with pytest.raises(TrainingError):
        check.on_before_backward(trainer, module, torch.tensor(float("inf")))
    with pytest.raises(TrainingError, match="NaN or infinite"):
        check.on_validation_start(trainer, module)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_loss_of_nan_on_a_gpu_is_known_before_a_checkpoint() -> None:
    check, module = StopOnNaN(), Pointwise().cuda()
    trainer = pl.Trainer(accelerator="gpu", logger=False, enable_checkpointing=False)
    check.on_before_backward(trainer, module, torch.tensor(1.0, device="cuda"))
    check.on_save_checkpoint(trainer, module, {})
    torch.cuda._sleep(10**8)  # type: ignore[no-untyped-call]  # the host is ahead of the device
    check.on_before_backward(trainer, module, torch.tensor(float("nan"), device="cuda"))
    with pytest.raises(TrainingError, match="NaN or infinite"):
        check.on_save_checkpoint(trainer, module, {})


def test_half_a_life_halves() -> None:
    assert ema_decay(10**6, half_life_images=640, batch_size=64) ** 10 == pytest.approx(0.5)


def _features(correct: int) -> Features:
    label = torch.arange(6) % 3
    predicted = torch.where(torch.arange(6) < correct, label, (label + 1) % 3)
    return {"embedding": torch.zeros(6, 2), "predicted": predicted, "label": label, "index": torch.arange(6)}


def test_the_best_weights_are_kept_and_restored() -> None:
    recorded: list[float] = []
    validation = Validation(lambda values, seen: recorded.append(values["val/f1"]), num_classes=3)
    module, trainer = Pointwise(), pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    kept = None
    for seen, correct in ((4, 2), (8, 5), (12, 3)):
        module.images_seen = seen
        nn.init.constant_(module.layer.weight, seen)
        if correct == 5:
            kept = copy.deepcopy(module.state_dict())
        validation.on_validation_batch_end(trainer, module, _features(correct), None, 0)
        validation.on_validation_epoch_end(trainer, module)
    assert validation.best_images_seen == 8
    assert recorded[1] == max(recorded)
    validation.restore_best(module)
    assert kept is not None
    assert all(torch.equal(kept[name], value) for name, value in module.state_dict().items())


def _kept_of(losses: Sequence[float], criterion: Criterion | None = None) -> int | None:
    """After how many images the weights were kept, of validations with these losses."""

    class Lossy(Pointwise):
        def validation_terms(self, features: Features) -> dict[str, Tensor]:
            return {"loss": torch.tensor(losses[self.images_seen - 1])}

    validation = Validation(lambda values, seen: None, num_classes=3, criterion=criterion)
    module, trainer = Lossy(), pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    for seen in range(1, len(losses) + 1):
        module.images_seen = seen
        features = {name: value for name, value in _features(3).items() if name != "predicted"}
        validation.on_validation_batch_end(trainer, module, features, None, 0)
        validation.on_validation_epoch_end(trainer, module)
    return validation.best_images_seen


@pytest.mark.parametrize("criterion", [None, Criterion("val/loss", higher_is_better=False)])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_validation_that_is_not_a_number_is_never_the_best(
    criterion: Criterion | None, bad: float, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _kept_of([bad, 3.0, 2.0, bad, 2.5], criterion) == 3
    assert capsys.readouterr().err.count("Warning: val/loss is ") == 2


def test_a_chosen_metric_that_is_not_computed_selects_no_weights() -> None:
    criterion = Criterion("val/verification/tar_at_far_1e-4", higher_is_better=True)
    validation = Validation(lambda values, seen: None, num_classes=3, criterion=criterion)
    module, trainer = Pointwise(), pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    validation.on_validation_batch_end(trainer, module, _features(2), None, 0)
    with pytest.raises(ConfigError, match=r"validation.metric=val/verification/tar_at_far_1e-4: .* They give .*val/f1"):
        validation.on_validation_epoch_end(trainer, module)


def test_a_chosen_metric_is_missed_where_there_is_none_at_all() -> None:
    validation = Validation(lambda values, seen: None, 3, Criterion("val/generator_loss", higher_is_better=False))
    module, trainer = Pointwise(), pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    features = {name: value for name, value in _features(3).items() if name != "predicted"}
    validation.on_validation_batch_end(trainer, module, features, None, 0)
    with pytest.raises(ConfigError, match=r"validation.metric=val/generator_loss: .* They give none\."):
        validation.on_validation_epoch_end(trainer, module)


def test_gathering_orders_by_picture_and_drops_what_padding_showed_twice() -> None:
    def batch(*index: int) -> Features:
        indices = torch.tensor(index)
        return {"embedding": indices[:, None].float(), "label": indices % 2, "index": indices}

    joined = gather_features([batch(4, 2), batch(0, 2, 1)], world_size=1)
    assert joined["index"].tolist() == [0, 1, 2, 4]
    assert joined["embedding"][:, 0].tolist() == [0, 1, 2, 4]


def test_pictures_become_floats_between_minus_one_and_one() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    assert torch.allclose(to_float(images).flatten(), torch.tensor([-1.0, -0.6, 1.0]))
    wide = to_float(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    assert wide.is_contiguous(memory_format=torch.channels_last)
