"""The models through the wire: same results as in process, whatever is asked for, and metrics."""

from __future__ import annotations

import urllib.request
from dataclasses import replace
from pathlib import Path

import instances
import numpy as np
import openvino
import pytest
import tritonclient.grpc as triton
from inference import ENSEMBLE, NUCLEI, infer, refusal

from conversion.runtimes import served_on_cpus
from serving.server import TritonServer
from training.target import CLASSES

EVERYTHING = [*NUCLEI, "tissue_probs", "class_probs", "boundary_prob"]


@pytest.fixture(scope="module")
def defaults(release: dict) -> instances.Parameters:
    """The release's parameters, which requests get that set none."""
    return instances.Parameters(**release["parameters"])


def assert_same_nuclei(
    served: dict[str, np.ndarray],
    class_probs: np.ndarray,
    boundary_prob: np.ndarray,
    parameters: instances.Parameters,
) -> None:
    for i, (probs, boundary) in enumerate(zip(class_probs, boundary_prob, strict=True)):
        expected = instances.extract(probs, boundary, parameters)
        count = len(expected.nuclei)
        assert served["nuclei_count"][i].tolist() == [count]
        np.testing.assert_array_equal(served["instance_map"][i], expected.instance_map)
        np.testing.assert_allclose(served["nuclei"][i, :count], expected.nuclei, rtol=1e-6)
        np.testing.assert_array_equal(
            served["contours"][i, : len(expected.contours)], expected.contours
        )
        assert not served["nuclei"][i, count:].any()
        assert not served["contours"][i, len(expected.contours) :].any()


@pytest.mark.parametrize("batch", [1, 3, 32])
def test_served_equals_in_process(
    client: triton.InferenceServerClient,
    repository: Path,
    patches: np.ndarray,
    defaults: instances.Parameters,
    batch: int,
) -> None:
    images = patches[-batch:]
    served = infer(client, ENSEMBLE, {"image": images}, EVERYTHING)
    assert served["class_probs"].shape == (batch, 256, 256, 6)
    assert_same_nuclei(served, served["class_probs"], served["boundary_prob"], defaults)

    network = served_on_cpus(repository / "tsfd_net/1/model.onnx")
    network.reshape({"image": [1, 256, 256, 3]})
    settings = {"PERFORMANCE_HINT": "THROUGHPUT"}  # as the server: roundings depend on the threads
    compiled = openvino.compile_model(network, "CPU", settings)
    for i in range(batch):
        results = compiled({"image": images[i : i + 1]})
        for name in ("class_probs", "boundary_prob"):  # one step of rounding
            assert abs(served[name][i].astype(int) - results[name][0]).max() <= 1
        np.testing.assert_allclose(served["tissue_probs"][i], results["tissue_probs"][0], atol=1e-4)


def test_the_models_behind_the_ensemble(
    client: triton.InferenceServerClient, patches: np.ndarray
) -> None:
    whole = infer(client, ENSEMBLE, {"image": patches[:1]}, EVERYTHING)
    probabilities = infer(
        client, "tsfd_net", {"image": patches[:1]}, ["class_probs", "boundary_prob"]
    )
    nuclei = infer(client, "nuclei_postprocess", probabilities, NUCLEI)
    for name, array in (probabilities | nuclei).items():
        np.testing.assert_array_equal(array, whole[name])


def test_several_patches_are_padded(
    client: triton.InferenceServerClient,
    maps: dict[str, np.ndarray],
    defaults: instances.Parameters,
) -> None:
    served = infer(client, "nuclei_postprocess", maps, NUCLEI)
    assert served["nuclei_count"].ravel().tolist() == [1, 3, 0]
    assert served["nuclei"].shape == (3, 3, 11)
    assert served["nuclei"].dtype == np.float32
    assert served["contours"].dtype == np.int16
    assert served["instance_map"].dtype == np.uint16
    assert_same_nuclei(served, **maps, parameters=defaults)


def test_blank_glass_has_no_nuclei(
    client: triton.InferenceServerClient, maps: dict[str, np.ndarray]
) -> None:
    blank = {name: array[2:] for name, array in maps.items()}
    served = infer(client, "nuclei_postprocess", blank, NUCLEI)
    assert served["nuclei"].shape == (1, 0, 11)
    assert served["contours"].shape == (1, 0, 2)
    assert not served["instance_map"].any()


@pytest.mark.parametrize(
    "outputs", [["nuclei_count"], ["tissue_probs"], ["class_probs"], ["nuclei", "boundary_prob"]]
)
def test_any_choice_of_outputs(
    client: triton.InferenceServerClient, patches: np.ndarray, outputs: list[str]
) -> None:
    served = infer(client, ENSEMBLE, {"image": patches[:1]}, outputs)
    assert {name: array.shape[0] for name, array in served.items()} == dict.fromkeys(outputs, 1)


@pytest.mark.parametrize(
    ("sent", "changed"),
    [
        ({"min_area": 430}, {"min_area": 430}),
        ({"min_area": str(2**63)}, {"min_area": 2**63}),
        ({"min_confidence": 0.97}, {"min_confidence": 0.97}),
        ({"foreground_threshold": 0.9}, {"foreground_threshold": 0.9}),
        ({"boundary_threshold": "0.25"}, {"boundary_threshold": 0.25}),
    ],
)
def test_parameters_reach_the_post_processing(
    client: triton.InferenceServerClient,
    maps: dict[str, np.ndarray],
    patches: np.ndarray,
    defaults: instances.Parameters,
    sent: dict[str, object],
    changed: dict[str, object],
) -> None:
    parameters = replace(defaults, **changed)
    direct = infer(client, "nuclei_postprocess", maps, NUCLEI, sent)
    assert_same_nuclei(direct, **maps, parameters=parameters)
    served = infer(client, ENSEMBLE, {"image": patches[:2]}, EVERYTHING, sent)
    assert_same_nuclei(served, served["class_probs"], served["boundary_prob"], parameters)


def metrics(server: TritonServer) -> dict[str, float]:
    """Values of the metrics endpoint by name and labels."""
    with urllib.request.urlopen(server.metrics_url) as answer:
        lines = answer.read().decode().splitlines()
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    }


def test_metrics_count_nuclei_and_time_patches(
    client: triton.InferenceServerClient,
    server: TritonServer,
    maps: dict[str, np.ndarray],
    release: dict,
) -> None:
    before = metrics(server)
    infer(client, "nuclei_postprocess", maps, ["nuclei_count"])
    infer(client, "nuclei_postprocess", maps, ["class_probs"])  # no nuclei are looked for
    refusal(client, "nuclei_postprocess", maps, ["nuclei"], {"min_area": -1})
    after = metrics(server)
    served = f'release="{release["release"]}"'
    classes = [f'tsfd_nuclei_total{{class="{name}",{served}}}' for name in CLASSES[1:]]
    assert {name for name in after if name.startswith("tsfd_nuclei_total")} == {*classes}
    assert [after[name] - before[name] for name in classes] == [2, 1, 1, 0, 0]
    count, seconds = (f"tsfd_postprocess_seconds_{end}{{{served}}}" for end in ("count", "sum"))
    assert after[count] - before[count] == 3
    assert after[seconds] > before[seconds]
    assert after[f'tsfd_postprocess_seconds_bucket{{{served},le="+Inf"}}'] == after[count]
