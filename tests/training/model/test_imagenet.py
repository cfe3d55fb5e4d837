"""ImageNet's weights out of the packages that carry them."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from training.model import imagenet
from training.model.network import build


@pytest.mark.parametrize("preset", ["lite", "paper"])
def test_the_packages_are_read_as_pytorch_reads_them(preset: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    file = imagenet.find(preset)

    found = imagenet.read(file)

    expected = torch.load(file, map_location="cpu", weights_only=True)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], tensor.numpy(), strict=True)


def test_a_backbone_gets_them() -> None:
    network = build("lite")

    imagenet.initialise(network, "lite")

    kernel = network.get_layer("block1a_project_conv").kernel
    expected = imagenet.read(imagenet.find("lite"))["_blocks.0._project_conv.weight"]
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(kernel), expected.transpose(2, 3, 1, 0)
    )
