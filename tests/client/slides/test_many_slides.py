"""Many slides on several machines: shares of them, and a Dask cluster of which a worker dies."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from distributed import LocalCluster

from serving.server import TritonServer
from tests.client.commands import TSFD, outputs
from tests.client.slide_files import strip, write_tiff
from tsfd_client.cli import main
from tsfd_client.slides.many import folders_of
from tsfd_client.slides.status import status_of


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three slides of two blocks each."""
    folder = tmp_path_factory.mktemp("slides")
    paths = [folder / f"{name}.tif" for name in "abc"]
    for seed, path in enumerate(paths):
        write_tiff(path, strip(3, seed=seed))
    return paths


@pytest.fixture(scope="module")
def serial(
    slides: list[Path], server: TritonServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, bytes]]:
    """The outputs of a run alone, one slide after the other."""
    out = tmp_path_factory.mktemp("serial")
    assert main(["segment", *map(str, slides), f"--out={out}", f"--server={server.grpc_url}"]) == 0
    return all_outputs(out)


def all_outputs(out: Path) -> dict[str, dict[str, bytes]]:
    return {slide: outputs(out / slide) for slide in "abc"}


def states(out: Path) -> dict[str, str]:
    with (out / "summary.csv").open() as file:
        return {row["slide"]: row["state"] for row in csv.DictReader(file)}


def test_shards_share_the_slides(
    slides: list[Path], server: TritonServer, serial: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    command = ["segment", *map(str, slides), f"--out={tmp_path}", f"--server={server.grpc_url}"]
    both = [subprocess.Popen([*TSFD, *command, f"--shard={i}/2"]) for i in (1, 2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert states(tmp_path) == dict.fromkeys("abc", "done")
    assert all_outputs(tmp_path) == serial


def test_two_that_do_the_same_do_not_spoil_each_other(
    slides: list[Path], server: TritonServer, serial: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    command = ["segment", *map(str, slides), f"--out={tmp_path}", f"--server={server.grpc_url}"]
    both = [subprocess.Popen([*TSFD, *command]) for _ in (1, 2)]
    assert [process.wait(90) for process in both] == [0, 0]
    assert all_outputs(tmp_path) == serial
    assert states(tmp_path) == dict.fromkeys("abc", "done")


def test_a_cluster_of_which_a_worker_dies(
    slides: list[Path], server: TritonServer, serial: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:
        workers = {worker.pid for worker in cluster.workers.values()}
        command = ["segment", *map(str, slides), f"--out={tmp_path}"]
        command += [f"--server={server.grpc_url}", f"--scheduler={cluster.scheduler_address}"]
        process = subprocess.Popen([*TSFD, *command], stdout=subprocess.PIPE, text=True)
        end = time.monotonic() + 60
        while not list(tmp_path.glob("*/blocks/*")) and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(min(workers), signal.SIGKILL)
        printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert len(printed.splitlines()) == 3
    assert all_outputs(tmp_path) == serial
    assert states(tmp_path) == dict.fromkeys("abc", "done")
    assert [status_of(tmp_path / slide).tiles_done for slide in "abc"] == [20, 20, 20]


def test_no_scheduler(
    slides: list[Path], server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["segment", str(slides[0]), f"--out={tmp_path}", f"--server={server.grpc_url}"]
    assert main([*command, "--scheduler=tcp://127.0.0.1:9"]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("tsfd: No Dask scheduler answers at tcp://127.0.0.1:9: ")


def test_folders_keep_what_follows_a_dot(tmp_path: Path) -> None:
    """DICOM's folders are often called by identifiers such as 1.2.840.1 and 1.2.840.2."""
    series = [tmp_path / "1.2.840.1", tmp_path / "1.2.840.2"]
    for folder in series:
        folder.mkdir()
    out = Path("out")
    assert folders_of([*series, *series], out) == {path: out / path.name for path in series}
