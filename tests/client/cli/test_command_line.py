"""The command line over many images: what one bad file costs, and where it stops."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import psutil
import pytest
import tifffile
from programs import free_port

from samples.synthetic import generate
from serving.server import TritonServer
from tsfd_client import Client, ServerUnavailableError
from tsfd_client.cli import main

TSFD = [sys.executable, "-m", "tsfd_client.cli"]


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Four pictures with nuclei."""
    paths = [tmp_path / f"{name}.png" for name in "abcd"]
    for seed, path in enumerate(paths):
        cv2.imwrite(str(path), generate(300, 300, nuclei=40, seed=seed).image[..., ::-1])
    return paths


def done(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("*/overlay.png"))


def test_damaged_files_cost_a_line_each(
    server: TritonServer, images: list[Path], tmp_path: Path
) -> None:
    picture = cv2.imread(str(images[0]))
    cut, odd = tmp_path / "cut.tif", tmp_path / "odd.svs"
    tifffile.imwrite(cut, picture, photometric="rgb", compression="lzw")
    tifffile.imwrite(odd, picture, photometric="rgb", tile=(64, 64), compression="jpeg")
    cut.write_bytes(cut.read_bytes()[:-1000])
    odd.write_bytes(odd.read_bytes().replace(b"\xff\xdb", b"\xff\x02"))
    files = [str(path) for path in (cut, odd, images[0])]

    run = subprocess.run(
        [
            *TSFD,
            "segment",
            *files,
            "--mpp=0.25",
            f"--out={tmp_path}",
            f"--server={server.grpc_url}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 1
    first, second, last = run.stderr.splitlines()
    assert first.startswith(f"tsfd: {cut} cannot be read as an image: it is cut off, only ")
    assert second.startswith(f"tsfd: {odd} cannot be read as an image: its data are damaged (")
    assert last == "tsfd: 2 of 3 images failed."
    assert done(tmp_path) == ["a"]


def test_images_that_are_not_there_leave_nothing(
    server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    none, out = tmp_path / "none.svs", tmp_path / "out"
    assert main(["segment", str(none), f"--out={out}", f"--server={server.grpc_url}"]) == 1
    assert capsys.readouterr().err == f"tsfd: There is no file {none}.\n"
    assert not out.exists()


def test_a_server_that_is_not_there_yet_is_waited_for(
    repository: Path, images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"127.0.0.1:{free_port()}"
    command = ["segment", str(images[0]), "--mpp=0.25", f"--out={tmp_path}", f"--server={url}"]
    nobody = (
        f"tsfd: No Triton server answers at {url}: check the address, or start one with "
        "`make serve`."
    )
    for wait, lines in (
        ([], [nobody]),
        (["--wait=0.1"], [f"{nobody} Waiting for it for up to 0.1 seconds.", nobody]),
    ):
        assert main([*command, *wait]) == 1
        assert capsys.readouterr().err.splitlines() == lines

    with subprocess.Popen(
        [*TSFD, *command, "--wait=200"], stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr.readline() == f"{nobody} Waiting for it for up to 200 seconds.\n"
        with TritonServer(repository, grpc_port=int(url.rpartition(":")[2])):
            _, errors = run.communicate(timeout=200)
    assert (run.returncode, errors) == (0, "")
    assert done(tmp_path) == ["a"]


def test_a_full_disk_stops_the_run(
    server: TritonServer, images: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    files = [str(path) for path in images]
    command = [
        *TSFD,
        "segment",
        *files,
        "--mpp=0.25",
        f"--out={out}",
        f"--server={server.grpc_url}",
        "--transport=grpc",  # the limit below would hold for shared memory, too
    ]

    run = subprocess.run(
        ["bash", "-c", f"ulimit -f 4; exec {shlex.join(command)}"],  # 4 kB a file
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )

    assert run.returncode == 1
    assert run.stderr.splitlines() == [
        f"tsfd: Cannot write into {out / 'a'}: File too large.",
        "tsfd: stopped; 0 of 4 images are done. Run the same command again to do the rest.",
    ]
    assert done(out) == []
    assert not list((out / "a").glob(".*"))


def test_a_dead_backend_process(
    repository: Path,
    server: TritonServer,
    images: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    command = ["segment", *map(str, images), "--mpp=0.25", f"--out={out}", "--wait=2"]
    with TritonServer(repository) as doomed:
        run = subprocess.Popen(
            [*TSFD, *command, f"--server={doomed.grpc_url}"], stderr=subprocess.PIPE, text=True
        )
        until = time.monotonic() + 60
        while not done(out) and time.monotonic() < until:
            time.sleep(0.001)
        (stub,) = (
            process
            for process in psutil.Process(doomed.pid).children()
            if "nuclei_postprocess_0_0" in process.cmdline()
        )
        stub.kill()
        _, errors = run.communicate(timeout=60)

        sentence = (
            f"The server at {doomed.grpc_url} has lost a backend process and can no longer "
            "answer: restart it (in ensemble 'nuclei_segmentation', Stub process "
            "'nuclei_postprocess_0_0' is not healthy.)."
        )
        before = done(out)
        assert 1 <= len(before) < 4
        assert run.returncode == 1
        assert errors.splitlines() == [
            f"tsfd: {sentence}",
            f"tsfd: stopped; {len(before)} of 4 images are done. Run the same command again to do "
            "the rest.",
        ]
        # Triton goes on saying that all is well.
        assert main(["check", f"--server={doomed.grpc_url}"]) == 1
        assert capsys.readouterr().err == f"tsfd: {sentence}\n"
        with Client(doomed.grpc_url) as client, pytest.raises(ServerUnavailableError):
            client.check()
        os.killpg(doomed.pid, signal.SIGKILL)  # it would wait for the dead process

    kept = [(out / name / "overlay.png").stat().st_mtime_ns for name in before]
    assert main([*command, f"--server={server.grpc_url}"]) == 0
    assert done(out) == ["a", "b", "c", "d"]
    assert [(out / name / "overlay.png").stat().st_mtime_ns for name in before] == kept
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_a_shard_without_images_has_nothing_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as the last jobs of an array that is longer than the table; no server is needed."""
    command = ["segment", "a.png", "b.png", f"--out={tmp_path / 'out'}", "--shard=3/20"]

    assert main([*command, "--server=localhost:1"]) == 0
    assert capsys.readouterr().out == "Shard 3/20 of 2 images has none: nothing to do.\n"


def test_a_result_may_not_be_called_as_the_table_of_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["segment", "summary.csv.png", f"--out={tmp_path}", "--server=localhost:1"]) == 1
    assert capsys.readouterr().err == (
        f"tsfd: summary.csv.png would be written to {tmp_path}/summary.csv, which is the table of "
        "all results: rename it, or give it a name in the table of --slides.\n"
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "is for TLS, which is off: give --ssl (in Python ssl=True)."),
        (["--ssl"], "is not a PEM file."),
    ],
)
def test_certificates_that_would_not_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    """Without TLS a token would be sent for all to read."""
    file = tmp_path / "key.pem"
    file.write_text("none")

    assert main(["check", f"--root-certificates={file}", *options]) == 1
    assert capsys.readouterr().err == f"tsfd: {file} {says}\n"
    file.unlink()
    assert main(["check", f"--root-certificates={file}", "--ssl"]) == 1
    assert capsys.readouterr().err == f"tsfd: {file} cannot be read: No such file or directory.\n"


def test_whoever_reads_the_first_line_alone_gets_no_error(server: TritonServer) -> None:
    check = shlex.join([*TSFD, "check", f"--server={server.grpc_url}"])
    shell = subprocess.run(["sh", "-c", f"{check} | head -0"], capture_output=True, text=True)

    assert shell.stderr == ""
