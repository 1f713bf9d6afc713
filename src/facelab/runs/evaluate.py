"""Ask a trained model what the protocols want to know."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from facelab.data.faces import FaceSet
from facelab.data.images import resize
from facelab.data.module import FaceDataModule
from facelab.data.split import Splits
from facelab.models.base import FaceModule, Generative, Reconstructing
from facelab.models.sampling import sample
from facelab.models.trained import Trained, embeddings, load, predictions
from facelab.protocols.base import Outputs, Protocol, Report
from facelab.protocols.generation import GenerationSettings, ReferenceModels, generation_report
from facelab.protocols.inception import load_inception
from facelab.protocols.reconstruction import reconstruction_report
from facelab.training.gather import gather_features, share_buffers

REFERENCE_MODELS = ("embedder", "face_classifier")  # what a generative run needs other runs for
_EXHIBITED_FACES = 16
_MOST_REAL_FACES = 2000
_TERMS = ("squared_error", "ssim")


def evaluate(
    trainer: pl.Trainer,
    module: FaceModule,
    data: FaceDataModule,
    protocol: Protocol,
    generation: GenerationSettings,
    needed: Mapping[str, Path],
) -> list[Report]:
    """Ask the protocol's question, and those of the model's family.

    Every process must call this; only the first gets reports.

    Args:
        trainer: that trained the model.
        module: the model; left on the trainer's device.
        data: what it was trained on.
        protocol: what every model is asked.
        generation: how the faces of a generative one are judged.
        needed: folders of the runs this takes, by the names in `REFERENCE_MODELS`; empty for other models.
    """
    share_buffers(module, trainer.strategy.root_device, trainer.world_size)
    train, test = (outputs(trainer, module, data, indices) for indices in (data.splits.train, data.splits.test))
    if trainer.global_rank > 0:
        return []
    module.to(trainer.strategy.root_device)
    reports = [protocol.evaluate(train, test, data.faces)]
    if isinstance(module, Reconstructing):
        reports.append(reconstruction_report(train, test, data.faces))
    if isinstance(module, Generative):
        reports.append(evaluate_samples(module, generation, data.faces, data.splits, data.seed, needed))
    return reports


def outputs(trainer: pl.Trainer, module: FaceModule, data: FaceDataModule, indices: NDArray[np.int64]) -> Outputs:
    """What the model says of some pictures; every process must call this, and gets the whole."""
    batches = trainer.predict(module, dataloaders=data.evaluation_loader(indices))
    features = gather_features(batches or [], trainer.world_size)  # type: ignore[arg-type]
    found = features["index"].numpy()
    values: Mapping[str, Tensor] = features  # type: ignore[assignment]
    return Outputs(
        embeddings=features["embedding"].float().numpy(),
        scores=features["scores"].float().numpy() if "scores" in features else None,
        labels=features["label"].numpy(),
        identities=data.faces.identities[found],
        indices=found,
        terms={name: values[name].float().numpy() for name in _TERMS if name in values},
    )


def faces_for_sample_grids(faces: FaceSet, splits: Splits) -> Tensor:
    """(N, C, H, W) uint8: a held-out picture of each of up to 16 people."""
    held_out = splits.val if len(splits.val) else splits.test
    _, first = np.unique(faces.identities[held_out], return_index=True)
    chosen = _spread(first, _EXHIBITED_FACES)
    return torch.from_numpy(_pixels(faces, held_out[chosen])).permute(0, 3, 1, 2)


def evaluate_samples(
    module: FaceModule,
    settings: GenerationSettings,
    faces: FaceSet,
    splits: Splits,
    seed: int,
    needed: Mapping[str, Path],
) -> Report:
    """What the runs that a generative one needs say of its faces.

    Args:
        module: a generative one, on whatever device.
        settings: how its faces are judged.
        faces: the face set; of more than 2,000 training or test pictures, as many are taken, evenly spread.
        parts: its split.
        seed: of the latents.
        needed: folders of the runs by the names in `REFERENCE_MODELS`.
    """
    embedder, classifier = (_on_device(load(needed[name]), module.device) for name in REFERENCE_MODELS)
    face, side = classifier.metadata.label_names.index("face"), classifier.metadata.image_shape[1]
    reference = ReferenceModels(
        embed=lambda images: embeddings(embedder.module, images),
        face_share=lambda images: _share(predictions(classifier.module, _resized(images, side)) == face),
        inception=None if settings.inception is None else load_inception(settings.inception),
    )
    samples, _ = sample(module, settings.samples, seed)
    train, held_out = (_pixels(faces, _spread(part, _MOST_REAL_FACES)) for part in (splits.train, splits.test))
    return generation_report(samples, train, held_out, reference)


def _on_device(trained: Trained, device: torch.device) -> Trained:
    trained.module.to(device)
    return trained


def _resized(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return np.stack([resize(Image.fromarray(image.squeeze()), side) for image in images])


def _share(accepted: Tensor) -> float:
    return float(accepted.double().mean())


def _spread(values: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of the values, evenly spread."""
    places = np.unique(np.linspace(0, len(values) - 1, min(most, len(values))).astype(int))
    kept: NDArray[np.int64] = values[places]
    return kept


def _pixels(faces: FaceSet, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    return np.stack([faces.pixels[int(i)] for i in indices])
