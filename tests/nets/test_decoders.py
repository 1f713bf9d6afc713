"""Decoders paint what they are told, and are built as they are described."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facelab.nets.decoders import ConditionalDecoder, ConvDecoder, DCGANGenerator, smallest_map
from facelab.nets.encoders import ImageShape

Make = Callable[..., nn.Module]


def conditional(latent_dim: int, image_shape: ImageShape, widths: Sequence[int]) -> ConditionalDecoder:
    return ConditionalDecoder(latent_dim, image_shape, num_classes=3, label_dim=4, widths=widths)


def painted(decoder: nn.Module, latents: Tensor) -> Tensor:
    """Pictures; the labels 0, 1, 2, 0, ... where the decoder can be told."""
    labels = [torch.arange(len(latents)) % 3] if isinstance(decoder, ConditionalDecoder) else []
    with torch.no_grad():
        images: Tensor = decoder(latents, *labels)
    return images


def second_moment(features: Tensor) -> float:
    return features.square().mean().item()


DECODERS = [ConvDecoder, conditional, DCGANGenerator]


def test_weights_of_labels_mix_their_embeddings() -> None:
    decoder, latents = conditional(5, (1, 16, 16), widths=(8, 4)), torch.randn(2, 5)
    with torch.no_grad():
        plain, one = decoder(latents, torch.tensor([1, 2])), decoder(latents, torch.eye(3)[[1, 2]])
        mixed = decoder(latents, torch.tensor([[0.5, 0.5, 0.0]] * 2))
        twice = decoder(latents, torch.tensor([[0.7, 0.7, 0.0]] * 2))
        of_two = decoder(latents, torch.tensor([[0.5, 0.5]] * 2))
    assert torch.allclose(plain, one, atol=1e-6)
    assert torch.allclose(mixed, twice, atol=1e-6)  # only the direction counts
    assert torch.allclose(mixed, of_two, atol=1e-6)  # weights of the first labels
    assert not torch.allclose(mixed[1], plain[1], atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 64, 64), (1, 32, 48)])
@pytest.mark.parametrize("make", DECODERS)
def test_pictures_have_the_shape_asked_for(make: Make, shape: ImageShape) -> None:
    assert painted(make(5, shape, widths=(8, 4, 4, 2)), torch.randn(2, 5)).shape == (2, *shape)


@pytest.mark.parametrize("make", DECODERS)
def test_pictures_lie_between_black_and_white(make: Make) -> None:
    torch.manual_seed(0)
    images = painted(make(5, (1, 16, 16), widths=(8, 4)).eval(), 1e8 * torch.randn(8, 5))
    assert (images.min().item(), images.max().item()) == (-1, 1)


@pytest.mark.parametrize("make", [ConvDecoder, conditional])
def test_a_picture_does_not_depend_on_its_batch(make: Make) -> None:
    torch.manual_seed(0)
    decoder, latents = make(5, (1, 16, 16), widths=(8, 4)), torch.randn(6, 5)
    images = painted(decoder, latents)
    assert images.std() > 0.1
    assert torch.allclose(images[:1], painted(decoder, latents[:1]), atol=1e-6)
    assert torch.allclose(images[3:], painted(decoder, latents[3:]), atol=1e-6)


def test_a_picture_of_dcgan_depends_on_its_batch_in_training_alone() -> None:
    torch.manual_seed(0)
    decoder, latents = DCGANGenerator(5, (1, 16, 16), widths=(8, 4)), torch.randn(6, 5)
    assert not torch.allclose(painted(decoder, latents)[:3], painted(decoder, latents[:3]), atol=1e-3)
    decoder.eval()
    assert torch.allclose(painted(decoder, latents)[:3], painted(decoder, latents[:3]), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 40, 64), (1, 64, 40), (1, 8, 8)])
@pytest.mark.parametrize("make", DECODERS)
def test_pictures_that_cannot_be_halved_so_often_are_refused(make: Make, shape: ImageShape) -> None:
    with pytest.raises(ValueError, match=r"multiples of 16, got \d+ x \d+; change data\.image_size"):
        make(5, shape, widths=(8, 4, 4, 2))


@pytest.mark.parametrize(
    "wrong", [{"widths": ()}, {"widths": (8, 0)}, {"widths": (-4,)}, {"latent_dim": 0}, {"latent_dim": -1}], ids=str
)
@pytest.mark.parametrize("make", DECODERS)
def test_wrong_arguments_are_refused(make: Make, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make(**{"latent_dim": 5, "image_shape": (1, 16, 16), "widths": (8, 4), **wrong})


def test_the_smallest_map_is_doubled_once_for_each_width() -> None:
    assert smallest_map(1, (3, 64, 48), (8, 8, 8, 8)) == (4, 3)
    assert smallest_map(1, (1, 64, 64), (8,)) == (32, 32)


def test_a_decoder_is_built_as_described() -> None:
    decoder = ConvDecoder(7, (3, 16, 24), widths=(8, 4))
    # By hand: a linear map to 8 maps of 4 x 6; 4 x 4 transposed convolutions to 4 channels and to colours; biases.
    counts = [7 * 8 * 4 * 6 + 8 * 4 * 6, 8 * 4 * 16 + 4, 4 * 3 * 16 + 3]
    assert sum(p.numel() for p in decoder.parameters()) == sum(counts)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in decoder.modules())
    assert {layer.negative_slope for layer in decoder.modules() if isinstance(layer, nn.LeakyReLU)} == {0.2}


def test_activations_keep_their_size_from_the_latent_to_the_picture() -> None:
    torch.manual_seed(0)
    decoder = ConvDecoder(128, (3, 64, 64), widths=(128, 64, 64, 32))
    with torch.no_grad():
        features = decoder.project(torch.randn(16, 128))
        sizes = [1.0, second_moment(features)]
        for block in decoder.blocks:
            features = block(features)
            sizes.append(second_moment(features))
        sizes.append(second_moment(decoder.output(features)))
    assert len(sizes) == 6
    # A little is lost in every layer where zeros come in at the edges, most in the smallest map: (7 / 8)^2.
    assert all(0.6 < after / before < 1.4 for before, after in pairwise(sizes)), sizes
    biases = [value for name, value in decoder.named_parameters() if name.endswith("bias")]
    assert len(biases) == 5
    assert not any(bias.any() for bias in biases)


def test_the_label_decides_with_the_latent() -> None:
    torch.manual_seed(0)
    decoder = conditional(5, (1, 16, 16), widths=(8, 4))
    latents = torch.randn(1, 5).expand(6, 5)
    with torch.no_grad():
        images = decoder(latents, torch.tensor([0, 1, 2, 2, 1, 0]))
        assert torch.allclose(images[:3], images[3:].flip(0), atol=1e-6)
        for first, second in ((0, 1), (0, 2), (1, 2)):
            assert (images[first] - images[second]).abs().mean() > 0.05
        assert (decoder(torch.randn(1, 5), torch.tensor([0])) - images[0]).abs().mean() > 0.05


def test_the_label_is_told_behind_the_latent_at_the_size_of_a_standard_normal_latent() -> None:
    torch.manual_seed(0)
    decoder = conditional(5, (1, 16, 16), widths=(8, 4))
    latents, labels = torch.randn(3, 5), torch.tensor([2, 0, 1])
    vectors = decoder.labels.weight.detach()[labels]
    told = vectors / vectors.norm(dim=1, keepdim=True) * 2  # the root of 4 numbers
    assert second_moment(told) == pytest.approx(1)
    with torch.no_grad():
        images = decoder(latents, labels)
        assert torch.allclose(images, ConvDecoder.forward(decoder, torch.cat([latents, told], dim=1)), atol=1e-6)
        decoder.labels.weight *= 7
        assert torch.allclose(decoder(latents, labels), images, atol=1e-6)


def test_labels_are_learnt() -> None:
    decoder = conditional(5, (1, 16, 16), widths=(8, 4))
    images = decoder(torch.randn(2, 5), torch.tensor([0, 2]))
    F.mse_loss(images, torch.ones_like(images)).backward()  # type: ignore[no-untyped-call]
    assert decoder.labels.weight.grad is not None
    assert decoder.labels.weight.grad.any(dim=1).tolist() == [True, False, True]


def test_the_dcgan_generator_is_the_papers() -> None:
    generator = DCGANGenerator(100, (3, 64, 64), widths=(1024, 512, 256, 128))
    kinds = [type(layer) for layer in generator.layers]
    assert kinds == [nn.Linear, nn.Unflatten, *[nn.BatchNorm2d, nn.ReLU, nn.ConvTranspose2d] * 4]
    assert [layer.num_features for layer in generator.layers if isinstance(layer, nn.BatchNorm2d)] == [
        1024,
        512,
        256,
        128,
    ]


def test_parameters_of_the_dcgan_generator_by_hand() -> None:
    generator = DCGANGenerator(100, (3, 64, 64))
    counts = [100 * 256 * 4 * 4]
    counts += [2 * (256 + 128 + 64 + 32)]  # batch normalisation
    counts += [256 * 128 * 16 + 128, 128 * 64 * 16 + 64, 64 * 32 * 16 + 32, 32 * 3 * 16 + 3]
    assert sum(p.numel() for p in generator.parameters()) == sum(counts)


def test_weights_of_the_dcgan_generator_are_normal_with_the_papers_deviation() -> None:
    torch.manual_seed(0)
    generator = DCGANGenerator(100, (3, 64, 64))
    weights = [layer.weight for layer in generator.layers if isinstance(layer, nn.Linear | nn.ConvTranspose2d)]
    assert len(weights) == 5
    for weight in weights:
        assert weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert abs(weight.mean().item()) < 4 * 0.02 / weight.numel() ** 0.5
        assert weight.abs().max() > 0.05  # uniform weights of this deviation would end at 0.035
    scales = torch.cat([layer.weight for layer in generator.layers if isinstance(layer, nn.BatchNorm2d)])
    assert scales.mean().item() == pytest.approx(1, abs=0.004)
    assert scales.std().item() == pytest.approx(0.02, rel=0.2)
