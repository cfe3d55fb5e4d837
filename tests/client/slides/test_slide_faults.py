"""Whatever dies in the middle of a slide: the same command goes on, to the same bytes."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tritonclient.grpc as triton
from programs import stop_once, until
from releases import change

from conversion.release import release_file
from serving.server import TritonServer
from tests.client.commands import TSFD, answered, outputs
from tests.client.slide_files import strip, write_tiff
from tsfd_client.cli import main
from tsfd_client.slides import lock
from tsfd_client.slides.events import read_events
from tsfd_client.slides.lock import Lock
from tsfd_client.slides.status import LOCK, status_of

TILES = 54
BLOCKS = 4
SLOWLY = ["--in-flight=1", "--batch=1"]


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four blocks of 6 to 16 tiles."""
    path = tmp_path_factory.mktemp("slides") / "strip.tif"
    write_tiff(path, strip(8, seed=6))
    return path


@pytest.fixture(scope="module")
def command(slide: Path, server: TritonServer) -> Callable[[Path], list[str]]:
    def words(out: Path, *, url: str = server.grpc_url) -> list[str]:
        return ["segment", str(slide), "--no-tissue", f"--out={out}", f"--server={url}"]

    return words


@pytest.fixture(scope="module")
def uninterrupted(
    command: Callable[[Path], list[str]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The outputs of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole")
    assert main(command(out)) == 0
    return outputs(out / "strip")


def kept(folder: Path) -> list[str]:
    """Blocks of which both files are there."""
    names = [path.name.split(".")[0] for path in (folder / "blocks").glob("r*.parquet")]
    return sorted({name for name in names if names.count(name) == 2})


def rest(server: TritonServer) -> int:
    """The same once the server has done what a client that was killed had asked for."""
    asked = answered(server)
    while True:
        time.sleep(1.5)
        asked, before = answered(server), asked
        if asked == before:
            return asked


def of_another_release(repository: Path, copy: Path) -> tuple[Path, str]:
    """The same models that say ``lite-other``, and what they said before."""
    shutil.copytree(repository, copy)
    release = json.loads(release_file(repository).read_text())["release"]
    change(copy, release="lite-other")
    return copy, release


def run_whose_server_dies(
    repository: Path, command: Callable[..., list[str]], out: Path, *options: str
) -> tuple[subprocess.Popen[str], str]:
    """A run that has kept a block of a server that is gone, and the server's address."""
    with TritonServer(repository) as doomed:
        words = [*TSFD, *command(out, url=doomed.grpc_url), *options]
        process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        stop_once(lambda: kept(out / "strip"), process)
        os.killpg(doomed.pid, signal.SIGKILL)
        process.send_signal(signal.SIGCONT)
    return process, doomed.grpc_url


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def test_a_killed_client_goes_on(
    server: TritonServer,
    command: Callable[[Path], list[str]],
    uninterrupted: dict[str, bytes],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "out" / "strip"
    for wanted in (1, 2):  # blocks that are there before it is killed
        process = subprocess.Popen([*TSFD, *command(tmp_path / "out"), *SLOWLY])
        stop_once(lambda wanted=wanted: len(kept(folder)) >= wanted, process)
        process.kill()
        process.wait()
    # What it may have been about: to write a picture, to say that a block is kept.
    (folder / ".overview.png.0123abcd").touch()
    log = folder / "events.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(line for line in lines if '"event": "block"' not in line))
    before = kept(folder)
    assert 2 <= len(before) <= BLOCKS
    assert status_of(folder).state == "stopped"
    asked = rest(server)

    assert main(command(tmp_path / "out")) == 0

    (*_, begun) = (e for e in read_events(folder) if e["event"] == "begun")
    assert begun["blocks_done"] == len(before)
    missing = begun["tiles"] - begun["tiles_done"]
    between = sum(e["between"] for e in read_events(folder) if e["event"] == "block")
    # And the patch that asks whether it is there.
    assert answered(server) - asked == missing + between + 1
    assert outputs(folder) == uninterrupted
    assert status_of(folder).tiles_done == TILES
    assert not (folder / "blocks").exists()
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    with triton.InferenceServerClient(server.grpc_url) as connection:
        shared = connection.get_system_shared_memory_status(as_json=True)
    assert shared.get("regions", {}) == {}


@pytest.mark.parametrize("background", [False, True], ids=["foreground", "background"])
def test_a_job_that_is_ended_lets_go(
    command: Callable[[Path], list[str]], tmp_path: Path, background: bool
) -> None:
    folder = tmp_path / "out" / "strip"
    # As a shell begins what it does not wait for: deaf to Ctrl-C.
    deaf = ["sh", "-c", """trap '' INT; exec "$0" "$@" """] if background else []
    words = [*deaf, *TSFD, *command(tmp_path / "out"), *SLOWLY]
    process = subprocess.Popen(words, stderr=subprocess.PIPE)
    until(lambda: (folder / "blocks").exists())
    time.sleep(random.uniform(0, 0.5))
    process.terminate()
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == b"tsfd: stopped; files already written are complete.\n"
    assert not (folder / LOCK).exists()
    assert status_of(folder).state == "stopped"
    [row] = csv.DictReader((tmp_path / "out" / "summary.csv").read_text().splitlines())
    assert row["state"] == "stopped"
    assert list(Path("/dev/shm").glob(f"tsfd_client_{process.pid}_*")) == []


def test_a_server_that_dies_is_waited_for(
    repository: Path,
    command: Callable[..., list[str]],
    uninterrupted: dict[str, bytes],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "out" / "strip"
    patient, url = run_whose_server_dies(repository, command, tmp_path / "out", "--wait=60")
    time.sleep(1)
    assert patient.poll() is None
    with TritonServer(repository, grpc_port=port_of(url)):
        patient.communicate(timeout=120)
    assert patient.returncode == 0
    assert outputs(folder) == uninterrupted


def test_a_server_that_stays_away_stops_the_run(
    repository: Path,
    command: Callable[..., list[str]],
    uninterrupted: dict[str, bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "out" / "strip"
    impatient, url = run_whose_server_dies(repository, command, tmp_path / "out", "--wait=1")
    _, errors = impatient.communicate(timeout=60)
    assert impatient.returncode == 1
    status = status_of(folder)
    assert errors.splitlines() == [
        f"tsfd: {status.error}",
        f"tsfd: {status.tiles_done} of {TILES} tiles of strip.tif are kept: the same command "
        "resumes from there.",
    ]
    assert status.error == (
        f"No Triton server answers at {url}: check the address, or start one with `make serve`."
    )
    assert status.state == "failed"
    assert 0 < status.tiles_done < TILES

    other, release = of_another_release(repository, tmp_path / "repository")
    with TritonServer(other) as changed:
        assert main(command(tmp_path / "out", url=changed.grpc_url)) == 1
    assert capsys.readouterr().err.splitlines()[0] == (
        f'tsfd: {folder} was started with release "{release}", not "lite-other": choose another '
        "--out (in Python out=), or remove the folder."
    )

    assert main(command(tmp_path / "out")) == 0
    assert outputs(folder) == uninterrupted


def test_blocks_of_two_releases_are_not_mixed(
    repository: Path,
    command: Callable[..., list[str]],
    uninterrupted: dict[str, bytes],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "out" / "strip"
    other, release = of_another_release(repository, tmp_path / "repository")
    patient, url = run_whose_server_dies(repository, command, tmp_path / "out", "--wait=60")
    with TritonServer(other, grpc_port=port_of(url)):
        _, errors = patient.communicate(timeout=120)
    assert patient.returncode == 1
    assert errors.splitlines()[0] == (
        f"tsfd: The server at {url} switched from release {release} to lite-other in "
        "the middle of strip.tif: serve the first one again to resume."
    )
    assert kept(folder)

    assert main(command(tmp_path / "out")) == 0
    assert outputs(folder) == uninterrupted


def test_a_full_disk_loses_nothing(
    command: Callable[[Path], list[str]], uninterrupted: dict[str, bytes], tmp_path: Path
) -> None:
    words = [*TSFD, *command(tmp_path / "out"), "--transport=grpc"]
    limited = f"ulimit -f 40; exec {shlex.join(words)}"  # kB a file
    run = subprocess.run(
        ["bash", "-c", limited],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    folder = tmp_path / "out" / "strip"
    assert run.returncode == 1
    assert run.stderr.splitlines()[0] == f"tsfd: Cannot write into {folder}: File too large."
    assert main(command(tmp_path / "out")) == 0
    assert outputs(folder) == uninterrupted


def test_a_folder_that_cannot_be_used(
    command: Callable[[Path], list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lock, "_HEARTBEAT", 0.1)
    folder = tmp_path / "out" / "strip"
    folder.mkdir(parents=True)
    with Lock(folder / LOCK):
        assert main(command(tmp_path / "out")) == 1
        assert capsys.readouterr().err == (
            f"tsfd: {folder} is in use by process {os.getpid()} on {os.uname().nodename}: "
            "wait for it to finish, or stop it.\n"
        )
        assert status_of(folder).state == "running"
    (tmp_path / "file").touch()
    assert main(command(tmp_path / "file")) == 1
    assert capsys.readouterr().err == (
        f"tsfd: Cannot write into {tmp_path / 'file' / 'strip'}: Not a directory.\n"
    )

    assert main(command(tmp_path / "out")) == 0
    capsys.readouterr()
    assert main([*command(tmp_path / "out"), "--min-area=60"]) == 1
    assert capsys.readouterr().err == (
        f"tsfd: {folder} was started with min area 40, not 60: choose another --out (in "
        "Python out=), or remove the folder.\n"
    )


def test_requests_under_way_are_fewer_where_the_server_refuses(
    repository: Path,
    command: Callable[..., list[str]],
    uninterrupted: dict[str, bytes],
    tmp_path: Path,
) -> None:
    throttled = tmp_path / "repository"
    shutil.copytree(repository, throttled)
    config = throttled / "tsfd_net" / "configs" / "cpu.pbtxt"
    text, changes = re.subn(r"max_queue_size: \d+", "max_queue_size: 1", config.read_text())
    assert changes == 1
    config.write_text(text)
    with TritonServer(throttled) as server:
        assert main(command(tmp_path / "out", url=server.grpc_url)) == 0
    folder = tmp_path / "out" / "strip"
    limits = [event for event in read_events(folder) if event["event"] == "limit"]
    halved = [n for n, event in enumerate(limits) if event["why"] == "refused"]
    assert halved
    before = limits[halved[0] - 1]["requests"] if halved[0] else 2  # the first
    assert limits[halved[0]]["requests"] == max(1, before // 2)
    assert outputs(folder) == uninterrupted
