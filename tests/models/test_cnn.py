"""A recogniser's embeddings at test time."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from facelab.losses import arcface, cross_entropy, normalised_softmax, supervised_contrastive
from facelab.nets import AffineTestTimeAugmentation, ConvEncoder
from facelab.nets.encoders import ImageShape
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


def test_the_note_on_missing_views_says_that_training_sets_their_limit() -> None:
    module = tiny_cnn(test_time_augmentation=AffineTestTimeAugmentation(max_images=10))
    assert module.prepare_evaluation(10) is None
    note = module.prepare_evaluation(11)
    assert note is not None
    assert "train with model.test_time_augmentation.max_images=null" in note  # `facelab evaluate` refuses the key


def test_variants_are_embedded_a_few_at_a_time_and_as_if_all_at_once() -> None:
    torch.manual_seed(0)
    views = AffineTestTimeAugmentation()
    module = tiny_cnn(test_time_augmentation=views).eval()
    sizes: list[int] = []
    module.encoder.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    images = torch.rand(60, 1, 16, 16)
    batch = {"image": images, "label": torch.arange(60) % 2, "index": torch.arange(60)}
    with torch.no_grad():
        found = module.predict_step(batch, 0)["embedding"]
        assert sizes == [256, 256, 256, 256, 56]
        at_once = torch.cat([module.embed(some) for some in torch.split(torch.cat(list(views(images))), 256)])
    assert torch.allclose(found, at_once.reshape(18, 60, -1).mean(dim=0), atol=1e-6)


class _Mistaken(ConvEncoder):
    """States another length than it gives."""

    def __init__(self, image_shape: ImageShape) -> None:
        super().__init__(image_shape, widths=[4], embedding_dim=6)
        self.embedding_dim = 4


class _Failing(ConvEncoder):
    """Raises in its forward pass."""

    def forward(self, images: Tensor) -> Tensor:
        raise RuntimeError("no such layer")


def test_an_encoder_of_another_length_than_it_states_is_refused() -> None:
    with pytest.raises(ValueError, match=r"encoder: it gave \(1, 6\) for one image, but its embedding_dim is 4"):
        tiny_cnn(encoder=_Mistaken)
    with pytest.raises(ValueError, match=r"encoder: it failed on an image of zeros.*no such layer"):
        tiny_cnn(encoder=partial(_Failing, widths=[4], embedding_dim=4))


def test_the_trial_of_an_encoder_leaves_no_trace() -> None:
    torch.manual_seed(0)
    encoder = ConvEncoder((1, 16, 16), widths=[4], embedding_dim=4)
    encoder.blocks.eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    torch.manual_seed(5)
    module = tiny_cnn(encoder=lambda image_shape: encoder, head=None, loss=supervised_contrastive)
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(3))
    assert (module.encoder.training, encoder.blocks.training, encoder.embed.training) == (True, False, True)
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    with torch.device("meta"):
        tiny_cnn()


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
