"""A recogniser's embeddings at test time."""

from functools import partial

import torch

from facelab.losses import normalised_softmax
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
