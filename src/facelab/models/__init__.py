"""Models: LightningModules that combine networks and losses."""

from facelab.models.adversarial import AdversarialObjective, AdversarialOptimizers
from facelab.models.autoencoder import Autoencoder, DenoisingAutoencoder, VariationalAutoencoder
from facelab.models.base import FaceModule, FittedModule, Generative, OneLossModule, Reconstructing, Varying
from facelab.models.classical import Eigenfaces, Fisherfaces, LinearSVM, Pixels
from facelab.models.cnn import CNN
from facelab.models.diffusion import ConditionalDiffusion, Diffusion
from facelab.models.encoding import EncodingObjective
from facelab.models.gan import GAN, ConditionalGAN
from facelab.models.gan_transfer import TransferGAN
from facelab.models.recipe import Constant, Cosine, Length, Recipe, Schedule
from facelab.models.transfer import Transfer
from facelab.models.vae_gan import VAEGAN, ConditionalVAEGAN

__all__ = [
    "CNN",
    "GAN",
    "VAEGAN",
    "AdversarialObjective",
    "AdversarialOptimizers",
    "Autoencoder",
    "ConditionalDiffusion",
    "ConditionalGAN",
    "ConditionalVAEGAN",
    "Constant",
    "Cosine",
    "DenoisingAutoencoder",
    "Diffusion",
    "Eigenfaces",
    "EncodingObjective",
    "FaceModule",
    "Fisherfaces",
    "FittedModule",
    "Generative",
    "Length",
    "LinearSVM",
    "OneLossModule",
    "Pixels",
    "Recipe",
    "Reconstructing",
    "Schedule",
    "Transfer",
    "TransferGAN",
    "VariationalAutoencoder",
    "Varying",
]
