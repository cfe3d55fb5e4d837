"""Results for the page, and a browser."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, sync_playwright
from programs import need

from samples.synthetic import generate
from tests.client import made
from tests.client.export.run_folder import finished
from tests.client.slide_files import write_tiff
from tests.client.view.pages import NAME
from tests.client.view.test_view_server import serving
from tests.client.view.two_results import altered
from tsfd_client.pixels.opening import open_image
from tsfd_client.pixels.origin import Origin

SQUARES = 36
SIDE = SQUARES * made.PITCH // 2  # of a 20x slide: 720 pixels of level 0
DROP, OVERRIDE = 24, 1  # of prctl: take from a process that root may write everywhere
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
FLAGS += ["--no-first-run", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 20x slide with nuclei up to its last row and column, and a result that is broken."""
    folder = tmp_path_factory.mktemp("page")
    path = folder / "slide.tif"
    write_tiff(path, generate(SIDE, SIDE, nuclei=60, seed=3).image, mpp=0.5, shrinks=(1, 2))
    run = folder / "results" / NAME
    run.mkdir(parents=True)
    made.write(run / "nuclei.parquet", made.field(SQUARES), 0.5, 2 * SIDE)
    (run / "DONE").touch()
    with open_image(path) as slide:
        Origin(str(path), slide.fingerprint(), 0.5).write(run)
    broken = folder / "results" / "broken"
    broken.mkdir()
    (broken / "DONE").touch()
    (broken / "nuclei.parquet").write_bytes(b"nothing")
    return folder / "results"


@pytest.fixture(scope="module")
def nuclei(shown: Path) -> pd.DataFrame:
    return pq.read_table(shown / NAME / "nuclei.parquet").to_pandas()


@pytest.fixture(scope="module")
def url(shown: Path) -> Iterator[str]:
    with serving(shown) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=need("chromium"), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def two_results(tmp_path: Path) -> tuple[Path, Path]:
    """``first`` and ``second``, of one image."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    nuclei = altered()
    return finished(first, 1.0), finished(second, 1.0, [nuclei[:20], nuclei[20:]])


@pytest.fixture
def read_only(shown: Path) -> Iterator[Path]:
    """The results, in folders without permission to write."""
    folders = [shown, *(path for path in shown.rglob("*") if path.is_dir())]
    modes = [path.stat().st_mode for path in folders]
    for path in folders:
        path.chmod(0o555)
    yield shown
    for path, mode in zip(folders, modes, strict=True):
        path.chmod(mode)


@pytest.fixture
def read_only_address(read_only: Path, tmp_path: Path) -> Iterator[str]:
    """Address of a server of the page that cannot write to the results, with a cache of its own."""
    libc = ctypes.CDLL(None)
    command = [sys.executable, "-m", "tsfd_client.cli", "view", read_only, "--port=0"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
        preexec_fn=lambda: libc.prctl(DROP, OVERRIDE),
    ) as process:
        yield process.stdout.readline().split()[-1]
        process.terminate()
