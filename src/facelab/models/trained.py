"""Save and load trained models: weights as safetensors beside the run's config. Loading executes no code from them."""

import json
from collections.abc import Callable, Iterator
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
    """The properties of the data that a model is built for.

    Args:
        image_shape: (C, H, W) of the images.
        num_classes: number of classes of real faces.
        label_names: the name of each of them.
        synthetic_classes: number of further classes, which only synthetic faces show.
    """

    image_shape: tuple[int, int, int]
    num_classes: int
    label_names: tuple[str, ...]
    synthetic_classes: int = 0

    def build(self, make: Callable[..., FaceModule]) -> FaceModule:
        """Call the factory of a model for such data."""
        module = make(image_shape=self.image_shape, num_classes=self.num_classes + self.synthetic_classes)
        module.synthetic_classes = self.synthetic_classes
        return module


@dataclass(frozen=True)
class Trained:
    """A trained model, loaded from a run's folder.

    Args:
        module: the model with its weights, in evaluation mode.
        metadata: the metadata it was built from.
        config: the run's config.
    """

    module: FaceModule
    metadata: ModelMetadata
    config: dict[str, Any]


def save(module: FaceModule, metadata: ModelMetadata, folder: Path) -> None:
    """Write the weights to a folder, with the metadata in the file's header."""
    weights = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    save_file(weights, folder / WEIGHTS, metadata={"facelab": json.dumps(asdict(metadata))})


def load(folder: Path) -> Trained:
    """Load the trained model of a finished run.

    Args:
        folder: the run's folder.

    Raises:
        ConfigError: the files are missing or damaged, or belong to another version of the model.
    """
    try:
        config: dict[str, Any] = load_yaml(folder / CONFIG)
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            header = json.loads(file.metadata()["facelab"])
        shape, names = tuple(header["image_shape"]), tuple(header["label_names"])
        metadata = ModelMetadata(shape, header["num_classes"], names, header.get("synthetic_classes", 0))
        weights = load_file(folder / WEIGHTS)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{folder} holds no trained model: {error.filename or error} is missing. Give the folder of a finished run."
        ) from error
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"the model in {folder} cannot be read ({error}). Restore its files, or train the model again."
        ) from error
    _refuse_impossible(metadata, folder)
    if not isinstance(config.get("model"), dict):
        raise ConfigError(f"{folder / CONFIG} has no model. Restore the file, or train the model again.")
    check_node(config["model"], "model")
    make = build({"model": config["model"]})["model"]
    module: FaceModule = configured("model", lambda: metadata.build(make))
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        said = " ".join(str(error).split())
        raise ConfigError(
            f"the weights in {folder} do not fit its config: an earlier version of facelab, in which this model was "
            f"another network, may have saved them. Train the model again. ({said[:300]})"
        ) from error
    return Trained(module.eval(), metadata, config)


def _refuse_impossible(metadata: ModelMetadata, folder: Path) -> None:
    """Check the sizes before memory is allocated for them."""
    shape, classes, names = metadata.image_shape, metadata.num_classes, metadata.label_names
    further = metadata.synthetic_classes
    whole = len(shape) == 3 and all(isinstance(n, int) for n in (*shape, classes, further))
    if not whole or not (1 <= shape[0] <= 4 and max(shape) <= _MOST_PIXELS and min(shape) >= 1):
        raise ConfigError(
            f"the model in {folder} declares images of shape {shape}; expected (C, H, W) with at most 4 channels and "
            f"{_MOST_PIXELS} pixels a side."
        )
    if not 1 <= classes <= _MOST_CLASSES or len(names) != classes or not 0 <= further <= _MOST_CLASSES:
        raise ConfigError(
            f"the model in {folder} declares {classes} classes and {len(names)} names; expected at most "
            f"{_MOST_CLASSES:,} classes, each with a name."
        )


@torch.no_grad()
def embeddings(module: FaceModule, images: NDArray[np.uint8]) -> Tensor:
    """Embeddings of images, without test-time augmentation.

    Args:
        module: a model on any device.
        images: (N, H, W, C) uint8.

    Returns:
        (N, D) float32, on the CPU.
    """
    return torch.cat([module.embed(batch).float().cpu() for batch in _batches(module, images)])


@torch.no_grad()
def evaluation_embeddings(module: FaceModule, images: NDArray[np.uint8]) -> Tensor:
    """Embeddings of images as the protocols take them: averaged over test-time augmentation, if the model has any.

    Args:
        module: a model on any device, after `prepare_evaluation`.
        images: (N, H, W, C) uint8, at least one.

    Returns:
        (N, D) float32, on the CPU.
    """
    found = []
    for batch in _batches(module, images):
        unknown = torch.zeros(len(batch), dtype=torch.int64, device=module.device)
        features = module.predict_step({"image": batch, "label": unknown, "index": unknown}, 0)
        found.append(features["embedding"].float().cpu())
    return torch.cat(found)


@torch.no_grad()
def probabilities(module: FaceModule, images: NDArray[np.uint8]) -> Tensor:
    """Probabilities of the classes by the model's classification head.

    Args:
        module: a model with a head, on any device.
        images: (N, H, W, C) uint8.

    Returns:
        (N, K) float32, on the CPU.
    """
    return _of_head(module, module.probabilities, images)


@torch.no_grad()
def predictions(module: FaceModule, images: NDArray[np.uint8]) -> Tensor:
    """Labels predicted by the model's classification head.

    Args:
        module: a model with a head, on any device.
        images: (N, H, W, C) uint8.

    Returns:
        (N,) int64, on the CPU.
    """
    return _of_head(module, module.scores, images).argmax(dim=1)


def _of_head(module: FaceModule, head: Callable[[Tensor], Tensor | None], images: NDArray[np.uint8]) -> Tensor:
    """What a head (N, D) -> (N, K) makes of the embeddings of images (N, H, W, C) uint8, float32 on the CPU."""
    found = []
    for batch in _batches(module, images):
        values = head(module.embed(batch))
        assert values is not None, "the model has no classification head"
        found.append(values.float().cpu())
    return torch.cat(found)


def _batches(module: FaceModule, images: NDArray[np.uint8]) -> Iterator[Tensor]:
    for start in range(0, len(images), _BATCH):
        batch = torch.from_numpy(images[start : start + _BATCH])
        yield to_float(batch.permute(0, 3, 1, 2).to(module.device))
