"""Initial weights."""

import math

from torch import nn

SLOPE = 0.2  # negative slope of every leaky ReLU


def he_normal(module: nn.Module) -> None:
    """Initialise a convolution or linear layer with He-normal weights and zero biases; for `nn.Module.apply`.

    He et al., "Delving Deep into Rectifiers", 2015, equation 15 with a negative slope of `SLOPE`: activations keep
    their scale from layer to layer without normalisation. Other layers are left unchanged.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, std=math.sqrt(2 / (1 + SLOPE**2) / _inputs(module)))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def unit_gain(module: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> None:
    """Initialise a layer without a rectifier behind it: LeCun et al., "Efficient BackProp", 1998, section 4.6."""
    nn.init.normal_(module.weight, std=math.sqrt(1 / _inputs(module)))


def dcgan_normal(module: nn.Module) -> None:
    """Initialise weights as in DCGAN, normal with standard deviation 0.02; for `nn.Module.apply`.

    Radford et al., 2016, section 4.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, mean=1.0, std=0.02)


def _inputs(module: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> float:
    """Fan-in: the number of inputs summed into one output."""
    if isinstance(module, nn.ConvTranspose2d):
        strides = module.stride[0] * module.stride[1]  # 1 in `strides` kernel positions meets an input
        return module.in_channels * module.weight[0, 0].numel() / strides
    return module.weight[0].numel()
