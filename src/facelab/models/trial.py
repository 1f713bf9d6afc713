"""Try losses on small tensors, so that one that cannot train a model is refused before anything is recorded."""

from collections.abc import Callable

import torch
from torch import Tensor


def spread(*shape: int) -> Tensor:
    """Numbers of this shape, evenly spaced from -0.9 to 0.8."""
    return torch.linspace(-0.9, 0.8, torch.Size(shape).numel()).reshape(shape)


def try_loss(what: str, expected: str, loss: Callable[[Tensor], Tensor], inputs: Tensor) -> None:
    """Check that a loss is a finite scalar with a gradient; without memory for values (device meta), do nothing.

    Args:
        what: the loss is, for the error message.
        expected: what it should be, likewise.
        loss: called with `inputs`.
        inputs: float.

    Raises:
        ValueError: it is not.
    """
    if inputs.is_meta:
        return
    inputs = inputs.detach().clone().requires_grad_()
    try:
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            value = loss(inputs)
            (gradient,) = torch.autograd.grad(value, inputs)
        usable = bool(value.isfinite() and gradient.isfinite().all() and gradient.any())
    except Exception as error:  # whatever a foreign function raises
        raise ValueError(f"{what} failed on a trial: {error}. Expected {expected}") from error
    if not usable:
        raise ValueError(
            f"{what} gave {value.item():g} on a trial, and a gradient of length {gradient.norm():g}, from which "
            f"nothing is learnt. Expected {expected}"
        )
