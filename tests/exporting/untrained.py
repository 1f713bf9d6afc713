"""Untrained models of the choices of conf/model/, for small images; classical ones are fitted to noise."""

from pathlib import Path

import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from facelab.config.build import build
from facelab.config.check import plain
from facelab.config.compose import config_folder
from facelab.models import FittedModule
from facelab.models.trained import ModelMetadata, Trained, load, save
from facelab.system import progress

NAMES = ("s1", "s2", "s3")
MODELS = sorted(path.stem for path in (config_folder() / "model").glob("*.yaml"))
SMALL = {
    "cnn": ["model.encoder.widths=[4,8]", "model.encoder.embedding_dim=8"],
    "cnn_triplet": ["model.encoder.widths=[4,8]", "model.encoder.embedding_dim=8"],
    "autoencoder": ["model.latent_dim=4", "model.encoder.widths=[4,8]", "model.decoder.widths=[8,4]"],
    "gan_conditional": ["model.latent_dim=4", "model.generator.widths=[8,4]", "model.discriminator.widths=[4,8]"],
    "diffusion": ["model.steps=2", "model.network.widths=[4,8]", "model.network.depth=1"],
    "diffusion_conditional": ["model.steps=2", "model.network.widths=[4,8]", "model.network.depth=1"],
}


def write_run(runs_folder: Path, choice: str, side: int = 32, channels: int = 1) -> Path:
    """The folder of a finished run of an untrained model."""
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = compose("train", [f"model={choice}", *SMALL.get(choice, [])])
    config = {"model": plain(OmegaConf.masked_copy(composed, ["model"]))["model"]}
    metadata = ModelMetadata((channels, side, side), len(NAMES), NAMES)
    module = build(config)["model"](image_shape=metadata.image_shape, num_classes=len(NAMES))
    if isinstance(module, FittedModule):  # without stored images it has no scores
        random = torch.Generator().manual_seed(0)
        images = torch.rand(6, *metadata.image_shape, generator=random) * 2 - 1
        module.fit(images, torch.arange(6) % len(NAMES), progress)
    folder = runs_folder / f"{len(list(runs_folder.glob('*'))):032x}"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    save(module, metadata, folder)
    return folder


def untrained(folder: Path, choice: str, side: int = 32, channels: int = 1) -> Trained:
    """An untrained model, as loaded from the folder of its run."""
    return load(write_run(folder, choice, side, channels))
