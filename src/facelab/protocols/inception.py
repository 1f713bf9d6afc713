"""Inception features for KID and FID as papers report them, from a network supplied by the user."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from facelab.errors import ConfigError
from facelab.system import check_path

_SIDE, _BATCH = 299, 64


def load_inception(path: str) -> Callable[[NDArray[np.uint8]], Tensor]:
    """Load an Inception network from a TorchScript file.

    Args:
        path: path of the file; the network is called as `network(images, return_features=True)`, (N, 3, H, W) uint8.

    Returns:
        A function from images (N, H, W, C) uint8, C 1 or 3, of any size, to features (N, D) float32. It resizes the
        images to 299 x 299 first, bilinear with antialiasing.

    Raises:
        ConfigError: the file does not exist, or is not such a TorchScript network.
    """
    check_path("protocol.generation.inception", Path(path))
    if not Path(path).is_file():
        raise ConfigError(
            f"protocol.generation.inception: there is no file {Path(path).absolute()}. Set the path of a TorchScript "
            "file, or null."
        )
    try:
        network = torch.jit.load(path, map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise ConfigError(
            f"protocol.generation.inception: {path} is not a TorchScript file ({str(error).splitlines()[0]}). Set the "
            "path of one, or null."
        ) from error

    def features(images: NDArray[np.uint8]) -> Tensor:
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
        found = []
        with torch.no_grad():
            for batch in torch.split(pixels, _BATCH):
                large = F.interpolate(batch.float(), size=(_SIDE, _SIDE), mode="bilinear", antialias=True)
                found.append(network(large.round().clamp(0, 255).to(torch.uint8), return_features=True).float())
        return torch.cat(found)

    try:
        features(np.zeros((1, 8, 8, 1), dtype=np.uint8))
    except RuntimeError as error:
        raise ConfigError(
            f"protocol.generation.inception: the network in {path} cannot be called with uint8 images and "
            f"return_features=True ({str(error).splitlines()[-1]}). Set the path of an Inception network, or null."
        ) from error
    return features
