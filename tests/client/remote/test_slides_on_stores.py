"""Slides of a web server: the same results as of local ones, and their credentials nowhere."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from programs import stop_once, until

from serving.server import TritonServer
from tests.client.commands import TSFD, outputs
from tests.client.remote.web_server import Web, serving
from tests.client.slide_files import strip, write_tiff
from tsfd_client import open_result, segment_image
from tsfd_client.cli import main
from tsfd_client.remote import cache
from tsfd_client.remote.address import Address
from tsfd_client.slides.ahead import Ahead
from tsfd_client.slides.status import status_of
from tsfd_client.view.results import find

USER = "ann:sesame-4711"
SIGNED = "X-Amz-Signature=5e5a4711&X-Amz-Credential=AKIA4711"
SECRETS = ("sesame-4711", "5e5a4711", "AKIA4711", "Signature")


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two blocks; what follows the image is random and only makes the file longer."""
    path = tmp_path_factory.mktemp("slides") / "far away.tif"
    write_tiff(path, strip(3, seed=6))
    with path.open("ab") as file:
        file.write(np.random.default_rng(0).bytes(12 << 20))
    return path


@pytest.fixture(scope="module")
def local(
    slide: Path, server: TritonServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The outputs of the slide on this machine, and its run's facts."""
    out = tmp_path_factory.mktemp("local")
    assert main(["segment", str(slide), f"--out={out}", f"--server={server.grpc_url}"]) == 0
    return everything(out / "far away")


@pytest.fixture
def web(slide: Path) -> Iterator[Web]:
    with serving(slide.read_bytes()) as web:
        yield web


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    yield
    cache.choose(cache.Cache())


def everything(folder: Path) -> dict[str, bytes]:
    return outputs(folder) | {"run.json": (folder / "run.json").read_bytes()}


def refuse_secrets(folder: Path, said: str) -> None:
    for path in (each for each in folder.rglob("*") if each.is_file()):
        assert not any(secret in str(path) for secret in SECRETS)
        assert not any(secret.encode() in path.read_bytes() for secret in SECRETS), path
    assert not any(secret in said for secret in SECRETS)


@pytest.mark.parametrize("how", ["user", "signature"])
def test_the_results_are_those_of_the_local_slide(
    web: Web,
    slide: Path,
    server: TritonServer,
    local: dict[str, bytes],
    how: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    name, out = "far%20away.tif", tmp_path / "out"
    url = web.url(name, user=USER) if how == "user" else web.url(name, query=SIGNED)
    web.user, web.query = (USER, None) if how == "user" else (None, SIGNED)
    web.cuts = [9 << 20, 1 << 20]
    command = ["segment", url, f"--out={out}", f"--server={server.grpc_url}"]
    assert main([*command, "--measure"]) == 0
    assert everything(out / "far away") == local
    assert json.loads((out / "far away/origin.json").read_text())["path"] == web.url(name)

    # Again: the store is asked whether it has the same file, and for nothing more.
    sent = web.sent
    assert main(command) == 0
    (result,) = find(out)
    assert result.view()["pixels"] == "tiles"
    assert web.sent == sent
    result.close()

    # Not in the cache any more: what needs the slide fetches it.
    cache.choose(cache.Cache(tmp_path / "other"))
    assert "is refused (40" in result.view()["problem"]
    web.user = web.query = None
    assert result.view()["pixels"] == "tiles"
    result.close()

    # A copy on this machine takes its place, and nothing is segmented again.
    assert main(["segment", str(slide), *command[2:]]) == 0
    assert json.loads((out / "far away/origin.json").read_text())["path"] == str(slide)
    assert everything(out / "far away") == local
    captured = capfd.readouterr()
    assert captured.out.startswith(f"{web.url(name)}: ")
    assert "It is tried again after" in captured.err
    refuse_secrets(out, captured.out + captured.err)


def test_a_stopped_fetch_and_a_killed_run_go_on(
    web: Web, server: TritonServer, local: dict[str, bytes], tmp_path: Path
) -> None:
    """With the bytes that are there, and to the same result."""
    out, kept = tmp_path / "out", tmp_path / "cache"
    command = [*TSFD, "segment", web.url("far%20away.tif", user=USER), f"--out={out}"]
    command += [f"--server={server.grpc_url}", f"--cache={kept}", "--in-flight=1", "--batch=1"]
    folder = out / "far away"
    web.seconds = 0.5
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
        until(lambda: len(web.asked) == 2)
        run.send_signal(signal.SIGTERM)
        assert run.communicate()[1] == "tsfd: stopped; files already written are complete.\n"
    web.seconds = 0
    web.asked.clear()
    with subprocess.Popen(command) as run:
        stop_once(lambda: any((folder / "blocks").glob("*.closed.parquet")), run)
        run.send_signal(signal.SIGKILL)
    assert web.asked[0].startswith(f"{8 << 20}-")
    assert status_of(folder).state != "done"
    sent = web.sent
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert everything(folder) == local
    assert web.sent == sent
    refuse_secrets(out, done.stdout + done.stderr)


def test_a_slide_that_has_changed_is_not_gone_on_with(
    web: Web, server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["segment", web.url(), f"--out={out}", f"--server={server.grpc_url}"]
    assert main(command) == 0
    before = everything(out / "slide")
    # Only its version is another: found out by fetching it.
    web.etag = '"second"'
    assert main(command) == 0
    write_tiff(tmp_path / "other.tif", strip(2, seed=8))
    web.content, web.etag = (tmp_path / "other.tif").read_bytes(), '"third"'
    capsys.readouterr()
    assert main(command) == 1
    assert capsys.readouterr().err == (
        f"tsfd: {web.url()} has changed on its store since {out / 'slide'} was started: choose "
        "another --out (in Python out=), or remove the folder.\n"
    )
    assert everything(out / "slide") == before


def test_other_options_are_refused_without_fetching(
    web: Web, server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["segment", web.url(), f"--out={tmp_path / 'out'}", f"--server={server.grpc_url}"]
    command += ["--cache-size=0"]
    assert main(command) == 0
    sent = web.sent
    for more in (["--no-tissue"], ["--min-area=30"], ["--mpp=0.5"]):
        assert main([*command, *more]) == 1
        assert "was started with" in capsys.readouterr().err
    web.status = 503  # its store does not answer
    assert main(command) == 0
    assert capsys.readouterr().err == (
        f"tsfd: {web.url()} cannot be fetched: its server answers 503. Its result is finished, and "
        "stays as it is.\n"
    )
    assert web.sent == sent


def test_a_table_with_a_slide_that_is_not_there(
    web: Web, slide: Path, server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(b"", status=404) as none:
        rows = [none.url("gone.svs"), web.url("b.tif", query=SIGNED), str(slide), web.url("c.tif")]
        (tmp_path / "slides.csv").write_text("\n".join(["slide", *rows]))
        command = ["segment", f"--slides={tmp_path / 'slides.csv'}", f"--out={tmp_path / 'out'}"]
        assert main([*command, f"--server={server.grpc_url}", f"--cache={tmp_path / 'c'}"]) == 1
        captured = capsys.readouterr()
        assert captured.err == (
            f"tsfd: There is no file {none.url('gone.svs')}.\ntsfd: 1 of 4 images failed.\n"
        )
    assert captured.out.count(" nuclei (") == 3
    states = (tmp_path / "out/summary.csv").read_text()
    assert f"There is no file {none.url('gone.svs')}" in states
    refuse_secrets(tmp_path / "out", captured.out + captured.err)


def test_what_is_no_slide_is_named_by_its_address(
    server: TritonServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(b"nothing of the kind") as web:
        url = web.url("a.svs", query=SIGNED)
        assert main(["segment", url, f"--out={tmp_path}", f"--server={server.grpc_url}"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"tsfd: {web.url('a.svs')} ")
        assert str(tmp_path) not in line


def test_from_python(web: Web, server: TritonServer, tmp_path: Path) -> None:
    segment_image(web.url(user=USER), tmp_path, server.grpc_url)
    assert len(open_result(tmp_path / "slide").table()) > 100
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["tsfd-slides"]


def test_the_next_slide_is_fetched_ahead(web: Web, tmp_path: Path) -> None:
    cache.choose(cache.Cache(tmp_path, most=0))
    ahead, finished = Ahead(), tmp_path / "finished"
    finished.mkdir()
    (finished / "DONE").touch()
    ahead.fetch(Address.parse(web.url("a.tif")), finished)
    ahead.fetch(Address.parse(web.url("b.tif")), tmp_path / "begun")
    until(lambda: any(tmp_path.glob("*/b.tif")))
    assert ahead.give_way()
    assert not any(tmp_path.glob("*.lock"))
    assert not ahead.give_way()
    assert web.sent == len(web.content)
