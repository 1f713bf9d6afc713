"""Initial weights."""

import math

from torch import nn

SLOPE = 0.2  # of every leaky ReLU below 0


def he_normal(module: nn.Module) -> None:
    """Normal weights that keep the size of activations from layer to layer without any normalisation, and zero biases.

    He et al., "Delving Deep into Rectifiers", 2015, equation 15 with the slope of this project's leaky ReLUs. For
    `nn.Module.apply`; other layers than convolutions and linear ones are left alone.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, std=math.sqrt(2 / (1 + SLOPE**2) / _inputs(module)))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def unit_gain(module: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> None:
    """As `he_normal`, for a layer that no rectifier follows: LeCun et al., "Efficient BackProp", 1998, section 4.6."""
    nn.init.normal_(module.weight, std=math.sqrt(1 / _inputs(module)))


def dcgan_normal(module: nn.Module) -> None:
    """Normal weights of standard deviation 0.02, as the DCGAN paper has them (Radford et al., 2016, section 4); for
    `nn.Module.apply`."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, mean=1.0, std=0.02)


def _inputs(module: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> float:
    """How many inputs one output is a sum of."""
    if isinstance(module, nn.ConvTranspose2d):
        strides = module.stride[0] * module.stride[1]  # only every strides-th position of the kernel meets an input
        return module.in_channels * module.weight[0, 0].numel() / strides
    return module.weight[0].numel()
