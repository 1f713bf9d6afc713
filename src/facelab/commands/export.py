"""The command `facelab export`: write a trained model as a file that runs without facelab."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import facelab
from facelab.config.build import build
from facelab.errors import ConfigError
from facelab.exporting.files import SUFFIXES, TOLERANCE, Difference, Format, check_format, difference, write
from facelab.exporting.graphs import Part, PartName, part_of
from facelab.models.finished import find_run
from facelab.models.trained import Trained, load
from facelab.models.transfer import weights_digest
from facelab.system import check_path
from facelab.tracking import Store

_COMPARED: dict[PartName, str] = {
    "embed": "faces and random images",
    "decode": "latents of faces and random ones",
    "generate": "random latents",
}


@dataclass(frozen=True)
class Export:
    """The root of the `export` config.

    Args:
        run: id of a finished run.
        tracking: the store to download the run from, if it has no folder here.
        format: onnx, or torch for a file of torch.export.
        part: embed, decode or generate; auto for generate of GANs and diffusion models, and embed of others.
        out: file to write; null for one named by the run and the part, in the current folder.
        runs_folder: where runs keep their files.
    """

    run: str
    tracking: Store
    format: Format = "onnx"
    part: Literal["auto", "embed", "decode", "generate"] = "auto"
    out: str | None = None
    runs_folder: str = "runs"


def export(config: Mapping[str, Any]) -> None:
    """Write a part of a trained model, load the file again and compare its outputs with PyTorch's.

    Args:
        config: a checked config of `Export`.

    Raises:
        ConfigError: there is no such run, its model has no such part or cannot be exported, a package is missing, the
            file exists or cannot be written, or its outputs differ; no file is kept.
        TrackingError: the run is not here, and its store cannot be read.
    """
    options = Export(**build(config))
    check_format(options.format)
    if options.out is not None:
        _check_place(Path(options.out), options.format)
    folder = find_run(options.run, Path(options.runs_folder), options.tracking)
    trained = load(folder)
    part = part_of(trained.module, trained.metadata, options.part)
    place = Path(options.out or f"{options.run}_{part.name}{SUFFIXES[options.format]}").absolute()
    _check_place(place, options.format)
    model = type(trained.module).__name__
    print(f"Exporting {part.name} of run {options.run} ({model}) as {options.format} ...", flush=True)
    found = _written(trained, part, options, _metadata(trained, part, options.run, weights_digest(folder)), place)
    print(
        f"{_signature(trained, part)}\n"
        f"largest difference from PyTorch: {found.largest:.1e} in {found.output}, over {found.compared} inputs, "
        f"{_COMPARED[part.name]}\n{place}: {place.stat().st_size / 2**20:.1f} MiB"
    )


def _written(trained: Trained, part: Part, options: Export, metadata: Mapping[str, str], place: Path) -> Difference:
    """Write the file beside its place, and move it there once it has been compared."""
    try:
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=place.parent) as partial:
            file = Path(partial) / place.name
            run = write(part, options.format, metadata, file)
            found = difference(run, trained.module, part, trained.metadata)
            if found.largest > TOLERANCE * found.scale:
                raise ConfigError(
                    f"run={options.run}: {found.output} of the exported file differ from PyTorch's by "
                    f"{found.largest:.1e}, more than {TOLERANCE * found.scale:.0e}. No file was kept. "
                    f"Try format={'torch' if options.format == 'onnx' else 'onnx'}."
                )
            file.replace(place)
    except OSError as error:
        raise ConfigError(
            f"out: {place} cannot be written ({error.strerror or error}). Choose another one with out=<file>."
        ) from error
    return found


def _check_place(place: Path, chosen: Format) -> None:
    place, suffix = place.absolute(), SUFFIXES[chosen]
    check_path("out", place)
    if place.suffix != suffix:
        raise ConfigError(f"out={place.name}: expected a file whose name ends in {suffix}, for format={chosen}.")
    if place.exists():
        raise ConfigError(f"out: {place} exists. Choose another name with out=<file>, or remove it.")
    if not place.parent.is_dir():
        raise ConfigError(f"out: there is no folder {place.parent}. Create it, or choose another one.")


def _metadata(trained: Trained, part: Part, run: str, digest: str) -> dict[str, str]:
    channels, height, width = trained.metadata.image_shape
    return {
        "facelab": facelab.__version__,
        "run": run,
        "model": str(trained.config["model"]["_target_"]),
        "weights_sha256": digest,
        "part": part.name,
        "label_names": json.dumps(trained.metadata.label_names),
        "image_shape": json.dumps([height, width, channels]),
    }


def _signature(trained: Trained, part: Part) -> str:
    """Names, shapes and types of inputs and outputs, in words."""
    batch = {name: values.shape[1:] for name, values in part.example.items()}
    given = [f"{name} {_shape(shape)} {part.example[name].dtype}" for name, shape in batch.items()]
    return f"{', '.join(given)} -> {', '.join(part.outputs)}"


def _shape(rest: tuple[int, ...]) -> str:
    return f"(N{''.join(f', {n}' for n in rest)}{',' if not rest else ''})"
