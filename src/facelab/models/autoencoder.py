"""The autoencoder family: an encoder, a bottleneck and a decoder."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from facelab.losses.reconstruction import normal_kl
from facelab.metrics import Metric
from facelab.metrics.reconstruction import psnr_db, squared_errors, ssim
from facelab.models.base import Features, Generative, OneLossModule, Reconstructing, as_grid
from facelab.models.recipe import Recipe
from facelab.models.sampling import latents
from facelab.models.trial import spread, try_loss
from facelab.nets.encoders import ImageShape

_ROWS, _COLUMNS = 6, 8  # of interpolations, traversals and prior samples


class Autoencoder(OneLossModule, Reconstructing):
    """An autoencoder: reconstructs images from a low-dimensional bottleneck, which is the embedding.

    Hinton and Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", 2006.

    Args:
        encoder: called with `image_shape` and `latent_dim`; images (N, C, H, W) -> (N, latent_dim).
        decoder: called with `image_shape` and `latent_dim`; (N, latent_dim) -> images.
        loss: called with reconstructions and originals, both (N, C, H, W); returns a scalar.
        optimizer: called with the parameters.
        recipe: batch size, length and schedule.
        latent_dim: length of the bottleneck.
        image_shape: (C, H, W) of the images.
        num_classes: number of classes; not used.

    Raises:
        ValueError: the networks do not support `image_shape`, or the loss is none of reconstructions.
    """

    term_metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("loss", "loss", higher_is_better=False),
        Metric("psnr", "PSNR", higher_is_better=True, unit="dB"),
        Metric("ssim", "SSIM", higher_is_better=True),
    )

    def __init__(
        self,
        encoder: Callable[..., nn.Module],
        decoder: Callable[..., nn.Module],
        loss: Callable[..., Tensor],
        optimizer: Callable[..., torch.optim.Optimizer],
        recipe: Recipe,
        latent_dim: Annotated[int, Field(ge=1)],
        image_shape: ImageShape,
        num_classes: int,
    ) -> None:
        super().__init__(recipe)
        self.latent_dim = latent_dim
        self.encoder = encoder(image_shape=image_shape, latent_dim=self.code_dim)
        self.decoder = decoder(image_shape=image_shape, latent_dim=latent_dim)
        self._loss, self._optimizer = loss, optimizer
        reconstruction = spread(2, *image_shape)
        try_loss(
            "loss",
            "a function of reconstructions and originals, both (N, C, H, W), such as facelab.losses.squared_error.",
            lambda made: loss(made, -0.5 * reconstruction),
            reconstruction,
        )

    @property
    def code_dim(self) -> int:
        """Length of the encoder's output."""
        return self.latent_dim

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings (N, latent_dim) float, the bottleneck, of images (N, C, H, W) float in [-1, 1]."""
        embeddings: Tensor = self.encoder(images)
        return embeddings

    def decode(self, embeddings: Tensor) -> Tensor:
        """Images (N, C, H, W) float in [-1, 1] of embeddings (N, latent_dim)."""
        images: Tensor = self.decoder(embeddings)
        return images

    def target(self, batch: dict[str, Tensor]) -> Tensor:
        """The images (N, C, H, W) to reconstruct: here the inputs themselves."""
        return batch["image"]

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss`, and `psnr` of the batch in dB."""
        target = self.target(batch)
        reconstruction = self.decode(self.embed(batch["image"])).float()
        return {"loss": self._loss(reconstruction, target), "psnr": _mean_psnr(reconstruction, target)}

    def features(self, batch: dict[str, Tensor], test_time_images: Iterable[Tensor]) -> Features:
        """Embeddings, and the reconstruction error of each image."""
        found = super().features(batch, test_time_images)
        with torch.autocast(batch["image"].device.type, enabled=False):
            reconstruction = self.decode(self.embed(batch["image"]))
        found["squared_error"] = squared_errors(reconstruction, batch["image"])
        found["ssim"] = ssim(reconstruction, batch["image"])
        return found

    def validation_terms(self, features: Features) -> dict[str, Tensor]:
        """`loss`, the mean squared error of images in [-1, 1] whatever the training loss; `psnr` in dB; `ssim`."""
        errors = features["squared_error"]
        return {"loss": 4 * errors.mean(), "psnr": psnr_db(errors).mean(), "ssim": features["ssim"].mean()}

    def sample_grids(self, faces: Tensor) -> dict[str, Tensor]:
        """`reconstructions`: faces in the first row, their reconstructions in the second."""
        return {"reconstructions": torch.stack([faces, self.decode(self.embed(faces))])}

    def final_sample_grids(self, faces: Tensor) -> dict[str, Tensor]:
        """`interpolations`: decoded straight lines in the bottleneck between two faces. `traversals`: along the
        principal axes of the faces' embeddings, from -2 to 2 standard deviations around their mean.

        Both need two faces.
        """
        if len(faces) < 2:
            return {}
        embeddings = self.embed(faces)
        count = min(_ROWS, len(faces) // 2)
        weights = torch.linspace(0, 1, _COLUMNS, device=faces.device)[None, :, None]
        first, second = (embeddings[start : 2 * count : 2, None] for start in (0, 1))
        centre = embeddings.mean(dim=0)
        _, lengths, axes = torch.linalg.svd(embeddings - centre, full_matrices=False)
        deviations = lengths / max(1, len(faces) - 1) ** 0.5
        steps = torch.linspace(-2, 2, _COLUMNS, device=faces.device)[None, :, None]
        along = centre + steps * (deviations[:, None] * axes)[: min(_ROWS, len(faces) - 1), None]
        return {"interpolations": self._rows(torch.lerp(first, second, weights)), "traversals": self._rows(along)}

    def _rows(self, embeddings: Tensor) -> Tensor:
        return as_grid(self.decode(embeddings.flatten(0, 1)), embeddings.shape[1])

    def configure_optimizers(self) -> Any:
        """The optimiser over all parameters."""
        return self._optimizer(self.parameters())


class DenoisingAutoencoder(Autoencoder):
    """A denoising autoencoder: reconstructs the original images from augmented ones.

    Some augmentations cannot be undone, such as a horizontal flip; there it learns an average of the candidates.

    Vincent et al., "Extracting and Composing Robust Features with Denoising Autoencoders", 2008, with augmentation in
    place of masking noise. Arguments as for `Autoencoder`.
    """

    needs_originals: ClassVar[bool] = True

    def target(self, batch: dict[str, Tensor]) -> Tensor:
        """The images (N, C, H, W) before augmentation."""
        return batch["original"]


class VariationalAutoencoder(Autoencoder, Generative):
    """A variational autoencoder: encodes each image as a normal distribution, regularised towards the standard normal.

    Kingma and Welling, "Auto-Encoding Variational Bayes", 2014, equation 10 with one sample; Higgins et al.,
    "beta-VAE", 2017, equation 4 for the weight. The divergence, a sum over latents, is divided by the number of pixels,
    since the loss is a mean over them. The embedding is the mean. Arguments as for `Autoencoder`, and `kl_weight`.

    Args:
        kl_weight: beta, the weight of the divergence in nats. With the squared error of images in [-1, 1], 1
            corresponds to a decoder of variance 1/2.
    """

    def __init__(
        self,
        encoder: Callable[..., nn.Module],
        decoder: Callable[..., nn.Module],
        loss: Callable[..., Tensor],
        optimizer: Callable[..., torch.optim.Optimizer],
        recipe: Recipe,
        latent_dim: Annotated[int, Field(ge=1)],
        kl_weight: Annotated[float, Field(ge=0)],
        image_shape: ImageShape,
        num_classes: int,
    ) -> None:
        super().__init__(encoder, decoder, loss, optimizer, recipe, latent_dim, image_shape, num_classes)
        self.kl_weight = kl_weight

    @property
    def code_dim(self) -> int:
        """Length of the encoder's output: a mean and a log variance for every latent."""
        return 2 * self.latent_dim

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings (N, latent_dim) float, the means, of images (N, C, H, W) float in [-1, 1]."""
        return self._distribution(images)[0]

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss`, its terms `reconstruction` and `kl` (in nats per image), and `psnr` in dB."""
        target = self.target(batch)
        mean, log_variance = self._distribution(batch["image"])
        drawn = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        reconstruction = self.decode(drawn).float()
        error, divergence = self._loss(reconstruction, target), normal_kl(mean, log_variance)
        pixels = target[0].numel()
        return {
            "loss": error + self.kl_weight / pixels * divergence,
            "reconstruction": error,
            "kl": divergence,
            "psnr": _mean_psnr(reconstruction, target),
        }

    def generate(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Images (N, C, H, W) float in [-1, 1] of standard normal latents (N, latent_dim)."""
        return self.decode(latents)

    def final_sample_grids(self, faces: Tensor) -> dict[str, Tensor]:
        """Those of `Autoencoder`, and `prior_samples`: images of standard normal latents."""
        drawn = latents(_ROWS * _COLUMNS, self.latent_dim, seed=0).to(faces)
        return {**super().final_sample_grids(faces), "prior_samples": as_grid(self.decode(drawn), _COLUMNS)}

    def _distribution(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(images).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-12, 12)


def _mean_psnr(reconstruction: Tensor, target: Tensor) -> Tensor:
    return psnr_db(squared_errors(reconstruction.detach(), target)).mean()
