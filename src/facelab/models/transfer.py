"""Start training from the encoder of a finished run."""

import hashlib
from pathlib import Path

from torch import Tensor

from facelab.errors import ConfigError
from facelab.models.base import FaceModule
from facelab.models.trained import WEIGHTS, load


def find_weights(init_from: str, runs_folder: Path) -> Path:
    """Folder of the finished run that `model.init_from` names.

    Args:
        init_from: the run's id, or the path of its folder.
        runs_folder: where runs keep their files.

    Raises:
        ConfigError: neither is the folder of a finished run.
    """
    for folder in (runs_folder / init_from, Path(init_from)):
        if (folder / WEIGHTS).is_file():
            return folder
    raise ConfigError(
        f"model.init_from={init_from}: there is no finished run of this id in {runs_folder.absolute()}, and no folder "
        f"{Path(init_from).absolute()} that holds {WEIGHTS}. Give the id of a finished run (`facelab runs` "
        "lists them), or the path of its folder."
    )


def load_encoder(module: FaceModule, folder: Path) -> None:
    """Replace the weights of a model's encoder by those of a finished run; the head keeps its initial weights.

    Batch normalisation's running statistics are part of them.

    Args:
        module: a new model with an `encoder`; changed in place.
        folder: of the finished run.

    Raises:
        ConfigError: the run has no encoder, or its encoder has other layers or shapes.
    """
    given = getattr(load(folder).module, "encoder", None)
    if given is None:
        raise ConfigError(f"model.init_from: the model of {folder} has no encoder. Give a run of model=cnn.")
    weights, own = given.state_dict(), module.encoder.state_dict()
    wrong = [
        f"{name}: {_shape(weights, name)} there, {_shape(own, name)} here"
        for name in sorted(weights.keys() | own.keys())
        if _shape(weights, name) != _shape(own, name)
    ]
    if wrong:
        rest = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ConfigError(
            f"model.init_from: the encoder of {folder} does not fit this model: {'; '.join(wrong[:3])}{rest}. Use the "
            "same model.encoder, data.image_size and data.channels as that run."
        )
    module.encoder.load_state_dict(weights)


def weights_digest(folder: Path) -> str:
    """SHA-256 of a finished run's weights, in hexadecimal."""
    with (folder / WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _shape(weights: dict[str, Tensor], name: str) -> str:
    return "x".join(map(str, weights[name].shape)) or "a number" if name in weights else "absent"
