"""What a server says of itself, and which versions of client and server go together."""

from __future__ import annotations

import asyncio
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc.service_pb2 import ModelMetadataResponse

from deploy.server import TritonServer
from tsfd_client import AsyncClient, Client, ServerError, TileResult
from tsfd_client.assemble import assemble
from tsfd_client.cli import main
from tsfd_client.contract import OUTPUTS
from tsfd_client.tiling import tiling
from tsfd_client.wire import Served, check_contract


@pytest.fixture
def release(repository: Path) -> str:
    """What is installed."""
    return json.loads((repository / "nuclei_postprocess/1/release.json").read_text())["release"]


def test_check_tells_release_and_versions(
    server: TritonServer, release: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def check() -> Served:
        async with AsyncClient(server.grpc_url) as client:
            return await client.check()

    with Client(server.grpc_url) as client, Client(server.grpc_url, transport="shm") as shared:
        served = client.check()
        assert served == shared.check() == asyncio.run(check())

    assert served.release == release
    assert main(["check", f"--server={server.grpc_url}"]) == 0
    assert capsys.readouterr().out == (
        f"The server at {server.grpc_url} is ready: release {release}, contract 1, "
        f"Triton {served.triton}; this is tsfd-client {version('tsfd-client')}.\n"
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


def test_nuclei_carry_the_release(server: TritonServer, release: str) -> None:
    with Client(server.grpc_url) as client:
        assert client.segment(np.full((300, 300, 3), 243, np.uint8)).release == release


def test_two_releases_in_one_image_are_refused() -> None:
    cut = tiling(np.full((256, 400, 3), 255, np.uint8), 0.25)
    empty = np.zeros((256, 256), np.uint16), np.zeros((0, 11), np.float32), np.ones(19, np.float32)
    answers = [
        (tile, TileResult(*empty, name))
        for tile, name in zip(cut, ("lite-b", "lite-a"), strict=True)
    ]

    with pytest.raises(ServerError) as error:
        assemble(cut, answers, (256, 400), 0.25)
    assert str(error.value) == (
        "The server changed from one release to another in the middle of the image "
        "(lite-a, lite-b): segment it again."
    )
