"""Bad requests get a clear answer, alone; full queues turn requests away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from inference import ENSEMBLE, TIMEOUT, infer, refusal, send_all
from tritonclient.utils import InferenceServerException

from serving.server import TritonServer

BAD_PARAMETERS = [
    (
        {"foreground_threshold": 1.5},
        "foreground_threshold must be a number between 0 and 1 (both excluded), not 1.5.",
    ),
    ({"boundary_threshold": "high"}, "boundary_threshold must be a number, not 'high'."),
    ({"min_area": -1}, "min_area must be a whole number of pixels >= 0, not -1."),
    ({"min_area": True}, "min_area must be a whole number of pixels >= 0, not True."),
    ({"min_confidence": 1}, "min_confidence must be a number from 0 to below 1, not 1."),
    (
        {"min_aera": 30},
        "Unknown request parameter 'min_aera'; known are foreground_threshold, "
        "boundary_threshold, min_area, min_confidence.",
    ),
    (
        {"method": "watershed"},  # as older clients could send
        "Unknown request parameter 'method'; known are foreground_threshold, "
        "boundary_threshold, min_area, min_confidence.",
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


def test_a_bad_request_fails_alone(
    client: triton.InferenceServerClient, maps: dict[str, np.ndarray]
) -> None:
    requests = [(maps, {"min_area": -1} if i % 4 == 2 else None) for i in range(24)]
    answers = send_all(client, "nuclei_postprocess", requests, ["nuclei_count"])
    for i, answer in enumerate(answers):
        if i % 4 == 2:
            assert "min_area must be a whole number" in answer.message()
        else:
            assert answer.ravel().tolist() == [1, 3, 0]


def test_a_minimum_beyond_any_integer_leaves_the_others_alone(
    client: triton.InferenceServerClient, maps: dict[str, np.ndarray]
) -> None:
    requests = [(maps, {"min_area": str(2**63)} if i % 4 == 2 else None) for i in range(24)]
    answers = send_all(client, "nuclei_postprocess", requests, ["nuclei_count"])
    for i, answer in enumerate(answers):
        assert answer.ravel().tolist() == ([0, 0, 0] if i % 4 == 2 else [1, 3, 0])


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
    answers = send_all(narrow, "tsfd_net", requests, ["tissue_probs"])
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
    answers = send_all(client, "tsfd_net", requests, ["tissue_probs"], timeout=1000)
    refused = [answer for answer in answers if isinstance(answer, InferenceServerException)]
    assert refused
    for error in refused:
        assert error.status() == "StatusCode.UNAVAILABLE"
        assert error.message().endswith("Request timeout expired")
