"""Synthetic faces made from pixels alone: the controls of generated ones."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from facelab.data.columns import Indices
from facelab.data.faces import FaceSet
from facelab.models.trained import Trained
from facelab.synthetic.base import Plan, SyntheticFaces, members


class DuplicatedFaces(SyntheticFaces):
    """Copies of real training images: the control that shows what more images of a class do without new content.

    Each class repeats its images in random order, every one once before any comes again. Arguments as for
    `SyntheticFaces`.
    """

    what = "copies of training images"

    def make(self, plan: Plan, real: FaceSet, runs: Mapping[str, Trained]) -> NDArray[np.uint8]:
        """Copy the images that the plan asks for."""
        own, chosen = members(real), []
        for label, number in zip(plan.labels.tolist(), plan.numbers.tolist(), strict=True):
            again, place = divmod(number, len(own[label]))
            chosen.append(np.random.default_rng([self.seed, label, again]).permutation(own[label])[place])
        return np.stack([real.pixels[int(index)] for index in chosen])


class MixedPixels(SyntheticFaces):
    """The mean of an image of one person and an image of another, as new classes: the control of `MixedIdentities`.

    As in mixup (Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018, equation 1 with lambda = 1/2), but
    labelled as a person of its own instead of half as each. Arguments as for `SyntheticFaces`; `per_identity` counts
    the faces of each new class.
    """

    what = "pixel mixtures of two people"

    def plan(self, labels: Indices, names: Sequence[str]) -> Plan:
        """As many new classes as there are people."""
        return self.plan_mixtures(labels, names)

    def make(self, plan: Plan, real: FaceSet, runs: Mapping[str, Trained]) -> NDArray[np.uint8]:
        """Average a random image of each of the two people."""
        own, made = members(real), []
        for parents, random in zip(plan.parents.tolist(), plan.generators(self.seed), strict=True):
            first, second = (real.pixels[int(random.choice(own[parent]))].astype(np.uint16) for parent in parents)
            made.append(((first + second + 1) // 2).astype(np.uint8))
        return np.stack(made)
