"""The model that MLflow serves: tables of base64-encoded images in, tables of names and numbers out."""

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from facelab.data.images import as_pixels, opened, picture, refuse
from facelab.errors import DataError
from facelab.metrics.reconstruction import squared_errors
from facelab.models.base import FaceModule, Generative, Reconstructing, to_float
from facelab.models.sampling import sample
from facelab.models.trained import ModelMetadata, Trained, load
from facelab.tracking import ModelInterface

MOST_ROWS = 256  # images of a request, given or generated
MOST_ENCODED_BYTES = 32 * 2**20  # of all images of a request, as base64
_NAMED = 5  # label names given for an image
_BATCH = 64
_NUMBERS, _TEXTS = ({"type": "array", "items": {"type": kind}} for kind in ("double", "string"))


class Served:
    """A trained model behind tables.

    A model that encodes images takes a column `image`, base64 of an encoded image of any size. A GAN takes a row for
    each series of images to generate. See `interface` for the columns.

    Args:
        trained: the model.
    """

    def __init__(self, trained: Trained) -> None:
        self._module, self._metadata = trained.module, trained.metadata

    @classmethod
    def load(cls, folder: Path) -> "Served":
        """Load config and weights from a folder.

        Raises:
            ConfigError: the files are damaged, or the config names something that may not be built.
        """
        return cls(load(folder))

    def predict(self, table: pd.DataFrame) -> pd.DataFrame:
        """Outputs for a table of inputs, as `interface` declares both.

        Raises:
            DataError: a row is unusable, or there are too many or too large ones; names all faulty rows.
        """
        if not len(table):
            raise DataError("the request has no rows. Give at least one.")
        if len(table) > MOST_ROWS:
            raise DataError(f"the request has {len(table):,} rows; at most {MOST_ROWS} are taken. Send several.")
        return self._generated(table) if _generates(self._module) else self._encoded(table)

    def _encoded(self, table: pd.DataFrame) -> pd.DataFrame:
        images = torch.from_numpy(self._pixels(list(table["image"]))).permute(0, 3, 1, 2)
        with torch.no_grad():
            parts = [self._of_batch(to_float(batch)) for batch in torch.split(images, _BATCH)]
        return pd.concat(parts, ignore_index=True)

    def _of_batch(self, images: Tensor) -> pd.DataFrame:
        module = self._module
        embeddings = module.embed(images)
        found: dict[str, Any] = {}
        if (probabilities := module.probabilities(embeddings)) is not None:
            scores, labels = probabilities.topk(min(_NAMED, probabilities.shape[1]), dim=1)
            found["identities"] = [[self._metadata.label_names[i] for i in row] for row in labels.tolist()]
            found["scores"] = scores.tolist()
        if isinstance(module, Reconstructing):
            found["reconstruction_error"] = squared_errors(module.decode(embeddings), images).sqrt().tolist()
        return pd.DataFrame({**found, "embedding": embeddings.float().tolist()})

    def _pixels(self, encoded: Sequence[object]) -> NDArray[np.uint8]:
        """Decode images (N, H, W, C) uint8, converted and resized as data sources do."""
        size = sum(len(one) for one in encoded if isinstance(one, str))
        if size > MOST_ENCODED_BYTES:
            raise DataError(
                f"the request has {size / 2**20:,.0f} MiB of images in base64; at most {MOST_ENCODED_BYTES // 2**20} "
                "are taken. Send smaller images, or several requests."
            )
        channels, side, _ = self._metadata.image_shape
        pixels, problems = [], []
        for row, text in enumerate(encoded):
            try:
                with opened(io.BytesIO(_content(text, row)), f"row {row}: the image") as image:
                    pixels.append(as_pixels(image, side, channels))
            except DataError as error:
                problems.append(str(error))
        refuse(problems)
        return np.stack(pixels)

    def _generated(self, table: pd.DataFrame) -> pd.DataFrame:
        rows, problems = [], []
        for number, values in enumerate(table.to_dict("records")):
            try:
                rows.append(_series(number, values, self._labels()))
            except DataError as error:
                problems.append(str(error))
        if problems:
            raise DataError("\n".join(problems))
        count = sum(row["n"] for row in rows)
        if count > MOST_ROWS:
            raise DataError(f"the request asks for {count:,} images; at most {MOST_ROWS} are generated at once.")
        parts = []
        for row in rows:
            label = None if row["label"] is None else self._labels().index(row["label"])
            images, labels = sample(self._module, row["n"], row["seed"], label, row["psi"])
            found: dict[str, Any] = {"image": [_as_png(image) for image in images], "seed": row["seed"]}
            if self._labels():
                found["label"] = [self._labels()[i] for i in labels]
            parts.append(pd.DataFrame(found))
        return pd.concat(parts, ignore_index=True)

    def _labels(self) -> tuple[str, ...]:
        assert isinstance(self._module, Generative)
        return self._metadata.label_names if self._module.num_labels else ()


