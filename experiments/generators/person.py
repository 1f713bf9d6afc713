"""How often a recogniser finds the person that a conditional generator was asked for.

    python experiments/generators/person.py GENERATOR RECOGNISER [SAMPLES]

GENERATOR is the folder of a run of `model=gan_conditional`, RECOGNISER that of a CNN trained on real pictures of the
same people, such as `model=cnn split=few_shot`; it has seen no generated picture. SAMPLES are drawn for each person in
turn, 2,000 by default. The share is GAN-test accuracy (Shmelkov et al., "How good is my GAN?", 2018, section 3.2).
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facelab.errors import ConfigError
from facelab.models.sampling import sample
from facelab.models.trained import load, predictions


def held(generator: Path, recogniser: Path, samples: int) -> NDArray[np.float64]:
    """Share (C,) of the samples of each person that the recogniser takes for this person.

    Args:
        generator: folder of a conditional generator's run.
        recogniser: folder of a classifier's run, of the same people and image size.
        samples: number of samples over all people, at least one each.

    Raises:
        ConfigError: a run is missing, or the two are of different people or sizes.
    """
    made, told = load(generator), load(recogniser)
    if (made.metadata.label_names, made.metadata.image_shape) != (told.metadata.label_names, told.metadata.image_shape):
        raise ConfigError(f"{generator} and {recogniser} differ in people or image size. Train both on the same data.")
    images, labels = sample(made.module, samples, seed=0)
    right = predictions(told.module, images).numpy() == labels
    return np.array([right[labels == label].mean() for label in range(made.metadata.num_classes)])


if __name__ == "__main__":
    shares = held(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 2000)
    print(f"asked person recognised: {shares.mean():.1%}; of the worst person: {shares.min():.1%}")
