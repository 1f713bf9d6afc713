"""A trained model on disk: weights as safetensors beside the run's config. Nothing in them is ever executed."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from facelab.config.build import build, configured
from facelab.config.check import check_node
from facelab.config.load import load_yaml
from facelab.errors import ConfigError
from facelab.models.base import FaceModule, to_float

WEIGHTS, CONFIG = "model.safetensors", "config.yaml"
_BATCH = 256
_MOST_PIXELS, _MOST_CLASSES = 1024, 10_000_000


@dataclass(frozen=True)
class ModelMetadata:
    """What a model was told of the data when it was made.

    Args:
        image_shape: (C, H, W) of the pictures.
        num_classes: number of classes.
        label_names: a name for each of them.
    """

    image_shape: tuple[int, int, int]
    num_classes: int
    label_names: tuple[str, ...]


@dataclass(frozen=True)
class Trained:
    """A model from a run's folder.

    Args:
        module: with its weights, ready to be asked.
        facts: with which it was made.
        config: of the run.
    """

    module: FaceModule
    metadata: ModelMetadata
    config: dict[str, Any]


def save(module: FaceModule, metadata: ModelMetadata, folder: Path) -> None:
    """Write the weights, with the facts in their header."""
    weights = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    save_file(weights, folder / WEIGHTS, metadata={"facelab": json.dumps(asdict(metadata))})


def load(folder: Path) -> Trained:
    """Make the model of a finished run again.

    Args:
        folder: of the run.

    Raises:
        ConfigError: the folder has no such files, they are damaged, or they are of another version of the model.
    """
    try:
        config: dict[str, Any] = load_yaml(folder / CONFIG)
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            told = json.loads(file.metadata()["facelab"])
        weights = load_file(folder / WEIGHTS)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{folder} holds no trained model: {error.filename or error} is missing. Has the run finished?"
        ) from error
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"the model in {folder} cannot be read ({error}). Restore its files, or train it again."
        ) from error
    metadata = ModelMetadata(tuple(told["image_shape"]), told["num_classes"], tuple(told["label_names"]))
    _refuse_impossible(metadata, folder)
    check_node(config["model"], "model")
    make = build({"model": config["model"]})["model"]
    module: FaceModule = configured(
        "model", lambda: make(image_shape=metadata.image_shape, num_classes=metadata.num_classes)
    )
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise ConfigError(f"the weights in {folder} do not fit its config: {error}. Train it again.") from error
    return Trained(module.eval(), metadata, config)


def _refuse_impossible(metadata: ModelMetadata, folder: Path) -> None:
    """Sizes are bounded before anything of them is allocated."""
    shape, classes, names = metadata.image_shape, metadata.num_classes, metadata.label_names
    whole = len(shape) == 3 and all(isinstance(n, int) for n in (*shape, classes))
    if not whole or not (1 <= shape[0] <= 4 and max(shape) <= _MOST_PIXELS and min(shape) >= 1):
        raise ConfigError(
            f"the model in {folder} claims images of shape {shape}; at most {_MOST_PIXELS} a side are taken."
        )
    if not 1 <= classes <= _MOST_CLASSES or len(names) != classes:
        raise ConfigError(
            f"the model in {folder} claims {classes} classes and {len(names)} names; at most {_MOST_CLASSES:,} are "
            "taken, each with a name."
        )


@torch.no_grad()
def embeddings(module: FaceModule, images: NDArray[np.uint8]) -> Tensor:
    """Embeddings of pictures as they are.

    Args:
        module: on whatever device.
        images: (N, H, W, C) uint8.

    Returns:
        (N, D) float32, on the CPU.
    """
    return torch.cat([module.embed(batch).float().cpu() for batch in _batches(module, images)])


@torch.no_grad()
def predictions(module: FaceModule, images: NDArray[np.uint8]) -> Tensor:
    """Labels that the model's own head gives.

    Args:
        module: one that classifies, on whatever device.
        images: (N, H, W, C) uint8.

    Returns:
        (N,) int64, on the CPU.
    """
    found = []
    for batch in _batches(module, images):
        scores = module.classify(module.embed(batch))
        assert scores is not None, "only asked of models with a head"
        found.append(scores.argmax(dim=1).cpu())
    return torch.cat(found)


def _batches(module: FaceModule, images: NDArray[np.uint8]) -> Iterator[Tensor]:
    for start in range(0, len(images), _BATCH):
        batch = torch.from_numpy(images[start : start + _BATCH])
        yield to_float(batch.permute(0, 3, 1, 2).to(module.device))
