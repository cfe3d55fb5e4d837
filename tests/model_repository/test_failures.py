"""What goes wrong inside the server is answered, logged, and stays with the request it befell."""

from __future__ import annotations

import re
import resource
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton
from inference import ENSEMBLE, infer, refusal, send_all

from serving.server import TritonServer

SABOTAGE = """

_sound = _extract


def _extract(class_probs, boundary_prob, parameters, with_contours):
    if parameters.min_area == 13:
        raise RuntimeError("sabotage")
    return _sound(class_probs, boundary_prob, parameters, with_contours)
"""


def test_an_unexpected_failure_stays_with_its_request(
    postprocessing: Path, maps: dict[str, np.ndarray], tmp_path: Path
) -> None:
    with (postprocessing / "nuclei_postprocess/1/model.py").open("a") as model:
        model.write(SABOTAGE)
    requests = [(maps, {"min_area": 13} if i % 4 == 2 else None) for i in range(24)]
    with (
        TritonServer(postprocessing, log_path=tmp_path / "log") as server,
        triton.InferenceServerClient(server.grpc_url) as client,
    ):
        answers = send_all(client, "nuclei_postprocess", requests, ["nuclei_count"])
    for i, answer in enumerate(answers):
        if i % 4 == 2:
            assert answer.status() == "StatusCode.INTERNAL"
            assert answer.message() == (
                "The post-processing failed; the reason is in the server's log."
            )
        else:
            assert answer.ravel().tolist() == [1, 3, 0]
    log = (tmp_path / "log").read_text()
    assert re.search(r"nuclei_postprocess: request \S*: RuntimeError\('sabotage'\)", log)


@pytest.fixture
def network_alone(repository: Path, tmp_path: Path) -> Path:
    """A repository that holds the network alone."""
    folder = tmp_path / "repository/tsfd_net"
    folder.mkdir(parents=True)
    for name in ("1", "configs"):
        (folder / name).symlink_to(repository / "tsfd_net" / name)
    return folder.parent


def test_an_answer_without_room_in_shared_memory_ends_the_server(
    network_alone: Path, patches: np.ndarray, tmp_path: Path
) -> None:
    with (
        TritonServer(network_alone, log_path=tmp_path / "log") as server,
        triton.InferenceServerClient(server.grpc_url) as client,
    ):
        (backend,) = psutil.Process(server.pid).children()
        # From here on the backend's shared memory cannot grow, as if /dev/shm were full.
        resource.prlimit(backend.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        image = {"image": patches[:8]}
        assert infer(client, "tsfd_net", image, ["tissue_probs"])["tissue_probs"].shape == (8, 19)
        status, _ = refusal(client, "tsfd_net", image, ["class_probs"])
        assert status == "UNAVAILABLE"  # not DEADLINE_EXCEEDED
        deadline = time.monotonic() + 30
        while server.ended() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert "answer could not be sent, so the server ends: Fail" in server.ended()


def test_requests_that_fail_in_the_ensemble_are_let_go(
    repository: Path, patches: np.ndarray, tmp_path: Path
) -> None:
    bad = ({"image": patches[:1]}, {"min_area": -1})
    with (
        TritonServer(repository, log_path=tmp_path / "log") as server,
        triton.InferenceServerClient(server.grpc_url) as client,
    ):
        # The probabilities need a step of their own beside the one that fails.
        answers = send_all(client, ENSEMBLE, [bad] * 16, ["nuclei", "class_probs"])
        for answer in answers:
            assert "min_area must be a whole number" in answer.message()
        good = infer(client, ENSEMBLE, bad[0], ["nuclei_count", "class_probs"])
        assert good["class_probs"].shape == (1, 256, 256, 6)
    # The last answer may still be let go of while the server looks for the first time.
    assert "Found 0 model versions that have in-flight" in (tmp_path / "log").read_text()
