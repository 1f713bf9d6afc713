"""Write a part of a model as an ONNX or torch.export file, and compare the file with the model."""

import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facelab.data.sources.orl import ORL
from facelab.errors import ConfigError
from facelab.exporting.graphs import Arrays, Part, reference
from facelab.models.base import FaceModule, to_float
from facelab.models.sampling import latents
from facelab.models.trained import ModelMetadata

Format = Literal["onnx", "torch"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch": ".pt2"}
METADATA = "facelab.json"  # file within a .pt2
TOLERANCE = 1e-4
_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_MOST_BYTES = 1535 * 2**20  # beyond 1536 MiB of weights and constants, torch puts them into a second file

Run = Callable[[Arrays], Arrays]


@dataclass(frozen=True)
class Difference:
    """The largest difference between a file and the model it was made from.

    Args:
        largest: largest absolute difference of any output.
        output: its name.
        scale: the largest absolute value of that output, or 1 if that is more.
        compared: number of inputs compared.
    """

    largest: float
    output: str
    scale: float
    compared: int


def check_format(chosen: Format) -> None:
    """Check that the packages of a format are installed.

    Raises:
        ConfigError: some are missing; says how to install them.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None] if chosen == "onnx" else []
    if missing:
        raise ConfigError(
            f"format=onnx needs packages that are not installed: {', '.join(missing)}. Type: pip install "
            f"'facelab[export]' (or: pip install {' '.join(missing)}), or choose format=torch."
        )


def write(part: Part, chosen: Format, metadata: Mapping[str, str], place: Path) -> Run:
    """Write a part to a file, and load the file again.

    Args:
        part: to write.
        chosen: format of the file.
        metadata: texts by name, kept in the file.
        place: the file.

    Returns:
        A function that runs the file on a batch of any size, inputs and outputs by name.

    Raises:
        ConfigError: the model does something that the format has no word for, or is too large for it.
        OSError: the file cannot be written.
    """
    size = sum(value.numel() * value.element_size() for value in part.graph.state_dict().values())
    if chosen == "onnx" and size > _MOST_BYTES:
        raise ConfigError(
            f"format=onnx: {size / 2**30:.2f} GiB of weights do not fit into one file, which holds at most 1.5 GiB. "
            "Choose format=torch."
        )
    write_it = _write_onnx if chosen == "onnx" else _write_torch
    try:
        with _quiet():
            return write_it(part, _traced(part), metadata, place)
    except OSError:
        raise
    except Exception as error:  # torch raises classes of its own for every stage
        raise ConfigError(
            f"format={chosen}: {type(part.graph.module).__name__} cannot be exported ({_cause(error)}). Its operations "
            "must be known to the format, and must not depend on the values of the images."
        ) from error


def _cause(error: BaseException) -> str:
    """First line of the error that caused the others."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
    return lines[0].strip().rstrip(".")[:300]


def difference(run: Run, module: FaceModule, part: Part, metadata: ModelMetadata) -> Difference:
    """Compare a file with PyTorch in float32, on real faces and on random inputs, in batches of several sizes.

    Args:
        run: runs the file.
        module: the model, in evaluation mode, on the CPU.
        part: of the module that was written.
        metadata: that the model was built from.
    """
    found, compared = [], 0
    for batch in _batches(module, part, metadata):
        expected, given = reference(module, part, batch), run(batch)
        compared += len(batch[part.inputs[0]])
        for name in part.outputs:
            found.append((_apart(expected[name], given[name]), name, max(1.0, _largest(expected[name]))))
    largest, output, scale = max(found, key=lambda one: one[0] / one[2])
    return Difference(largest, output, scale, compared)


def _apart(expected: NDArray[Any], given: NDArray[Any]) -> float:
    """The largest absolute difference; infinity where one of two values is NaN, or they are not the same infinity."""
    with np.errstate(invalid="ignore"):
        apart = np.where(expected == given, 0.0, np.abs(expected - given))  # a person without images scores -infinity
    return float(np.where(np.isnan(apart), np.inf, apart).max())


def _largest(values: NDArray[Any]) -> float:
    """The largest finite absolute value; 0 without any."""
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def _batches(module: FaceModule, part: Part, metadata: ModelMetadata) -> Iterator[Arrays]:
    random = np.random.default_rng(0)
    channels, height, width = metadata.image_shape
    faces = ORL(image_size=max(height, width), channels=1 if channels == 1 else 3, last_person=2).load().pixels
    real: Arrays = {"images": np.ascontiguousarray(np.asarray(faces)[:, :height, :width])}
    if part.name == "embed":
        yield real
        for count in (1, 7):
            yield {"images": random.integers(0, 256, (count, height, width, channels), dtype=np.uint8)}
        return
    dim = part.example["latents"].shape[1]
    if part.name == "decode":
        with torch.no_grad():
            images = to_float(torch.from_numpy(real["images"]).permute(0, 3, 1, 2))
            yield {"latents": module.embed(images).float().numpy()}
    for count in (1, 7):
        drawn: Arrays = {"latents": latents(count, dim, seed=count).numpy()}
        if "labels" in part.inputs:
            drawn["labels"] = random.integers(0, metadata.num_classes, count)
        yield drawn


def _traced(part: Part) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1)
    example = tuple(torch.from_numpy(part.example[name]) for name in part.inputs)
    with torch.no_grad():
        program = torch.export.export(part.graph, example, dynamic_shapes=tuple({0: batch} for _ in example))
    return _without_unused_weights(program)