def interface(module: FaceModule, metadata: ModelMetadata) -> ModelInterface:
    """The columns that a served model takes and returns, and an example.

    Of an encoder: `identities` and `scores`, the names of the five most probable labels and their probabilities, with a
    classification head; `reconstruction_error`, the root mean squared error of grey levels in [0, 1], with a decoder;
    `embedding`. Of a GAN: a row for each image, as PNG in base64. The example shows no face.
    """
    if _generates(module):
        conditional = isinstance(module, Generative) and module.num_labels > 0
        label = [{"name": "label", "type": "string"}] if conditional else []
        optional = [{"name": "psi", "type": "double"}, *label]
        inputs = [{"name": "n", "type": "long"}, {"name": "seed", "type": "long"}]
        return ModelInterface(
            [*inputs, *({**column, "required": False} for column in optional)],
            [{"name": "image", "type": "string"}, {"name": "seed", "type": "long"}, *label],
            [{"n": 2, "seed": 0, "psi": 1.0, **({"label": metadata.label_names[0]} if conditional else {})}],
        )
    channels, height, width = metadata.image_shape
    ramp = np.linspace(0, 255, height * width).reshape(height, width, 1).astype(np.uint8)
    outputs: list[dict[str, Any]] = []
    if module.classifies:
        outputs += [{"name": "identities", **_TEXTS}, {"name": "scores", **_NUMBERS}]
    if isinstance(module, Reconstructing):
        outputs.append({"name": "reconstruction_error", "type": "double"})
    outputs.append({"name": "embedding", **_NUMBERS})
    example = {"image": _as_png(ramp.repeat(channels, axis=2))}
    return ModelInterface([{"name": "image", "type": "string"}], outputs, [example])


def _generates(module: FaceModule) -> bool:
    """Whether a model is served as a generator: a GAN, and not a variational autoencoder."""
    return isinstance(module, Generative) and not isinstance(module, Reconstructing)


def _content(text: object, row: int) -> bytes:
    if not isinstance(text, str) or not text:
        raise DataError(f"row {row}: the image is missing; expected base64 of an image file.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(
            f"row {row}: the image is not base64 ({error}); expected base64 of an image file, without line breaks and "
            "without data:image/...;base64, before it."
        ) from error


def _as_png(image: NDArray[np.uint8]) -> str:
    """An image (H, W, C) uint8 as PNG in base64."""
    file = io.BytesIO()
    picture(image).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


def _series(row: int, values: Mapping[Any, Any], labels: Sequence[str]) -> dict[str, Any]:
    """Number, seed, psi and label of the images that a row asks for."""
    given = {str(name): value for name, value in values.items() if not (value is None or value != value)}  # NaN
    n, seed, psi, label = given.get("n", 1), given.get("seed", 0), given.get("psi", 1.0), given.get("label")
    bounds = (("n", n, 1, MOST_ROWS), ("seed", seed, 0, 2**31 - 1), ("psi", psi, 0, 2))
    for name, value, low, high in bounds:
        if not low <= value <= high:
            raise DataError(f"row {row}: {name}={value} is out of range; expected {low} to {high:,}.")
    if label is not None and label not in labels:
        expected = f"expected {', '.join(labels[:5])}, ..." if labels else "this model has no labels; leave it out"
        raise DataError(f"row {row}: there is no label {label!r}; {expected}.")
    return {"n": int(n), "seed": int(seed), "psi": float(psi), "label": label}
