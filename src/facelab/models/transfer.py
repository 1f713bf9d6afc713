"""Start training from the encoder of a finished run."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from facelab.errors import ConfigError
from facelab.models.base import FaceModule
from facelab.models.finished import find_run
from facelab.models.trained import WEIGHTS, load
from facelab.tracking import Store


def find_weights(init_from: str, runs_folder: Path, store: Store) -> Path:
    """Folder of the finished run that `model.init_from` names.

    Args:
        init_from: the run's id, or the path of its folder.
        runs_folder: where runs keep their files.
        store: where to look for a run that has no folder here.

    Raises:
        ConfigError: there is no such run, or it has no weights.
        TrackingError: the store cannot be reached or read, or the download was cut.
    """
    own = Path(init_from)
    if not (runs_folder / init_from / WEIGHTS).is_file() and (own / WEIGHTS).is_file():
        return own
    if own.is_dir() or len(own.parts) > 1:
        raise ConfigError(
            f"model.init_from={init_from}: {own.absolute()} is no folder that holds {WEIGHTS}. Give the id of a "
            "finished run (`facelab runs` lists them), or the path of its folder."
        )
    return find_run(init_from, runs_folder, store, "model.init_from")


def load_encoder(module: FaceModule, folder: Path) -> None:
    """Replace the weights of a model's encoder by those of a finished run; the head keeps its initial weights.

    Batch normalisation's running statistics are part of them. With `module.init_layers`, only these modules of the
    encoder are replaced.

    Args:
        module: a new model with an `encoder`; changed in place.
        folder: of the finished run.

    Raises:
        ConfigError: the run has no encoder, its encoder has other layers or shapes, or `init_layers` names no module.
    """
    given, encoder = getattr(load(folder).module, "encoder", None), module.encoder
    assert isinstance(encoder, nn.Module)
    if given is None:
        raise ConfigError(f"model.init_from: the model of {folder} has no encoder. Give a run of model=cnn.")
    layers = module.init_layers
    weights, own = (_chosen(network.state_dict(), layers) for network in (given, encoder))
    missing = [layer for layer in layers or () if not _chosen(own, [layer])]
    if missing:
        known = sorted({name.partition(".")[0] for name in encoder.state_dict()})
        raise ConfigError(
            f"model.init_layers: the encoder has no weights in '{missing[0]}'. Expected some of: {', '.join(known)}."
        )
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
    encoder.load_state_dict({**encoder.state_dict(), **weights})


def weights_digest(folder: Path) -> str:
    """SHA-256 of a finished run's weights, in hexadecimal."""
    with (folder / WEIGHTS).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _chosen(weights: dict[str, Tensor], layers: Sequence[str] | None) -> dict[str, Tensor]:
    prefixes = ("",) if layers is None else tuple(f"{layer}." for layer in layers)
    return {name: value for name, value in weights.items() if name.startswith(prefixes)}


def _shape(weights: dict[str, Tensor], name: str) -> str:
    return "x".join(map(str, weights[name].shape)) or "a number" if name in weights else "absent"
