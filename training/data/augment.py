"""Random patches of annotated images, by one of two augmentations.

Each returns the patch's image, uint8 [256, 256, 3], its instances, uint16 [256, 256], and the
pixels to leave out, bool [256, 256].

``strong`` rotates by any angle, mirrors, scales and varies stains, focus, noise and the resolution
of the scan, so that a set scanned at 20x cannot be recognised by its blur. A few patches are bare
glass, which is rare in annotated images and common in slides. ``paper`` is that of TSFD-Net (Ilyas
et al. 2022): two of mirroring, scaling, shifting, rotating, shearing and cropping.
"""

from __future__ import annotations

import cv2
import numpy as np

from training.data.annotated import Annotated
from training.model.preprocess import STAIN_FROM_OD
from tsfd_client.contract import TILE

Patch = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Image, instances and pixels to leave out."""

_GLASS = 0.03  # of the patches of `strong`
_COARSE = 0.2


def strong(source: Annotated, rng: np.random.Generator) -> Patch:
    """Cut a patch."""
    if rng.random() < _GLASS:
        return _glass(rng), np.zeros((TILE, TILE), np.uint16), np.zeros((TILE, TILE), bool)
    angle = rng.uniform(0, 2 * np.pi)
    scale = np.exp(rng.uniform(np.log(0.8), np.log(1.25)))
    mirror = rng.choice((-1.0, 1.0))
    turn = np.array(
        [[np.cos(angle) * mirror, -np.sin(angle)], [np.sin(angle) * mirror, np.cos(angle)]]
    )
    image, instances, ignore = _cut(source, turn / scale, _centre(source, rng))
    if rng.random() < _COARSE:
        image = _scanned_coarsely(image, source.mpp, rng)
    return _vary_stains(image, rng), instances, ignore


def paper(source: Annotated, rng: np.random.Generator) -> Patch:
    """Cut a patch."""
    turn = np.eye(2)
    shift = np.zeros(2)
    for name in rng.choice(("mirror", "scale", "shift", "turn", "shear", "crop"), 2, replace=False):
        if name == "mirror":
            turn = turn @ np.diag(rng.choice((-1.0, 1.0), 2))
        elif name == "scale":
            turn = turn / rng.uniform(0.8, 1.2)
        elif name == "shift":
            shift = rng.uniform(-0.2, 0.2, 2) * TILE
        elif name == "turn":
            angle = np.deg2rad(rng.uniform(-25, 25))
            turn = turn @ [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        elif name == "shear":
            turn = turn @ [[1, np.tan(np.deg2rad(rng.uniform(-8, 8)))], [0, 1]]
        else:
            turn = turn * (1 - rng.uniform(0.05, 0.25))
    return _cut(source, turn, _centre(source, rng) + shift)


AUGMENTATIONS = {"strong": strong, "paper": paper}
"""Augmentations by the recipe's name for them."""


def _cut(source: Annotated, turn: np.ndarray, centre: np.ndarray) -> Patch:
    """Cut the patch around `centre` (x, y); `turn` [2, 2] maps patch to image coordinates."""
    matrix = np.column_stack([turn, centre - turn @ np.full(2, TILE / 2)])

    def warp(pixels: np.ndarray, interpolation: int) -> np.ndarray:
        return cv2.warpAffine(
            pixels,
            matrix,
            (TILE, TILE),
            flags=interpolation | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )

    ignore = np.zeros((TILE, TILE), bool)
    if source.ignore is not None:
        ignore = warp(source.ignore.astype(np.uint8), cv2.INTER_NEAREST) > 0
    image = warp(source.image, cv2.INTER_LINEAR)
    return image, warp(source.instances, cv2.INTER_NEAREST), ignore


def _centre(source: Annotated, rng: np.random.Generator) -> np.ndarray:
    """A random centre (x, y), away from the borders if the image is large enough."""
    size = np.array(source.instances.shape[::-1])
    margin = np.minimum(size / 2, 0.4 * TILE)
    return rng.uniform(margin, size - margin)


def _scanned_coarsely(image: np.ndarray, mpp: float, rng: np.random.Generator) -> np.ndarray:
    """Blur a patch of scale `mpp` to the resolution of a scan at 0.3 to 0.625 µm per pixel."""
    side = round(TILE * mpp / rng.uniform(0.3, 0.625))
    if side >= TILE:
        return image
    coarse = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(coarse, (TILE, TILE), interpolation=cv2.INTER_CUBIC)


def _vary_stains(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vary stain strength and hue (in optical density), brightness, focus and noise."""
    table = -np.log(np.maximum(np.arange(256, dtype=np.float32), 1) / 255)
    # One stain per row: mixing with a perturbed basis changes both strength and hue.
    basis = np.linalg.inv(STAIN_FROM_OD)
    strength = np.diag(rng.uniform(0.7, 1.35, 3))
    tint = rng.normal(0, 0.06, (3, 3))
    mix = (STAIN_FROM_OD @ strength @ (basis + tint)).astype(np.float32)
    density = table[image] @ mix + rng.normal(0, 0.03, 3).astype(np.float32)
    result = 255 * np.exp(-density)
    if rng.random() < 0.3:
        result = cv2.GaussianBlur(result, (0, 0), rng.uniform(0.3, 1.5))
    if rng.random() < 0.3:
        result = result + rng.normal(0, rng.uniform(1, 6), result.shape)
    return np.clip(result, 0, 255).astype(np.uint8)


def _glass(rng: np.random.Generator) -> np.ndarray:
    """A patch without tissue: a light colour, faint clouds, camera noise and JPEG artefacts.

    The network stretches every patch to its own range, which makes such noise look like tissue.
    """
    side = TILE // rng.choice((1, 2))  # enlarging a scan at half the scale enlarges its JPEG blocks
    clouds = rng.normal(0, rng.uniform(0, 2), (4, 4, 3)).astype(np.float32)
    pixels = cv2.resize(clouds, (side, side), interpolation=cv2.INTER_CUBIC)
    pixels += rng.uniform(215, 253) + rng.normal(0, 3, 3).astype(np.float32)
    pixels += rng.normal(0, rng.uniform(0.2, 3), pixels.shape)
    quality = (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 96)))
    _, data = cv2.imencode(".jpg", np.clip(pixels, 0, 255).astype(np.uint8), quality)
    glass = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return cv2.resize(glass, (TILE, TILE), interpolation=cv2.INTER_CUBIC)
