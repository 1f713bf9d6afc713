"""Evaluate a model with the protocols of its run, during and after training."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from facelab.data.faces import FaceSet
from facelab.data.module import FaceDataModule
from facelab.data.splits.base import Splits
from facelab.errors import TrainingError
from facelab.models.base import FaceModule, Features
from facelab.protocols.base import Outputs, Protocol, Report, Subject
from facelab.protocols.generation_report import spread
from facelab.training.gather import gather_features, share_buffers

_FACES_ON_GRIDS = 16
_TERMS = ("squared_error", "ssim")


def evaluate(
    trainer: pl.Trainer,
    module: FaceModule,
    data: FaceDataModule,
    protocols: Mapping[str, Protocol],
    dependencies: Mapping[str, Path],
    console: Console,
) -> list[Report]:
    """Evaluate a trained model on the test split.

    Every process must call this; only the first receives reports.

    Args:
        trainer: the trainer of the model.
        module: the model; left on the trainer's device.
        data: the data it was trained on.
        protocols: by name, those that apply to the model.
        dependencies: folders of the runs that the protocols depend on, by name.
        console: prints notes; in a terminal, it shows the current protocol.
    """
    found = embed_splits(trainer, module, data, parts_needed(protocols, data), console)
    if trainer.global_rank > 0:
        return []
    module.to(trainer.strategy.root_device)
    return reports_of(found, module, data, protocols, dependencies, console)


def embed_splits(
    trainer: pl.Trainer,
    module: FaceModule,
    data: FaceDataModule,
    parts: Collection[str],
    console: Console,
) -> dict[str, Outputs]:
    """Outputs on some of train, val and test; `train` has no images if it is not among them. Every process must call
    this."""
    share_buffers(module, trainer.strategy.root_device, trainer.world_size)
    note = module.prepare_evaluation(len(data.splits.train) + len(data.splits.test))
    if note:
        console.print(note, highlight=False, soft_wrap=True)
    found = {
        part: outputs(trainer, module, data, indices)
        for part, indices in data.splits.items()
        if len(indices) and part in parts
    }
    return {"train": _none_of(found["test"]), **found}


def parts_needed(protocols: Mapping[str, Protocol], data: FaceDataModule) -> set[str]:
    """The parts whose outputs the protocols use: `test`, `train` and `val`."""
    training = any(protocol.needs_training_images(data.splits, data.faces) for protocol in protocols.values())
    thresholds = any(protocol.chooses_thresholds for protocol in protocols.values())
    return {"test", *(["train"] if training else []), *(["val"] if thresholds else [])}


def reports_of(
    found: Mapping[str, Outputs],
    module: FaceModule,
    data: FaceDataModule,
    protocols: Mapping[str, Protocol],
    dependencies: Mapping[str, Path],
    console: Console,
) -> list[Report]:
    """Evaluate a model by its outputs; arguments as for `evaluate`, and `found` as `embed_splits` returns it."""
    subject = Subject(
        data.faces, data.splits, found["train"], found["test"], module, data.seed, found.get("val"), dependencies
    )
    reports = []
    for name, protocol in protocols.items():
        with console.status(f"evaluating: {name}"):
            reports.append(protocol.evaluate(subject))
    return reports


def evaluate_validation(
    trainer: pl.Trainer,
    module: FaceModule,
    features: Features,
    data: FaceDataModule,
    protocols: Mapping[str, Protocol],
    dependencies: Mapping[str, Path],
) -> dict[str, float]:
    """Evaluate a model on the validation split during training.

    Every process must call this; all receive the metrics.

    Args:
        trainer: the trainer that runs the validation.
        module: the model in evaluation mode, with the weights to validate.
        features: of the whole validation split, gathered.
        data: the data it is trained on.
        protocols: by name.
        dependencies: folders of the runs that the protocols depend on, by name.
    """
    splits = as_validation(data.splits)
    test = _as_outputs(features, data.faces)
    train = _none_of(test)
    if "train" in parts_needed(protocols, data):
        batches = [_features(module, batch) for batch in data.evaluation_loader(data.splits.train)]
        train = _as_outputs(gather_features(batches, trainer.world_size), data.faces)
    subject = Subject(data.faces, splits, train, test, module, data.seed, dependencies=dependencies)
    # Evaluated on every process: all of them must select the same weights.
    return {name: value for protocol in protocols.values() for name, value in protocol.measure(subject).items()}


def as_validation(splits: Splits) -> Splits:
    """The splits with the validation images in place of the test images."""
    return replace(splits, test=splits.val, val=splits.val[:0])


def outputs(trainer: pl.Trainer, module: FaceModule, data: FaceDataModule, indices: NDArray[np.int64]) -> Outputs:
    """Outputs of the model on some images. Every process must call this; each receives all outputs."""
    batches = trainer.predict(module, dataloaders=data.evaluation_loader(indices))
    return _as_outputs(gather_features(batches or [], trainer.world_size), data.faces)  # type: ignore[arg-type]


def faces_for_sample_grids(faces: FaceSet, splits: Splits) -> Tensor:
    """Held-out images of up to 16 people, one of each, or up to 16 of a single person: (N, C, H, W) uint8."""
    held_out = splits.val if len(splits.val) else splits.test
    _, first = np.unique(faces.identities[held_out], return_index=True)
    chosen = held_out[spread(first if len(first) > 1 else np.arange(len(held_out)), _FACES_ON_GRIDS)]
    return torch.from_numpy(np.stack([faces.pixels[int(i)] for i in chosen])).permute(0, 3, 1, 2)


def _none_of(found: Outputs) -> Outputs:
    """Outputs of the same model on no image."""
    terms = {name: values[:0] for name, values in found.terms.items()}
    predicted = None if found.predicted is None else found.predicted[:0]
    return Outputs(found.embeddings[:0], predicted, found.labels[:0], found.identities[:0], found.indices[:0], terms)


@torch.no_grad()
def _features(module: FaceModule, batch: Mapping[str, Tensor]) -> Features:
    on_device = {name: value.to(module.device) for name, value in batch.items()}
    return module.validation_step(module.on_after_batch_transfer(on_device, 0), 0)


def _as_outputs(features: Features, faces: FaceSet) -> Outputs:
    found = features["index"].numpy()
    broken = int((~features["embedding"].isfinite().all(dim=1)).sum())
    if broken:
        raise TrainingError(
            f"the model cannot be evaluated: its embeddings of {broken:,} of {len(found):,} images are NaN or "
            "infinite. Train it again with a lower learning rate, or with trainer.precision=32-true."
        )
    values: Mapping[str, Tensor] = features  # type: ignore[assignment]
    return Outputs(
        embeddings=features["embedding"].float().numpy(),
        predicted=features["predicted"].numpy() if "predicted" in features else None,
        labels=features["label"].numpy(),
        identities=faces.identities[found],
        indices=found,
        terms={name: values[name].float().numpy() for name in _TERMS if name in values},
    )
