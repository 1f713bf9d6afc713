"""The parts of a model as graphs with their own preprocessing: from uint8 images, or from latents to images."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facelab.errors import ConfigError
from facelab.models.base import FaceModule, Generative, Reconstructing, to_float
from facelab.models.sampling import latents
from facelab.models.trained import ModelMetadata

PartName = Literal["embed", "decode", "generate"]
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Part:
    """A part of a model that is exported on its own.

    Args:
        name: embed, decode or generate.
        graph: takes the inputs and returns a tuple of the outputs; the first dimension of each is the batch.
        inputs: their names.
        outputs: their names.
        example: a batch of two, by name.
    """

    name: PartName
    graph: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    example: Arrays


class Embed(nn.Module):
    """Images (N, H, W, C) uint8 -> embeddings (N, D).

    With a classification head also probabilities (N, num_classes), with a decoder also reconstructions (N, H, W, C)
    float in [0, 1].
    """

    def __init__(self, module: FaceModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """As the class says."""
        embeddings = self.module.embed(images.permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1)
        outputs = [embeddings.float()]
        if (scores := self.module.probabilities(embeddings)) is not None:
            outputs.append(scores)
        if isinstance(self.module, Reconstructing):
            outputs.append(_levels(self.module.decode(embeddings)))
        return tuple(outputs)


class Decode(nn.Module):
    """Latents (N, D) float32 -> images (N, H, W, C) float in [0, 1]."""

    def __init__(self, module: FaceModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, latents: Tensor) -> tuple[Tensor, ...]:
        """As the class says."""
        assert isinstance(self.module, Reconstructing)
        return (_levels(self.module.decode(latents)),)


class Generate(nn.Module):
    """Standard normal latents (N, D) float32, and labels (N,) int64 if conditional -> images (N, H, W, C) in [0, 1]."""

    def __init__(self, module: FaceModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> tuple[Tensor, ...]:
        """As the class says."""
        assert isinstance(self.module, Generative)
        given = torch.zeros_like(latents[:, 0], dtype=torch.int64) if labels is None else labels
        return (_levels(self.module.generate(latents, given)),)


def _levels(images: Tensor) -> Tensor:
    """(N, C, H, W) in [-1, 1] -> (N, H, W, C) in [0, 1]."""
    return images.float().add(1).div(2).permute(0, 2, 3, 1)


def part_names(module: FaceModule) -> tuple[PartName, ...]:
    """The parts that a model has; the first is what it is mostly used for."""
    if isinstance(module, Reconstructing):
        return ("embed", "decode", "generate") if isinstance(module, Generative) else ("embed", "decode")
    return ("generate", "embed") if isinstance(module, Generative) else ("embed",)


def part_of(module: FaceModule, metadata: ModelMetadata, name: str) -> Part:
    """A part of a model.

    Args:
        module: in evaluation mode, on the CPU.
        metadata: that the model was built from.
        name: embed, decode or generate; auto for the first of `part_names`.

    Raises:
        ConfigError: the model has no such part.
    """
    names = part_names(module)
    chosen = names[0] if name == "auto" else next((one for one in names if one == name), None)
    if chosen is None:
        raise ConfigError(
            f"part={name}: a {type(module).__name__} has no such part, but {', '.join(names)}; part=auto is {names[0]}."
        )
    if chosen == "embed":
        channels, height, width = metadata.image_shape
        outputs = [
            "embeddings",
            *(["scores"] if module.classifies else []),
            *(["reconstructions"] if isinstance(module, Reconstructing) else []),
        ]
        images = np.zeros((2, height, width, channels), dtype=np.uint8)
        return Part(chosen, Embed(module), ("images",), tuple(outputs), {"images": images})
    drawn: Arrays = {"latents": latents(2, _latent_dim(module), seed=0).numpy()}
    if chosen == "decode":
        return Part(chosen, Decode(module), ("latents",), ("images",), drawn)
    if isinstance(module, Generative) and module.num_labels:
        drawn["labels"] = np.zeros(2, dtype=np.int64)
    return Part(chosen, Generate(module), tuple(drawn), ("images",), drawn)


def reference(module: FaceModule, part: Part, batch: Arrays) -> Arrays:
    """The outputs of a part as facelab computes them everywhere else, without the graph.

    Args:
        module: in evaluation mode, on the CPU.
        part: of the module.
        batch: inputs by name.

    Returns:
        Outputs by name.
    """
    given = {name: torch.from_numpy(values) for name, values in batch.items()}
    with torch.no_grad():
        if part.name == "embed":
            embeddings = module.embed(to_float(given["images"].permute(0, 3, 1, 2)))
            found = {"embeddings": embeddings, "scores": module.probabilities(embeddings)}
            if isinstance(module, Reconstructing):
                found["reconstructions"] = _levels(module.decode(embeddings))
        elif part.name == "decode":
            assert isinstance(module, Reconstructing)
            found = {"images": _levels(module.decode(given["latents"]))}
        else:
            assert isinstance(module, Generative)
            labels = given.get("labels", torch.zeros(len(given["latents"]), dtype=torch.int64))
            found = {"images": _levels(module.generate(given["latents"], labels))}
    return {name: values.float().numpy() for name, values in found.items() if values is not None}


def _latent_dim(module: FaceModule) -> int:
    dim = getattr(module, "latent_dim", None)
    if not isinstance(dim, int):
        raise ConfigError(
            f"{type(module).__name__} has no latent_dim, the length of what it decodes. Export part=embed."
        )
    return dim
