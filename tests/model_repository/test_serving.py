"""The models through the wire: same results as in process, and a clear answer to bad requests."""

from __future__ import annotations

import queue
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import instances
import numpy as np
import openvino
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from deploy.server import TritonServer

ENSEMBLE = "nuclei_segmentation"
NUCLEI = ["instance_map", "nuclei", "nuclei_count", "contours"]
EVERYTHING = [*NUCLEI, "tissue_probs", "class_probs", "boundary_prob"]
DEFAULTS = instances.Parameters()
TIMEOUT = 120.0  # seconds; only a hang takes this long


@pytest.fixture(scope="module")
def client(server: TritonServer) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.grpc_url) as connection:
        yield connection


def tensors(arrays: dict[str, np.ndarray]) -> list[triton.InferInput]:
    inputs = []
    for name, array in arrays.items():
        tensor = triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        inputs.append(tensor.set_data_from_numpy(array))
    return inputs


def infer(
    client: triton.InferenceServerClient,
    model: str,
    arrays: dict[str, np.ndarray],
    outputs: list[str],
    parameters: dict[str, object] | None = None,
) -> dict[str, np.ndarray]:
    requested = [triton.InferRequestedOutput(name) for name in outputs]
    result = client.infer(
        model, tensors(arrays), outputs=requested, parameters=parameters, client_timeout=TIMEOUT
    )
    return {name: result.as_numpy(name) for name in outputs}


def refusal(client: triton.InferenceServerClient, *request: object) -> tuple[str, str]:
    """Status and message of a request that must fail."""
    with pytest.raises(InferenceServerException) as caught:
        infer(client, *request)
    return caught.value.status().removeprefix("StatusCode."), caught.value.message()


@pytest.fixture(scope="module")
def maps() -> dict[str, np.ndarray]:
    """Probabilities with nuclei to find: discs with a rim, more in the second patch, none last."""
    y, x = np.mgrid[:256, :256]
    class_probs = np.zeros((3, 256, 256, 6), np.uint8)
    class_probs[..., 0] = 255
    boundary_prob = np.zeros((3, 256, 256), np.uint8)
    for patch, centres in enumerate([[(40, 60)], [(30, 30), (90, 200), (200, 120)], []]):
        for i, (cy, cx) in enumerate(centres):
            distance = np.hypot(y - cy, x - cx)
            class_probs[patch, distance < 12] = np.eye(6, dtype=np.uint8)[1 + i] * 255
            boundary_prob[patch, abs(distance - 11) < 1] = 255
    return {"class_probs": class_probs, "boundary_prob": boundary_prob}


def assert_same_nuclei(
    served: dict[str, np.ndarray],
    class_probs: np.ndarray,
    boundary_prob: np.ndarray,
    parameters: instances.Parameters = DEFAULTS,
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
    client: triton.InferenceServerClient, repository: Path, patches: np.ndarray, batch: int
) -> None:
    images = patches[-batch:]
    served = infer(client, ENSEMBLE, {"image": images}, EVERYTHING)
    assert served["class_probs"].shape == (batch, 256, 256, 6)
    assert_same_nuclei(served, served["class_probs"], served["boundary_prob"])

    network = openvino.Core().read_model(repository / "tsfd_net/1/model.onnx")
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
    client: triton.InferenceServerClient, maps: dict[str, np.ndarray]
) -> None:
    served = infer(client, "nuclei_postprocess", maps, NUCLEI)
    assert served["nuclei_count"].ravel().tolist() == [1, 3, 0]
    assert served["nuclei"].shape == (3, 3, 11)
    assert served["nuclei"].dtype == np.float32
    assert served["contours"].dtype == np.int16
    assert served["instance_map"].dtype == np.uint16
    assert_same_nuclei(served, **maps)


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
    ("sent", "parameters"),
    [
        ({"min_area": 430}, instances.Parameters(min_area=430)),
        ({"min_confidence": 0.97}, instances.Parameters(min_confidence=0.97)),
        ({"foreground_threshold": 0.9}, instances.Parameters(foreground_threshold=0.9)),
        ({"boundary_threshold": "0.25"}, instances.Parameters(boundary_threshold=0.25)),
        ({"method": "reference"}, instances.Parameters(method="reference")),
    ],
)
def test_parameters_reach_the_post_processing(
    client: triton.InferenceServerClient,
    maps: dict[str, np.ndarray],
    patches: np.ndarray,
    sent: dict[str, object],
    parameters: instances.Parameters,
) -> None:
    direct = infer(client, "nuclei_postprocess", maps, NUCLEI, sent)
    assert_same_nuclei(direct, **maps, parameters=parameters)
    served = infer(client, ENSEMBLE, {"image": patches[:2]}, EVERYTHING, sent)
    assert_same_nuclei(served, served["class_probs"], served["boundary_prob"], parameters)


