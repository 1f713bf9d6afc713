"""A GAN that learns how images of one person differ, and applies it to people known from a single image."""

from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from facelab.data.columns import Indices
from facelab.data.faces import IDENTITY, FaceSet
from facelab.data.listing import some_of
from facelab.errors import ConfigError
from facelab.models.adversarial import AdversarialOptimizers
from facelab.models.base import StepOutput, Varying, as_grid
from facelab.models.encoding import EncodingModule, EncodingObjective
from facelab.models.recipe import Recipe
from facelab.models.sampling import arc, latents
from facelab.nets.encoders import ImageShape

_GRID = (8, 8)  # rows and columns of a grid, the image itself in the first column


class TransferGAN(EncodingModule, Varying):
    """A GAN that turns an image of a person and a latent into another image of this person.

    Antoniou, Storkey and Edwards, "Data Augmentation Generative Adversarial Networks", 2017. The discriminator judges
    pairs: two real images of one person, or a real one and what the generator made of it, with the channels of both
    concatenated. An encoder, used in training only, sees two real images and gives the latent from which the generator
    reconstructs the second from the first, as in Zhu et al., "Toward Multimodal Image-to-Image Translation"
    (BicycleGAN), 2017, section 3.2 (cVAE-GAN). In trials without it, the generator ignored its latent.

    The model is trained on people with several images each, the donors, and applied to others, of whom one image is
    enough. Every batch holds two images each of `batch_size` / 2 people, and each image is once the given one. Pairs
    are augmented as a whole, and every second batch is mirrored. The embedding is the generator's code of the image. If
    the recipe averages weights, sample grids, evaluation and the saved model use the averages of both networks.

    Args:
        generator: called with `image_shape` and `latent_dim`; images (N, C, H, W) in [-1, 1] and latents
            (N, latent_dim) -> images in [-1, 1], and `encode(images)` -> (N, D).
        discriminator: called with the `image_shape` of pairs, (2 C, H, W), or (4 C, H, W) if the objective has
            `detail`; pairs -> logits (N,).
        objective: losses, penalties, augmentation and encoder; the encoder is made for pairs, (2 C, H, W).
        optimizers: an optimiser for each network.
        recipe: batch size, length, schedule and averaging; with sampling=pk and images_per_class=2.
        latent_dim: length of the latents.
        image_shape: (C, H, W) of the images.
        num_classes: number of people; not used.

    Raises:
        ValueError: the networks do not support `image_shape`, the discriminator has no feature maps, the loss or a
            penalty is unusable, or the recipe does not draw pairs.
    """

    def __init__(
        self,
        generator: Callable[..., nn.Module],
        discriminator: Callable[..., nn.Module],
        objective: EncodingObjective,
        optimizers: AdversarialOptimizers,
        recipe: Recipe,
        latent_dim: Annotated[int, Field(ge=1)],
        image_shape: ImageShape,
        num_classes: int,
    ) -> None:
        if recipe.images_per_class != 2:
            raise ValueError(
                "recipe: this model learns from pairs of images of one person; give sampling=pk images_per_class=2"
            )
        super().__init__(objective, optimizers, recipe, latent_dim)
        channels, height, width = image_shape
        seen_shape = objective.seen_shape((2 * channels, height, width))
        objective.try_out(seen_shape)
        self.generator = generator(image_shape=image_shape, latent_dim=latent_dim)
        self.discriminator = discriminator(image_shape=seen_shape)
        self.add_encoder(objective, (2 * channels, height, width))

    @classmethod
    def check_training(cls, faces: FaceSet, train: Indices, with_synthetic: bool) -> None:
        """Require two real images or more of each person in training.

        An image and an augmented copy of it are no pair: they would teach that a person does not vary.
        """
        if faces.label != IDENTITY:
            raise ConfigError(
                f"data.label={faces.label}: model=gan_transfer learns from pairs of images of one person. Set "
                "data.label=identity."
            )
        if with_synthetic:
            raise ConfigError("synthetic: model=gan_transfer learns from real images of a person. Remove synthetic=.")
        people, counts = np.unique(faces.labels[train], return_counts=True)
        single = [faces.label_names[person] for person in people[counts < 2]]
        if single:
            raise ConfigError(
                f"model=gan_transfer learns from pairs of images of one person, and {len(single):,} of {len(people):,} "
                f"people have a single training image: {some_of(single)}. Leave them out, with split.few=drop or, for "
                "LFW, data.min_images_per_identity=2; or choose a split with more training images of each."
            )

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings (N, D) float of images (N, C, H, W) float in [-1, 1]: the generator's codes."""
        codes: Tensor = self.generator.encode(images)  # type: ignore[operator]
        return codes

    def vary(self, images: Tensor, latents: Tensor) -> Tensor:
        """Other images (N, C, H, W) float in [-1, 1] of the people on images (N, C, H, W); latents (N, latent_dim)."""
        varied: Tensor = self.generator(images, latents)
        return varied

    def discriminate(self, images: Tensor, others: Tensor) -> Tensor:
        """Logits (N,) of pairs of images, (N, C, H, W) float in [-1, 1] each."""
        return self._logits(self._objective.seen(torch.cat([images, others], dim=1)))

    def _logits(self, seen: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(seen)
        return logits.float()

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> StepOutput:
        """One step of the discriminator, then one of the generator, on the same generated images."""
        images = batch["image"]
        if self.images_seen // self.recipe.batch_size % 2:
            images = images.flip(3)  # mirrored people are further people
        half = len(images) // 2  # the first image of each person, then the second of each
        others = images.roll(half, dims=0)
        drawn, *draws = self.draws(len(images), images.device)
        generated = self.vary(images, drawn).float()
        real, made = (torch.cat([images, second], dim=1) for second in (others, generated))
        return self.adversarial_step(real, made, draws, self._logits, lambda: self.further_terms(images, others))

    def further_terms(self, images: Tensor, others: Tensor) -> dict[str, Tensor]:
        """`reconstruction` of the others from the images, and `kl`, weighted, in every n-th step.

        Args:
            images: (N, C, H, W) float in [-1, 1].
            others: other images (N, C, H, W) of the same people.
        """
        if not self.encodes:
            return {}
        pairs, (_, noise) = torch.cat([images, others], dim=1), self.encoder_draws(len(images), images.device)

        def make(latents: Tensor) -> Tensor:
            return self.vary(images, latents)

        return self.encoding_terms(pairs, others, make, lambda made: torch.cat([images, made], dim=1), noise)

    def sample_grids(self, faces: Tensor) -> dict[str, Tensor]:
        """`samples`: a row for each of the first faces, the face itself and what fixed latents make of it."""
        rows, columns = min(len(faces), _GRID[0]), _GRID[1]
        drawn = latents(columns - 1, self.latent_dim, seed=0).expand(rows, -1, -1)
        return {"samples": self._grid(faces[:rows], drawn)}

    def final_sample_grids(self, faces: Tensor) -> dict[str, Tensor]:
        """`interpolations`: a row for each of the first faces, the face itself and an arc between two latents."""
        rows, columns = min(len(faces), _GRID[0]), _GRID[1]
        ends = latents(2, self.latent_dim, seed=0)
        return {"interpolations": self._grid(faces[:rows], arc(ends[0], ends[1], columns - 1).expand(rows, -1, -1))}

    def _grid(self, faces: Tensor, rows: Tensor) -> Tensor:
        """Grid (rows, 1 + columns, C, H, W) of faces (rows, C, H, W) and latents (rows, columns, latent_dim)."""
        given = faces.repeat_interleave(rows.shape[1], dim=0)
        varied = as_grid(self.vary(given, rows.flatten(0, 1).to(self.device)), rows.shape[1])
        return torch.cat([faces[:, None], varied], dim=1)
