"""Everything around the network is timed: in its place are recorded answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import around
from bench.recorded import make
from bench.staged import Stopwatch
from samples import histology
from samples.slide import write_slide
from serving.server import ArtefactMissingError
from tsfd_client import read_image


def test_stages(repository: Path, tmp_path: Path) -> None:
    slide = tmp_path / "disc.tif"
    picture, _ = read_image(histology.path(), mpp=histology.MPP)
    write_slide(slide, picture, side=2048, mm2=0.1)

    rows = around.measure(repository, slide, tmp_path, runs=(("grpc", 0.25), ("shm", 0.2)))

    assert [(row["transport"], row["mpp"]) for row in rows] == [("grpc", 0.25), ("shm", 0.2)]
    for row in rows:
        # Of 23 in what a patch shows beyond its neighbours, those on tissue.
        assert 10 * row["patches"] < row["nuclei"] < 24 * row["patches"]
        assert row["patches_per_s_before_outputs"] > row["patches_per_s"] > 0
        spent = row["cpu_ms_per_patch"]
        assert spent.keys() == {
            *("starting", "reading", "decoding", "resampling", "cutting", "stitching", "writing"),
            *("protocol", "triton", "post-processing", "all"),
        }
        assert all(ms >= 0 for ms in spent.values())
    assert rows[0]["cpu_ms_per_patch"]["resampling"] < rows[1]["cpu_ms_per_patch"]["resampling"]


def test_a_stage_within_another_counts_for_itself() -> None:
    class Work:
        @staticmethod
        def inner() -> int:
            return sum(range(3_000_000))

        @staticmethod
        def outer() -> int:
            return Work.inner()

    watch = Stopwatch()
    with watch.on({"inner": [(Work, "inner")], "outer": [(Work, "outer")]}):
        Work.outer()
    Work.outer()
    assert watch.seconds["inner"] > 10 * watch.seconds["outer"]


def test_unconverted_models_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ArtefactMissingError, match=r"release.json is missing: run `make convert`"):
        make(tmp_path / "none", tmp_path)