BAD_PARAMETERS = [
    (
        {"foreground_threshold": 1.5},
        "foreground_threshold must be a number between 0 and 1 (both excluded), not 1.5.",
    ),
    ({"boundary_threshold": "high"}, "boundary_threshold must be a number, not 'high'."),
    ({"min_area": -1}, "min_area must be a whole number of pixels >= 0, not -1."),
    ({"min_area": True}, "min_area must be a whole number of pixels >= 0, not True."),
    ({"min_confidence": 1}, "min_confidence must be a number from 0 to below 1, not 1."),
    ({"method": "magic"}, "method must be one of watershed, reference, not 'magic'."),
    (
        {"min_aera": 30},
        "Unknown request parameter 'min_aera': known are foreground_threshold, "
        "boundary_threshold, min_area, min_confidence, method.",
    ),
]


@pytest.mark.parametrize(("sent", "message"), BAD_PARAMETERS)
def test_bad_parameters(
    client: triton.InferenceServerClient,
    maps: dict[str, np.ndarray],
    sent: dict[str, object],
    message: str,
) -> None:
    found = refusal(client, "nuclei_postprocess", maps, ["nuclei"], sent)
    assert found == ("INVALID_ARGUMENT", message)


def test_bad_parameters_through_the_ensemble(
    client: triton.InferenceServerClient, patches: np.ndarray
) -> None:
    found = refusal(client, ENSEMBLE, {"image": patches[:1]}, ["nuclei"], {"min_area": -1})
    assert found == (
        "INVALID_ARGUMENT",
        "in ensemble 'nuclei_segmentation', "
        "min_area must be a whole number of pixels >= 0, not -1.",
    )


BAD_IMAGES = {
    "wrong height": (
        np.zeros((1, 255, 256, 3), np.uint8),
        "unexpected shape for input 'image' for model 'nuclei_segmentation'. "
        "Expected [-1,256,256,3], got [1,255,256,3].",
    ),
    "four channels": (
        np.zeros((1, 256, 256, 4), np.uint8),
        "unexpected shape for input 'image' for model 'nuclei_segmentation'. "
        "Expected [-1,256,256,3], got [1,256,256,4].",
    ),
    "no batch dimension": (
        np.zeros((256, 256, 3), np.uint8),
        "inference request batch-size must be <= 32 for 'nuclei_segmentation'",
    ),
    "too many": (
        np.zeros((33, 256, 256, 3), np.uint8),
        "inference request batch-size must be <= 32 for 'nuclei_segmentation'",
    ),
    "wrong type": (
        np.zeros((1, 256, 256, 3), np.float32),
        "inference input 'image' data-type is 'FP32', but model 'nuclei_segmentation' expects "
        "'UINT8'",
    ),
    "empty": (
        np.zeros((0, 256, 256, 3), np.uint8),
        "input byte size mismatch for input 'image' for model 'nuclei_segmentation'. "
        "Expected 196608, got 0",
    ),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_bad_images(client: triton.InferenceServerClient, kind: str) -> None:
    image, message = BAD_IMAGES[kind]
    status, found = refusal(client, ENSEMBLE, {"image": image}, ["nuclei_count"])
    assert status == "INVALID_ARGUMENT"
    assert message in found


def test_a_shape_that_overflows_does_no_harm(
    client: triton.InferenceServerClient, maps: dict[str, np.ndarray]
) -> None:
    """The sizes multiply to 2^64, which is 0 bytes to a 64-bit counter."""
    inputs = []
    for name, shape in (("class_probs", [1, 2**62, 4, 6]), ("boundary_prob", [1, 2**62, 4])):
        tensor = triton.InferInput(name, [0], "UINT8").set_data_from_numpy(np.zeros(0, np.uint8))
        inputs.append(tensor.set_shape(shape))
    with pytest.raises(InferenceServerException, match="unexpected shape for input"):
        client.infer("nuclei_postprocess", inputs, client_timeout=TIMEOUT)
    assert infer(client, "nuclei_postprocess", maps, ["nuclei_count"])["nuclei_count"].sum() == 4


def send_all(
    client: triton.InferenceServerClient,
    model: str,
    requests: list[tuple[dict[str, np.ndarray], dict[str, object] | None]],
    output: str,
    timeout: int | None = None,
) -> list[np.ndarray | InferenceServerException]:
    """Send all requests at once; return an answer for each, in order."""
    answers: queue.Queue = queue.Queue()
    for i, (arrays, parameters) in enumerate(requests):
        client.async_infer(
            model,
            tensors(arrays),
            callback=lambda result, error, i=i: answers.put((i, error or result.as_numpy(output))),
            outputs=[triton.InferRequestedOutput(output)],
            parameters=parameters,
            timeout=timeout,
            client_timeout=TIMEOUT,
        )
    collected = dict(answers.get(timeout=TIMEOUT) for _ in requests)
    return [collected[i] for i in range(len(requests))]


def test_a_bad_request_fails_alone(
    client: triton.InferenceServerClient, maps: dict[str, np.ndarray]
) -> None:
    requests = [(maps, {"min_area": -1} if i % 4 == 2 else None) for i in range(24)]
    answers = send_all(client, "nuclei_postprocess", requests, "nuclei_count")
    for i, answer in enumerate(answers):
        if i % 4 == 2:
            assert "min_area must be a whole number" in answer.message()
        else:
            assert answer.ravel().tolist() == [1, 3, 0]


def metrics(server: TritonServer) -> dict[str, float]:
    """Values of the metrics endpoint by name and labels."""
    with urllib.request.urlopen(server.metrics_url) as answer:
        lines = answer.read().decode().splitlines()
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    }