def _without_unused_weights(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Drop the weights of the model's other parts in place: whoever gets a generator need not get its discriminator."""
    places = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    for spec in list(program.graph_signature.input_specs):
        node = places[spec.arg.name]
        if spec.target is not None and not node.users:
            program.graph.erase_node(node)
            program.graph_signature.input_specs.remove(spec)
            program.state_dict.pop(spec.target, None)
            program.constants.pop(spec.target, None)
    program.graph_module.recompile()
    return program


def _write_onnx(part: Part, program: torch.export.ExportedProgram, metadata: Mapping[str, str], place: Path) -> Run:
    import onnxruntime  # type: ignore[import-untyped]

    # ONNX has no adaptive pooling; torch.onnx converts it only where the sizes divide each other.
    program = program.run_decompositions({torch.ops.aten.adaptive_max_pool2d.default: _adaptive_max_pool2d})
    with torch.no_grad():
        onnx = torch.onnx.export(
            program, (), dynamo=True, verbose=False, input_names=part.inputs, output_names=part.outputs
        )
    assert onnx is not None
    onnx.model.metadata_props.update(metadata)
    for node in onnx.model.graph.all_nodes():
        node.metadata_props.clear()  # paths of this machine's Python files
    onnx.save(place)
    session = onnxruntime.InferenceSession(place, providers=["CPUExecutionProvider"])

    def run(batch: Arrays) -> Arrays:
        return dict(zip(part.outputs, session.run(list(part.outputs), batch), strict=True))

    return run


def _write_torch(part: Part, program: torch.export.ExportedProgram, metadata: Mapping[str, str], place: Path) -> Run:
    torch.export.save(program, place, extra_files={METADATA: json.dumps(dict(metadata))})
    loaded = torch.export.load(place).module()

    def run(batch: Arrays) -> Arrays:
        with torch.no_grad():
            outputs = loaded(*(torch.from_numpy(batch[name]) for name in part.inputs))
        return {name: values.numpy() for name, values in zip(part.outputs, outputs, strict=True)}

    return run


def _adaptive_max_pool2d(images: Tensor, output_size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The largest value of each cell: (N, C, H, W) -> (N, C, *output_size). The second result is not used."""
    for dim, cells in zip((2, 3), output_size, strict=True):
        side = images.shape[dim]
        bounds = [(i * side // cells, -(-(i + 1) * side // cells)) for i in range(cells)]
        parts = [images.narrow(dim, start, end - start).amax(dim, keepdim=True) for start, end in bounds]
        images = torch.cat(parts, dim)
    return images, torch.zeros_like(images, dtype=torch.int64)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what torch says of its own parts, such as that torchvision is not installed."""
    before, logger = logging.root.manager.disable, logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        logger.setLevel(level)
