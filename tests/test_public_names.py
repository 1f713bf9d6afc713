"""The public names: they stand in every saved config, so files may move and these may not."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from facelab.config.compose import config_folder

PUBLIC = {
    "data": "AllTest Augmentation Bin CSV CelebA Concat FER2013 FaceDataModule FaceNonFace FaceSet "
    "FaceSource FaceSpoiltFace FewShot Folder GroupKFold HeadTurn IdentityDisjoint KFold LFW LeaveOneGroupOut ORL "
    "Official PairFolds Pattern RAFDB Ratio RecordIO RotatedFewShot Rows SideLight Split Splits",
    "losses": "absolute_error adaface arcface cosface cross_entropy hinge interpolated_gradient_penalty non_saturating "
    "normalised_softmax r1 r2 relativistic_logistic squared_error supervised_contrastive triplet wasserstein",
    "metrics": "Metric",
    "models": "AdversarialObjective AdversarialOptimizers Autoencoder CNN ConditionalDiffusion ConditionalGAN "
    "ConditionalVAEGAN Constant Cosine DenoisingAutoencoder Diffusion Eigenfaces EncodingObjective FaceModule "
    "Fisherfaces FittedModule GAN Generative Length LinearSVM OneLossModule Pixels Recipe Reconstructing Schedule "
    "Transfer TransferGAN VAEGAN VariationalAutoencoder Varying",
    "nets": "AffineTestTimeAugmentation BottleneckEncoder "
    "ClassicEncoder ClassicHead ConditionalDecoder ConvDecoder ConvDiscriminator ConvEncoder ConvTextureEncoder "
    "CosineHead DCGANDiscriminator DCGANGenerator DiffAugment IResNet ImageVariator "
    "LatentEncoder LocalContrastNormalisation MobileFaceNet "
    "NormAwareCosineHead ProjectionDiscriminator ResidualEncoder "
    "ResidualTextureEncoder "
    "TimmEncoder UNet",
    "protocols": "Attributes Classification Generation Identification Outputs Protocol Reconstruction Report Subject "
    "Table Templates Verification",
    "runs": "Experiment Runtime ValidationSettings",
    "synthetic": "DuplicatedFaces GeneratedFaces MixedIdentities MixedPixels SyntheticFaces TransferredFaces",
    "sweep": "CMAES Grid Local Random Slurm SweepSettings TPE",
    "training": "TrainerSettings",
}
# facelab.tracking exports functions for the other rooms too.
NAMED_IN_CONFIGS = {"tracking": "ServerStore SqliteStore"}


def _targets(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


CONFIGS = sorted([*config_folder().rglob("*.yaml"), *(config_folder().parent / "experiments").rglob("*.yaml")])


@pytest.mark.parametrize("package", PUBLIC)
def test_a_package_keeps_its_public_names(package: str) -> None:
    exported = importlib.import_module(f"facelab.{package}").__all__
    assert sorted(PUBLIC[package].split()) == sorted(exported)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_configs_name_public_names_only(path: Path) -> None:
    for target in _targets(yaml.safe_load(path.read_text(encoding="utf-8"))):
        package, _, name = target.removeprefix("facelab.").partition(".")
        if target.startswith("facelab."):
            assert name in (PUBLIC | NAMED_IN_CONFIGS)[package].split(), target
