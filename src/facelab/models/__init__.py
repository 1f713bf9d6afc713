"""Models: LightningModules that combine networks and losses."""

from facelab.models.autoencoder import Autoencoder, DenoisingAutoencoder, VariationalAutoencoder
from facelab.models.base import FaceModule, Generative, OneLossModule, Reconstructing
from facelab.models.cnn import CNN
from facelab.models.diffusion import ConditionalDiffusion, Diffusion
from facelab.models.gan import GAN, AdversarialObjective, AdversarialOptimizers, ConditionalGAN
from facelab.models.recipe import Constant, Cosine, Length, Recipe, Schedule
from facelab.models.transfer import Transfer

__all__ = [
    "CNN",
    "GAN",
    "AdversarialObjective",
    "AdversarialOptimizers",
    "Autoencoder",
    "ConditionalDiffusion",
    "ConditionalGAN",
    "Constant",
    "Cosine",
    "DenoisingAutoencoder",
    "Diffusion",
    "FaceModule",
    "Generative",
    "Length",
    "OneLossModule",
    "Recipe",
    "Reconstructing",
    "Schedule",
    "Transfer",
    "VariationalAutoencoder",
]
