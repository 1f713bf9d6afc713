"""Networks are built as they are described."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from facelab.nets.encoders import BottleneckEncoder, ClassicEncoder, ConvBlocks, ConvEncoder
from facelab.nets.heads import ClassicHead, CosineHead
from facelab.nets.latent_encoder import LatentEncoder


def test_the_seed_network_is_the_founding_documents() -> None:
    encoder, head = ClassicEncoder(image_shape=(3, 64, 64)), ClassicHead(embedding_dim=512, num_classes=2)
    # By hand: 3x3 convolutions without padding and 2x2 pooling take 64 to 31, 14 and 6.
    counts = [3 * 9 * 32 + 32, 32 * 9 * 64 + 64, 64 * 9 * 128 + 128, 6 * 6 * 128 * 512 + 512, 512 + 1]
    assert sum(p.numel() for p in [*encoder.parameters(), *head.parameters()]) == sum(counts)
    kinds = [type(layer) for layer in encoder.blocks]
    assert kinds == [nn.Conv2d, nn.ReLU, nn.MaxPool2d] * 3
    assert encoder.dropout.p == 0.5


def test_the_seed_networks_weights_are_glorot_uniform() -> None:
    dense = ClassicEncoder(image_shape=(3, 64, 64)).dense
    bound = (6 / (4608 + 512)) ** 0.5
    assert float(dense.weight.detach().abs().max()) == pytest.approx(bound, rel=1e-3)
    assert float(dense.weight.detach().std()) == pytest.approx(bound / 3**0.5, rel=1e-2)
    assert not dense.bias.detach().any()


def test_grey_pictures_are_repeated_for_the_seed_network() -> None:
    encoder = ClassicEncoder(image_shape=(1, 64, 64)).eval()
    grey = torch.rand(2, 1, 64, 64)
    assert torch.equal(encoder(grey), encoder(grey.repeat(1, 3, 1, 1)))


def test_two_classes_are_a_sigmoid_with_binary_cross_entropy() -> None:
    torch.manual_seed(0)
    head, embeddings = ClassicHead(embedding_dim=8, num_classes=2), torch.randn(16, 8)
    labels = torch.randint(0, 2, (16,))
    logits = head(embeddings)
    z = head.output(embeddings)[:, 0]
    assert torch.allclose(logits.softmax(1)[:, 1], torch.sigmoid(z))
    expected = nn.functional.binary_cross_entropy(torch.sigmoid(z), labels.float())
    assert torch.allclose(nn.functional.cross_entropy(logits, labels), expected, atol=1e-6)


def test_more_classes_are_a_softmax() -> None:
    assert ClassicHead(embedding_dim=8, num_classes=5)(torch.randn(3, 8)).shape == (3, 5)


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 64, 64), (1, 50, 37)])
def test_embeddings_have_the_length_asked_for(shape: tuple[int, int, int]) -> None:
    encoder = ConvEncoder(image_shape=shape, widths=(4, 8), embedding_dim=7).eval()
    assert encoder(torch.rand(2, *shape)).shape == (2, 7)


def test_an_embedding_does_not_depend_on_its_batch() -> None:
    encoder = ConvEncoder(image_shape=(1, 32, 32), widths=(4, 8)).eval()
    images = torch.rand(6, 1, 32, 32)
    assert torch.allclose(encoder(images), torch.cat([encoder(images[:1]), encoder(images[1:])]), atol=1e-5)


@pytest.mark.parametrize("encoder", [ConvEncoder, ClassicEncoder, partial(BottleneckEncoder, latent_dim=7)])
def test_pictures_too_small_are_refused(encoder: Callable[..., nn.Module]) -> None:
    for shape in ((1, 8, 8), (1, 64, 8), (1, 8, 64)):
        with pytest.raises(ValueError, match=r"data\.image_size"):
            encoder(image_shape=shape)


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 32, 48), (1, 50, 37)])
def test_bottlenecks_have_the_length_asked_for(shape: tuple[int, int, int]) -> None:
    encoder = BottleneckEncoder(image_shape=shape, latent_dim=7, widths=(4, 8))
    assert encoder(torch.rand(2, *shape)).shape == (2, 7)
    blocks = ConvBlocks(shape, (4, 8))
    assert blocks(torch.rand(2, *shape)).flatten(1).shape == (2, blocks.feature_dim)


def test_a_bottleneck_is_a_plain_linear_map_of_the_embeddings_blocks() -> None:
    encoder = BottleneckEncoder(image_shape=(3, 32, 48), latent_dim=7, widths=(4, 8))
    # By hand: 3 x 3 convolutions without biases, batch normalisation, and 8 maps of 8 x 12 to 7 numbers.
    counts = [3 * 9 * 4 + 2 * 4, 4 * 9 * 8 + 2 * 8, 8 * 8 * 12 * 7 + 7]
    assert sum(p.numel() for p in encoder.parameters()) == sum(counts)
    encoder.blocks.load_state_dict(ConvEncoder(image_shape=(3, 32, 48), widths=(4, 8)).blocks.state_dict())
    images = torch.rand(5, 3, 32, 48)
    features = encoder.eval().blocks(images).flatten(1)
    expected = features @ encoder.project.weight.T + encoder.project.bias
    assert torch.allclose(encoder(images), expected, atol=1e-5)


def test_a_bottleneck_does_not_depend_on_its_batch() -> None:
    encoder = BottleneckEncoder(image_shape=(1, 32, 32), latent_dim=7, widths=(4, 8)).eval()
    images = torch.rand(6, 1, 32, 32)
    assert torch.allclose(encoder(images), torch.cat([encoder(images[:1]), encoder(images[1:])]), atol=1e-5)


def test_a_bottleneck_knows_the_light_and_an_embedding_does_not() -> None:
    torch.manual_seed(0)
    bottleneck = BottleneckEncoder(image_shape=(1, 32, 32), latent_dim=7, widths=(4, 8)).eval()
    embedding = ConvEncoder(image_shape=(1, 32, 32), widths=(4, 8), embedding_dim=7).eval()
    images = torch.rand(2, 1, 32, 32)
    assert torch.allclose(embedding(images), embedding(0.5 * images - 0.5), atol=1e-3)
    assert not torch.allclose(bottleneck(images), bottleneck(0.5 * images - 0.5), atol=1e-2)


@pytest.mark.parametrize(
    "wrong", [{"latent_dim": 0}, {"latent_dim": -1}, {"widths": ()}, {"widths": (4, 0)}, {"widths": (-4,)}], ids=str
)
def test_wrong_arguments_of_a_bottleneck_are_refused(wrong: dict[str, object]) -> None:
    arguments: dict[str, object] = {"image_shape": (1, 32, 32), "latent_dim": 7, "widths": (4, 8), **wrong}
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be above 0"):
        BottleneckEncoder(**arguments)  # type: ignore[arg-type]


def test_cosines_are_cosines() -> None:
    head, embeddings = CosineHead(embedding_dim=8, num_classes=5), torch.randn(3, 8)
    expected = nn.functional.cosine_similarity(embeddings[:, None], head.centres[None], dim=2)
    assert torch.allclose(head(embeddings), expected, atol=1e-6)


def test_cosines_near_one_are_told_apart_in_mixed_precision() -> None:
    head, embeddings = CosineHead(embedding_dim=8, num_classes=5), torch.randn(3, 8)
    embeddings[0] = head.centres[0].detach() + 1e-3 * head.centres[1].detach()
    embeddings.requires_grad_()
    exact = head(embeddings)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(head(embeddings), exact)
        assert head(embeddings.bfloat16()).dtype == torch.float32
    assert torch.equal(exact, nn.functional.linear(*map(nn.functional.normalize, (embeddings, head.centres))))


def test_a_latent_encoder_sees_each_image_alone() -> None:
    torch.manual_seed(0)
    encoder, images = LatentEncoder((1, 16, 16), 6, widths=[4, 8]), torch.rand(5, 1, 16, 16)
    latents = encoder(images)
    assert latents.shape == (5, 6)
    torch.testing.assert_close(encoder(images[3:]), latents[3:])
    with pytest.raises(ValueError, match="latent_dim must be above 0"):
        LatentEncoder((1, 16, 16), 0)
    with pytest.raises(ValueError, match="at least 16 x 16 pixels"):
        LatentEncoder((1, 8, 8), 6)
