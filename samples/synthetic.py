"""A synthetic H&E field at 0.25 um per pixel whose nuclei are known.

    field = generate(512, 512, nuclei=120, seed=1)
    field.image           uint8 [H, W, 3], RGB
    field.instance_map    uint16 [H, W], 0 background, ids 1..n
    field.classes         uint8 [n], class of id i at index i - 1

Two stains are laid out as optical densities - haematoxylin in textured nuclei, eosin in fibrous
stroma and cytoplasm, next to none in clear spaces - and turned into colours by the Beer-Lambert
law: intensity = glass x 10 ** -(densities @ stain vectors). Blur and noise of a scanner follow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

MPP: Final = 0.25
"""Micrometres per pixel of a field."""

# Optical density of one unit of stain in red, green and blue.
_STAINS = np.array([[0.58, 0.72, 0.39], [0.17, 0.86, 0.48]], np.float32)
_GLASS = np.array([243, 241, 244], np.float32)
_TOUCHING = 0.3  # share of nuclei that are placed against another one
_CLEARANCE = 3  # pixels between nuclei that do not touch
_ATTEMPTS_PER_NUCLEUS = 200
_MIN_VISIBLE_AREA = 50  # of a nucleus cut by the border of the field, in pixels

_Window = tuple[slice, slice]
"""Rows and columns of a part of the field."""


@dataclass(frozen=True)
class SyntheticField:
    """An image and the truth about it.

    Attributes
    ----------
    image
        uint8 [H, W, 3], RGB at 0.25 um per pixel.
    instance_map
        uint16 [H, W]: 0 background, ids 1..n; instances are 4-connected and do not overlap.
    classes
        uint8 [n]: class of id i at index i - 1 (1 neoplastic, 2 inflammatory, 3 connective,
        5 epithelial).
    """

    image: np.ndarray
    instance_map: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True)
class _Kind:
    """Looks of one class of nuclei; lengths in pixels, (low, high) drawn uniformly."""

    class_id: int
    share: float
    length: tuple[float, float]
    elongation: tuple[float, float]  # length over width
    density: tuple[float, float]  # of haematoxylin
    clumping: float  # strength of the chromatin's texture
    rim: float  # how much darker the membrane is than the inside
    nucleoli: int  # at most


_KINDS = (
    _Kind(1, 0.40, (32, 48), (1.15, 1.7), (0.30, 0.50), 0.50, 0.40, 2),
    _Kind(2, 0.22, (21, 27), (1.0, 1.3), (0.52, 0.78), 0.30, 0.10, 0),
    _Kind(3, 0.18, (32, 52), (2.4, 4.0), (0.40, 0.64), 0.28, 0.12, 0),
    _Kind(5, 0.20, (26, 35), (1.05, 1.4), (0.34, 0.54), 0.42, 0.32, 1),
)


@dataclass(frozen=True)
class _Shape:
    """A nucleus on its own grid: normalised radius, 1 on the outline, its centre in the middle."""

    radius: np.ndarray
    kind: _Kind


def generate(height: int, width: int, *, nuclei: int, seed: int) -> SyntheticField:
    """Draw a field.

    Parameters
    ----------
    height, width
        Size in pixels, at least 64 each.
    nuclei
        Number of nuclei, 0 to 65,535.
    seed
        The same seed and sizes give the same field.

    Returns
    -------
    SyntheticField

    Raises
    ------
    ValueError
        If the field is too small, or too small for that many nuclei.
    """
    if min(height, width) < 64:
        raise ValueError(f"A field must be at least 64 x 64 pixels, not {height} x {width}.")
    if not 0 <= nuclei <= np.iinfo(np.uint16).max:
        raise ValueError(f"A field holds 0 to 65,535 nuclei, not {nuclei}.")
    rng = np.random.default_rng(seed)
    fibres, flow = _fibres(height, width, rng)
    instance_map = np.zeros((height, width), np.uint16)
    haematoxylin = 0.035 + 0.02 * np.clip(_noise(height, width, 3, rng), -1, 2)
    classes = np.zeros(nuclei, np.uint8)
    places: list[_Window] = []
    for i in range(nuclei):
        kind = _KINDS[rng.choice(len(_KINDS), p=[kind.share for kind in _KINDS])]
        places.append(_place(kind, places, instance_map, haematoxylin, flow, rng))
        classes[i] = kind.class_id

    inside = cv2.GaussianBlur((instance_map > 0).astype(np.float32), (0, 0), 0.8)
    cellular = _cytoplasm(instance_map, classes)
    clear = _clear_spaces(instance_map, rng)
    mottle = _noise(height, width, 2, rng)
    stroma = 0.23 + 0.045 * fibres + 0.05 * _noise(height, width, 40, rng)
    cell_body = 0.20 + 0.03 * mottle
    eosin = stroma + cellular * (cell_body - stroma)
    eosin = np.clip(eosin + 0.012 * mottle, 0.02, None) * (1 - clear)
    eosin += inside * (0.10 - 0.45 * eosin)
    background = 1 - inside
    haematoxylin += background * cellular * (0.05 + 0.02 * mottle)
    haematoxylin *= 1 - background * clear * 0.8
    return SyntheticField(_photograph(haematoxylin, eosin, rng), instance_map, classes)


def _noise(height: int, width: int, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth float32 noise [H, W] of mean about 0 and deviation 1; ``scale`` in pixels."""
    coarse = max(1, round(scale / 4))
    size = (math.ceil(width / coarse) + 8, math.ceil(height / coarse) + 8)
    grain = rng.standard_normal((size[1], size[0]), np.float32)
    smooth = cv2.GaussianBlur(grain, (0, 0), scale / coarse)
    smooth *= 2 * math.sqrt(math.pi) * scale / coarse  # blurring divides the deviation by this
    full = cv2.resize(smooth, None, fx=coarse, fy=coarse, interpolation=cv2.INTER_CUBIC)
    return full[:height, :width].copy()


