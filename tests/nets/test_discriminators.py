"""Discriminators judge every picture by itself, and are built as they are described."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from facelab.nets.discriminators import ConvDiscriminator, DCGANDiscriminator, ProjectionDiscriminator
from facelab.nets.encoders import ImageShape

Make = Callable[..., nn.Module]


def projection(image_shape: ImageShape, widths: Sequence[int]) -> ProjectionDiscriminator:
    return ProjectionDiscriminator(image_shape, num_classes=3, widths=widths)


def judged(discriminator: nn.Module, images: Tensor) -> Tensor:
    """Logits; with the labels 0, 1, 2, 0, ... where the discriminator is told."""
    labels = [torch.arange(len(images)) % 3] if isinstance(discriminator, ProjectionDiscriminator) else []
    with torch.no_grad():
        logits: Tensor = discriminator(images, *labels)
    return logits


def second_moment(features: Tensor) -> float:
    return features.square().mean().item()


DISCRIMINATORS = [ConvDiscriminator, projection, DCGANDiscriminator]


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 64, 64), (1, 32, 48), (3, 50, 37)])
@pytest.mark.parametrize("make", DISCRIMINATORS)
def test_there_is_one_logit_for_each_picture(make: Make, shape: ImageShape) -> None:
    discriminator, images = make(shape, widths=(2, 4, 4, 8)), torch.rand(3, *shape) * 2 - 1
    assert judged(discriminator, images).shape == (3,)
    features: Tensor = discriminator.features(images)  # type: ignore[operator]
    assert features.shape == (3, 16 * (2 + 4 + 4 + 8))


@pytest.mark.parametrize("make", [ConvDiscriminator, DCGANDiscriminator])
def test_features_are_the_largest_values_of_every_map_in_sixteen_fields(make: Make) -> None:
    torch.manual_seed(0)
    discriminator, images = make((1, 32, 32), widths=(2, 4)).eval(), torch.rand(3, 1, 32, 32) * 2 - 1
    with torch.no_grad():
        features: Tensor = discriminator.features(images)  # type: ignore[operator]
        first = discriminator.blocks[0](images)  # type: ignore[operator, index]
        second = discriminator.blocks[1](first)  # type: ignore[operator, index]
    for picture, channel, row, column in ((0, 0, 0, 0), (1, 1, 3, 2), (2, 0, 1, 3)):
        field = first[picture, channel, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        assert features[picture, channel * 16 + row * 4 + column] == field.max()
        field = second[picture, 2 + channel, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert features[picture, 32 + (2 + channel) * 16 + row * 4 + column] == field.max()


@pytest.mark.parametrize("make", [ConvDiscriminator, DCGANDiscriminator])
def test_the_logit_is_a_linear_map_of_the_last_map(make: Make) -> None:
    discriminator, images = make((1, 16, 16), widths=(4, 8)).eval(), torch.rand(5, 1, 16, 16)
    assert isinstance(discriminator.output, nn.Linear)
    weight, bias = discriminator.output.weight.detach()[0], discriminator.output.bias.detach()
    features: Tensor = discriminator.blocks(images).flatten(1).detach()  # type: ignore[operator]
    assert torch.allclose(judged(discriminator, images), features @ weight + bias, atol=1e-6)


@pytest.mark.parametrize("make", [ConvDiscriminator, projection])
def test_a_logit_does_not_depend_on_its_batch(make: Make) -> None:
    torch.manual_seed(0)
    discriminator, images = make((1, 16, 16), widths=(4, 8)), torch.rand(6, 1, 16, 16) * 2 - 1
    logits = judged(discriminator, images)
    assert logits.std() > 0.05
    assert torch.allclose(logits[:1], judged(discriminator, images[:1]), atol=1e-5)
    assert torch.allclose(logits[3:], judged(discriminator, images[3:]), atol=1e-5)


def test_a_logit_of_dcgan_depends_on_its_batch_in_training_alone() -> None:
    torch.manual_seed(0)
    discriminator, images = DCGANDiscriminator((1, 16, 16), widths=(4, 8)), torch.rand(6, 1, 16, 16) * 2 - 1
    assert not torch.allclose(judged(discriminator, images)[:3], judged(discriminator, images[:3]), atol=1e-3)
    discriminator.eval()
    assert torch.allclose(judged(discriminator, images)[:3], judged(discriminator, images[:3]), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 15, 64), (1, 64, 15)])
@pytest.mark.parametrize("make", DISCRIMINATORS)
def test_pictures_too_small_are_refused(make: Make, shape: ImageShape) -> None:
    with pytest.raises(ValueError, match=r"\b16\b.*data\.image_size.*widths"):
        make(shape, widths=(2, 4, 4, 8))
    make((1, 16, 16), widths=(2, 4, 4, 8))


@pytest.mark.parametrize("widths", [(), (4, 0), (-4,)])
@pytest.mark.parametrize("make", DISCRIMINATORS)
def test_wrong_widths_are_refused(make: Make, widths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="widths must be above 0"):
        make((1, 16, 16), widths=widths)


def test_a_discriminator_is_built_as_described() -> None:
    discriminator = ConvDiscriminator((3, 16, 24), widths=(4, 8))
    # By hand: 4 x 4 convolutions with biases, and a linear unit over 8 maps of 4 x 6.
    counts = [3 * 4 * 16 + 4, 4 * 8 * 16 + 8, 8 * 4 * 6 + 1]
    assert sum(p.numel() for p in discriminator.parameters()) == sum(counts)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in discriminator.modules())
    assert {layer.negative_slope for layer in discriminator.modules() if isinstance(layer, nn.LeakyReLU)} == {0.2}


def test_activations_keep_their_size_from_the_picture_to_the_features() -> None:
    torch.manual_seed(0)
    discriminator, features = ConvDiscriminator((3, 64, 64), widths=(64, 64, 64, 128)), torch.randn(8, 3, 64, 64)
    sizes = [1.0]
    with torch.no_grad():
        for block in discriminator.blocks:
            features = block(features)
            sizes.append(second_moment(features))
    assert len(sizes) == 5
    # A little is lost in every layer where zeros come in at the edges, most in the smallest map.
    assert all(0.6 < after / before < 1.4 for before, after in pairwise(sizes)), sizes
    biases = [value for name, value in discriminator.named_parameters() if name.endswith("bias")]
    assert len(biases) == 5
    assert not any(bias.any() for bias in biases)


def test_logits_begin_at_the_size_of_the_features() -> None:
    torch.manual_seed(0)
    images, of_features, of_logits = torch.randn(4, 1, 8, 8), [], []
    for _ in range(60):
        discriminator = ConvDiscriminator((1, 8, 8), widths=(16,))
        with torch.no_grad():
            features = discriminator.blocks(images).flatten(1)
            of_features.append(second_moment(features))
            of_logits.append(second_moment(discriminator.output(features)))
    # The weights' variance is one over their number: a logit's second moment is that of a feature.
    assert 0.5 < sum(of_features) / 60 < 1.5
    assert 0.6 < sum(of_logits) / sum(of_features) < 1.6


def test_the_label_turns_the_logit_by_hand() -> None:
    torch.manual_seed(0)
    discriminator, images = projection((1, 16, 24), widths=(4, 8)), torch.rand(5, 1, 16, 24) * 2 - 1
    vectors = discriminator.labels.weight.detach()
    directions = vectors / vectors.norm(dim=1, keepdim=True)
    first, second = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([1, 2, 0, 0, 2])
    with torch.no_grad():
        pooled = discriminator.blocks(images).flatten(2).mean(dim=2)
        difference = discriminator(images, first) - discriminator(images, second)
    expected = [float(pooled[i] @ (directions[first[i]] - directions[second[i]])) for i in range(5)]
    assert difference.tolist() == pytest.approx(expected, abs=1e-5)
    assert difference[3] == 0
    assert max(map(abs, expected)) > 0.05


def test_without_a_label_the_projection_discriminator_is_the_plain_one() -> None:
    torch.manual_seed(0)
    told, images = projection((1, 16, 16), widths=(4, 8)), torch.rand(3, 1, 16, 16)
    plain = ConvDiscriminator((1, 16, 16), widths=(4, 8))
    plain.load_state_dict({name: value for name, value in told.state_dict().items() if not name.startswith("labels")})
    with torch.no_grad():
        told.labels.weight.zero_()
    assert torch.allclose(judged(told, images), judged(plain, images), atol=1e-6)


def test_the_length_of_a_labels_vector_does_not_matter() -> None:
    torch.manual_seed(0)
    discriminator, images = projection((1, 16, 16), widths=(4, 8)), torch.rand(3, 1, 16, 16)
    before = judged(discriminator, images)
    with torch.no_grad():
        discriminator.labels.weight *= 7
    assert torch.allclose(judged(discriminator, images), before, atol=1e-6)


def test_the_dcgan_discriminator_is_the_papers() -> None:
    discriminator = DCGANDiscriminator((3, 64, 64), widths=(128, 256, 512, 1024))
    layers = [layer for block in discriminator.blocks for layer in block.children()]
    kinds = [type(layer) for layer in layers]
    assert kinds == [nn.Conv2d, nn.LeakyReLU, *[nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU] * 3]
    assert [layer.num_features for layer in layers if isinstance(layer, nn.BatchNorm2d)] == [256, 512, 1024]
    assert {layer.stride for layer in layers if isinstance(layer, nn.Conv2d)} == {(2, 2)}
    assert {layer.negative_slope for layer in layers if isinstance(layer, nn.LeakyReLU)} == {0.2}


def test_parameters_of_the_dcgan_discriminator_by_hand() -> None:
    discriminator = DCGANDiscriminator((3, 64, 64))
    counts = [3 * 32 * 16 + 32, 32 * 64 * 16 + 64, 64 * 128 * 16 + 128, 128 * 256 * 16 + 256]
    counts += [2 * (64 + 128 + 256)]  # batch normalisation
    counts += [256 * 4 * 4 + 1]
    assert sum(p.numel() for p in discriminator.parameters()) == sum(counts)


def test_weights_of_the_dcgan_discriminator_are_normal_with_the_papers_deviation() -> None:
    torch.manual_seed(0)
    discriminator = DCGANDiscriminator((3, 64, 64))
    weights = [layer.weight for layer in discriminator.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    assert len(weights) == 5
    for weight in weights:
        assert weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert abs(weight.mean().item()) < 4 * 0.02 / weight.numel() ** 0.5
        assert weight.abs().max() > 0.05  # uniform weights of this deviation would end at 0.035
    scales = torch.cat([layer.weight for layer in discriminator.modules() if isinstance(layer, nn.BatchNorm2d)])
    assert scales.mean().item() == pytest.approx(1, abs=0.004)
    assert scales.std().item() == pytest.approx(0.02, rel=0.2)
