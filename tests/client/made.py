"""Nuclei drawn at random, and their table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from releases import FIVE

from tsfd_client.nuclei.table import Info, Writer, from_nuclei
from tsfd_client.stitching.join import Nucleus

ANY_SIZE = replace(FIVE, settings=replace(FIVE.settings, min_area=0))
PITCH = 40  # a nucleus per square of so many pixels at 0.25 mpp


def draw(rng: np.random.Generator, y: int, x: int) -> Nucleus:
    """An ellipse within the square whose corner is given."""
    canvas = np.zeros((PITCH, PITCH), np.uint8)
    axes = rng.integers(3, 18, 2).tolist()
    centre = (PITCH // 2, PITCH // 2)
    cv2.ellipse(canvas, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    left, top, width, height = cv2.boundingRect(canvas)
    mask = canvas[top : top + height, left : left + width] > 0
    prob = float(rng.uniform(0.4, 1))
    return Nucleus(y + top, x + left, mask, int(rng.integers(1, 6)), prob)


def info(scale: float, pixels: int, **dicom_uids: str) -> Info:
    """Of a square slide of so many pixels at 0.25 mpp."""
    side = round(pixels * scale)
    return Info("made.svs", side, side, 0.25 / scale, scale, FIVE, dicom_uids)


def write(path: Path, blocks: list[list[Nucleus]], scale: float, pixels: int) -> None:
    """Write the table, a row group per block."""
    about = info(scale, pixels)
    with Writer(path, about) as writer:
        for block in blocks:
            writer.write(from_nuclei(block, scale=scale, mpp=about.mpp, release=ANY_SIZE))


def field(squares: int, seed: int = 0) -> list[list[Nucleus]]:
    """Nuclei in a square of squares, a block per row; some squares are empty."""
    rng = np.random.default_rng(seed)
    return [
        [draw(rng, row * PITCH, column * PITCH) for column in range(squares) if rng.random() < 0.9]
        for row in range(squares)
    ]