def _fibres(
    height: int, width: int, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Wavy collagen bundles, and the vector field (x, y) along which they run."""
    side = int(math.hypot(height, width)) + 160
    grain = rng.standard_normal((side, side), np.float32)
    fine = cv2.GaussianBlur(grain, (0, 0), sigmaX=22, sigmaY=1.1)
    broad = cv2.GaussianBlur(grain, (0, 0), sigmaX=40, sigmaY=5)
    straight = fine / fine.std() + 0.8 * broad / broad.std()

    angle = rng.uniform(0, math.pi)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x - width / 2, y - height / 2
    sag = 16 * _noise(height, width, 45, rng)
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle) + sag
    bundles = cv2.remap(
        straight, along + side / 2, across + side / 2, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    # Fibres are level lines of `across`: they run at right angles to its gradient.
    return bundles, (np.gradient(across, axis=0), -np.gradient(across, axis=1))


def _place(
    kind: _Kind,
    places: list[_Window],
    instance_map: np.ndarray,
    haematoxylin: np.ndarray,
    flow: tuple[np.ndarray, np.ndarray],
    rng: np.random.Generator,
) -> _Window:
    """Find room for one nucleus beside those at `places`, draw it into both maps, say where."""
    instance = len(places) + 1
    height, width = instance_map.shape
    for _ in range(_ATTEMPTS_PER_NUCLEUS):
        touching = instance > 1 and rng.random() < _TOUCHING
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        if touching:
            neighbour = int(rng.integers(1, instance))
            x, y = _beside(instance_map, neighbour, places[neighbour - 1], kind, rng)
            if not (0 <= x < width and 0 <= y < height):
                continue
        along_fibres = math.atan2(flow[1][int(y), int(x)], flow[0][int(y), int(x)])
        turn = rng.normal(along_fibres, 0.2) if kind.class_id == 3 else rng.uniform(0, math.pi)
        shape = _shape(kind, turn, rng)
        window, part = _overlay(shape, int(x), int(y), height, width)
        taken = instance_map[window]
        mask = (shape.radius[part] <= 1).astype(np.uint8)
        area = int(mask.sum())
        if area < _MIN_VISIBLE_AREA:
            continue
        reach = mask if touching else cv2.dilate(mask, np.ones((2 * _CLEARANCE + 1,) * 2))
        if np.count_nonzero(taken[reach > 0]) > (0.1 * area if touching else 0):
            continue
        mask[taken > 0] = 0
        if cv2.connectedComponents(mask, connectivity=4)[0] != 2:
            continue
        taken[mask > 0] = instance
        _stain(haematoxylin[window], shape, part, mask, rng)
        return window
    raise ValueError(
        f"A field of {height} x {width} pixels has no room for nucleus {instance}: ask for fewer "
        "nuclei or a larger field."
    )


def _beside(
    instance_map: np.ndarray,
    neighbour: int,
    window: _Window,
    kind: _Kind,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """A centre at about the distance at which a nucleus of this kind touches the neighbour."""
    y, x = np.nonzero(instance_map[window] == neighbour)
    y, x = y + window[0].start, x + window[1].start
    turn = rng.uniform(0, 2 * math.pi)
    ahead = (x - x.mean()) * math.cos(turn) + (y - y.mean()) * math.sin(turn)
    distance = ahead.max() + rng.uniform(0.3, 0.5) * sum(kind.length) / 2
    return x.mean() + distance * math.cos(turn), y.mean() + distance * math.sin(turn)


def _shape(kind: _Kind, turn: float, rng: np.random.Generator) -> _Shape:
    """An ellipse with a few low harmonics added to its outline."""
    length = rng.uniform(*kind.length)
    half = length / 2
    half_width = half / rng.uniform(*kind.elongation)
    size = int(half * 1.5) + 3
    y, x = np.mgrid[-size : size + 1, -size : size + 1].astype(np.float32)
    u = (x * math.cos(turn) + y * math.sin(turn)) / half
    v = (y * math.cos(turn) - x * math.sin(turn)) / half_width
    polar = np.arctan2(v, u)
    outline = np.ones_like(polar)
    for harmonic, deviation in ((2, 0.06), (3, 0.055), (4, 0.035), (5, 0.02)):
        wave = np.cos(harmonic * polar + rng.uniform(0, 2 * math.pi))
        outline += np.clip(rng.normal(0, deviation), -0.1, 0.1) * wave
    return _Shape(np.hypot(u, v) / outline, kind)


def _overlay(shape: _Shape, x: int, y: int, height: int, width: int) -> tuple[_Window, _Window]:
    """Where the shape's grid, centred on (x, y), lies in the field, and the part inside it."""
    size = shape.radius.shape[0] // 2
    top, bottom = max(y - size, 0), min(y + size + 1, height)
    left, right = max(x - size, 0), min(x + size + 1, width)
    part = slice(top - y + size, bottom - y + size), slice(left - x + size, right - x + size)
    return (slice(top, bottom), slice(left, right)), part


def _stain(
    haematoxylin: np.ndarray,
    shape: _Shape,
    part: _Window,
    mask: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Lay chromatin into the window of the field that the nucleus covers."""
    kind, radius = shape.kind, shape.radius
    side = radius.shape[0]
    clumps = 0.6 * _noise(side, side, 1.6, rng) + 0.5 * _noise(side, side, 3.5, rng)
    density = 1 + kind.clumping * np.clip(clumps, -1.3, 1.6)
    density += kind.rim * (np.exp(-(((radius - 0.92) / 0.14) ** 2)) - 0.4)
    y, x = np.mgrid[:side, :side]
    for _ in range(rng.integers(0, kind.nucleoli + 1)):
        inner = np.argwhere(radius < 0.55)
        spot_y, spot_x = inner[rng.integers(len(inner))]
        distance = np.hypot(y - spot_y, x - spot_x) / rng.uniform(1.8, 3.0)
        density += 0.7 * np.exp(-(distance**2))
    density *= rng.uniform(*kind.density)
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.8)
    haematoxylin += alpha * (density[part] - haematoxylin)


def _cytoplasm(instance_map: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """0..1: how much a pixel belongs to the body of an epithelial or neoplastic cell."""
    bodied = np.concatenate([[False], np.isin(classes, (1, 5))])[instance_map]
    distance = cv2.distanceTransform((~bodied).astype(np.uint8), cv2.DIST_L2, 5)
    return cv2.GaussianBlur(1 / (1 + np.exp((np.minimum(distance, 60) - 14) / 2.5)), (0, 0), 2)


def _clear_spaces(instance_map: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """0..1: lumina, clefts and shrinkage gaps, which keep away from nuclei."""
    height, width = instance_map.shape
    distance = cv2.distanceTransform((instance_map == 0).astype(np.uint8), cv2.DIST_L2, 5)
    lumina = _noise(height, width, 22, rng) + 0.25 * _noise(height, width, 5, rng) - 1.25
    clefts = 0.5 - 9 * np.abs(_noise(height, width, 30, rng)) + _noise(height, width, 50, rng)
    opening = np.maximum(lumina * 9, clefts * 1.2) + np.minimum(distance - 7, 0)
    return 1 / (1 + np.exp(-np.clip(opening, -30, 30)))


def _photograph(
    haematoxylin: np.ndarray, eosin: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Beer-Lambert law, the optics' blur and the sensor's noise; uint8 RGB."""
    density = np.clip(np.stack([haematoxylin, eosin], axis=-1), 0, None) @ _STAINS
    light = cv2.GaussianBlur(_GLASS * 10**-density, (0, 0), 0.6)
    light += rng.normal(0, 2.0, light.shape)
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)
