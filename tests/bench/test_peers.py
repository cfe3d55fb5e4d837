"""The peers are the networks of their papers, and their times are put to scale."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx
import onnxruntime
import pytest

from bench.peers import cppnet, hovernet, hovernext, stardist
from bench.peers.__main__ import measure, table
from bench.peers.graph import Graph, Tensor
from bench.peers.systems import SYSTEMS, System


def _shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Outputs, which a full check compares with what the layers give."""
    onnx.checker.check_model(model, full_check=True)
    return {
        output.name: [size.dim_value for size in output.type.tensor_type.shape.dim]
        for output in model.graph.output
    }


@pytest.mark.slow
def test_hover_net() -> None:
    model, parameters = hovernet.build()
    assert parameters == 37_639_626
    assert _shapes(model) == {
        "class_logits": [1, 6, 164, 164],
        "pixel_logits": [1, 2, 164, 164],
        "distances": [1, 2, 164, 164],
    }


@pytest.mark.slow
def test_hover_next() -> None:
    model, parameters = hovernext.build()
    # ConvNeXt V2 "tiny" without its norm and head of 1,000 classes, and two decoders.
    encoder = 28_635_496 - 2 * 768 - 769_000
    widths, skipped = (768, 256, 128, 64, 32, 16), (384, 192, 96, 0, 0)
    decoder = sum(
        (9 * (before + skip) + 1 + 9 * width + 1) * width
        for before, width, skip in zip(widths, widths[1:], skipped, strict=False)
    )
    assert parameters == encoder + 2 * decoder + 13 * 17
    assert _shapes(model) == {"instances": [1, 5, 256, 256], "class_logits": [1, 8, 256, 256]}


@pytest.mark.slow
def test_published_stardist() -> None:
    model, parameters = stardist.he()
    assert parameters == pytest.approx(1.4e6, rel=0.03)
    assert _shapes(model) == {"probability": [1, 1, 512, 512], "distances": [1, 32, 512, 512]}


@pytest.mark.slow
def test_cpp_net_is_the_stardist_of_the_comparisons_and_a_little_more() -> None:
    _, fewer = stardist.resnet()
    model, parameters = cppnet.build()
    assert fewer == pytest.approx(123e6, rel=0.01)
    # One more head of 32 channels, and 7 x 7 for the confidences.
    assert parameters - fewer == 32 * 257 + 7 * 8
    assert _shapes(model) == {
        "distances": [1, 32, 128, 128],
        "probability": [1, 1, 128, 128],
        "class_probs": [1, 6, 128, 128],
    }


def test_samples_along_the_rays_agree_within_a_disc() -> None:
    """Whatever the confidences, all pixels on a ray know the same point of the boundary."""
    side, radius = 64, 25
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    angle = 2 * np.pi * np.arange(32)[:, None, None] / 32
    ahead = x * np.cos(angle) + y * np.sin(angle)
    depth = radius**2 - x**2 - y**2
    distances = np.where(depth > 0, np.sqrt(np.maximum(depth + ahead**2, 0)) - ahead, 0)
    g = Graph(side)
    given = (distances, np.random.default_rng(0).random((32, side, side)))
    model = g.model(
        refined=cppnet.refined(
            g, *(Tensor(g.constant(m[None].astype(np.float32)), 32, side) for m in given)
        )
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    image = np.zeros((1, 3, side, side), np.float32)
    (found,) = session.run(["refined"], {"image": image})
    inside = depth > 200
    assert np.abs(found[0] - distances)[:, inside].max() < 1  # samples fall on whole pixels


def test_tiles_of_a_square_millimetre() -> None:
    assert System(hovernet.build, tile=100, step=100, mpp=1.0).tiles_per_mm2 == 100
    assert System(hovernet.build, tile=100, step=100, mpp=0.5).tiles_per_mm2 == 400
    assert SYSTEMS["lite"].tiles_per_mm2 == pytest.approx((4000 / 224) ** 2)
    assert SYSTEMS["lite-20x"].tiles_per_mm2 == SYSTEMS["lite"].tiles_per_mm2 / 4
    assert SYSTEMS["HoVer-NeXt"].tiles_per_mm2 == pytest.approx((2000 / 248) ** 2)
    assert SYSTEMS["Hover-Net fast"].tiles_per_mm2 == pytest.approx((4000 / 164) ** 2)


@pytest.mark.slow
def test_times_are_put_to_scale() -> None:
    systems = {
        "lite": System(partial(stardist.he, 64), tile=64, step=32, mpp=0.25),
        "peer": System(partial(stardist.he, 128), tile=128, step=128, mpp=0.5),
    }
    rows = measure(systems, rounds=3, seconds=0)
    assert [(row["system"], row["tile"], row["mpp"]) for row in rows] == [
        ("lite", 64, 0.25),
        ("peer", 128, 0.5),
    ]
    for runtime in ("onnx_runtime", "openvino"):
        peer = rows[1][runtime]
        base, own = np.transpose(peer["seconds_per_tile"])
        assert len(own) == 3
        assert peer["ms_per_patch"] == pytest.approx(1000 * np.median(own) * 4, abs=0.1)
        assert peer["seconds_per_mm2"] == pytest.approx(
            np.median(own) * (2000 / 128) ** 2, abs=0.01
        )
        # A tile has four times the yardstick's area, and a millimetre takes 64 times fewer of them.
        ratio = np.median(own / base)
        assert peer["ratio_per_patch"] == pytest.approx(ratio / 4, rel=0.01, abs=0.01)
        assert peer["ratio_per_mm2"] == pytest.approx(ratio / 64, rel=0.01, abs=0.01)
    assert "peer" in table(rows)
