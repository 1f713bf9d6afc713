"""Losses that ask for their inputs by the names of their arguments."""

import inspect
from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor, nn

from facelab.losses.margin import scale_for

SCORES = frozenset({"cosines", "logits"})  # both are the head's scores: a loss names what it takes them for
OF_BATCH = frozenset({"embeddings", "labels", "identities"})


class NamedLoss:
    """A loss that is called with exactly the values its arguments name.

    A loss may name `embeddings` (N, D), the head's scores (N, C) as `cosines` or `logits`, `labels` (N,), `identities`
    (N,), and what its head offers beside scores. One that names `embeddings` is taken to compare the images of a batch
    with each other, so that a single image has no loss.

    Args:
        loss: returns a scalar, the mean over images or pairs; its other arguments are already given, or have defaults.
        offered: names of what the head offers beside scores; None if there is no head.

    Raises:
        ValueError: an argument is none of these, or the loss and the head do not fit.
    """

    def __init__(self, loss: Callable[..., Tensor], offered: Collection[str] | None) -> None:
        self._loss = loss
        of_head = SCORES.union(offered or ())
        parameters = inspect.signature(loss.forward if isinstance(loss, nn.Module) else loss).parameters
        self.names = [name for name in parameters if name in OF_BATCH | of_head]
        self._scale = parameters["scale"].default if "scale" in parameters and "cosines" in self.names else 1.0
        required = [name for name, parameter in parameters.items() if parameter.default is inspect.Parameter.empty]
        unknown = [name for name in required if name not in self.names]
        if unknown:
            raise ValueError(
                f"the loss asks for '{unknown[0]}', which neither the config nor the model gives. A loss may name "
                f"{', '.join(sorted(OF_BATCH | of_head))}; give other arguments as model.loss.<argument>."
            )
        self.uses_head = not of_head.isdisjoint(self.names)
        if offered is None and self.uses_head:
            raise ValueError(
                f"the loss asks for {' and '.join(self.names)}, and there is no head to give scores. Set model.head, "
                "such as that of model=cnn, or a loss of embeddings and labels."
            )
        if not self.uses_head and "embeddings" not in self.names:
            raise ValueError(
                f"the loss asks for {' and '.join(self.names) or 'nothing'}, which do not depend on the weights. Let "
                "it name embeddings, cosines or logits."
            )
        if offered is not None and not self.uses_head:
            raise ValueError(
                f"the loss asks for {' and '.join(self.names) or 'nothing'}, so the head would not be trained. Set "
                "model.head=null, or a loss that names cosines or logits."
            )

    @property
    def has_loss_of_each_image(self) -> bool:
        """Whether an image has a loss of its own, whatever the other images of its batch."""
        return "embeddings" not in self.names

    def scale(self, num_classes: int) -> float:
        """Factor on the scores before the softmax: the argument `scale` of a loss of cosines; 1 for other losses."""
        return scale_for(num_classes) if self._scale is None else float(self._scale)

    def __call__(self, values: Mapping[str, Tensor]) -> Tensor:
        """The loss of a batch, a scalar. `values` are at least those that are named, by name."""
        return self._loss(**{name: values[name] for name in self.names})

    def of_each_image(self, values: Mapping[str, Tensor]) -> Tensor:
        """The loss (N,) of each image; only for a loss that has one."""
        # The loss returns a mean: over batches of one image, it is the loss of each.
        return torch.vmap(self.__call__)({name: values[name][:, None] for name in self.names})
