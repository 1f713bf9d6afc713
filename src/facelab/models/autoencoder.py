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
from facelab.nets.encoders import ImageShape

_ROWS, _COLUMNS = 6, 8  # of interpolations and traversals


class Autoencoder(OneLossModule, Reconstructing):
    """Learns to copy its pictures through a bottleneck, which is the embedding.

    Hinton and Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", 2006.

    Args:
        encoder: called with `image_shape` and `latent_dim`; pictures (N, C, H, W) -> (N, latent_dim).
        decoder: called with `image_shape` and `latent_dim`; (N, latent_dim) -> pictures.
        loss: called with reconstructions and originals, both (N, C, H, W); a scalar.
        optimizer: called with the parameters.
        recipe: batch size, length and schedule.
        latent_dim: length of the bottleneck.
        image_shape: (C, H, W) of the pictures.
        num_classes: number of classes; labels are not looked at.

    Raises:
        ValueError: the networks cannot take such pictures.
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

    @property
    def code_dim(self) -> int:
        """How many numbers the encoder gives."""
        return self.latent_dim

    def embed(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float in [-1, 1] -> (N, latent_dim) float: the bottleneck."""
        embeddings: Tensor = self.encoder(images)
        return embeddings

    def decode(self, embeddings: Tensor) -> Tensor:
        """(N, latent_dim) -> (N, C, H, W) float in [-1, 1]."""
        images: Tensor = self.decoder(embeddings)
        return images

    def target(self, batch: dict[str, Tensor]) -> Tensor:
        """(N, C, H, W): what the decoder is to paint; here the very pictures that went in."""
        return batch["image"]

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss`, and `psnr` of the batch in dB."""
        target = self.target(batch)
        reconstruction = self.decode(self.embed(batch["image"])).float()
        return {"loss": self._loss(reconstruction, target), "psnr": _mean_psnr(reconstruction, target)}

    def features(self, batch: dict[str, Tensor], test_time_images: Iterable[Tensor]) -> Features:
        """Embeddings, and how near the reconstruction of each picture itself is."""
        found = super().features(batch, test_time_images)
        with torch.autocast(batch["image"].device.type, enabled=False):
            reconstruction = self.decode(self.embed(batch["image"]))
        found["squared_error"] = squared_errors(reconstruction, batch["image"])
        found["ssim"] = ssim(reconstruction, batch["image"])
        return found

    def validation_terms(self, features: Features) -> dict[str, Tensor]:
        """`loss`, the mean squared error of pictures in [-1, 1], whatever is trained on; `psnr` in dB; `ssim`."""
        errors = features["squared_error"]
        return {"loss": 4 * errors.mean(), "psnr": psnr_db(errors).mean(), "ssim": features["ssim"].mean()}

    def sample_grids(self, faces: Tensor) -> dict[str, Tensor]:
        """`reconstructions`: pairs of rows, faces above what is made of them."""
        return {"reconstructions": torch.stack([faces, self.decode(self.embed(faces))])}

    def final_sample_grids(self, faces: Tensor) -> dict[str, Tensor]:
        """`interpolations`: on straight lines in the bottleneck from one face to the next. `traversals`: from the mean
        of the faces' embeddings two standard deviations each way along their principal axes."""
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
    """Is shown augmented pictures and learns to paint them as they were before: unmoved, unhidden, in their own light.

    Whether an unseen face was mirrored cannot be known: of such an augmentation it learns to paint something between.

    Vincent et al., "Extracting and Composing Robust Features with Denoising Autoencoders", 2008, with augmentation in
    place of masking noise. Arguments as for `Autoencoder`.
    """

    needs_originals: ClassVar[bool] = True

    def target(self, batch: dict[str, Tensor]) -> Tensor:
        """(N, C, H, W): the pictures before augmentation."""
        return batch["original"]


class VariationalAutoencoder(Autoencoder, Generative):
    """An autoencoder whose latents are drawn from a normal distribution that is held near the standard one.

    Kingma and Welling, "Auto-Encoding Variational Bayes", 2014, equation 10 with one sample; Higgins et al.,
    "beta-VAE", 2017, equation 4 for the weight. The divergence, a sum over latents, is divided by the number of pixels,
    since the loss is a mean over them. The embedding is the mean. Arguments as for `Autoencoder`, and

    Args:
        kl_weight: beta: what a nat of divergence costs. With the squared error of pictures in [-1, 1], 1 stands for a
            decoder of variance 1/2.
        **autoencoder: arguments of `Autoencoder`.
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
        """A mean and a logarithm of the variance for every latent."""
        return 2 * self.latent_dim

    def embed(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float in [-1, 1] -> (N, latent_dim) float: the means."""
        return self._distribution(images)[0]

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss`, its parts `reconstruction` and `kl` (in nats a picture), and `psnr` in dB."""
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
        """(N, latent_dim) standard normal -> (N, C, H, W) float in [-1, 1]: samples from the prior."""
        return self.decode(latents)

    def final_sample_grids(self, faces: Tensor) -> dict[str, Tensor]:
        """As any autoencoder, and `prior_samples`."""
        drawn = latents(_ROWS * _COLUMNS, self.latent_dim, seed=0).to(faces)
        return {**super().final_sample_grids(faces), "prior_samples": as_grid(self.decode(drawn), _COLUMNS)}

    def _distribution(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(images).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-12, 12)


def _mean_psnr(reconstruction: Tensor, target: Tensor) -> Tensor:
    return psnr_db(squared_errors(reconstruction.detach(), target)).mean()
