"""Backbones of timm, where it is installed."""

from functools import partial
from importlib.util import find_spec
from typing import cast

import pytest
import torch

from facelab.nets import TimmEncoder
from facelab.nets.heads import CosineHead
from tests.models.tiny import tiny_cnn

INSTALLED = find_spec("timm") is not None


@pytest.mark.skipif(INSTALLED, reason="timm is installed")
def test_without_timm_the_command_that_installs_it_is_named() -> None:
    with pytest.raises(ValueError, match="pip install timm"):
        TimmEncoder((3, 64, 64), name="resnet18")


@pytest.mark.skipif(not INSTALLED, reason="timm is not installed")
def test_a_network_of_timm_is_an_encoder() -> None:
    encoder = partial(TimmEncoder, name="resnet18")
    module = tiny_cnn(encoder=encoder, image_shape=(1, 64, 64))
    assert module.embed(torch.rand(2, 1, 64, 64)).shape == (2, 512)
    wide = tiny_cnn(encoder=partial(TimmEncoder, name="mobilenetv3_small_050"), image_shape=(1, 64, 64)).eval()
    assert wide.embed(torch.rand(2, 1, 64, 64)).shape == (2, cast(CosineHead, wide.head).centres.shape[1])
    with pytest.raises(ValueError, match="no network 'resnet19'"):
        TimmEncoder((3, 64, 64), name="resnet19")
    with pytest.raises(ValueError, match="no network 'hf-hub:"):
        TimmEncoder((3, 64, 64), name="hf-hub:someone/something")
