"""The benchmarks run and report what they promise; their times are not judged here."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import openvino
import pytest
from programs import need

from bench import gpu, network, postprocess, serving, stitching, view
from bench.authors import split
from bench.machine import machine
from samples import histology
from serving.server import ARTEFACT, TritonServer
from training.evaluation import reference
from tsfd_client import Client, read_image
from tsfd_client.nuclei.table import count


def test_machine_is_described() -> None:
    described = machine()
    assert set(described) == {"cpu", "cores", "gpu", "date"}
    assert described["cores"] >= 1
    assert described["cpu"]


def test_post_processing(tmp_path: Path) -> None:
    figures = postprocess.measure(counts=(0, 40), sides=(256, 512), seconds=0)
    assert figures["patch"]["nuclei"] == 30
    assert [point["nuclei"] for point in figures["by_nuclei"]] == [0, 40]
    assert [point["nuclei"] for point in figures["by_side"]] == [30, 120]
    assert figures["ratio_vs_reference"] > 0
    postprocess.plot(figures, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 0


def test_the_most_crowded_field_has_its_nuclei() -> None:
    maps = postprocess.scene(1024, 2000, radius=10)
    assert len(postprocess.instances.extract(*maps).nuclei) == 2000


def test_the_yardstick_finds_the_nuclei_of_the_reference_method() -> None:
    maps = postprocess.scene(256, 30)
    yardstick, _ = split(*maps)
    parameters = postprocess.instances.Parameters(min_area=22)
    ours = reference.extract(*maps, parameters).instance_map
    assert len(np.unique(yardstick)) == len(np.unique(ours)) == 31
    assert np.mean((yardstick > 0) == (ours > 0)) > 0.99


def test_stitching() -> None:
    figures = stitching.measure(nuclei=20_000)
    assert figures["blocks"] == 4
    assert 10_000 < figures["nuclei"] < figures["versions"] < 2 * figures["nuclei"]
    assert 0 < figures["share_open"] < 0.2


def test_network(repository: Path, tmp_path: Path) -> None:
    fastest = openvino.Core().get_property("CPU", "INFERENCE_PRECISION_HINT").get_type_name()
    beside = ("f32, batch of 4", "f32, a patch per stream", "INT8 and f32, a patch per stream")
    rates = network.measure(repository / ARTEFACT, seconds=0.2)
    assert [rate.way for rate in rates] == [
        "ONNX Runtime f32, batch of 1",
        "ONNX Runtime f32, batch of 4",
        "OpenVINO f32, open batch of 4",
        *(f"OpenVINO {way}" for way in beside if fastest != "f32"),  # else they come below
        f"OpenVINO {fastest}, one patch at a time",
        f"OpenVINO {fastest}, batch of 4",
        f"OpenVINO {fastest}, a patch per stream (served)",
        f"OpenVINO INT8 and {fastest}, a patch per stream",
    ]
    assert all(rate.patches_per_second > 0 for rate in rates)
    figures = {"machine": machine(), "rates": [asdict(rate) for rate in rates]}
    network.plot(figures, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 0


def test_serving(server: TritonServer, tmp_path: Path) -> None:
    rows = serving.measure(server, concurrency=(2,), seconds=1)
    assert [row["transport"] for row in rows] == ["grpc", "shm"]
    for row in rows:
        assert row["patches_per_second"] > 0
        assert set(row["stages"]) == {"tsfd_net", "nuclei_postprocess"}
        assert set(row["cpu_ms_per_patch"]) == {
            "client",
            "tritonserver",
            "tsfd_net",
            "nuclei_postprocess",
            "nuclei_pool",
        }
    (turn,) = serving.compare(
        server, server.repository / ARTEFACT, {"grpc": 2}, rounds=1, seconds=1
    )
    assert turn.keys() == {"bare", "grpc"}
    assert min(turn.values()) > 0
    figures = {"machine": machine(), "bare_patches_per_second": 1.0, "served": rows}
    serving.plot(figures, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 0


def test_page(server: TritonServer, tmp_path: Path) -> None:
    need("chromium")
    image, _ = read_image(histology.path())
    with Client(server.grpc_url) as client:
        nuclei = client.segment(image, mpp=0.25)
    found = view.measure(nuclei, image, 3000, 1.0, tmp_path)
    assert found["nuclei"] == count(tmp_path / "results/slide/nuclei.parquet") >= 3000
    assert found["nuclei"] % (4 * len(nuclei)) == 0
    assert found["seconds_until_nuclei"] >= found["seconds_until_pixels"] > 0
    assert found["heap_mb"] > 0


def test_sweep(server: TritonServer) -> None:
    rows = gpu.measure(server.grpc_url, batches=(1, 3), processes=2, concurrency=1, seconds=0.5)
    assert [(row["model"], row["batch"]) for row in rows] == [
        ("tsfd_net", 1),
        ("tsfd_net", 3),
        ("nuclei_segmentation", 1),
        ("nuclei_segmentation", 3),
    ]
    assert all(0 < row["postprocess_share"] < 1 for row in rows[2:])


def test_no_server_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--url", "localhost:9", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        "bench: No Triton server answers at localhost:9: check the address, or start one with "
        "`make serve`.\n"
    )
