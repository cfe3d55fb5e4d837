"""Features of given nuclei: against whole maps, in process and through the wire."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import cv2
import numpy as np
import pytest
import tritonclient.grpc as triton
from inference import infer, refusal

from serving.environment import ROOT

MODEL = "nuclei_features"


@pytest.fixture(scope="module")
def pool() -> ModuleType:
    path = ROOT / "model_repository" / "nuclei_pool" / "1" / "pool.py"
    spec = importlib.util.spec_from_file_location("pool", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def discs() -> np.ndarray:
    """Nuclei in the middle, at a corner and of one pixel; the id 2 has none."""
    instance_map = np.zeros((256, 256), np.uint16)
    cv2.circle(instance_map, (120, 90), 11, 1, -1)
    cv2.circle(instance_map, (0, 255), 14, 3, -1)
    instance_map[200, 31] = 4
    return instance_map


def test_means_are_those_of_interpolated_maps(pool: ModuleType, discs: np.ndarray) -> None:
    features = np.random.default_rng(5).normal(size=(64, 64, 7)).astype(np.float16)
    whole = cv2.resize(features.astype(np.float32), (256, 256), interpolation=cv2.INTER_LINEAR)
    found = pool.pool(features, discs)
    assert (found.dtype, found.shape) == (np.float16, (4, 7))
    for number in (1, 3, 4):
        np.testing.assert_allclose(found[number - 1], whole[discs == number].mean(0), atol=2e-3)
    assert not found[1].any()


def test_served_features_are_the_networks(
    client: triton.InferenceServerClient,
    pool: ModuleType,
    patches: np.ndarray,
    discs: np.ndarray,
) -> None:
    images = patches[:2]
    maps = np.stack([discs, np.zeros_like(discs)])
    grid = infer(client, "tsfd_net", {"image": images}, ["features", "class_probs"])
    served = infer(client, MODEL, {"image": images, "instance_map": maps}, ["nuclei_features"])
    expected = pool.pool(grid["features"][0], discs)
    assert served["nuclei_features"].shape == (2, 4, expected.shape[1])
    np.testing.assert_allclose(served["nuclei_features"][0], expected, atol=2e-2, rtol=2e-2)
    assert not served["nuclei_features"][1].any()

    # The last ones are the logarithms of the class probabilities given a nucleus.
    probs = grid["class_probs"][0, discs == 1].astype(np.float64)[:, 1:] + 1e-3
    shares = np.log(probs / probs.sum(axis=1, keepdims=True)).mean(axis=0)
    assert served["nuclei_features"][0, 0, -5:].argmax() == shares.argmax()


def test_without_nuclei_there_are_no_rows(
    client: triton.InferenceServerClient, patches: np.ndarray
) -> None:
    inputs = {"image": patches[:1], "instance_map": np.zeros((1, 256, 256), np.uint16)}
    served = infer(client, MODEL, inputs, ["nuclei_features"])["nuclei_features"]
    assert served.shape[:2] == (1, 0)


def test_ids_out_of_range_are_refused(
    client: triton.InferenceServerClient, patches: np.ndarray
) -> None:
    inputs = {"image": patches[:1], "instance_map": np.full((1, 256, 256), 5000, np.uint16)}
    status, message = refusal(client, MODEL, inputs, ["nuclei_features"])
    assert status == "INVALID_ARGUMENT"
    assert message.endswith(
        "instance_map holds the id 5,000; a patch may have at most 4,096 nuclei, numbered from 1."
    )
