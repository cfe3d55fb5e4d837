"""Folders on file systems that lack what Linux's own have: exFAT, SMB, mounted buckets.

A library that is loaded before C's answers as they do.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import cv2
import pytest
from programs import need

from samples.synthetic import generate
from serving.server import TritonServer
from tests.client.commands import TSFD
from tests.client.export.run_folder import finished, names

SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int refused(void) { errno = atoi(getenv("REFUSED_WITH")); return -1; }

int link(const char *a, const char *b) { return refused(); }
int linkat(int a, const char *b, int c, const char *d, int e) { return refused(); }
int symlink(const char *a, const char *b) { return refused(); }
int chmod(const char *path, mode_t mode) { return refused(); }
int fchmod(int file, mode_t mode) { return refused(); }
int fchmodat(int folder, const char *path, mode_t mode, int flags) { return refused(); }
int flock(int file, int operation) { return refused(); }

int fsync(int file) {
    struct stat found;
    if (fstat(file, &found) == 0 && S_ISDIR(found.st_mode)) return refused();
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    return real(file);
}
"""
ERRORS = {"EPERM": 1, "EINVAL": 22, "ENOSYS": 38, "ENOTSUP": 95}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    (folder / "refuse.c").write_text(SOURCE)
    command = [need("gcc"), "-w", "-shared", "-fPIC", "-o", "refuse.so", "refuse.c", "-ldl"]
    subprocess.run(command, check=True, cwd=folder)
    return folder / "refuse.so"


def started(command: list[str], library: Path, error: str) -> subprocess.CompletedProcess[str]:
    there = {"LD_PRELOAD": str(library), "REFUSED_WITH": str(ERRORS[error])}
    env = os.environ | there
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("error", ERRORS)
def test_a_run_ends_as_elsewhere(
    server: TritonServer, library: Path, tmp_path: Path, error: str
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), generate(100, 100, nuclei=6, seed=1).image[..., ::-1])
    out = tmp_path / "out"
    command = [*TSFD, "segment", str(tmp_path / "a.png"), "--mpp=0.25", f"--out={out}"]
    command += [f"--server={server.grpc_url}", "--transport=grpc"]
    run = started(command, library, error)
    assert (run.returncode, run.stderr) == (0, "")
    assert names(out / "a") == {
        *("DONE", "events.jsonl", "labels.png", "nuclei.csv", "nuclei.geojson", "nuclei.parquet"),
        *("origin.json", "overlay.png", "run.json", "summary.json"),
    }

    # What a killed process has left is taken over.
    (out / "a/DONE").unlink()
    (out / "a/lock").write_text(json.dumps({"host": os.uname().nodename, "pid": 2**22 + 1}))
    run = started(command, library, error)
    assert (run.returncode, run.stderr) == (0, "")
    assert "lock" not in names(out / "a")


@pytest.mark.parametrize("to", ["csv", "site"])
def test_exports_end_as_elsewhere(library: Path, tmp_path: Path, to: str) -> None:
    out = tmp_path / "exported"
    assert export(library, tmp_path, to)[:2] == (0, f"Wrote {out}\n")
    if to == "site":
        assert {"index.html", "data", "page"} == names(out)
        assert (out / "page/vendor/pmtiles.js").is_file()


@pytest.mark.parametrize("to", ["anndata", "ome-zarr"])
def test_exports_whose_libraries_need_more_end_in_a_line(
    library: Path, tmp_path: Path, to: str
) -> None:
    code, printed, error = export(library, tmp_path, to)
    assert (code, printed, len(error.splitlines())) == (1, "", 1)
    assert error.startswith(f"tsfd: {tmp_path / 'exported'} cannot be written: ")
    assert "Operation not supported" in error
    assert names(tmp_path) == {"run"}


def export(library: Path, tmp_path: Path, to: str) -> tuple[int, str, str]:
    """Exit code and what was printed."""
    (tmp_path / "run").mkdir()
    finished(tmp_path / "run", 0.5)
    command = [*TSFD, "export", str(tmp_path / "run"), f"--to={to}"]
    run = started([*command, f"--out={tmp_path / 'exported'}"], library, "ENOTSUP")
    return run.returncode, run.stdout, run.stderr
