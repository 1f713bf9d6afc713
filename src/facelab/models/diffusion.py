"""The diffusion family: a network that removes noise from images, and so turns noise into images step by step."""

from collections.abc import Callable
from math import prod
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from facelab.metrics import Metric
from facelab.models.base import FaceModule, Features, Generative, StepOutput, as_grid
from facelab.models.edm import denoise, denoising_losses, heun, preconditioning, training_noise
from facelab.models.recipe import Recipe
from facelab.models.sampling import between_latents, latents
from facelab.nets.encoders import ImageShape

_GRID = (4, 8)  # rows and columns of a sample grid: a sample costs 2 * steps - 1 passes through the network
_EMBEDDING_NOISE = 0.2  # the noise level at which features are taken
_UNLABELLED = 0.1  # share of training images whose label a conditional model is not told


class Diffusion(FaceModule, Generative):
    """A denoising diffusion model: generates faces from noise of the size of an image.

    Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models" (EDM), 2022, with the
    deterministic sampler. The latents are the noise that sampling begins with. The embedding consists of the decoder's
    pooled feature maps, as in Xiang et al., "Denoising Diffusion Autoencoders are Unified Self-supervised Learners",
    2023, section 3; the network is told a noise level of 0.2, but no noise is added: an image has one embedding. If the
    recipe averages weights, sample grids, evaluation and the saved model use the averages.

    Args:
        network: called with `image_shape` and `num_labels`; noisy images (N, C, H, W), (N,) numbers that tell the noise
            level, and labels (N,) int64 -> (N, C, H, W); `features` of the same -> (N, D).
        optimizer: called with the parameters.
        recipe: batch size, length, schedule and averaging.
        steps: of the sampler, which calls the network 2 * steps - 1 times.
        image_shape: (C, H, W) of the images.
        num_classes: number of classes.

    Raises:
        ValueError: the network does not support `image_shape`.
    """

    term_metrics: ClassVar[tuple[Metric, ...]] = (Metric("denoising_loss", "denoising loss", higher_is_better=False),)

    def __init__(
        self,
        network: Callable[..., nn.Module],
        optimizer: Callable[..., torch.optim.Optimizer],
        recipe: Recipe,
        steps: Annotated[int, Field(ge=1)],
        image_shape: ImageShape,
        num_classes: int,
    ) -> None:
        super().__init__(recipe)
        self.num_classes, self.image_shape, self.latent_dim = num_classes, image_shape, prod(image_shape)
        self.network = network(image_shape=image_shape, num_labels=self.num_labels)
        self._unlabelled = self.num_labels  # the network's number for no label
        self._optimizer, self._steps = optimizer, steps

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings (N, D) float of images (N, C, H, W) float in [-1, 1]: the decoder's pooled feature maps."""
        factors = preconditioning(torch.full_like(images[:, 0, 0, 0], _EMBEDDING_NOISE))
        unlabelled = torch.full_like(factors.noise, self._unlabelled, dtype=torch.int64)
        scaled = factors.input[:, None, None, None] * images
        features: Tensor = self.network.features(scaled, factors.noise, unlabelled)  # type: ignore[operator]
        return features

    def generate(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Images (N, C, H, W) float of standard normal latents (N, C * H * W), and of labels if it is conditional: (N,)
        int64, or weights of a mixture, (N, num_labels) float."""

        def denoiser(noisy: Tensor, sigma: Tensor) -> Tensor:
            return denoise(lambda images, noise: self.network(images, noise, labels), noisy, sigma)

        noise = latents.reshape(-1, *self.image_shape).contiguous(memory_format=torch.channels_last)
        return heun(denoiser, noise, self._steps).clamp(-1, 1)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> StepOutput:
        """One step of automatic optimisation."""
        images = batch["image"]
        noise, levels, labelled = self._draws(len(images), images.device)
        labels = torch.where(labelled < _UNLABELLED, self._unlabelled, batch["label"])
        loss = self._losses(images, noise, levels, labels).mean()
        return {"loss": loss, "terms": {"denoising_loss": loss.detach()}}

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> Features:
        """Features with the loss of each image, whose noise depends on its number alone; labels are not told."""
        features, images = super().validation_step(batch, batch_idx), batch["image"]
        drawn = torch.stack([latents(1, self.latent_dim + 1, seed=i)[0] for i in batch["index"].tolist()]).to(images)
        noise, unlabelled = drawn[:, 1:].reshape(images.shape), torch.full_like(batch["label"], self._unlabelled)
        features["loss"] = self._losses(images, noise, drawn[:, 0], unlabelled)
        return features

    def validation_terms(self, features: Features) -> dict[str, Tensor]:
        """`denoising_loss`: a rise while that of training falls is the sign that faces are being memorised."""
        return {"denoising_loss": features["loss"].mean()}

    def _losses(self, images: Tensor, noise: Tensor, levels: Tensor, labels: Tensor) -> Tensor:
        """Losses (N,) of images with noise (N, C, H, W) and its levels (N,), both standard normal, and labels (N,)."""

        def network(noisy: Tensor, level: Tensor) -> Tensor:
            predicted: Tensor = self.network(noisy, level, labels)
            return predicted

        return denoising_losses(network, images, noise, training_noise(levels))

    def _draws(self, count: int, device: torch.device) -> tuple[Tensor, ...]:
        """Noise (N, C, H, W) and numbers for its levels (N,), standard normal; uniform ones (N,) for dropping labels.

        All ranks draw the same numbers for the whole batch; each takes those of its own images.
        """
        random, size = torch.Generator().manual_seed(self.step_seed), self.recipe.batch_size
        noise = torch.randn(size, *self.image_shape, generator=random)
        of_whole = noise, torch.randn(size, generator=random), torch.rand(size, generator=random)
        share = slice(self.global_rank, None, size // count)
        return tuple(drawn[share].to(device, non_blocking=True) for drawn in of_whole)

    def sample_grids(self, faces: Tensor) -> dict[str, Tensor]:
        """`samples`: images of fixed latents; with labels, a row for each of the first, with the same latents."""
        rows, columns = (min(self.num_labels, _GRID[0]), _GRID[1]) if self.num_labels else _GRID
        drawn = latents(columns if self.num_labels else rows * columns, self.latent_dim, seed=0)
        return {"samples": self._grid(drawn.expand(rows, columns, -1) if self.num_labels else as_grid(drawn, columns))}

    def final_sample_grids(self, faces: Tensor) -> dict[str, Tensor]:
        """`interpolations`: a row for each pair of latents."""
        return {"interpolations": self._grid(between_latents(*_GRID, self.latent_dim, seed=0))}

    def _grid(self, rows: Tensor) -> Tensor:
        """Images (rows, columns, C, H, W) of latents (rows, columns, latent_dim), a label for each row in turn."""
        labels = torch.arange(len(rows), device=self.device) % max(1, self.num_labels)
        drawn = rows.flatten(0, 1).to(self.device)
        return as_grid(self.generate(drawn, labels.repeat_interleave(rows.shape[1])), rows.shape[1])

    def configure_optimizers(self) -> Any:
        """The optimiser over all parameters."""
        return self._optimizer(self.parameters())


class ConditionalDiffusion(Diffusion):
    """A conditional diffusion model: generates faces of a given identity.

    A learnt embedding of the label is added to that of the noise level. A tenth of the training images come without
    their label (Ho and Salimans, "Classifier-Free Diffusion Guidance", 2022, algorithm 1): an embedding is computed
    without one. Arguments as for `Diffusion`.
    """

    @property
    def num_labels(self) -> int:  # type: ignore[override]
        """Number of labels that images can be conditioned on: all classes of real faces."""
        return self.num_classes - self.synthetic_classes
