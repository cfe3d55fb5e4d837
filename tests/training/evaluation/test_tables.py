"""Tables and files of scores."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from metrics.panoptic_quality import ImagePQ, PanopticQuality
from training.evaluation.calibration import BINS
from training.evaluation.class_groups import ClassGroups
from training.evaluation.detection import Detection
from training.evaluation.files import write_scores
from training.evaluation.image_scores import ImageScores
from training.evaluation.published import KUMAR, PANNUKE, TSFD_NET_TISSUES, published_for
from training.evaluation.scores import Scores, aggregate
from training.evaluation.tables import Subject, make_tables, side_by_side

SUBJECT = Subject(
    data="kumar",
    split="test",
    weights="lite.npz",
    sha256="0123456789abcdef",
    preset="lite",
    settings={"min_area": 20},
    versions={"numpy": "2"},
)


def scores(images: int) -> Scores:
    """Of images without classes and tissues."""
    image = ImageScores(
        name="a.png",
        source="kumar",
        tissue=None,
        found_tissue=5,
        truth_counts=(3,),
        found_counts=(2,),
        dice=0.8,
        aji=0.6,
        aji_plus=0.65,
        pq=ImagePQ(PanopticQuality(0.75, 0.8, 0.6, 2, 0, 1), ()),
        detection=Detection(2, 0, 1),
        class_detection=(),
        confusion=np.zeros((1, 6), np.int64),
        reliability=np.zeros((BINS, 3)),
    )
    several = [replace(image, name=f"{i}.png") for i in range(images)]
    return aggregate(several, ClassGroups((), frozenset()), by_tissue=False)


def test_scores_without_classes_and_tissues_show_no_zeros(tmp_path: Path) -> None:
    result = scores(2)
    overall, *others = make_tables(result, SUBJECT)
    write_scores(result, SUBJECT, 1.25, None, tmp_path)

    assert others == []
    assert overall.title == "kumar test; lite.npz (01234567): 2 images, 6 nuclei"
    assert ("PQ", "0.600", "0.600 to 0.600") in overall.rows
    assert ("mPQ, mean over images", "-", "-") in overall.rows
    assert ("Tissue accuracy", "-", "-") in overall.rows
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written["scores"]["mpq"] == {"value": None, "low": None, "high": None}
    assert written["scores"]["dice"]["value"] == 0.8
    assert (written["classes"], written["tissues"], written["nuclei"]) == ({}, {}, 6)
    assert (tmp_path / "per_tissue.csv").read_text() == "tissue,images,mpq,bpq\n"
    row = (tmp_path / "per_image.csv").read_text().splitlines()[1]
    assert row == "0.png,kumar,,Colon,3,2,0.6,0.75,0.8,0.6,,0.8,0.6,0.65,2,0,1"


def test_published_figures_stand_beside_the_same_split_only() -> None:
    beside = make_tables(scores(14), SUBJECT)[-1]
    assert beside.title == "Beside published systems: Kumar, 16/14 split, 14 test images"
    assert beside.rows == (
        ("Hover-Net", "0.826", "0.618", "0.770", "0.773", "0.597"),
        ("lite.npz (01234567)", "0.800", "0.600", "0.750", "0.800", "0.600"),
    )
    assert len(make_tables(scores(14), replace(SUBJECT, limit=14))) == 1
    assert published_for("kumar", "test", 14) is KUMAR
    assert published_for("kumar", "test", 13) is None
    assert published_for("kumar", "train", 14) is None


def test_several_systems_of_ours_stand_beside_the_published() -> None:
    table = side_by_side(
        PANNUKE, {"paper": {"mpq": 0.5, "bpq": 0.64}, "lite": {"mpq": 0.4, "bpq": math.nan}}
    )
    assert table.header == ("system", "mPQ", "bPQ")
    assert table.rows[-3:] == (
        ("TSFD-Net", "0.504", "0.638"),
        ("paper", "0.500", "0.640"),
        ("lite", "0.400", "-"),
    )


def test_the_published_tissues_give_the_published_means() -> None:
    mpq, bpq = zip(*TSFD_NET_TISSUES.values(), strict=True)
    assert len(mpq) == 19
    assert sum(mpq) / 19 == pytest.approx(0.5040, abs=2e-4)
    assert sum(bpq) / 19 == pytest.approx(0.6377, abs=2e-3)