def test_metrics_count_nuclei_and_time_patches(
    client: triton.InferenceServerClient, server: TritonServer, maps: dict[str, np.ndarray]
) -> None:
    before = metrics(server)
    infer(client, "nuclei_postprocess", maps, ["nuclei_count"])
    infer(client, "nuclei_postprocess", maps, ["class_probs"])  # no nuclei are looked for
    refusal(client, "nuclei_postprocess", maps, ["nuclei"], {"min_area": -1})
    after = metrics(server)
    names = ("neoplastic", "inflammatory", "connective", "dead", "epithelial")
    added = [
        after[key] - before[key] for key in (f'tsfd_nuclei_total{{class="{n}"}}' for n in names)
    ]
    assert added == [2, 1, 1, 0, 0]
    count, seconds = "tsfd_postprocess_seconds_count", "tsfd_postprocess_seconds_sum"
    assert after[count] - before[count] == 3
    assert after[seconds] > before[seconds]
    assert after['tsfd_postprocess_seconds_bucket{le="+Inf"}'] == after[count]


@pytest.fixture(scope="module")
def narrow(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[triton.InferenceServerClient]:
    """The network with room for one waiting request."""
    folder = tmp_path_factory.mktemp("narrow") / "tsfd_net"
    (folder / "configs").mkdir(parents=True)
    text = (repository / "tsfd_net/configs/cpu.pbtxt").read_text()
    assert "max_queue_size: 64" in text
    (folder / "configs/cpu.pbtxt").write_text(text.replace("size: 64", "size: 1"))
    (folder / "1").symlink_to(repository / "tsfd_net/1")
    with (
        TritonServer(folder.parent) as server,
        triton.InferenceServerClient(server.grpc_url) as connection,
    ):
        yield connection


def test_a_full_queue_turns_requests_away(
    narrow: triton.InferenceServerClient, patches: np.ndarray
) -> None:
    # Batches of 20 do not fit together into one batch of 32.
    requests = [({"image": patches[:20]}, None)] * 5
    answers = send_all(narrow, "tsfd_net", requests, "tissue_probs")
    refused = [answer for answer in answers if isinstance(answer, InferenceServerException)]
    served = [answer for answer in answers if isinstance(answer, np.ndarray)]
    assert served
    assert refused
    for error in refused:
        assert error.status() == "StatusCode.UNAVAILABLE"
        assert error.message().endswith("Exceeds maximum queue size")
    for answer in served:
        assert answer.shape == (20, 19)


def test_a_request_that_waits_too_long_is_turned_away(
    client: triton.InferenceServerClient, patches: np.ndarray
) -> None:
    requests = [({"image": patches[:20]}, None)] * 3
    answers = send_all(client, "tsfd_net", requests, "tissue_probs", timeout=1000)
    refused = [answer for answer in answers if isinstance(answer, InferenceServerException)]
    assert refused
    for error in refused:
        assert error.status() == "StatusCode.UNAVAILABLE"
        assert error.message().endswith("Request timeout expired")
