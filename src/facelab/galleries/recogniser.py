"""The model of a finished run, as a gallery uses it: from faces to embeddings."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from facelab.errors import ConfigError
from facelab.galleries.gallery import Origin
from facelab.models.base import FaceModule, Generative, Reconstructing
from facelab.models.finished import find_run
from facelab.models.trained import Trained, evaluation_embeddings, load
from facelab.models.transfer import weights_digest
from facelab.tracking import Store


@dataclass(frozen=True)
class Recogniser:
    """A model that embeds faces, with the test-time augmentation of its config.

    Args:
        run: id of the run.
        folder: of its files.
        weights: SHA-256 of its weights, in hexadecimal.
        trained: the model.
    """

    run: str
    folder: Path
    weights: str
    trained: Trained

    @classmethod
    def load(cls, run: str, runs_folder: Path, store: Store) -> "Recogniser":
        """Load a finished run from its folder, or from its store.

        Args:
            run: its id.
            runs_folder: where runs keep their files.
            store: where to look for a run that has no folder here.

        Raises:
            ConfigError: there is no such run, it has no weights, or its model only tells real faces from generated.
            TrackingError: the store cannot be reached or read.
        """
        folder = find_run(run, runs_folder, store)
        trained = load(folder)
        if isinstance(trained.module, Generative) and not isinstance(trained.module, Reconstructing):
            raise ConfigError(
                f"run={run}: its model, {type(trained.module).__name__}, generates faces and does not recognise them. "
                "Choose a run of another model, such as model=cnn."
            )
        trained.module.prepare_evaluation(1)
        trained.module.to(device="cuda" if torch.cuda.is_available() else "cpu", memory_format=torch.channels_last)
        return cls(run, folder, weights_digest(folder), trained)

    def refuse_others(self, made: Origin, gallery: str) -> None:
        """Check that embeddings of a gallery can be compared with this model's: of equal weights, made alike.

        Args:
            made: how the gallery's embeddings were made.
            gallery: folder of the gallery, for messages.

        Raises:
            ConfigError: they cannot; names what differs.
        """
        names = ("weights", "image size", "channels", "variants of a face (test-time augmentation)")
        then = (made.weights, made.image_size, made.channels, made.variants)
        now = (self.weights, self.image_size, self.channels, self.variants)
        differing = [
            f"{name} {str(old)[:12]} then, {str(new)[:12]} now"
            for name, old, new in zip(names, then, now, strict=True)
            if old != new
        ]
        if not differing:
            return
        mend = f"Restore {self.folder}" if made.run == self.run else f"Type run={made.run}"
        raise ConfigError(
            f"gallery={gallery}: run {made.run} made it, and run {self.run} in {self.folder} differs: "
            f"{'; '.join(differing)}. Embeddings that are made differently cannot be compared. {mend}, or enrol the "
            "people in another gallery."
        )

    @property
    def image_size(self) -> int:
        """Side of the square faces that the model takes, in pixels."""
        return self.trained.metadata.image_shape[1]

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return self.trained.metadata.image_shape[0]

    @property
    def variants(self) -> int:
        """Images whose embeddings are averaged for each face: 1 without test-time augmentation."""
        face = torch.zeros(1, *self.trained.metadata.image_shape)
        return sum(1 for _ in self._module.test_time_images(face))

    @property
    def _module(self) -> FaceModule:
        return self.trained.module

    def embed(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings (N, D) of N > 0 faces (N, H, W, C) uint8, as `facelab evaluate` makes them of few images."""
        return evaluation_embeddings(self._module, faces).numpy()
