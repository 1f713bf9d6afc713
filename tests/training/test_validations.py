"""After which steps a run validates."""

import math
import os
import signal
from pathlib import Path

import pytest
import pytorch_lightning as pl
from torch.utils.data import DataLoader

from facelab.errors import Interrupted
from facelab.models.base import FaceModule
from facelab.training.callbacks.checkpoints import Checkpoints
from facelab.training.callbacks.images_seen import ImagesSeen
from facelab.training.checkpoint import checkpoint_path
from facelab.training.interrupt import StopRequest
from facelab.training.trainer import TrainerSettings
from tests.training.pointwise import Pointwise, loader


class Validated(pl.Callback):
    """Notes the number of images seen at each validation."""

    def __init__(self) -> None:
        self.at: list[int] = []

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, FaceModule)
        self.at.append(pl_module.images_seen)


def _steps_validated(steps: int, validations: int, *further: pl.Callback, checkpoint: Path | None = None) -> list[int]:
    """After which steps of one image a run validates."""
    seen = Validated()
    settings = TrainerSettings(accelerator="cpu", threads=1, validations=validations)
    trainer = settings.make([ImagesSeen(steps, seed=3), seen, *further], steps, has_validation=True)
    single = DataLoader(loader().dataset, sampler=[i % 32 for i in range(steps)])
    trainer.fit(Pointwise(batch_size=1), single, loader(), ckpt_path=checkpoint, weights_only=True)
    return seen.at


@pytest.mark.parametrize(("steps", "validations"), [(39, 20), (59, 20), (10, 3), (7, 7), (3, 20), (5, 1)])
def test_validations_are_as_many_as_asked_and_the_last_is_of_the_last_step(steps: int, validations: int) -> None:
    count = min(steps, validations)
    expected = [math.ceil(number * steps / count) for number in range(1, count + 1)]
    assert _steps_validated(steps, validations) == expected


class StoppedAt(pl.Callback):
    """Asks to stop at a step."""

    def __init__(self, stop: StopRequest, step: int) -> None:
        self._stop, self._step = stop, step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if batch_idx + 1 == self._step:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("stopped_at", [3, 4, 5, 10])  # validated are 4, 7 and 10
def test_a_resumed_run_validates_after_the_same_steps(tmp_path: Path, stopped_at: int) -> None:
    stop = StopRequest()
    saving = Checkpoints(tmp_path, every_s=1e9, total_images=10, config={}, stop=stop)
    with stop.installed(), stop.listening(), pytest.raises(Interrupted):
        _steps_validated(10, 3, StoppedAt(stop, stopped_at), saving)
    later = _steps_validated(10, 3, checkpoint=checkpoint_path(tmp_path, stopped_at))
    assert [step for step in later if step > stopped_at] == [step for step in (4, 7, 10) if step > stopped_at]
