"""Validation during training, and the best weights by it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from facelab.metrics.classification import classification_metrics
from facelab.metrics.declaration import validation_name
from facelab.models.base import FaceModule, Features
from facelab.training.callbacks.training_log import Record
from facelab.training.gather import gather_features

# Evaluates protocols on the gathered features of the validation split; called on every process.
Further = Callable[[pl.Trainer, FaceModule, Features], Mapping[str, float]]


@dataclass(frozen=True)
class Criterion:
    """The metric by which the best weights are kept.

    Args:
        metric: its name, `val/...`.
        higher_is_better: whether more of it is better.
    """

    metric: str
    higher_is_better: bool

    def standing(self, metrics: Mapping[str, float]) -> tuple[float, float]:
        """Larger for better weights; of equal ones the lower `val/loss` wins."""
        value = metrics.get(self.metric, 0.0)
        return (value if self.higher_is_better else -value, -metrics.get("val/loss", 0.0))


class Validation(pl.Callback):
    """Computes `val/*` and keeps the best weights.

    Must come before the averaging callback, which swaps the averaged weights in before this callback's turn at the
    end of validation and out after it.

    Args:
        record: takes values by name and the images seen.
        num_classes: length of the class list.
        criterion: by which weights are the best; None for the highest `val/f1`, then the lowest `val/loss`.
        further: gives metrics of protocols by the names they have on the test split; None for none.
    """

    def __init__(
        self, record: Record, num_classes: int, criterion: Criterion | None = None, further: Further | None = None
    ) -> None:
        self._record, self._num_classes, self._further = record, num_classes, further
        self._criterion = criterion or Criterion("val/f1", higher_is_better=True)
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
        """Record the metrics, and keep the weights if they are the best so far."""
        assert isinstance(pl_module, FaceModule)
        features = gather_features(self._seen, trainer.world_size)
        self._seen = []
        if trainer.sanity_checking:
            return
        metrics = {f"val/{name}": float(value) for name, value in pl_module.validation_terms(features).items()}
        if "predicted" in features:
            found = classification_metrics(features["predicted"], features["label"], self._num_classes)
            metrics.update({f"val/{name}": float(value) for name, value in found.items()})
        if self._further is not None:
            found_too = self._further(trainer, pl_module, features)
            metrics.update({validation_name(name): value for name, value in found_too.items()})
        if not metrics:
            return  # a GAN has nothing that says which weights are best: its last ones are kept
        self._record(metrics, pl_module.images_seen)
        standing = self._criterion.standing(metrics)
        if self._best is None or standing > self._best:
            self._best, self.best_images_seen = standing, pl_module.images_seen
            self._best_metrics = metrics
            self._best_state = {name: value.detach().clone() for name, value in pl_module.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: the best so far."""
        return {
            "best": self._best,
            "best_metrics": self._best_metrics,
            "best_images_seen": self.best_images_seen,
            "best_state": self._best_state,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint."""
        self._best, self.best_images_seen = state_dict["best"], state_dict["best_images_seen"]
        self._best_metrics = state_dict["best_metrics"]
        self._best_state = state_dict["best_state"]

    @property
    def best_metrics(self) -> dict[str, float]:
        """`best/...`: the validation metrics of the weights that are kept; empty without any validation."""
        return {name.replace("val/", "best/", 1): value for name, value in self._best_metrics.items()}

    def restore_best(self, module: FaceModule) -> None:
        """Put the best weights back; without any validation the last ones stay."""
        if self._best_state:
            module.load_state_dict(self._best_state)
