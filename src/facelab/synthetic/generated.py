"""Synthetic faces made by a trained generator: a conditional GAN, or an autoencoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from facelab.config.build import resolve_target
from facelab.config.needs import Need
from facelab.data.columns import Indices
from facelab.data.faces import FaceSet
from facelab.errors import ConfigError
from facelab.models.base import FaceModule, Generative, Reconstructing, Varying, refuse_without_head, to_float
from facelab.models.gan import GAN
from facelab.models.sampling import decoded, generated
from facelab.models.trained import Trained, embeddings, probabilities
from facelab.synthetic.base import Plan, SyntheticFaces, members

ROLES = {"generator", "recogniser"}  # of the runs that may be needed
CANDIDATES = 4  # with a selection, so many faces are made for each that is kept
_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class GeneratedFaces(SyntheticFaces):
    """Faces of the people in training, made by a generator that was trained on the same images.

    A generator that is conditioned on the label, such as `model=gan_conditional`, samples from random latents.

    An autoencoder moves the latents of training images: z = a + u (b - a) + t s e. Here a and b are the latents of two
    random images of the person, u is uniform in [0, 1], e standard normal, s the standard deviation of each latent
    within a person, and t the `truncation`. The first term is SMOTE (Chawla et al., "SMOTE: Synthetic Minority
    Over-sampling Technique", 2002, section 4.2) in the latent space, both are the interpolation and noise of DeVries
    and Taylor, "Dataset Augmentation in Feature Space", 2017, section 3. If everyone has a single image, a = b, and s
    is the standard deviation over all images.

    Args:
        generator: the run that generates, as a list of overrides; on the same data and split.
        run: id of a finished run to generate with, instead of `generator`.
        truncation: factor on the random latents, or on the noise of an autoencoder's; below 1, faces are more typical.
        selection: which faces are kept, of four times as many. `discriminator`: those of each label with the highest
            logits of the generator's discriminator. `recogniser`: those to which the recogniser gives the highest
            probability of their label.
        recogniser: the run that selects, as a list of overrides; on the same data and split, so that it has never seen
            a test face.
    """

    what: ClassVar[str] = "generated faces"

    generator: list[str]
    run: str | None = None
    truncation: Annotated[float, Field(ge=0, le=2)] = 1.0
    selection: Literal["none", "discriminator", "recogniser"] = "none"
    recogniser: list[str] = field(default_factory=lambda: ["model=cnn"])

    @property
    def has_other_images(self) -> bool:
        """Whether the generator may have been trained on other images than the run."""
        return self.run is not None

    @classmethod
    def needs(cls, node: Mapping[str, Any], config: Mapping[str, Any]) -> Sequence[Need]:
        """The generator, unless a run is given, and the recogniser if it selects."""
        roles = [] if node.get("run") is not None else ["generator"]
        roles += ["recogniser"] if node.get("selection") == "recogniser" else []
        return [Need(role, same=("data", "split")) for role in roles]

    @classmethod
    def check_dependency(cls, name: str, config: Mapping[str, Any], node: Mapping[str, Any]) -> None:
        """Require a generator of given people with what the selection needs, and a recogniser with a head."""
        model = cast(type[FaceModule], resolve_target(config["model"]["_target_"]))
        if name == "generator":
            cls.check_model(model, node.get("selection", "none"))
        else:
            refuse_without_head(model, config["model"])

    @classmethod
    def check_model(cls, model: type[FaceModule], selection: str) -> None:
        """Check that a class of models generates faces of given people, and can select them.

        Raises:
            ConfigError: it does not, or selection=discriminator and it has no discriminator.
        """
        if issubclass(model, Varying):
            raise ConfigError(f"{model.__name__} varies given images. Set synthetic=gan_transfer.")
        if not issubclass(model, Reconstructing) and not (issubclass(model, Generative) and model.is_conditional()):
            why = "is not conditioned on a label" if issubclass(model, Generative) else "generates no faces"
            raise ConfigError(
                f"{model.__name__} {why}, so it cannot make faces of a given person. Choose model=gan_conditional, or "
                "model=autoencoder, whose latents are varied within a person."
            )
        if selection == "discriminator" and not issubclass(model, GAN):
            raise ConfigError(
                f"{model.__name__} has no discriminator. Set synthetic.selection=recogniser, or "
                "synthetic.selection=none."
            )

    def make(self, plan: Plan, real: FaceSet, runs: Mapping[str, Trained]) -> NDArray[np.uint8]:
        """Generate the faces of a plan, or select them among four times as many."""
        candidates = plan if self.selection == "none" else plan.times(CANDIDATES)
        images = self._images(candidates, real, runs["generator"])
        if self.selection == "none":
            return images
        return images[_best(candidates, plan, self._scores(candidates, images, real, runs))]

    def _images(self, plan: Plan, real: FaceSet, generator: Trained) -> NDArray[np.uint8]:
        module = generator.module
        if isinstance(module, Reconstructing):
            return decoded(module, self._latents(plan, real, module))
        parents = _labels_of(generator, real)[plan.parents]
        return conditional_faces(module, replace(plan, parents=parents), self.seed, self.truncation)

    def _latents(self, plan: Plan, real: FaceSet, module: FaceModule) -> Tensor:
        """Latents (M, D) between those of two training images, with noise."""
        codes = embeddings(module, np.stack([real.pixels[i] for i in range(len(real))])).numpy()
        own, deviation = members(real), _deviation(codes, real.labels)
        rows = []
        for (one, other), random in zip(plan.parents.tolist(), plan.generators(self.seed), strict=True):
            first = random.choice(own[one])
            second = random.choice(own[other])
            weight = random.uniform() if one == other else 0.5
            noise = random.standard_normal(codes.shape[1], np.float32)
            rows.append(codes[first] + weight * (codes[second] - codes[first]) + self.truncation * deviation * noise)
        return torch.from_numpy(np.stack(rows).astype(np.float32))

    def _scores(
        self, plan: Plan, images: NDArray[np.uint8], real: FaceSet, runs: Mapping[str, Trained]
    ) -> NDArray[np.float32]:
        """How well each of the candidates (M,) shows its label; for a mixture, both of its parents."""
        if self.selection == "recogniser":
            judge = runs["recogniser"]
            shares = probabilities(judge.module, images).numpy()
            of_parents = np.take_along_axis(shares, _labels_of(judge, real)[plan.parents], axis=1)
            both: NDArray[np.float32] = of_parents.prod(axis=1)
            return both
        parents = _labels_of(runs["generator"], real)[plan.parents]
        module = runs["generator"].module
        assert isinstance(module, GAN)
        logits: NDArray[np.float32] = np.mean([_logits(module, images, parents[:, side]) for side in (0, 1)], axis=0)
        return logits


class MixedIdentities(GeneratedFaces):
    """Faces that a generator mixes of two people, each pair labelled as a new class.

    Rahimi et al., "AugGen: Synthetic Augmentation Can Improve Discriminative Models", 2025 (arXiv 2503.11544): a
    conditional generator gets a mixture of two labels in equal parts. An autoencoder decodes the mean of the latents of
    two images, one of each person, with noise of `truncation` standard deviations within a person: at the default of 1,
    twice that of `synthetic=autoencoder`; at 0, the mean itself. Arguments as for `GeneratedFaces`; `per_identity`
    counts the faces of a new class.
    """

    what: ClassVar[str] = "generated mixtures of two people"

    def plan(self, labels: Indices, names: Sequence[str]) -> Plan:
        """As many new classes as there are people."""
        return self.plan_mixtures(labels, names)


def conditional_faces(module: FaceModule, plan: Plan, seed: int, truncation: float) -> NDArray[np.uint8]:
    """Faces (M, H, W, C) uint8 of a conditional generator.

    Args:
        module: the generator, on any device.
        plan: of the M faces; its parents are numbers of the generator's labels.
        seed: of the latents.
        truncation: factor on the latents.
    """
    assert isinstance(module, Generative)
    noise = np.stack([random.standard_normal(module.latent_dim, np.float32) for random in plan.generators(seed)])
    labels = torch.from_numpy(plan.parents)
    # Weights of unit length, so that the mixture of two embeddings is about as long as one.
    mixed = F.normalize(F.one_hot(labels, module.num_labels).float().mean(dim=1))
    return generated(module, truncation * torch.from_numpy(noise), mixed if plan.new_classes else labels[:, 0])


def _labels_of(trained: Trained, real: FaceSet) -> Indices:
    """The number (K,) that each label of the real images has in another run."""
    place = {name: number for number, name in enumerate(trained.metadata.label_names)}
    return np.array([place[name] for name in real.label_names], dtype=np.int64)


def _deviation(codes: NDArray[np.float32], labels: Indices) -> NDArray[np.float32]:
    """Standard deviation (D,) of latents (N, D) within a label; over all, if no label has two images."""
    counts = np.bincount(labels)
    if counts.max() == 1:
        overall: NDArray[np.float32] = codes.std(axis=0, ddof=1)
        return overall
    sums = np.zeros((len(counts), codes.shape[1]))
    np.add.at(sums, labels, codes)
    centred = codes - (sums / counts[:, None])[labels]
    within: NDArray[np.float32] = np.sqrt((centred**2).sum(axis=0) / (len(codes) - len(counts)))
    return within


@torch.no_grad()
def _logits(module: GAN, images: NDArray[np.uint8], labels: Indices) -> NDArray[np.float32]:
    """Logits (M,) of the discriminator, for images (M, H, W, C) uint8 with labels (M,)."""
    found = []
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        batch = to_float(torch.from_numpy(images[part]).permute(0, 3, 1, 2).to(module.device))
        found.append(module.discriminate(batch, torch.from_numpy(labels[part]).to(module.device)).float().cpu())
    return torch.cat(found).numpy()


def _best(candidates: Plan, plan: Plan, scores: NDArray[np.float32]) -> Indices:
    """Indices (M,) of the candidates with the highest scores of each label, in the order of the plan."""
    order = np.lexsort((-scores, candidates.labels))
    rank = np.arange(len(order)) - np.searchsorted(candidates.labels[order], candidates.labels[order])
    kept, counts = np.unique(plan.labels, return_counts=True)
    chosen = order[rank < counts[np.searchsorted(kept, candidates.labels[order])]]
    return np.sort(chosen)
