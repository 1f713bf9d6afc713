"""Synthetic faces of people known from few images, made by a model that learnt from others how a person varies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from facelab.config.needs import Need
from facelab.data.faces import IDENTITY, FaceSet
from facelab.data.other_people import other_people, same_shape
from facelab.errors import ConfigError
from facelab.models.base import FaceModule, Varying, to_float
from facelab.models.gan_transfer import TransferGAN
from facelab.models.sampling import varied
from facelab.models.trained import Trained
from facelab.synthetic.base import Plan, members
from facelab.synthetic.generated import GeneratedFaces

_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class TransferredFaces(GeneratedFaces):
    """Other images of the people in training, each made of one of their real training images and a latent of its own.

    The generator learns from *donors*, other people with several images each, how images of a person differ, as in
    Antoniou, Storkey and Edwards, "Data Augmentation Generative Adversarial Networks", 2017. A person's training images
    are varied in turn. Arguments as for `GeneratedFaces`, but the generator has data and split of its own.

    Args:
        donors: their data, as a list of overrides; null for the AT&T people before those of this run or after them,
            whichever are more, ten at least. Image size and channels are those of this run. A donor has two images
            or more, and is nobody in this run.
    """

    what: ClassVar[str] = "generated images of the same people"

    donors: list[str] | None = None

    @property
    def has_other_images(self) -> bool:
        """True: the generator was trained on donors."""
        return True

    @classmethod
    def needs(cls, node: Mapping[str, Any], config: Mapping[str, Any]) -> Sequence[Need]:
        """The generator, trained on donors, unless a run is given, and the recogniser if it selects."""
        others = [need for need in super().needs(node, config) if need.name != "generator"]
        if node.get("run") is not None:
            return others
        return [Need("generator", overrides=_donors(node.get("donors"), config["data"])), *others]

    @classmethod
    def check_model(cls, model: type[FaceModule], selection: str) -> None:
        """Check that a class of models varies given images.

        Raises:
            ConfigError: it does not.
        """
        if not issubclass(model, Varying):
            raise ConfigError(f"{model.__name__} cannot vary a given image. Choose model=gan_transfer.")
        if selection == "discriminator" and not issubclass(model, TransferGAN):
            raise ConfigError(f"{model.__name__} has no discriminator. Set synthetic.selection=recogniser.")

    def check(self, faces: FaceSet) -> None:
        """Require that the label is the person, since all else may vary."""
        if faces.label != IDENTITY:
            raise ConfigError(
                f"data.label={faces.label}: synthetic=gan_transfer keeps the person on an image, and may change "
                f"everything else, '{faces.label}' too. Set data.label=identity, or remove synthetic=."
            )

    def _images(self, plan: Plan, real: FaceSet, generator: Trained) -> NDArray[np.uint8]:
        module = generator.module
        assert isinstance(module, Varying)
        noise = np.stack(
            [random.standard_normal(module.latent_dim, np.float32) for random in plan.generators(self.seed)]
        )
        return varied(generator.module, _given(plan, real), self.truncation * torch.from_numpy(noise))

    def _scores(
        self, plan: Plan, images: NDArray[np.uint8], real: FaceSet, runs: Mapping[str, Trained]
    ) -> NDArray[np.float32]:
        if self.selection == "recogniser":
            return super()._scores(plan, images, real, runs)
        module = runs["generator"].module
        assert isinstance(module, TransferGAN)
        return _pair_logits(module, _given(plan, real), images)


def _donors(described: Sequence[str] | None, data: Mapping[str, Any]) -> tuple[str, ...]:
    """Overrides that choose the donors."""
    if described is not None:
        return *described, *same_shape(data)
    found = other_people(data, None)
    if not found:
        raise ConfigError(
            "synthetic.donors: of the AT&T people, fewer than ten come before those of this run, and fewer than ten "
            "after. Leave some out, as with data.first_person=21, or name other donors, such as "
            "\"synthetic.donors=['data=lfw','data.root=LFW','data.min_images_per_identity=2']\"."
        )
    return found


def _given(plan: Plan, real: FaceSet) -> NDArray[np.uint8]:
    """The real image (M, H, W, C) that each face is made of."""
    own, rows = members(real), zip(plan.labels.tolist(), plan.numbers.tolist(), strict=True)
    return np.stack([real.pixels[int(own[label][number % len(own[label])])] for label, number in rows])


@torch.no_grad()
def _pair_logits(module: TransferGAN, given: NDArray[np.uint8], made: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits (M,) of the discriminator for pairs of images, (M, H, W, C) uint8 each."""
    found = []
    for start in range(0, len(made), _BATCH):
        first, second = (
            to_float(torch.from_numpy(images[start : start + _BATCH]).permute(0, 3, 1, 2).to(module.device))
            for images in (given, made)
        )
        found.append(module.discriminate(first, second).cpu())
    return torch.cat(found).numpy()
