"""What a server says of itself, and which versions of client and server go together."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from releases import FIVE
from tritonclient.grpc.service_pb2 import ModelConfigResponse, ModelMetadataResponse

from serving.server import TritonServer
from tsfd_client import AsyncClient, Client, ServerError, Settings, TileResult
from tsfd_client.cli import main
from tsfd_client.contract import OUTPUTS
from tsfd_client.nuclei.assembly import Assembly
from tsfd_client.server.protocol import Served, check_contract, read_release
from tsfd_client.stitching.tiling import tiling


@pytest.fixture
def described(repository: Path) -> dict:
    """What is installed."""
    return json.loads((repository / "nuclei_postprocess/1/release.json").read_text())


def test_check_tells_release_and_versions(
    server: TritonServer, described: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    async def check() -> Served:
        async with AsyncClient(server.grpc_url) as client:
            return await client.check()

    with Client(server.grpc_url) as client, Client(server.grpc_url, transport="shm") as shared:
        served = client.check()
        assert served == shared.check() == asyncio.run(check())

    assert served.release.to_dict() == described
    assert main(["check", f"--server={server.grpc_url}"]) == 0
    assert capsys.readouterr().out == (
        f"The server at {server.grpc_url} is ready: release {described['release']}, contract 1, "
        f"Triton {served.triton}; this is tsfd-client {version('tsfd-client')}.\n"
        "Scale: 0.25 µm per pixel (40x); float.\n"
        "Classes: neoplastic, inflammatory, connective, dead, epithelial.\n"
        "Thresholds: foreground_threshold 0.5, boundary_threshold 0.5, min_area 40, "
        "min_confidence 0.88.\n"
    )


def metadata(model_version: str, outputs: tuple[str, ...]) -> ModelMetadataResponse:
    tensors = [ModelMetadataResponse.TensorMetadata(name=name) for name in outputs]
    return ModelMetadataResponse(versions=[model_version], outputs=tensors)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            metadata("2", OUTPUTS),
            "The server at far:8001 speaks version 2 of nuclei_segmentation, this client version "
            "1: update the client.",
        ),
        (
            metadata("0", OUTPUTS),
            "The server at far:8001 speaks version 0 of nuclei_segmentation, this client version "
            "1: update the server.",
        ),
        (
            metadata("1", OUTPUTS[:-2]),
            "The model nuclei_segmentation at far:8001 lacks boundary_prob, release, which this "
            "client knows: update the server.",
        ),
    ],
)
def test_which_side_is_old(model: ModelMetadataResponse, message: str) -> None:
    with pytest.raises(ServerError) as error:
        check_contract(model, "far:8001")
    assert str(error.value) == message


def test_newer_outputs_do_no_harm() -> None:
    check_contract(metadata("1", (*OUTPUTS, "embeddings")), "far:8001")


def test_nuclei_carry_the_release(server: TritonServer, described: dict) -> None:
    glass = np.full((300, 300, 3), 243, np.uint8)
    with Client(server.grpc_url) as client:
        assert client.segment(glass).release.to_dict() == described
        # Of thresholds only those that differ from the server's are told.
        own = client.segment(
            glass, settings=Settings(min_area=31, foreground_threshold=0.5)
        ).release
    assert own.name == f"{described['release']}+min_area=31"
    assert own.settings.given() == described["parameters"] | {"min_area": 31}


def test_a_server_that_is_not_what_it_says_is_refused(repository: Path, tmp_path: Path) -> None:
    """Its release.json was copied without its configuration."""
    copy = tmp_path / "repository"
    shutil.copytree(repository, copy)
    file = copy / "nuclei_postprocess/1/release.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {"release": "lite-other"}))
    with TritonServer(copy) as server, Client(server.grpc_url) as client:
        with pytest.raises(ServerError) as error:
            client.check()
        url = server.grpc_url
    assert str(error.value) == (
        f"The server at {url} claims to serve {record['release']} but answers with lite-other: its "
        "models do not belong together; run `make convert` there, or copy them again."
    )


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (
            "",
            "The server at far:8001 does not describe what it serves: its models were made by an "
            "older version; run `make convert` there.",
        ),
        (
            '{"release": "lite-9"}',
            "The server at far:8001 describes what it serves in a form that this client does not "
            "know ('mpp'): update the client.",
        ),
    ],
)
def test_what_does_not_describe_itself(told: str, message: str) -> None:
    answer = ModelConfigResponse()
    if told:
        answer.config.parameters["release"].string_value = told
    with pytest.raises(ServerError) as error:
        read_release(answer, "far:8001")
    assert str(error.value) == message


def test_two_releases_in_one_image_are_refused() -> None:
    cut = tiling(np.full((256, 400, 3), 255, np.uint8), 0.25, 0.25)
    empty = np.zeros((256, 256), np.uint16), np.zeros((0, 11), np.float32), np.ones(19, np.float32)
    answers = [
        (tile, TileResult(*empty, name))
        for tile, name in zip(cut, ("lite-b", "lite-a"), strict=True)
    ]

    with pytest.raises(ServerError) as error:
        Assembly(cut, answers).nuclei([], replace(FIVE, name="lite-a"))
    assert str(error.value) == (
        "The server switched to another release in the middle of the image "
        "(lite-a, lite-b): segment it again."
    )
