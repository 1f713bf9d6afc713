"""Validate during training and keep the best weights."""

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from facelab.errors import ConfigError
from facelab.metrics.classification import classification_metrics
from facelab.metrics.declaration import validation_name
from facelab.models.base import FaceModule, Features
from facelab.training.callbacks.images_seen import is_due
from facelab.training.callbacks.training_log import Record
from facelab.training.gather import gather_features

# Evaluates protocols on the gathered features of the validation split; called on every process.
Further = Callable[[pl.Trainer, FaceModule, Features], Mapping[str, float]]


@dataclass(frozen=True)
class Criterion:
    """The metric that selects the best weights.

    Args:
        metric: name of the metric, `val/...`.
        higher_is_better: whether higher values are better.
    """

    metric: str
    higher_is_better: bool

    def applies(self, metrics: Mapping[str, float]) -> bool:
        """Whether weights can be compared: the metric was computed, or `val/loss`, which breaks ties."""
        return self.metric in metrics or "val/loss" in metrics

    def standing(self, metrics: Mapping[str, float]) -> tuple[float, float]:
        """Sort key, larger for better weights; ties go to the lower `val/loss`. Every number is better than NaN."""
        value = metrics.get(self.metric, 0.0)
        keys = (value if self.higher_is_better else -value, -metrics.get("val/loss", 0.0))
        first, second = (key if math.isfinite(key) else -math.inf for key in keys)  # NaN would be the best for ever
        return first, second

    def warn(self, metrics: Mapping[str, float], images_seen: int) -> None:
        """Print a warning if a metric that selects weights is not finite."""
        for name in dict.fromkeys((self.metric, "val/loss")):
            if not math.isfinite(value := metrics.get(name, 0.0)):
                said = f"Warning: {name} is {value} after {images_seen:,} images, which ranks these weights last."
                print(said, file=sys.stderr, flush=True)


class ValidationSteps(pl.Callback):
    """Validates a number of times per run, evenly spaced and the last time after the last step.

    Lightning's own interval is a whole number of steps: 39 steps would be validated 39 times instead of 20 times, and
    of 59 the last one never. It is set anew after every step, and to the same after a checkpoint is loaded.

    Must come before the checkpoints, which wait for the validation of their step.

    Args:
        times: number of validations; at every step if there are fewer.
        total_steps: length of the run in steps.
    """

    def __init__(self, times: int, total_steps: int) -> None:
        self._times, self._total_steps = times, total_steps

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set the interval for the step that a checkpoint was saved after."""
        assert isinstance(pl_module, FaceModule)
        self._set(trainer, pl_module.images_seen // pl_module.recipe.batch_size)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Set the interval for this step."""
        self._set(trainer, batch_idx + 1)

    def _set(self, trainer: pl.Trainer, step: int) -> None:
        trainer.val_check_batch = 1 if is_due(step, 1, self._total_steps, self._times) else sys.maxsize


class Validation(pl.Callback):
    """Computes the `val/*` metrics and keeps the best weights.

    Without a criterion, the last weights are kept where there is neither `val/f1` nor `val/loss`. A classifier has no
    accuracy, precision, recall and F1 on images of classes that it was not trained on.

    Must come before the averaging callback, so that the module still has the averaged weights at the end of validation.

    Args:
        record: called with values by name and the images seen.
        num_classes: number of trained classes.
        criterion: selects the best weights, by a metric that must be among those computed; None for the highest
            `val/f1`, then the lowest `val/loss`.
        further: computes metrics of protocols, named as on the test split; None for none.
    """

    def __init__(
        self, record: Record, num_classes: int, criterion: Criterion | None = None, further: Further | None = None
    ) -> None:
        self._record, self._num_classes, self._further = record, num_classes, further
        self._criterion = criterion or Criterion("val/f1", higher_is_better=True)
        self._is_chosen = criterion is not None
        self._seen: list[Features] = []
        self._best: tuple[float, float] | None = None
        self._best_metrics: dict[str, float] = {}
        self.best_images_seen: int | None = None
        self._best_state: dict[str, Tensor] = {}

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the outputs of a batch."""
        self._seen.append(outputs)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the metrics, and keep the weights if they are the best so far.

        Raises:
            ConfigError: the criterion's metric is not among them, as with too few validation people for an FAR.
        """
        assert isinstance(pl_module, FaceModule)
        features = gather_features(self._seen, trainer.world_size)
        self._seen = []
        if trainer.sanity_checking:
            return
        metrics = {f"val/{name}": float(value) for name, value in pl_module.validation_terms(features).items()}
        if "predicted" in features and int(features["label"].max()) < self._num_classes:
            found = classification_metrics(features["predicted"], features["label"], self._num_classes)
            metrics.update({f"val/{name}": float(value) for name, value in found.items()})
        if self._further is not None:
            protocol_metrics = self._further(trainer, pl_module, features)
            metrics.update({validation_name(name): value for name, value in protocol_metrics.items()})
        if metrics:
            self._record(metrics, pl_module.images_seen)
        if self._is_chosen and self._criterion.metric not in metrics:
            raise ConfigError(
                f"validation.metric={self._criterion.metric}: the validation images do not give this metric, so it "
                f"cannot select weights. They give {', '.join(sorted(metrics)) or 'none'}. Choose one of these, or a "
                "split with more validation people."
            )
        if not self._criterion.applies(metrics):
            return  # such as a GAN, which has no validation metrics: its last weights are kept
        standing = self._criterion.standing(metrics)
        if trainer.is_global_zero:
            self._criterion.warn(metrics, pl_module.images_seen)
        if self._best is None or standing > self._best:
            self._best, self.best_images_seen = standing, pl_module.images_seen
            self._best_metrics = metrics
            self._best_state = {name: value.detach().clone() for name, value in pl_module.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint: the best weights so far."""
        return {
            "best": self._best,
            "best_metrics": self._best_metrics,
            "best_images_seen": self.best_images_seen,
            "best_state": self._best_state,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self._best, self.best_images_seen = state_dict["best"], state_dict["best_images_seen"]
        self._best_metrics = state_dict["best_metrics"]
        self._best_state = state_dict["best_state"]

    @property
    def best_metrics(self) -> dict[str, float]:
        """Validation metrics `best/...` of the best weights; empty if the run never validated."""
        return {name.replace("val/", "best/", 1): value for name, value in self._best_metrics.items()}

    def restore_best(self, module: FaceModule) -> None:
        """Load the best weights into the module; keep the last ones if the run never validated."""
        if self._best_state:
            module.load_state_dict(self._best_state)
