"""The client over the real wire, against the real server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from samples.synthetic import generate
from serving.server import TritonServer
from tsfd_client import (
    AsyncClient,
    Client,
    ImageError,
    Nuclei,
    ServerUnavailableError,
    Settings,
)
from tsfd_client.cli import main


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return generate(500, 420, nuclei=90, seed=3).image


@pytest.fixture(scope="module")
def nuclei(server: TritonServer, image: np.ndarray) -> Nuclei:
    with Client(server.grpc_url) as client:
        return client.segment(image)


def test_result_is_complete_and_consistent(nuclei: Nuclei, image: np.ndarray) -> None:
    count = len(nuclei)

    assert count > 10
    assert nuclei.instance_map.shape == image.shape[:2]
    assert np.array_equal(np.unique(nuclei.instance_map), np.arange(count + 1))
    assert set(nuclei.classes) <= {1, 2, 3, 4, 5}
    assert sum(nuclei.counts().values()) == count
    areas = np.bincount(nuclei.instance_map.ravel())[1:]
    np.testing.assert_allclose(nuclei.areas_um2, areas * 0.25**2)
    inside = (nuclei.centroids >= nuclei.boxes[:, :2]) & (nuclei.centroids <= nuclei.boxes[:, 2:])
    assert inside.all()
    for row, contour in enumerate(nuclei.contours):
        assert cv2.contourArea(contour.astype(np.float32)) == areas[row]
        assert np.array_equal([*contour.min(axis=0), *contour.max(axis=0)], nuclei.boxes[row])


def test_asynchronous_client_gives_the_same(
    server: TritonServer, image: np.ndarray, nuclei: Nuclei
) -> None:
    async def segment() -> Nuclei:
        async with AsyncClient(server.grpc_url, batch_size=2) as client:
            await client.check()
            return await client.segment(image)

    again = asyncio.run(segment())

    assert np.array_equal(again.instance_map, nuclei.instance_map)
    assert np.array_equal(again.classes, nuclei.classes)


@pytest.mark.parametrize("shape", [(1, 1), (40, 300), (256, 256), (257, 511)])
def test_any_size(server: TritonServer, image: np.ndarray, shape: tuple[int, int]) -> None:
    piece = cv2.resize(image, shape[::-1])
    with Client(server.grpc_url) as client:
        assert client.segment(piece).instance_map.shape == shape


def test_blank_glass_has_no_nuclei(server: TritonServer) -> None:
    with Client(server.grpc_url) as client:
        result = client.segment(np.full((300, 300, 3), 243, np.uint8))

    assert len(result) == 0
    assert result.boxes.shape == (0, 4)


def test_other_scales_come_back_in_their_own_pixels(server: TritonServer) -> None:
    fine = generate(512, 512, nuclei=90, seed=5).image
    coarse = cv2.resize(fine, (256, 256), interpolation=cv2.INTER_AREA)
    with Client(server.grpc_url) as client:
        of_fine = client.segment(fine)
        of_coarse = client.segment(coarse, mpp=0.5)

    assert of_coarse.instance_map.shape == (256, 256)
    assert of_coarse.boxes.max() <= 256
    # Blurred by the detour, but the same nuclei in the same micrometres.
    overlap = (of_coarse.instance_map > 0) & (of_fine.instance_map[::2, ::2] > 0)
    union = (of_coarse.instance_map > 0) | (of_fine.instance_map[::2, ::2] > 0)
    assert overlap.sum() > 0.6 * union.sum()
    assert np.median(of_coarse.areas_um2) == pytest.approx(np.median(of_fine.areas_um2), rel=0.35)


def test_settings_reach_the_server(server: TritonServer, image: np.ndarray, nuclei: Nuclei) -> None:
    with Client(server.grpc_url) as client:
        large = client.segment(image, settings=Settings(min_area=400))

    assert len(large) < len(nuclei)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((300, 300), np.uint8), "The image is grey (300, 300)"),
        (np.zeros((300, 300, 4), np.uint8), "The image has four channels (300, 300, 4)"),
        (np.zeros((300, 300, 3), np.float32), "must be uint8 with values 0 to 255, not float32."),
        (np.zeros((0, 300, 3), np.uint8), "The image is empty (0, 300, 3)."),
        (np.zeros((3,), np.uint8), "must be RGB, [height, width, 3], not (3,)."),
    ],
)
def test_bad_images(server: TritonServer, bad: np.ndarray, message: str) -> None:
    with Client(server.grpc_url) as client, pytest.raises(ImageError) as error:
        client.segment(bad)
    assert message in str(error.value)


@pytest.mark.parametrize("mpp", [0, -1, float("nan"), 25, None])
def test_bad_scale(server: TritonServer, image: np.ndarray, mpp: float | None) -> None:
    with Client(server.grpc_url) as client, pytest.raises(ImageError, match="mpp must be"):
        client.segment(image, mpp=mpp)


def test_no_server(image: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = (
        "No Triton server answers at localhost:9: check the address, or start one with "
        "`make serve`."
    )
    with Client("localhost:9", retry_for=0.5) as client:
        for call in (client.check, lambda: client.segment(image)):
            with pytest.raises(ServerUnavailableError) as error:
                call()
            assert str(error.value) == sentence

    assert main(["check", "--server", "localhost:9"]) == 1
    assert capsys.readouterr().err == f"tsfd: {sentence}\n"


@pytest.mark.parametrize("transport", ["grpc", "shm"])
def test_server_killed_in_the_middle(repository: Path, transport: str) -> None:
    large = np.tile(generate(512, 512, nuclei=100, seed=8).image, (6, 6, 1))
    errors: list[Exception] = []
    first = threading.Event()
    with (
        TritonServer(repository) as doomed,
        Client(doomed.grpc_url, retry_for=2, transport=transport) as client,
    ):

        def segment() -> None:
            try:
                client.segment(large, progress=lambda done, total: first.set())
            except ServerUnavailableError as error:
                errors.append(error)

        thread = threading.Thread(target=segment)
        thread.start()
        assert first.wait(60)
        os.killpg(doomed.pid, signal.SIGKILL)
        killed = time.monotonic()
        thread.join(30)
        assert not thread.is_alive(), "segment() hangs after the server was killed"
        assert time.monotonic() - killed < 30

    assert len(errors) == 1
    assert str(errors[0]).startswith(f"No Triton server answers at {doomed.grpc_url}:")
    assert list(Path("/dev/shm").glob(f"tsfd_client_{os.getpid()}_*")) == []


@pytest.mark.parametrize(
    "url",
    [
        *("http://localhost:8001", "localhost", "localhost:grpc", "localhost:", ":8001", ""),
        *("localhost:0", "localhost:70000", "local host:8001"),
        *("::1", "[::1]", "::1:8001", "fe80::1:8001", "[::1]:8001/v2", "[gpu]:8001"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"--server={url}"]) == 1
    assert capsys.readouterr().err == (
        "tsfd: The server's address must be HOST:PORT of its gRPC endpoint, such as "
        f"localhost:8001 or [::1]:8001, not {url!r}.\n"
    )


@pytest.mark.parametrize("url", ["[::1]:1", "[0:0:0:0:0:0:0:1]:1", "triton_server.invalid:1"])
def test_addresses_of_other_kinds(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"--server={url}"]) == 1
    assert capsys.readouterr().err == (
        f"tsfd: No Triton server answers at {url}: check the address, or start one with "
        "`make serve`.\n"
    )


def test_command_line(
    server: TritonServer,
    image: np.ndarray,
    nuclei: Nuclei,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cv2.imwrite(str(tmp_path / "field.png"), image[..., ::-1])
    (tmp_path / "notes.png").write_text("not a picture")
    arguments = ["--out", str(tmp_path / "out"), "--server", server.grpc_url]

    files = [str(tmp_path / name) for name in ("notes.png", "field.png")]
    code = main(["segment", *files, *arguments])

    printed = capsys.readouterr()
    assert code == 1
    assert f"{tmp_path / 'notes.png'} cannot be read as an image" in printed.err
    assert "field.png does not say its scale; 0.25 µm per pixel (40x) is assumed." in printed.err
    assert "1 of 2 images failed." in printed.err
    assert f"{len(nuclei)} nuclei" in printed.out
    folder = tmp_path / "out" / "field"
    names = {path.name for path in folder.iterdir()}
    tables = {"nuclei.parquet", "nuclei.geojson", "nuclei.csv", "summary.json"}
    run = {"origin.json", "run.json", "events.jsonl", "DONE"}
    assert names == tables | run | {"labels.png", "overlay.png"}
    labels = cv2.imread(str(folder / "labels.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(labels, nuclei.instance_map)
    features = json.loads((folder / "nuclei.geojson").read_text())["features"]
    assert len(features) == len(nuclei) == len((folder / "nuclei.csv").read_text().split()) - 1
    for feature in features:
        (ring,) = feature["geometry"]["coordinates"]
        assert ring[0] == ring[-1]
        assert len(ring) >= 4
