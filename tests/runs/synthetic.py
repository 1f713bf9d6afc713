"""Small runs with synthetic faces, for several files of tests."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra

from facelab import cli
from tests.conftest import TINY_CNN

# A conditional GAN that trains in a moment, as needed runs are described; its faces are noise of a kind.
GAN = (
    "trainer=cpu",
    "trainer.validations=2",
    "model.latent_dim=4",
    "model.generator.widths=[16,8]",
    "model.discriminator.widths=[8,16]",
    "model.recipe.batch_size=16",
    "model.recipe.max_images=160",
)
INTERRUPTED = "protocol.classification._target_=tests.runs.stopping.InterruptedOnce"
NEEDED_CNN = (
    "protocol=classification",
    *(override for override in TINY_CNN if not override.startswith(("data.", "runtime."))),
)


def generator_of(*overrides: str) -> str:
    """The override that describes the generator."""
    return f"synthetic.generator={['model=gan_conditional', 'protocol=classification', *GAN, *overrides]}"


def runs_folder_of(place: Sequence[str]) -> Path:
    """The runs folder of a place."""
    return Path(place[0].partition("=")[2])


def train_run(place: Sequence[str], *overrides: str) -> Path:
    """The folder of a run, trained in this process."""
    before = set(runs_folder_of(place).glob("*/metrics.json"))
    GlobalHydra.instance().clear()
    assert cli.main(["train", *overrides, *place]) == 0
    return max(set(runs_folder_of(place).glob("*/metrics.json")) - before, key=lambda path: path.stat().st_mtime).parent
