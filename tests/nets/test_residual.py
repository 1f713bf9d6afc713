"""The residual encoder is built as described."""

import pytest
import torch
from torch import Tensor, nn

from facelab.nets.residual import ResidualBlock, ResidualEncoder


def test_the_weights_are_those_counted_by_hand() -> None:
    encoder = ResidualEncoder((3, 32, 32), widths=(4, 8), depth=2, embedding_dim=5)
    stem = 3 * 9 * 4 + 2 * 4
    first = 2 * (2 * 4 * 9 * 4 + 2 * 2 * 4)
    second = (4 * 9 * 8 + 8 * 9 * 8 + 2 * 2 * 8 + 4 * 8 + 2 * 8) + (2 * 8 * 9 * 8 + 2 * 2 * 8)
    last = 8 * 8 * 8 * 5 + 2 * 5
    assert sum(weight.numel() for weight in encoder.parameters()) == stem + first + second + last


def test_a_new_block_is_its_shortcut() -> None:
    features = torch.randn(2, 6, 8, 8)
    assert torch.equal(ResidualBlock(6, 6, 1).eval()(features), features.relu())


def test_a_block_is_its_branch_plus_its_shortcut() -> None:
    torch.manual_seed(0)
    block, features = ResidualBlock(3, 6, 2).eval(), torch.randn(2, 3, 9, 9)
    weights = block.state_dict()
    weights["body.4.weight"].fill_(0.7)

    def normal(values: Tensor, weight: float) -> Tensor:
        factor: float = weight / (1 + 1e-5) ** 0.5  # statistics of a new batch normalisation
        return values * factor

    inner = normal(nn.functional.conv2d(features, weights["body.0.weight"], stride=2, padding=1), 1).relu()
    branch = normal(nn.functional.conv2d(inner, weights["body.3.weight"], padding=1), 0.7)
    shortcut = normal(nn.functional.conv2d(features, weights["shortcut.0.weight"], stride=2), 1)
    torch.testing.assert_close(block(features), (branch + shortcut).relu())


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 96, 96), (1, 50, 37)])
def test_embeddings_have_the_length_asked_for(shape: tuple[int, int, int]) -> None:
    encoder = ResidualEncoder(shape, widths=(4, 8, 16), embedding_dim=7).eval()
    assert encoder(torch.rand(2, *shape)).shape == (2, 7)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"3 widths need images of at least 8 x 8 pixels, got 7 x 9"):
        ResidualEncoder((1, 7, 9), widths=(4, 8, 16))
    with pytest.raises(ValueError, match="must be above 0"):
        ResidualEncoder((1, 32, 32), widths=(4, 0))
