"""Networks: plain nn.Modules."""

from facelab.nets.decoders import ConditionalDecoder, ConvDecoder, DCGANGenerator
from facelab.nets.diffaugment import DiffAugment
from facelab.nets.discriminators import ConvDiscriminator, DCGANDiscriminator, ProjectionDiscriminator
from facelab.nets.encoders import BottleneckEncoder, ClassicEncoder, ConvEncoder
from facelab.nets.heads import ClassicHead, CosineHead, NormAwareCosineHead
from facelab.nets.iresnet import IResNet
from facelab.nets.latent_encoder import LatentEncoder
from facelab.nets.light import LocalContrastNormalisation
from facelab.nets.mobilefacenet import MobileFaceNet
from facelab.nets.residual import ResidualEncoder
from facelab.nets.test_time_augmentation import AffineTestTimeAugmentation
from facelab.nets.texture_encoders import ConvTextureEncoder, ResidualTextureEncoder
from facelab.nets.timm_encoder import TimmEncoder
from facelab.nets.unet import UNet
from facelab.nets.variator import ImageVariator

__all__ = [
    "AffineTestTimeAugmentation",
    "BottleneckEncoder",
    "ClassicEncoder",
    "ClassicHead",
    "ConditionalDecoder",
    "ConvDecoder",
    "ConvDiscriminator",
    "ConvEncoder",
    "ConvTextureEncoder",
    "CosineHead",
    "DCGANDiscriminator",
    "DCGANGenerator",
    "DiffAugment",
    "IResNet",
    "ImageVariator",
    "LatentEncoder",
    "LocalContrastNormalisation",
    "MobileFaceNet",
    "NormAwareCosineHead",
    "ProjectionDiscriminator",
    "ResidualEncoder",
    "ResidualTextureEncoder",
    "TimmEncoder",
    "UNet",
]
