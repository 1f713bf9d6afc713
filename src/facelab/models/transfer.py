"""Start training from a trained encoder: that of a finished run, or weights from elsewhere."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import Optimizer

from facelab.errors import ConfigError
from facelab.models.base import FaceModule
from facelab.models.finished import find_run
from facelab.models.trained import WEIGHTS, load
from facelab.system import check_path
from facelab.tracking import Store, is_run_id

SUFFIX, PREFIX = ".safetensors", "encoder."


@dataclass(frozen=True)
class Transfer:
    """Where the weights of an encoder come from, and how they are trained further.

    Args:
        init_from: the finished run whose encoder training starts from: its id, or its folder; or a safetensors file
            with the encoder's weights. None for random weights.
        init_layers: the encoder's modules that are taken from there, such as `blocks`; None for all. The others keep
            random weights.
        freeze: `encoder` trains only the head and keeps batch normalisation's statistics; `none` trains everything.
        layer_decay: the learning rate of each layer of the encoder relative to the next one, the head's being the
            optimiser's; None for one learning rate. See `optimizer`.

    Raises:
        ValueError: an argument is given without what it needs.
    """

    init_from: str | None = None
    init_layers: Sequence[str] | None = None
    freeze: Literal["encoder", "none"] = "none"
    layer_decay: float | None = None

    def __post_init__(self) -> None:
        if self.freezes and (self.init_from is None or self.init_layers is not None):
            raise ValueError("freeze=encoder would keep random weights; give init_from=<run id> and no init_layers")
        if self.init_layers is not None and self.init_from is None:
            raise ValueError("init_layers names modules of the encoder of a run; give it as init_from=<run id>")
        if self.layer_decay is not None and (self.init_from is None or self.freezes):
            raise ValueError("layer_decay is for an encoder that is given and trained; give init_from and freeze=none")

    @property
    def freezes(self) -> bool:
        """Whether the encoder is not trained."""
        return self.freeze == "encoder"

    def optimizer(
        self, make: Callable[..., Optimizer], encoder: nn.Module, parameters: Iterable[nn.Parameter]
    ) -> Optimizer:
        """The optimiser of a model.

        With `layer_decay`, the i-th of L layers of the encoder learns at layer_decay^(L + 1 - i) times the learning
        rate (Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification", 2018, section 3.2, where
        it is 1 / 2.6; Clark et al., "ELECTRA", 2020, appendix A). Layers are counted in the order of the encoder's
        modules, those of a sequence one by one; a module without a weight matrix, such as a normalisation, belongs to
        the one before. A module that holds all weights in a single module, such as a wrapper, is passed over.

        Args:
            make: called with the parameters, or groups of them.
            encoder: whose layers are meant.
            parameters: to train, those of the encoder among them.

        Raises:
            ValueError: there is `layer_decay`, and the encoder is a single layer.
        """
        trained = list(parameters)
        if self.layer_decay is None:
            return make(trained)
        layers = _layers(_unwrapped(encoder))
        if len(layers) == 1:
            raise ValueError(
                f"model.layer_decay={self.layer_decay}: the encoder's weights are all in one module, so its layers "
                "cannot be told apart. Set layer_decay=null, or give the encoder's layers as modules of its own."
            )
        of_encoder = {id(parameter) for layer in layers for parameter in layer}
        rates = [self.layer_decay ** (len(layers) - i) for i in range(len(layers))]
        groups = [*layers, [parameter for parameter in trained if id(parameter) not in of_encoder]]
        kept = [(group, rate) for group, rate in zip(groups, [*rates, 1.0], strict=True) if group]
        optimizer = make([{"params": group} for group, _ in kept])
        for group, (_, rate) in zip(optimizer.param_groups, kept, strict=True):
            group["lr"] *= rate
        return optimizer


def _unwrapped(encoder: nn.Module) -> nn.Module:
    """The innermost module that holds all weights and is no sequence."""
    while True:
        holders = [child for child in encoder.children() if next(child.parameters(), None) is not None]
        own = next(encoder.parameters(recurse=False), None)
        if own is not None or len(holders) != 1 or isinstance(holders[0], nn.Sequential | nn.ModuleList):
            return encoder
        encoder = holders[0]


def _layers(encoder: nn.Module) -> list[list[nn.Parameter]]:
    """The trained parameters of each layer, from the input on."""
    modules: dict[str, list[nn.Parameter]] = {}
    for name, parameter in encoder.named_parameters():
        first, *rest = name.split(".")
        several = isinstance(getattr(encoder, first), nn.Sequential | nn.ModuleList)
        modules.setdefault(f"{first}.{rest[0]}" if several else first, []).append(parameter)
    layers: list[list[nn.Parameter]] = []
    for parameters in modules.values():
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        if layers and all(parameter.dim() < 2 for parameter in parameters):
            layers[-1] += trained
        else:
            layers.append(trained)
    return layers


def find_weights(init_from: str, runs_folder: Path, store: Store) -> Path:
    """The folder of the finished run, or the file, that `model.init_from` names.

    Args:
        init_from: the run's id, the path of its folder, or the path of a safetensors file.
        runs_folder: where runs keep their files.
        store: where to look for a run that has no folder here.

    Raises:
        ConfigError: there is no such run, or it has no weights, or the file is no safetensors file.
        TrackingError: the store cannot be reached or read, or the download was cut.
    """
    given = Path(init_from)
    check_path("model.init_from", given / WEIGHTS)
    if not is_run_id(init_from) or not (runs_folder / init_from / WEIGHTS).is_file():
        if (given / WEIGHTS).is_file() or (given.is_file() and given.suffix == SUFFIX):
            return given
        _refuse_others(init_from, given)
    return find_run(init_from, runs_folder, store, "model.init_from")


def _refuse_others(init_from: str, given: Path) -> None:
    """Refuse what cannot be the id of a run."""
    if given.is_file():
        raise ConfigError(
            f"model.init_from={init_from}: expected a {SUFFIX} file, which cannot execute code when it is read. "
            'Convert weights of PyTorch once: python -c "import torch, safetensors.torch as s; '
            f"s.save_file(torch.load('{given}', weights_only=True), '{given.with_suffix(SUFFIX).name}')\""
        )
    if given.is_dir() or len(given.parts) > 1:
        raise ConfigError(
            f"model.init_from={init_from}: {given.absolute()} is neither a folder that holds {WEIGHTS} nor a {SUFFIX} "
            "file. Give the id of a finished run (`facelab runs` lists them), the path of its folder, or that of an "
            "encoder's weights."
        )


def load_encoder(module: FaceModule, source: Path) -> None:
    """Replace the weights of a model's encoder by given ones; the head keeps its initial weights.

    Batch normalisation's running statistics are part of them. With `init_layers`, only these modules of the encoder are
    replaced.

    Args:
        module: a new model with an `encoder`; changed in place.
        source: the folder of a finished run, or a safetensors file of the encoder's weights, or of a whole model's,
            where their names begin with `encoder.`.

    Raises:
        ConfigError: there is no encoder, it has other layers or shapes, or `init_layers` names no module.
    """
    encoder, layers = module.encoder, None if module.transfer is None else module.transfer.init_layers
    assert isinstance(encoder, nn.Module)
    present = encoder.state_dict()
    weights, own = _chosen(_given(source, present), layers), _chosen(present, layers)
    missing = [layer for layer in layers or () if not _chosen(own, [layer])]
    if missing:
        known = sorted({name.partition(".")[0] for name in present})
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
            f"model.init_from: the encoder of {source} does not fit this model: {'; '.join(wrong[:3])}{rest}. Use the "
            "same model.encoder, data.image_size and data.channels as it was trained with."
        )
    encoder.load_state_dict({**present, **weights})


def _given(source: Path, present: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the encoder that a run's folder or a file holds, by name; `present` are those of the new one."""
    if source.is_dir():
        given = getattr(load(source).module, "encoder", None)
        if given is None:
            raise ConfigError(f"model.init_from: the model of {source} has no encoder. Give a run of model=cnn.")
        return cast(dict[str, Tensor], given.state_dict())
    try:
        weights = load_file(source)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"model.init_from={source}: the file cannot be read ({error}). Copy it again.") from error
    ours = {name.removeprefix(PREFIX): value for name, value in weights.items() if name.startswith(PREFIX)}
    # Batch normalisation counts its batches, which old files leave out and nothing reads.
    counts = {name: value for name, value in present.items() if name.endswith("num_batches_tracked")}
    return {**counts, **(ours or weights)}


def weights_digest(source: Path) -> str:
    """SHA-256 of the weights of a finished run, or of a file, in hexadecimal."""
    with (source / WEIGHTS if source.is_dir() else source).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _chosen(weights: dict[str, Tensor], layers: Sequence[str] | None) -> dict[str, Tensor]:
    prefixes = ("",) if layers is None else tuple(f"{layer}." for layer in layers)
    return {name: value for name, value in weights.items() if name.startswith(prefixes)}


def _shape(weights: dict[str, Tensor], name: str) -> str:
    return "x".join(map(str, weights[name].shape)) or "a number" if name in weights else "absent"
