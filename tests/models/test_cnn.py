"""A recogniser's embeddings at test time."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from facelab.losses import arcface, cross_entropy, normalised_softmax
from facelab.nets import AffineTestTimeAugmentation, ConvEncoder
from tests.models.tiny import tiny_cnn


def test_embeddings_are_averaged_over_the_views_at_the_end_and_of_one_view_during_training() -> None:
    torch.manual_seed(0)
    views = AffineTestTimeAugmentation()
    module = tiny_cnn(
        encoder=partial(ConvEncoder, widths=[4, 8], embedding_dim=4),
        loss=normalised_softmax,
        num_classes=3,
        test_time_augmentation=views,
    ).eval()
    images = torch.rand(2, 1, 16, 16)
    batch = {"image": images, "label": torch.tensor([0, 1]), "index": torch.tensor([0, 1])}
    with torch.no_grad():
        averaged = torch.stack([module.embed(view) for view in views(images)]).mean(dim=0)
        assert torch.allclose(module.predict_step(batch, 0)["embedding"], averaged)
        assert torch.allclose(module.validation_step(batch, 0)["embedding"], module.embed(images))
        assert not torch.allclose(averaged, module.embed(images), atol=1e-4)


@pytest.mark.parametrize("loss", [partial(cross_entropy, label_smoothing=0.1), normalised_softmax, arcface])
def test_validation_gives_the_loss_of_each_image(loss: Callable[..., Tensor]) -> None:
    torch.manual_seed(0)
    module = tiny_cnn(loss=loss, num_classes=3).eval()
    batch = {"image": torch.rand(7, 1, 16, 16), "label": torch.arange(7) % 3, "index": torch.arange(7)}
    with torch.inference_mode():
        found = module.validation_step(batch, 0)
        scores = module.classify(module.embed(batch["image"]))
    assert scores is not None
    alone = [loss(scores[[image]], batch["label"][[image]]) for image in range(7)]
    assert torch.equal(found["loss"], torch.stack(alone))
    assert torch.equal(found["predicted"], scores.argmax(dim=1))
